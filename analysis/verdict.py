"""More than UA: every arm beside its twin in all metrics and in cost, and the arms that no other beats in all of them.

Letters in names: K seeds, S speakers, C classes.
"""

from __future__ import annotations

__all__ = ["COLUMNS", "COSTS", "METRICS", "Metric", "verdict_sentences", "verdict_table"]

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.arm_scores import Scores
from analysis.comparisons import RESAMPLES, Pair, planned_pairs
from analysis.intervals import interval, speaker_weights, spread, stacked, studentised_quantiles
from analysis.load import Sweep
from analysis.paired import Contributions
from analysis.speaker_scores import by_speaker
from analysis.tables import Row, as_rows
from analysis.wording import count, joined, points
from core.records import Record


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score or a cost."""

    said: str
    higher_is_better: bool


METRICS = {
    "ua": Metric(said="UA", higher_is_better=True),
    "wa": Metric(said="WA", higher_is_better=True),
    "macro_f1": Metric(said="macro-F1", higher_is_better=True),
    "worst_recall": Metric(said="worst-class recall", higher_is_better=True),
    "calibration_error": Metric(said="calibration error", higher_is_better=False),
    "calibration_error_debiased": Metric(said="debiased calibration error", higher_is_better=False),
}
COSTS = {
    "device_seconds": Metric(said="device-seconds", higher_is_better=False),
    "flops": Metric(said="training operations (6·N·D)", higher_is_better=False),
}
JACKKNIFED = ("macro_f1", "worst_recall", "calibration_error")
DEBIASED = "calibration_error_debiased"
"""Has no interval: it is cut off at 0, where leaving out a speaker says nothing."""
SAME_COST = 0.05
"""Costs closer than this share are said to be the same."""
AT_ONCE = 64
"""Comparisons resampled at a time, which bounds the memory."""
COLUMNS = [
    *("arm", "twin", "upstream", "metric", "value", "twin_value", "difference", "ci_low", "ci_high", "ratio"),
    *("n_seeds", "n_speakers", "arm_key", "twin_key"),
]


def verdict_table(
    sweep: Sweep, scores: Scores, comparisons: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """One row per arm that was compared with its twin, and metric (METRICS, then COSTS), on the test part.

    value and twin_value are means over the seeds that both have; difference = value − twin_value, of scores with a 95 %
    interval (ci_low, ci_high) over speakers, made as those of `comparisons`, from which UA and WA are taken; ratio
    (costs) = value / twin_value. Each interval holds by itself, none is corrected for the number of metrics.

    - macro_f1: mean over folds, as recorded. worst_recall: recall of the class that is recognised worst, its mean over
      folds as in UA; arm and twin may each have another one
    - calibration_error, calibration_error_debiased (without an interval): `calibration_error.calibration_errors`, all
      folds together; no row where there are no class scores
    - device_seconds, flops: of one trial; no row where the records do not know

    Shares in [0, 1], costs as recorded.
    """
    twins = comparisons[(comparisons["kind"] == "twin") & (comparisons["n_pairs"] > 0)]
    known = {(row["arm_key"], row["metric"]): row for row in as_rows(twins)}
    rows: list[Row] = []
    for pair in planned_pairs(sweep):
        if pair.kind == "twin" and (pair.arm.key, "ua") in known:
            rows += _tested(pair, known)
            rows += _taken_apart(pair, scores)
            rows += _costs(pair)
    _bound(rows, resamples=resamples, seed=seed)
    order = {name: place for place, name in enumerate((*METRICS, *COSTS))}
    table = pd.DataFrame(rows, columns=COLUMNS)
    floats = ("value", "twin_value", "difference", "ci_low", "ci_high", "ratio")
    table = table.astype(dict.fromkeys(floats, "float64") | {"n_seeds": "Int64", "n_speakers": "Int64"})
    arms = {key: place for place, key in enumerate(dict.fromkeys(table["arm_key"]))}
    places = table["arm_key"].map(arms) * len(order) + table["metric"].map(order)
    return table.iloc[np.argsort(places.to_numpy(), kind="stable")].reset_index(drop=True)


def verdict_sentences(table: pd.DataFrame, chosen: Mapping[str, str]) -> tuple[str, ...]:
    """One sentence per arm chosen by validation: in which metrics its interval lies above and below its twin's, and
    what it cost. `chosen`: upstream → arm key.
    """
    rows = as_rows(table)
    found = [[row for row in rows if row["arm_key"] == key] for key in chosen.values()]
    return tuple(_sentence(own) for own in found if own)


def _common(pair: Pair) -> list[tuple[Record, Record]]:
    others = {record.seed: record for record in pair.against.records}
    return [(record, others[record.seed]) for record in pair.arm.records if record.seed in others]


def _named(pair: Pair, metric: str, values: Sequence[tuple[float, float]]) -> Row:
    value, twin_value = (float(np.mean(side)) for side in zip(*values, strict=True))
    row: Row = {"arm": pair.arm.name, "twin": pair.against.name, "upstream": pair.arm.group, "metric": metric}
    row |= {"value": value, "twin_value": twin_value, "difference": value - twin_value, "n_seeds": len(values)}
    return row | {"arm_key": pair.arm.key, "twin_key": pair.against.key}


def _tested(pair: Pair, known: Mapping[tuple[str, str], Mapping[str, Any]]) -> Iterator[Row]:
    for metric in ("ua", "wa"):
        values = [tuple(_recorded(record, metric) for record in both) for both in _common(pair)]
        row = _named(pair, metric, [(own, other) for own, other in values])
        held = known[pair.arm.key, metric]
        yield row | {name: held[name] for name in ("difference", "ci_low", "ci_high", "n_speakers")}


def _recorded(record: Record, metric: str) -> float:
    return record.metrics.mean["test"][metric] if record.metrics else math.nan


def _taken_apart(pair: Pair, scores: Scores) -> Iterator[Row]:
    """Rows of the other scores, each with its contributions by speaker."""
    both = [(scores.of(own), scores.of(other)) for own, other in _common(pair)]
    for metric in (*JACKKNIFED, DEBIASED):
        if all(metric in own and metric in other for own, other in both):
            parts = by_speaker(np.stack([own[metric] - other[metric] for own, other in both]))
            row = _named(pair, metric, [(float(own[metric][0]), float(other[metric][0])) for own, other in both])
            yield row | {"n_speakers": parts.weights.size} | ({"parts": parts} if metric in JACKKNIFED else {})


def _costs(pair: Pair) -> Iterator[Row]:
    costs = [(own.cost, other.cost) for own, other in _common(pair)]
    for name in COSTS:
        values = [(getattr(own, name, None), getattr(other, name, None)) for own, other in costs]
        spent = [(float(own), float(other)) for own, other in values if own and other]
        if len(spent) == len(values):
            row = _named(pair, name, spent)
            yield row | {"ratio": float(np.mean([own for own, _ in spent]) / np.mean([other for _, other in spent]))}


def _bound(rows: Sequence[Row], *, resamples: int, seed: int) -> None:
    """Intervals of all rows with contributions, over draws that those with as many speakers share."""
    grouped: dict[int, list[tuple[Row, Contributions]]] = {}
    for row in rows:
        if isinstance(parts := row.pop("parts", None), Contributions):
            grouped.setdefault(parts.weights.size, []).append((row, parts))
    for n_speakers, members in grouped.items():
        draws_BS = speaker_weights(n_speakers, resamples=resamples, seed=seed)
        for start in range(0, len(members), AT_ONCE):
            chunk = members[start : start + AT_ONCE]
            added_SP, weight_SP = stacked([parts for _, parts in chunk])
            quantiles_2P = studentised_quantiles(added_SP, weight_SP, draws_BS=draws_BS)
            for (row, parts), (low, high) in zip(chunk, quantiles_2P.T.tolist(), strict=True):
                bounds = interval(parts.difference, spread(parts), quantiles=(low, high), n_speakers=n_speakers)
                if bounds is not None:
                    row["ci_low"], row["ci_high"] = bounds


def _sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    groups: dict[str, list[str]] = {"better": [], "worse": [], "open": [], "none": []}
    for row in rows:
        if (metric := METRICS.get(row["metric"])) is None or row["metric"] == DEBIASED:
            continue
        if row["ci_low"] is None:
            groups["none"].append(f"{metric.said} ({points(row['difference'])})")
        elif row["ci_low"] <= 0 <= row["ci_high"]:
            groups["open"].append(metric.said)
        else:
            side = "better" if (row["difference"] > 0) == metric.higher_is_better else "worse"
            between = f"{points(row['ci_low'])} to {points(row['ci_high'])}"
            groups[side].append(f"{metric.said} ({points(row['difference'])} points, {between})")
    said = {
        "better": "better in {}",
        "worse": "worse in {}",
        "open": "not shown to differ in {}",
        "none": "without an interval in {}",
    }
    parts = [text.format(joined(groups[name])) for name, text in said.items() if groups[name]]
    costs = [row for row in rows if row["metric"] in COSTS]
    if costs:
        parts.append(_cost_clause(costs))
    tested = sum(map(len, groups.values())) - len(groups["none"])
    text = f"Beside its twin, {rows[0]['arm']} is {'; '.join(parts)}."
    if tested:
        text += f" The intervals hold each by itself, uncorrected for {count(tested, 'metric')}."
    return text


def _cost_clause(rows: Sequence[Mapping[str, Any]]) -> str:
    apart = [row for row in rows if abs(math.log(row["ratio"])) > math.log1p(SAME_COST)]
    listed = joined([f"{COSTS[row['metric']].said} × {row['ratio']:.2f}" for row in rows])
    if not apart:
        return f"at the same cost ({listed})"
    if all(row["ratio"] > 1 for row in apart):
        return f"at a higher cost ({listed})"
    return f"at a lower cost ({listed})" if all(row["ratio"] < 1 for row in apart) else f"at another cost ({listed})"
