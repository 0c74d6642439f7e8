"""Where a cell of the written report comes from: trials, code, corpora, and what to run to see it again."""

from __future__ import annotations

__all__ = ["Explanation", "Source", "explain_cell"]

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analysis.measures import MEASURES, measure_of
from analysis.wording import count, percent
from core.errors import BadInputError
from core.identity import digest
from core.records import Record, read_record

DIFFERENCE = "difference"
MEANS = {"ua": "ua_mean", "wa": "wa_mean", "f1": "f1_mean", "ccc": "ccc_mean"}
"""Short names of columns of `results.csv`."""
PATHS = {
    "results": "predictions.parquet → core.metrics → analysis.tables.results_table",
    "comparisons": "predictions.parquet → core.metrics → analysis.comparisons.comparisons_table",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """One trial behind a cell. What only a record knows is None without one."""

    side: str
    """`arm`, or `against` in a comparison."""
    trial_key: str
    seed: int
    status: str
    reason: str | None
    commit: str | None
    """With a mark where the code was not that of the commit."""
    config: str | None
    """Digest of all settings, those that cannot change the result included."""
    ended: str | None
    corpora: tuple[str, ...]
    """Each with its fingerprint: evaluated, heard in pre-training, learnt intensity from."""
    system: str | None
    run: str | None
    """Address of its run in MLflow when the report was written."""

    @property
    def replay(self) -> str:
        return f"sweep replay {self.trial_key}"


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A cell of a report."""

    sweep: str
    arm: str
    against: str | None
    column: str
    value: str
    """As the tables show it; `–` where it is empty."""
    used: int
    """Trials (pairs, in a comparison) that went into it."""
    expected: int
    path: str
    """From a trial's files to the cell, by module."""
    sources: tuple[Source, ...]
    page: str
    """The report that was explained, with when it was written."""

    @property
    def lacking(self) -> tuple[str, ...]:
        """Commands that make a partial cell whole."""
        if self.used == self.expected:
            return ()
        statuses = {source.status for source in self.sources}
        commands = [f"sweep retry {self.sweep}"] if "failed" in statuses else []
        return (*commands, *([f"sweep resume {self.sweep}"] if "missing" in statuses else []))

    def as_text(self, runs: Mapping[str, str]) -> str:
        """For a terminal. `runs`: trial key → where MLflow has it now, of those that are known."""
        versus = f" − {self.against}" if self.against else ""
        what = "pairs of seeds" if self.against else "trials"
        lines = [f"{self.sweep}: {self.arm}{versus}, {self.column}", f"  {self.value}"]
        lines.append(f"  from {self.used} of {self.expected} {what}" + (": partial" if self.lacking else ""))
        lines += [f"  complete it: {command}" for command in self.lacking]
        lines += [f"  path: {self.path}", f"  page: {self.page}"]
        for source in self.sources:
            side = "" if self.against is None else f" ({self.arm if source.side == 'arm' else self.against})"
            lines.append(f"seed {source.seed}{side}: trial {source.trial_key}, {source.status}")
            facts = {
                "reason": source.reason,
                "commit": source.commit,
                "code": source.system and f"core.systems.{source.system}, under this commit",
                "config": source.config,
                "corpora": "; ".join(source.corpora),
                "ended": source.ended,
                "mlflow": runs.get(source.trial_key) or source.run,
                "replay": source.replay if source.status == "complete" else None,
            }
            lines += [f"  {name:8} {fact}" for name, fact in facts.items() if fact]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        sources = [asdict(source) | {"replay": source.replay} for source in self.sources]
        return asdict(self) | {"sources": sources, "lacking": list(self.lacking)}


def explain_cell(text: str, *, sweeps_root: Path, trials_root: Path, against: str | None = None) -> Explanation:
    """Explain the cell `SWEEP:ARM[:COLUMN]` of the report that `sweep report` last wrote.

    The report is read as it was written, so nothing is opened again.

    Args:
        text: ARM is a name in the tables, or the beginning of an arm key; COLUMN one of `results.csv` (`ua` by default,
            for `ua_mean`; `ccc` for an arm that answers with dimensions), or `difference`, `ua-difference`,
            `wa-difference`, `ccc_valence-difference`.
        against: name of the other arm of a comparison; the twin by default.

    Raises BadInputError when there is no such report, arm, column or comparison.
    """
    sweep, _, rest = text.partition(":")
    path = sweeps_root / sweep / "report" / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        rows, comparisons = report["results"], report["comparisons"]
    except FileNotFoundError as error:
        raise BadInputError(f"cell {text!r}: {path} is not there; write it first: sweep report {sweep}") from error
    except (OSError, ValueError, KeyError) as error:
        raise BadInputError(f"{path}: not a report ({type(error).__name__})") from error
    row, column = _row(text, rest, rows)
    opening = report.get("opening") or {}
    page = f"{path.with_name('index.html')}" + (
        f", test read {count(opening['number'], 'time')}, last at {opening['at']}" if opening else ""
    )
    found = _Cell(sweep=sweep, rows=rows, trials_root=trials_root, page=page)
    if column.endswith(DIFFERENCE):
        return found.difference(row, column, comparisons, against)
    if against is not None:
        raise BadInputError(f"cell {text!r}: --against needs the column `{DIFFERENCE}`, got {column!r}")
    return found.mean(row, column)


def _row(text: str, rest: str, rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], str]:
    """The arm's row, and the column (`ua`, or `ccc`, where none is named)."""
    for arm, column in ((rest, ""), rest.rpartition(":")[::2]):
        named = [row for row in rows if row["arm"] == arm]
        keyed = [row for row in rows if arm and str(row["arm_key"]).startswith(arm)]
        found = named or keyed
        if len(found) == 1:
            return found[0], column or _primary(found[0])
        if found:
            raise BadInputError(f"cell {text!r}: {len(found)} arm keys begin with {arm!r}; give more of it")
    arms = ", ".join(str(row["arm"]) for row in rows)
    raise BadInputError(f"cell {text!r}: SWEEP:ARM or SWEEP:ARM:COLUMN, with ARM one of {arms}")


def _primary(row: Mapping[str, Any]) -> str:
    return "ccc" if row.get("ccc_mean") is not None else "ua"


@dataclass(frozen=True, kw_only=True)
class _Cell:
    sweep: str
    rows: Sequence[Mapping[str, Any]]
    trials_root: Path
    page: str

    def mean(self, row: Mapping[str, Any], column: str) -> Explanation:
        name = MEANS.get(column, column if column in row else f"{column}_mean")
        if name not in row or name == "trials":
            columns = ", ".join(
                [*(short for short, long in MEANS.items() if long in row), *(key for key in row if key != "trials")]
            )
            raise BadInputError(f"column {column!r}: none of {columns}; or `{DIFFERENCE}`")
        value, spread = row[name], row.get(f"{name.removesuffix('_mean')}_sd") if name.endswith("_mean") else None
        shown = _shown(name, value) + (
            f" ± {_spread(name, spread)}" if spread is not None and value is not None else ""
        )
        return Explanation(
            sweep=self.sweep, arm=row["arm"], against=None, column=name, value=shown, used=row["n_trials"],
            expected=row["n_expected"], path=PATHS["results"], sources=self._sources("arm", row), page=self.page,
        )  # fmt: skip

    def difference(
        self, row: Mapping[str, Any], column: str, comparisons: Sequence[Mapping[str, Any]], against: str | None
    ) -> Explanation:
        metric = column.removesuffix(DIFFERENCE).rstrip("-") or _primary(row)
        metric = "ccc_mean" if metric == "ccc" else metric
        own = [each for each in comparisons if each["arm_key"] == row["arm_key"] and each["metric"] == metric]
        wanted = [each for each in own if (each["twin"] == against if against else each["kind"] == "twin")]
        if not wanted:
            others = ", ".join(dict.fromkeys(str(each["twin"]) for each in own)) or "nothing"
            raise BadInputError(
                f"arm {row['arm']!r}: not compared in {metric!r} with {against or 'a twin'}; it is with {others}"
            )
        found = wanted[0]
        other = next(each for each in self.rows if each["arm_key"] == found["twin_key"])
        sources = (*self._sources("arm", row), *self._sources("against", other))
        return Explanation(
            sweep=self.sweep, arm=row["arm"], against=found["twin"], column=f"{metric}-{DIFFERENCE}",
            value=_difference(found), used=found["n_seeds"], expected=found["n_seeds_expected"],
            path=PATHS["comparisons"], sources=sources, page=self.page,
        )  # fmt: skip

    def _sources(self, side: str, row: Mapping[str, Any]) -> tuple[Source, ...]:
        return tuple(self._source(side, trial) for trial in row["trials"])

    def _source(self, side: str, trial: Mapping[str, Any]) -> Source:
        record = read_record(self.trials_root / trial["trial_key"])
        provenance = record.provenance if record else None
        return Source(
            side=side,
            trial_key=trial["trial_key"],
            seed=trial["seed"],
            status=trial["status"],
            reason=trial["reason"],
            commit=provenance.commit + (" with changes" if provenance.dirty else "") if provenance else None,
            config=digest(record.config) if record else None,
            ended=provenance.ended if provenance else None,
            corpora=_corpora(record) if record else (),
            system=record.system if record else None,
            run=trial.get("run"),
        )


def _corpora(record: Record) -> tuple[str, ...]:
    roles = (("evaluated", record.corpus), ("heard", record.heard), ("intensity from", record.fit))
    return tuple(f"{role} {entry.name} {entry.fingerprint}" for role, entry in roles if entry is not None)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if "ccc" in name and isinstance(value, float):
        return MEASURES["ccc_mean"].score(value)
    if name.endswith(("_mean", "_sd", "_ua", "_wa")) and isinstance(value, float):
        return f"{percent(value)} %"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _spread(name: str, value: float) -> str:
    return MEASURES["ccc_mean"].score(value) if "ccc" in name else percent(value)


def _difference(found: Mapping[str, Any]) -> str:
    if found["difference"] is None:
        return "–"
    measure = measure_of(found)
    text = f"{measure.difference(found['difference'])}{measure.unit}"
    if found["ci_low"] is not None:
        text += f" {measure.interval(found['ci_low'], found['ci_high'])}"
    return f"{text}, {count(found['n_pairs'], 'pair')}"
