"""One split of one trial's predictions of dimensions: CCC by fold, and what each speaker pulls at it.

Letters in names: N predictions, F folds, S speakers, D dimensions (`core.records.DIMENSIONS`).
"""

from __future__ import annotations

__all__ = ["DimensionPart", "read_dimension_part"]

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.columns import PredictionsFile, TextColumn
from analysis.concordance import influence
from core.errors import BadInputError
from core.metrics import ccc
from core.records import DIMENSION_METRICS, DIMENSIONS, FoldMetrics, Record, Split

TOLERANCE = 1e-9
"""Largest difference between a recorded CCC and the one recomputed here: rounding only."""


@dataclass(frozen=True, kw_only=True)
class DimensionPart:
    """One split of one trial's predictions."""

    folds: tuple[str, ...]
    speakers: tuple[str, ...]
    n_FS: NDArray[np.int64]
    """Utterances."""
    ccc_FD: NDArray[np.float64]
    pull_FSD: NDArray[np.float64]
    """Influences of a speaker's utterances on the CCC of the fold, summed and over the utterances of the fold: how far
    it would move, to first order, per share of weight that the speaker gains. Sum 0 over speakers."""
    pooled_D: NDArray[np.float64]
    """CCC over all folds' predictions at once."""
    identity: str
    """Hash of (fold, utterance, speaker, true values): equal when two trials were asked the same."""


def read_dimension_part(folder: Path, *, record: Record, split: Split) -> DimensionPart:
    """Read the predictions of one split and hold them against the metrics in the record.

    Raises BadInputError for a column that is absent, has an empty cell or a value that is not finite, an utterance
    predicted twice in a fold, a fold that the record does not know or that has no utterance, or a CCC that differs from
    the record's.
    """
    where = f"trial {record.trial_key}, {split}"
    metrics = [entry for entry in (record.metrics.folds if record.metrics else ()) if entry.split == split]
    if len(metrics) != record.protocol.n_folds:
        raise BadInputError(f"{where}: metrics of {len(metrics)} folds in the record, {record.protocol.n_folds} needed")
    file = PredictionsFile(folder, where=where)
    of_split, *asked = file.columns(("split", "fold", "utterance", "speaker"))
    mine = of_split.values.index(split) if split in of_split.values else -1
    rows_N = np.flatnonzero(of_split.codes_N == mine)
    fold, utterance, speaker = (column.rows(rows_N).sorted() for column in asked)
    true_ND, predicted_ND = (
        file.numbers([f"{side}_{name}" for name in DIMENSIONS])[rows_N] for side in ("true", "predicted")
    )
    order_N = _order(fold, utterance, where)
    digest = hashlib.sha256(np.ascontiguousarray(true_ND[order_N]).tobytes())
    for column in (fold, utterance, speaker):
        digest.update(column.rows(order_N).digest())
    if fold.values != tuple(sorted(entry.fold for entry in metrics)):
        known = ", ".join(entry.fold for entry in metrics)
        raise BadInputError(f"{where}: predictions are of folds {', '.join(fold.values)}, the record's are {known}")
    try:
        found = [
            _fold(true_ND[own_M], predicted_ND[own_M], speaker.codes_N[own_M], len(speaker.values))
            for entry in metrics
            for own_M in [fold.codes_N == fold.values.index(entry.fold)]
        ]
        pooled = [ccc(true_ND[:, d], predicted_ND[:, d]) for d in range(len(DIMENSIONS))]
    except BadInputError as error:
        raise BadInputError(f"{where}: {error}") from error
    n_FS, ccc_FD, pull_FSD = (np.stack(side) for side in zip(*found, strict=True))
    for entry, n_S, ccc_D in zip(metrics, n_FS, ccc_FD, strict=True):
        _check(entry, int(n_S.sum()), ccc_D, where)
    return DimensionPart(
        folds=tuple(entry.fold for entry in metrics),
        speakers=speaker.values,
        n_FS=n_FS,
        ccc_FD=ccc_FD,
        pull_FSD=pull_FSD,
        pooled_D=np.array(pooled),
        identity=digest.hexdigest(),
    )


def _order(fold: TextColumn, utterance: TextColumn, where: str) -> NDArray[np.intp]:
    """Rows by fold and utterance, whatever their order in the file."""
    pair_N = fold.codes_N.astype(np.int64) * max(1, len(utterance.values)) + utterance.codes_N
    order_N = np.argsort(pair_N, kind="stable")
    again = np.flatnonzero(np.diff(pair_N[order_N]) == 0)
    if again.size:
        twice = utterance.values[utterance.codes_N[order_N[again[0]]]]
        raise BadInputError(f"{where}: utterance {twice!r} is predicted twice in one fold")
    return order_N


def _fold(
    true_MD: NDArray[np.float64], predicted_MD: NDArray[np.float64], speaker_M: NDArray[np.int32], n_speakers: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Utterances by speaker (S), CCC (D), pull (S, D) of one fold."""
    found = [influence(true_MD[:, d], predicted_MD[:, d]) for d in range(len(DIMENSIONS))]
    pull_SD = np.stack(
        [np.bincount(speaker_M, weights=pull_M, minlength=n_speakers) / len(pull_M) for _, pull_M in found], axis=1
    )
    n_S = np.bincount(speaker_M, minlength=n_speakers).astype(np.int64)
    return n_S, np.array([value for value, _ in found]), pull_SD


def _check(entry: FoldMetrics, n: int, ccc_D: Sequence[float] | NDArray[np.float64], where: str) -> None:
    again = dict(zip(DIMENSION_METRICS, [*map(float, ccc_D), float(np.mean(ccc_D))], strict=True)) | {"n": n}
    for name, value in again.items():
        recorded = getattr(entry, name)
        if not abs(recorded - value) <= TOLERANCE:
            raise BadInputError(
                f"{where}, fold {entry.fold}: the record says {name} {recorded}, its predictions give {value}"
            )
