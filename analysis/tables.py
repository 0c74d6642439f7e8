"""Cells → one row per arm (`results`). Shares in [0, 1].

Means are over folds within a seed and then over seeds; sd is over all seed × fold cells (n − 1 in the denominator).
"""

from __future__ import annotations

__all__ = ["RELEASED_NOTE", "Row", "as_rows", "results_table"]

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.arm_intervals import arm_interval
from analysis.dimension_parts import DimensionPart
from analysis.load import EMS, AnyPart, Arm, Part, Sweep
from analysis.paired import Metric
from core.metrics import ua, wa
from core.records import DIMENSIONS, Split

Row = dict[str, object]

MEAN_CLASSES: tuple[Metric, ...] = ("ua", "wa")
MEAN_DIMENSIONS: tuple[Metric, ...] = ("ccc_mean", "ccc_activation", "ccc_valence", "ccc_dominance")

RELEASED = "frame_alignment"
"""The system whose released code reports the mean of validation and test score."""
RELEASED_NOTE = "(validation + test) / 2, as the released code reports it; not a test score"


def results_table(sweep: Sweep, tests: Mapping[str, AnyPart], *, seed: int = 0) -> pd.DataFrame:
    """One row per arm, in the order of the plan; of several systems, system by system.

    An arm without a complete trial keeps its row, with empty metrics; `status` is `complete`, `partial` (a mean over
    some of the seeds) or `missing`, and `missing_seeds` names them. Pooled: one confusion matrix over all folds, mean
    over seeds. `hidden_run_*`: lengths in frames of contiguous hidden stretches, all folds and seeds together.
    `nominal_ratio` and `span` are empty for policy `all`, which has none. `pretrain_loss`, `validation_loss` and its
    quartiles (`core.records.PretrainingEntry`) are means over seeds, empty where the records have none. `incomplete`
    and `quarantined` (recordings set aside) are about the evaluated corpus alone, not about what the upstream heard or
    the intensity model learnt from.
    `ua_low`, `ua_high`, `wa_low`, `wa_high`: 95 % interval of the arm's own mean over speakers
    (`analysis.arm_intervals`; `seed` draws them); of CCC likewise.

    Only where there are such arms: `system`, in a sweep that is not of EMS alone; `ccc_mean`, `ccc_sd` (of the mean
    over the dimensions), `ccc_<dimension>_mean`, `ccc_<dimension>_sd`, `pooled_ccc` and `validation_ccc` of arms that
    answer with dimensions, which have no UA and WA; `validation_test_ua` and `validation_test_wa`, (validation +
    test) / 2 as the released code of `frame_alignment` reports them, which are no test scores.
    """
    arms = sorted(sweep.arms.values(), key=lambda arm: (arm.external is not None, _place(arm, sweep)))
    table = pd.DataFrame([_result(arm, sweep, tests, seed) for arm in arms])
    table = table.astype({"span": "Int64", "hidden_run_max": "Int64"})
    if sweep.systems != (EMS,):
        table["system"] = [arm.system for arm in arms]
    if "dimensions" in sweep.answers:
        found = pd.DataFrame([_of_dimensions(arm, tests, seed) for arm in arms], index=table.index)
        table = pd.concat([table, found], axis=1)
    if RELEASED in sweep.systems:
        for name in ("ua", "wa"):
            means = (table[f"validation_{name}"] + table[f"{name}_mean"]) / 2
            table[f"validation_test_{name}"] = means.where(table["system"] == RELEASED)
    return table


def _place(arm: Arm, sweep: Sweep) -> int:
    return sweep.systems.index(arm.system) if arm.external is None else 0


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


def _result(arm: Arm, sweep: Sweep, tests: Mapping[str, AnyPart], seed: int) -> Row:
    twin = sweep.arms[arm.twin_key].name if arm.twin_key else None
    done, expected = len(arm.complete), len(arm.outcomes)
    row: Row = {"arm": arm.name, "twin": twin, "n_trials": done, "n_expected": expected}
    for column, metric in (("ua", "ua"), ("wa", "wa"), ("f1", "macro_f1")):
        row |= _mean_and_sd(column, _cells(arm, "test", metric))
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
    row |= {"upstream": arm.upstream, "control": arm.control, "arm_key": arm.key, "twin_key": arm.twin_key}
    for metric in MEAN_CLASSES:
        row |= _interval(metric, arm, tests, metric=metric, seed=seed)
    return row


def _interval(column: str, arm: Arm, tests: Mapping[str, AnyPart], *, metric: Metric, seed: int) -> Row:
    """Bounds of the arm's own mean; NaN for an arm that answers otherwise, and as `arm_interval` has none."""
    wanted = DimensionPart if metric.startswith("ccc") else Part
    parts = [part for record in arm.records if isinstance(part := tests[record.trial_key], wanted)]
    low, high = arm_interval(parts, metric=metric, seed=seed) or (math.nan, math.nan)
    return {f"{column}_low": low, f"{column}_high": high}


def _of_dimensions(arm: Arm, tests: Mapping[str, AnyPart], seed: int) -> Row:
    row = _mean_and_sd("ccc", _cells(arm, "test", "ccc_mean"))
    for name in DIMENSIONS:
        row |= _mean_and_sd(f"ccc_{name}", _cells(arm, "test", f"ccc_{name}"))
    parts = [part for record in arm.records if isinstance(part := tests[record.trial_key], DimensionPart)]
    row["pooled_ccc"] = float(np.mean([part.pooled_D.mean() for part in parts])) if parts else math.nan
    row |= {"validation_ccc": _mean(_cells(arm, "validation", "ccc_mean"))}
    for metric in MEAN_DIMENSIONS:
        row |= _interval(metric.removesuffix("_mean"), arm, tests, metric=metric, seed=seed)
    return row


def _cells(arm: Arm, split: Split, metric: str) -> list[list[float]]:
    """A metric seed by seed and in a seed fold by fold; seeds without it are left out."""
    folds = [
        [getattr(entry, metric) for entry in record.metrics.folds if entry.split == split]
        for record in arm.records
        if record.metrics
    ]
    return [own for own in folds if own and None not in own]


def _mean_and_sd(column: str, of_seeds: Sequence[Sequence[float]]) -> Row:
    return {f"{column}_mean": _mean(of_seeds), f"{column}_sd": _sd(of_seeds)}


def _mean(of_seeds: Sequence[Sequence[float]]) -> float:
    return fmean(map(fmean, of_seeds)) if of_seeds else math.nan


def _sd(of_seeds: Sequence[Sequence[float]]) -> float:
    """Standard deviation with n − 1 in the denominator; NaN for fewer than two values."""
    values = np.array([value for folds in of_seeds for value in folds])
    return float(values.std(ddof=1)) if values.size > 1 else math.nan


def _other_means(arm: Arm, tests: Mapping[str, AnyPart]) -> list[tuple[str, str, float]]:
    parts = [part for record in arm.records if isinstance(part := tests[record.trial_key], Part)]
    pooled = [part.counts.sum(axis=(0, 1)) for part in parts]
    return [
        ("pooled", "ua", float(np.mean([ua(counts) for counts in pooled])) if pooled else float("nan")),
        ("pooled", "wa", float(np.mean([wa(counts) for counts in pooled])) if pooled else float("nan")),
        ("validation", "ua", _mean(_cells(arm, "validation", "ua"))),
        ("validation", "wa", _mean(_cells(arm, "validation", "wa"))),
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
