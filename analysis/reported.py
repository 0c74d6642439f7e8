"""The scores of one arm as the written report has them, for those who carry a model of it elsewhere."""

from __future__ import annotations

__all__ = ["ReportedArm", "reported_arm"]

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.explain import explain_cell
from analysis.intervals import MIN_SPEAKERS
from analysis.measures import MEASURES, Measure, measure_of
from analysis.wording import count, mean_sd, p_value
from core.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class ReportedArm:
    """An arm in the report that `sweep report` last wrote."""

    sweep: str
    arm: str
    trial_keys: tuple[str, ...]
    """Of its complete trials."""
    results: Mapping[str, Any]
    """Its row of `results.csv`."""
    comparisons: tuple[Mapping[str, Any], ...]
    """Its rows of `comparisons.csv`."""
    opening: Mapping[str, Any] | None
    """Which look at the test part this was, and when."""

    def scores(self) -> tuple[tuple[str, str], ...]:
        """What was measured and how it came out, as the report's tables show it."""
        row = self.results
        measured = [measure for measure in MEASURES.values() if row.get(f"{measure.column}_mean") is not None]
        found = [
            (one.said, one.mean_sd(row[f"{one.column}_mean"], row[f"{one.column}_sd"]) + one.sign) for one in measured
        ]
        # Reports of earlier times have no such columns.
        bounded = [one for one in measured if f"{one.column}_low" in row]
        found += [(f"{one.said}, 95 % interval over speakers", _bounds(one, row)) for one in bounded]
        if row.get("f1_mean") is not None:
            found.append(("macro F1", f"{mean_sd(row['f1_mean'], row['f1_sd'])} %"))
        made = [each for each in self.comparisons if each["difference"] is not None and each["metric"] in MEASURES]
        compared = ((f"{measure_of(each).said} − `{each['twin']}`", _difference(each)) for each in made)
        return (*found, *compared)


def _bounds(measure: Measure, row: Mapping[str, Any]) -> str:
    low, high = row[f"{measure.column}_low"], row[f"{measure.column}_high"]
    if low is None:
        return f"– (needs {MIN_SPEAKERS} speakers in the test parts, and some that differ)"
    return f"[{measure.score(low)}, {measure.score(high)}]{measure.sign}"


def _difference(row: Mapping[str, Any]) -> str:
    measure = measure_of(row)
    bounds = measure.interval(row["ci_low"], row["ci_high"])
    return (
        f"{measure.difference(row['difference'])}{measure.unit}, 95 % interval {bounds} "
        f"({count(row['n_pairs'], 'pair')}, p = {p_value(row['p'])}, corrected {p_value(row['p_corrected'])})"
    )


def reported_arm(cell: str, *, sweeps_root: Path, trials_root: Path) -> ReportedArm:
    """The arm `SWEEP:ARM`, spelled as in `analysis.explain.explain_cell`; the report is read as it was written.

    Raises BadInputError when there is no such report or arm, and for a cell that names a column.
    """
    found = explain_cell(cell, sweeps_root=sweeps_root, trials_root=trials_root)
    report = json.loads((sweeps_root / found.sweep / "report" / "report.json").read_text(encoding="utf-8"))
    row = next(row for row in report["results"] if row["arm"] == found.arm)
    named = cell.partition(":")[2]
    if named != found.arm and not str(row["arm_key"]).startswith(named):
        raise BadInputError(f"arm {cell!r}: SWEEP:ARM is wanted, without a column (arm {found.arm!r})")
    return ReportedArm(
        sweep=found.sweep,
        arm=found.arm,
        trial_keys=tuple(source.trial_key for source in found.sources if source.status == "complete"),
        results=row,
        comparisons=tuple(each for each in report["comparisons"] if each["arm_key"] == row["arm_key"]),
        opening=report.get("opening"),
    )
