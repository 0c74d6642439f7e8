"""What each change does, as an ablation asks: an arm against its twin, and the contrasts that the definition names."""

from __future__ import annotations

__all__ = ["change_rows", "changes_sentences"]

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.load import Arm
from analysis.masks import mixes
from analysis.measures import MEASURES, PRIMARY, measure_of
from analysis.paired import Metric
from analysis.standing import Standing, is_shown, standing
from analysis.tables import as_rows
from analysis.wording import count, joined


def change_rows(results: pd.DataFrame, comparisons: pd.DataFrame, arms: Mapping[str, Arm]) -> list[dict[str, Any]]:
    """One row per arm with a twin and per named contrast, upstream by upstream; empty unless the plan has contrasts.

    An arm and its twin are named by the axes in which they differ, and by the twin where that is not one name. Columns:
    those of the comparison of UA (mean CCC), and upstream (beside other systems with its own before it; `a against b`
    where they differ), realised_ratio of the arm, against_realised_ratio, mixed (whether these differ, so that their
    number of frames is in the difference too).
    """
    if not (comparisons["kind"] == "contrast").any():
        return []
    rows = []
    found = {row["arm_key"]: row for row in as_rows(results)}
    asked = comparisons["kind"].isin(["twin", "contrast"]) & comparisons["metric"].isin(list(PRIMARY.values()))
    for row in as_rows(comparisons[asked]):
        arm, against = found[row["arm_key"]], found[row["twin_key"]]
        row |= {
            "upstream": " against ".join(dict.fromkeys(arms[each["arm_key"]].group for each in (arm, against))),
            "realised_ratio": arm["realised_ratio"],
            "against_realised_ratio": against["realised_ratio"],
            "mixed": mixes(arm, against),
        }
        if row["kind"] == "twin":
            row["name"] = _difference_of(arms[row["arm_key"]].axes, arms[row["twin_key"]].axes)
        rows.append(row)
    _tell_apart(rows)
    order = list(dict.fromkeys(row["upstream"] for row in rows))
    return sorted(rows, key=lambda row: order.index(row["upstream"]))


def changes_sentences(rows: Sequence[dict[str, Any]]) -> list[str]:
    """How the changes came out, one sentence per upstream (and metric); no stronger than intervals and tests allow."""
    groups: dict[tuple[str, Metric], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["upstream"], row["metric"]), []).append(row)
    several = len({upstream for upstream, _ in groups}) > 1
    return [_sentence(own, metric, upstream if several else None) for (upstream, metric), own in groups.items()]


def _difference_of(arm: Mapping[str, object], twin: Mapping[str, object]) -> str:
    """Axes of the arm that its twin has otherwise or not at all: `policy ems_topk + head`."""
    words = []
    for key, value in arm.items():
        name = key.rpartition(".")[2]
        if key not in twin or twin[key] != value:
            words.append(name if value is True else f"no {name}" if value is False else f"{name} {value}")
    return " + ".join(words) or "arm against its twin"


def _tell_apart(rows: Sequence[dict[str, Any]]) -> None:
    times = Counter((row["upstream"], row["name"]) for row in rows)
    for row in rows:
        if row["kind"] == "twin" and times[row["upstream"], row["name"]] > 1:
            row["name"] += f" on {row['twin']}"


def _sentence(rows: Sequence[dict[str, Any]], metric: Metric, upstream: str | None) -> str:
    said = MEASURES[metric].said
    by_standing: dict[Standing, list[str]] = {}
    for row in rows:
        named = f"{row['name']} ({measure_of(row).difference(row['difference'])})"
        by_standing.setdefault(standing(row), []).append(named)
    shown = [name for found, names in by_standing.items() if is_shown(found) for name in names]
    leaning = by_standing.get("leans better", []) + by_standing.get("leans worse", [])
    parts = {
        f"shown to change {said} by interval and corrected test": shown,
        "by the interval only, a sign and not proof": leaning,
        f"not shown to change {said}": by_standing.get("open", []),
        "not known yet": by_standing.get("absent", []),
    }
    of = f" of {upstream}" if upstream else ""
    listed = "; ".join(f"{text}: {joined(names)}" for text, names in parts.items() if names)
    unit = "points of UA" if metric == "ua" else said
    return f"{count(len(rows), 'change')}{of}, in {unit}. {listed[0].upper()}{listed[1:]}."
