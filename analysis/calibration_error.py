"""How far what a probe says it is sure of lies from how often it is right, counted by speaker.

Letters in names: N answers, S speakers, B bins.
"""

from __future__ import annotations

__all__ = ["BINS", "Answers", "calibration_errors", "read_answers"]

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import BadInputError
from core.records import Record, Split

BINS = 15
"""Of equal mass; as many as usual since Guo et al. (2017)."""
SCORE = "score_"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Answers of one trial by speaker and bin of confidence; all folds together. Shape of all three: (S, B)."""

    n_SB: NDArray[np.float64]
    confidence_SB: NDArray[np.float64]
    """Sum of the scores of the class that was answered."""
    right_SB: NDArray[np.float64]


def read_answers(
    folder: Path, *, record: Record, split: Split, speakers: tuple[str, ...], bins: int = BINS
) -> Answers | None:
    """None where the predictions hold no class scores. Bins of equal mass over all answers of this trial and split.

    `speakers`: in the order wanted. Raises BadInputError for predictions that cannot be read, and for a score that is
    not in [0, 1].
    """
    path = folder / "predictions.parquet"
    names = [f"{SCORE}{name}" for name in record.corpus.classes]
    columns = ["split", "speaker", "label", "predicted"]
    try:
        with pq.ParquetFile(path, read_dictionary=columns) as file:
            if not set(names) <= set(file.schema_arrow.names):
                return None
            table = file.read(columns=[*columns, *names], use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise BadInputError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    table = table.filter(pc.equal(table.column("split"), split))
    speaker_N = _places(table.column("speaker"), speakers)
    label_N, answer_N = (_places(table.column(name), record.corpus.classes) for name in ("label", "predicted"))
    scores_CN = np.stack([table.column(name).to_numpy() for name in names]).astype(np.float64, copy=False)
    sure_N = scores_CN[answer_N, np.arange(len(answer_N))]
    if sure_N.size and not (sure_N.min() >= 0 and sure_N.max() <= 1 + 1e-6):
        raise BadInputError(f"{path}: class scores from {sure_N.min()} to {sure_N.max()}, must lie in [0, 1]")
    return _counted(sure_N, label_N == answer_N, speaker_N, n_speakers=len(speakers), bins=bins)


def calibration_errors(
    n_XB: NDArray[np.float64], confidence_XB: NDArray[np.float64], right_XB: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expected calibration error, and the root of the debiased squared one, each (X), in [0, 1].

    First: mean of |accuracy − confidence| over bins, by their mass (Naeini, Cooper & Hauskrecht 2015; bins of equal
    mass after Nguyen & O'Connor 2015). It is too large where answers are few: chance alone moves a bin's accuracy.
    Second: the squares less that chance, acc·(1 − acc)/(n − 1) per bin (the debiased estimator of Kumar, Liang & Ma
    2019), 0 where less than chance is left. Bins of fewer than 2 answers count in the first only.
    """
    mass_XB = n_XB / np.maximum(n_XB.sum(axis=-1, keepdims=True), 1)
    there_XB = np.maximum(n_XB, 1)
    accuracy_XB = right_XB / there_XB
    gap_XB = accuracy_XB - confidence_XB / there_XB
    chance_XB = accuracy_XB * (1 - accuracy_XB) / np.maximum(n_XB - 1, 1)
    squares_XB = np.where(n_XB > 1, gap_XB**2 - chance_XB, 0.0)
    plain_X = (mass_XB * np.abs(gap_XB)).sum(axis=-1)
    return plain_X, np.sqrt(np.maximum(0.0, (mass_XB * squares_XB).sum(axis=-1)))


def _counted(
    sure_N: NDArray[np.float64],
    right_N: NDArray[np.bool_],
    speaker_N: NDArray[np.intp],
    *,
    n_speakers: int,
    bins: int,
) -> Answers:
    edges = np.quantile(sure_N, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf")
    cell_N = speaker_N * bins + np.searchsorted(edges, sure_N, side="left")
    shape, size = (n_speakers, bins), n_speakers * bins
    return Answers(
        n_SB=np.bincount(cell_N, minlength=size).astype(np.float64).reshape(shape),
        confidence_SB=np.bincount(cell_N, weights=sure_N, minlength=size).astype(np.float64).reshape(shape),
        right_SB=np.bincount(cell_N, weights=right_N, minlength=size).astype(np.float64).reshape(shape),
    )


def _places(column: pa.ChunkedArray, values: tuple[str, ...]) -> NDArray[np.intp]:
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks)
    place_V = _known(tuple(whole.dictionary.to_pylist()), values)
    found_N: NDArray[np.intp] = place_V[whole.indices.to_numpy()]
    return found_N


@lru_cache(maxsize=64)
def _known(found: tuple[str, ...], values: tuple[str, ...]) -> NDArray[np.intp]:
    """A value that is not known is that of another split: `parts.read_part` has refused any other."""
    places = {value: place for place, value in enumerate(values)}
    return np.array([places.get(value, 0) for value in found], dtype=np.intp)
