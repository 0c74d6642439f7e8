"""Cells → one row per arm (`results`) and one row per arm, twin and metric (`comparisons`). Shares in [0, 1].

Means are over folds within a seed and then over seeds; sd is over all seed × fold cells (n − 1 in the denominator).
"""

from __future__ import annotations

__all__ = ["RESAMPLES", "as_rows", "comparisons_table", "results_table"]

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.load import Arm, Part, Sweep
from analysis.statistics import (
    Metric,
    PairedCounts,
    bootstrap_differences,
    expanded_interval,
    holm,
    paired_difference,
    sign_flip_floor,
    sign_flip_p,
    speaker_weights,
)
from core.errors import BadInputError
from core.metrics import ua, wa

RESAMPLES = 10_000
METRICS: tuple[Metric, ...] = ("ua", "wa")

Row = dict[str, object]


def results_table(sweep: Sweep, tests: Mapping[str, Part]) -> pd.DataFrame:
    """One row per arm, in the order of the plan.

    An arm without a complete trial keeps its row, with empty metrics; `status` is `complete`, `partial` (a mean over
    some of the seeds) or `missing`, and `missing_seeds` names them. Pooled: one confusion matrix over all folds, mean
    over seeds. `hidden_run_*`: lengths in frames of contiguous hidden stretches, all folds and seeds together.
    """
    cells = sweep.cells()
    table = pd.DataFrame([_result(arm, sweep, cells, tests) for arm in sweep.arms.values()])
    return table.astype({"span": "Int64", "hidden_run_max": "Int64"})


def comparisons_table(
    sweep: Sweep, tests: Mapping[str, Part], *, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """One row per arm with a twin and metric (UA, WA), paired over the seed × fold cells that both have.

    Columns: arm, twin, metric, n_pairs, difference (mean of the paired cells), sd (of the paired cells), ci_low,
    ci_high (95 %, resampled speakers), p (sign-flip over folds), p_corrected (Holm over all comparisons of this metric
    in the table), p_floor, n_folds, n_seeds, n_seeds_expected, n_speakers, arm_key, twin_key. A pair without a common
    seed keeps its row, empty. Raises BadInputError when an arm and its twin were not tested on the same utterances.
    """
    rows = [
        _comparison(arm, sweep.arms[arm.twin_key], metric=metric, tests=tests, draws=(resamples, seed))
        for arm in sweep.arms.values()
        if arm.twin_key is not None
        for metric in METRICS
    ]
    names = ["arm", "twin", "metric", "n_pairs", "difference", "sd", "ci_low", "ci_high", "p", "p_corrected"]
    names += ["p_floor", "n_folds", "n_seeds", "n_seeds_expected", "n_speakers", "arm_key", "twin_key"]
    table = pd.DataFrame(rows, columns=names)
    for metric in METRICS:
        tested = (table["metric"] == metric) & table["p"].notna()
        table.loc[tested, "p_corrected"] = holm(table.loc[tested, "p"].tolist())
    floats = ["difference", "sd", "ci_low", "ci_high", "p", "p_corrected", "p_floor"]
    integers = ["n_pairs", "n_folds", "n_seeds", "n_seeds_expected", "n_speakers"]
    return table.astype(dict.fromkeys(floats, "float64") | dict.fromkeys(integers, "Int64"))


def as_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with plain Python values; None for what is absent, `inf` for infinity (JSON has neither)."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    return value.item() if isinstance(value, np.generic) else value


def _result(arm: Arm, sweep: Sweep, cells: pd.DataFrame, tests: Mapping[str, Part]) -> Row:
    own = cells[cells["arm_key"] == arm.key]
    test = own[own["split"] == "test"]
    twin = sweep.arms[arm.twin_key].name if arm.twin_key else None
    done, expected = len(arm.complete), len(arm.outcomes)
    row: Row = {"arm": arm.name, "twin": twin, "n_trials": done, "n_expected": expected}
    for column, metric in {"ua": "ua", "wa": "wa", "f1": "macro_f1"}.items():
        row |= {f"{column}_mean": _mean(test, metric), f"{column}_sd": _sd(test[metric])}
    masks = _masks(arm)
    row["realised_ratio"] = masks.pop("realised_ratio")
    row["status"] = "complete" if done == expected else "partial" if done else "missing"
    row["seeds"] = " ".join(map(str, arm.seeds))
    row["missing_seeds"] = " ".join(map(str, arm.missing_seeds))
    row |= {f"{split}_{name}": value for split, name, value in _other_means(arm, own, tests)}
    row |= masks
    row["transductive"] = any(record.protocol.transductive for record in arm.records) if arm.records else None
    row["leaks"] = "; ".join(dict.fromkeys(leak for record in arm.records for leak in record.protocol.leaks))
    row["incomplete"] = "; ".join(dict.fromkeys(filter(None, (record.corpus.incomplete for record in arm.records))))
    row["quarantined"] = max((sum(record.corpus.quarantined.values()) for record in arm.records), default=None)
    row["left_out"] = max((record.cost.left_out for record in arm.records if record.cost), default=None)
    row["trial_keys"] = " ".join(outcome.planned.trial_key for outcome in arm.outcomes)
    return row | {"arm_key": arm.key, "twin_key": arm.twin_key}


def _mean(cells: pd.DataFrame, metric: str) -> float:
    return float(cells.groupby("seed")[metric].mean().mean()) if len(cells) else float("nan")


def _sd(values: pd.Series[float]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def _other_means(arm: Arm, own: pd.DataFrame, tests: Mapping[str, Part]) -> list[tuple[str, str, float]]:
    pooled = [tests[record.trial_key].counts.sum(axis=(0, 1)) for record in arm.records]
    validation = own[own["split"] == "validation"]
    return [
        ("pooled", "ua", float(np.mean([ua(counts) for counts in pooled])) if pooled else float("nan")),
        ("pooled", "wa", float(np.mean([wa(counts) for counts in pooled])) if pooled else float("nan")),
        ("validation", "ua", _mean(validation, "ua")),
        ("validation", "wa", _mean(validation, "wa")),
    ]


def _masks(arm: Arm) -> Row:
    """The audit of the arm's masks: counts added over replicates, shares averaged over them."""
    masks = [record.mask for record in arm.records if record.mask is not None]
    runs: dict[int, int] = {}
    for mask in masks:
        for length, count in mask.runs.items():
            runs[int(length)] = runs.get(int(length), 0) + count
    first = masks[0] if masks else None
    lengths = np.array(sorted(length for length, count in runs.items() if count), dtype=np.int64)
    counts = np.array([runs[int(length)] for length in lengths], dtype=np.int64)

    def mean(name: str) -> float:
        return float(np.mean([getattr(mask, name) for mask in masks])) if masks else float("nan")

    return {
        "realised_ratio": mean("realised_ratio"),
        "policy": first.policy if first else None,
        "nominal_ratio": mean("nominal_ratio"),
        "span": first.span if first else None,
        "temperature": str(first.temperature) if first and first.temperature is not None else None,
        "intensity_share": mean("intensity_share"),
        "intensity_z": mean("intensity_z"),
        "hidden_run_mean": float(np.average(lengths, weights=counts)) if lengths.size else float("nan"),
        "hidden_run_median": _median(lengths, counts),
        "hidden_run_max": int(lengths.max()) if lengths.size else None,
    }


def _median(values: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """Lower median of sorted values that occur `counts` times."""
    if not values.size:
        return float("nan")
    return float(values[np.searchsorted(np.cumsum(counts), counts.sum() / 2)])


def _comparison(arm: Arm, twin: Arm, *, metric: Metric, tests: Mapping[str, Part], draws: tuple[int, int]) -> Row:
    planned = {outcome.planned.seed for outcome in arm.outcomes} & {outcome.planned.seed for outcome in twin.outcomes}
    row: Row = {"arm": arm.name, "twin": twin.name, "metric": metric, "arm_key": arm.key, "twin_key": twin.key}
    row["n_seeds_expected"] = len(planned)
    pairs = _pairs(arm, twin, tests)
    if not pairs:
        return row | {"n_pairs": 0, "n_seeds": 0}
    differences_KF = np.array([_fold_metric(own, metric) - _fold_metric(other, metric) for own, other in pairs])
    paired = _paired_counts(pairs)
    n_speakers, n_folds = len(pairs[0][0].speakers), differences_KF.shape[1]
    weights_BS = speaker_weights(n_speakers, resamples=draws[0], seed=draws[1])
    draws_B = bootstrap_differences(paired, metric=metric, weights_BS=weights_BS)
    low, high = expanded_interval(draws_B, n_speakers=n_speakers) or (float("nan"), float("nan"))
    return row | {
        "n_pairs": differences_KF.size,
        "difference": paired_difference(paired, metric=metric),
        "sd": _sd(pd.Series(differences_KF.ravel())),
        "ci_low": low,
        "ci_high": high,
        "p": sign_flip_p(differences_KF.mean(axis=0).tolist()),
        "p_floor": sign_flip_floor(n_folds),
        "n_folds": n_folds,
        "n_seeds": len(pairs),
        "n_speakers": n_speakers,
    }


def _pairs(arm: Arm, twin: Arm, tests: Mapping[str, Part]) -> list[tuple[Part, Part]]:
    """Test parts of arm and twin under the seeds that both have, all on the same utterances."""
    twins = {record.seed: tests[record.trial_key] for record in twin.records}
    pairs = [(tests[record.trial_key], twins[record.seed]) for record in arm.records if record.seed in twins]
    if len({part.identity for pair in pairs for part in pair}) > 1:
        raise BadInputError(
            f"arm {arm.name!r} and twin {twin.name!r}: their trials were not tested on the same utterances and folds"
        )
    return pairs


def _fold_metric(part: Part, metric: Metric) -> NDArray[np.float64]:
    score = {"ua": ua, "wa": wa}[metric]
    return np.array([score(counts_CC) for counts_CC in part.counts.sum(axis=1)])


def _paired_counts(pairs: list[tuple[Part, Part]]) -> PairedCounts:
    gains = [
        np.diagonal(own.counts, axis1=2, axis2=3) - np.diagonal(other.counts, axis1=2, axis2=3) for own, other in pairs
    ]
    return PairedCounts(gain=np.mean(gains, axis=0), total=pairs[0][0].counts.sum(axis=3))
