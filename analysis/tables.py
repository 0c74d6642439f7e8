"""Cells → one row per arm (`results`). Shares in [0, 1].

Means are over folds within a seed and then over seeds; sd is over all seed × fold cells (n − 1 in the denominator).
"""

from __future__ import annotations

__all__ = ["Row", "as_rows", "results_table"]

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.load import Arm, Part, Sweep
from core.metrics import ua, wa
from core.records import Split

Row = dict[str, object]


def results_table(sweep: Sweep, tests: Mapping[str, Part]) -> pd.DataFrame:
    """One row per arm, in the order of the plan.

    An arm without a complete trial keeps its row, with empty metrics; `status` is `complete`, `partial` (a mean over
    some of the seeds) or `missing`, and `missing_seeds` names them. Pooled: one confusion matrix over all folds, mean
    over seeds. `hidden_run_*`: lengths in frames of contiguous hidden stretches, all folds and seeds together.
    `nominal_ratio` and `span` are empty for policy `all`, which has none. `pretrain_loss`, `validation_loss` and its
    quartiles (`core.records.PretrainingEntry`) are means over seeds, empty where the records have none. `incomplete`
    and `quarantined` (recordings set aside) are about the evaluated corpus alone, not about what the upstream heard or
    the intensity model learnt from.
    """
    table = pd.DataFrame([_result(arm, sweep, tests) for arm in sweep.arms.values()])
    return table.astype({"span": "Int64", "hidden_run_max": "Int64"})


def as_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with plain Python values; None for what is absent, `inf` for infinity (JSON has neither)."""
    names = [str(name) for name in table.columns]
    # Column by column: asking pandas value by value is a tenth of the time of a large report.
    columns = [_plain_column(table.iloc[:, place]) for place in range(len(names))]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _plain_column(column: pd.Series[Any]) -> list[Any]:
    absent = column.isna().tolist()
    values = [None if gone else value for value, gone in zip(column.tolist(), absent, strict=True)]
    if pd.api.types.is_float_dtype(column.dtype) or column.dtype == object:
        return [_plain(value) for value in values]
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    return value.item() if isinstance(value, np.generic) else value


def _result(arm: Arm, sweep: Sweep, tests: Mapping[str, Part]) -> Row:
    test = _cells(arm, "test")
    twin = sweep.arms[arm.twin_key].name if arm.twin_key else None
    done, expected = len(arm.complete), len(arm.outcomes)
    row: Row = {"arm": arm.name, "twin": twin, "n_trials": done, "n_expected": expected}
    for column, of_seeds in zip(("ua", "wa", "f1"), test, strict=True):
        row |= {f"{column}_mean": _mean(of_seeds), f"{column}_sd": _sd(of_seeds)}
    masks = _masks(arm)
    row["realised_ratio"] = masks.pop("realised_ratio")
    row["status"] = "complete" if done == expected else "partial" if done else "missing"
    row["seeds"] = " ".join(map(str, arm.seeds))
    row["missing_seeds"] = " ".join(map(str, arm.missing_seeds))
    row |= {f"{split}_{name}": value for split, name, value in _other_means(arm, tests)}
    row |= masks
    row |= _losses(arm)
    row["transductive"] = any(record.protocol.transductive for record in arm.records) if arm.records else None
    row["leaks"] = "; ".join(dict.fromkeys(leak for record in arm.records for leak in record.protocol.leaks))
    row["incomplete"] = "; ".join(dict.fromkeys(filter(None, (record.corpus.incomplete for record in arm.records))))
    row["quarantined"] = max((sum(record.corpus.quarantined.values()) for record in arm.records), default=None)
    row["left_out"] = max((record.cost.left_out for record in arm.records if record.cost), default=None)
    row["trial_keys"] = " ".join(outcome.planned.trial_key for outcome in arm.outcomes)
    return row | {"upstream": arm.upstream, "control": arm.control, "arm_key": arm.key, "twin_key": arm.twin_key}


def _cells(arm: Arm, split: Split) -> tuple[list[list[float]], list[list[float]], list[list[float]]]:
    """UA, WA and macro-F1, each seed by seed and in a seed fold by fold; seeds without such a metric are left out."""
    folds = [
        own
        for record in arm.records
        if record.metrics and (own := [entry for entry in record.metrics.folds if entry.split == split])
    ]
    return (
        [[entry.ua for entry in own] for own in folds],
        [[entry.wa for entry in own] for own in folds],
        [[entry.macro_f1 for entry in own] for own in folds],
    )


def _mean(of_seeds: Sequence[Sequence[float]]) -> float:
    return fmean(map(fmean, of_seeds)) if of_seeds else math.nan


def _sd(of_seeds: Sequence[Sequence[float]]) -> float:
    """Standard deviation with n − 1 in the denominator; NaN for fewer than two values."""
    values = np.array([value for folds in of_seeds for value in folds])
    return float(values.std(ddof=1)) if values.size > 1 else math.nan


def _other_means(arm: Arm, tests: Mapping[str, Part]) -> list[tuple[str, str, float]]:
    pooled = [tests[record.trial_key].counts.sum(axis=(0, 1)) for record in arm.records]
    validation = _cells(arm, "validation")
    return [
        ("pooled", "ua", float(np.mean([ua(counts) for counts in pooled])) if pooled else float("nan")),
        ("pooled", "wa", float(np.mean([wa(counts) for counts in pooled])) if pooled else float("nan")),
        ("validation", "ua", _mean(validation[0])),
        ("validation", "wa", _mean(validation[1])),
    ]


def _masks(arm: Arm) -> Row:
    """The audit of the arm's masks: counts added over replicates, shares averaged over them.

    Settings (policy, ratio, span, temperature) are taken as they stand: a mean of equal ratios need not be that ratio.
    """
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
        "nominal_ratio": first.nominal_ratio if first and first.nominal_ratio is not None else float("nan"),
        "span": first.span if first else None,
        "temperature": str(first.temperature) if first and first.temperature is not None else None,
        "intensity_share": mean("intensity_share"),
        "intensity_z": mean("intensity_z"),
        "hidden_run_mean": float(np.average(lengths, weights=counts)) if lengths.size else float("nan"),
        "hidden_run_median": _median(lengths, counts),
        "hidden_run_max": int(lengths.max()) if lengths.size else None,
    }


def _losses(arm: Arm) -> Row:
    """Reconstruction losses of the arm's upstreams, averaged over replicates."""
    entries = [record.pretraining for record in arm.records if record.pretraining is not None]
    losses = [(entry.train_loss, entry.validation_loss, *entry.validation_by_quartile) for entry in entries]
    names = ("pretrain_loss", "validation_loss", *(f"validation_loss_q{quarter}" for quarter in (1, 2, 3, 4)))
    means = np.mean(losses, axis=0) if losses else np.full(len(names), np.nan)
    return dict(zip(names, map(float, means), strict=True))


def _median(values: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """Lower median of sorted values that occur `counts` times."""
    if not values.size:
        return float("nan")
    return float(values[np.searchsorted(np.cumsum(counts), counts.sum() / 2)])
