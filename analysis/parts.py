"""One split of one trial's predictions, counted: read with Arrow, never as Python objects, checked like an exam paper.

Trials of a sweep are asked the same questions in the same bytes, so what does not depend on the answers (order, codes,
identity) is worked out once and kept; of the next trial only the answers are decoded. Letters in names: N predictions,
F folds, S speakers, C classes.
"""

from __future__ import annotations

__all__ = ["Part", "read_part", "read_parts"]

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.columns import PredictionsFile, TextColumn
from core.errors import BadInputError
from core.metrics import macro_f1, ua, wa
from core.records import FoldMetrics, Record, Split

ASKED = ("fold", "utterance", "speaker", "label")
"""Columns that say what was asked; `predicted` is what was answered."""
TOLERANCE = 1e-9
"""Largest difference between a recorded metric and the one recomputed here: rounding only."""
READERS = 2
"""Threads that read files: Arrow decodes and hashlib hashes without the interpreter's lock, so two cores are kept busy;
more of them wait for disks on other machines, where that is slow."""
DISTINCT = 64
"""Sets of questions kept; a sweep has one per split."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One split of one trial's predictions, counted."""

    folds: tuple[str, ...]
    speakers: tuple[str, ...]
    counts: NDArray[np.int64]
    """Utterances by fold, speaker, true class and predicted class: shape (F, S, C, C)."""
    identity: str
    """Hash of (fold, utterance, speaker, label): equal when two trials were asked the same."""


@dataclass(frozen=True, kw_only=True)
class _Questions:
    """Everything about a split that the answers do not change."""

    rows_N: NDArray[np.intp]
    """Rows of the file that are of this split."""
    speakers: tuple[str, ...]
    cell_N: NDArray[np.intp]
    """Row of the split → index into (F, S, C), flat."""
    identity: str


def read_parts(folders: Sequence[Path], *, records: Sequence[Record], split: Split) -> list[Part]:
    """`read_part` of many trials, several files at a time; the first that is refused, in their order, is reported."""
    with ThreadPoolExecutor(READERS) as readers:
        return list(readers.map(_read_part, folders, records, repeat(split)))


def read_part(folder: Path, *, record: Record, split: Split) -> Part:
    """Count the predictions of one split and hold them against the metrics in the record.

    Raises BadInputError for a column that is absent or has an empty cell, an utterance predicted twice in a fold, a
    fold or class that the record does not know, or UA, WA or macro-F1 that differ from the record's.
    """
    return _read_part(folder, record, split)


def _read_part(folder: Path, record: Record, split: Split) -> Part:
    where = f"trial {record.trial_key}, {split}"
    metrics = [entry for entry in (record.metrics.folds if record.metrics else ()) if entry.split == split]
    if len(metrics) != record.protocol.n_folds:
        raise BadInputError(f"{where}: metrics of {len(metrics)} folds in the record, {record.protocol.n_folds} needed")
    folds, classes = tuple(entry.fold for entry in metrics), record.corpus.classes
    file = PredictionsFile(folder, where=where)
    try:
        questions = _questions(_Layout(file, split=split, folds=folds, classes=classes))
    except _QuestionError as error:
        raise BadInputError(f"{where}: {error}") from error
    answers = file.columns(["predicted"])[0].rows(questions.rows_N)
    answer_N = _known(answers, classes, f"{where}: predicted class")
    shape = (len(folds), len(questions.speakers), len(classes), len(classes))
    flat = np.bincount(questions.cell_N * len(classes) + answer_N, minlength=int(np.prod(shape)))
    part = Part(
        folds=folds,
        speakers=questions.speakers,
        counts=flat.reshape(shape).astype(np.int64),
        identity=questions.identity,
    )
    for counts_SCC, entry in zip(part.counts, metrics, strict=True):
        _check_metrics(counts_SCC.sum(axis=0), entry, where)
    return part


class _QuestionError(BadInputError):
    """Not begun with the trial: others may be asked the same."""


class _Layout:
    """The questions of a file: equal to another's when they are stored in the same bytes."""

    def __init__(
        self, file: PredictionsFile, *, split: Split, folds: tuple[str, ...], classes: tuple[str, ...]
    ) -> None:
        self.split, self.folds, self.classes = split, folds, classes
        self._file: PredictionsFile | None = file
        self._key = (file.fingerprint(("split", *ASKED)), split, folds, classes)

    def read(self) -> list[TextColumn]:
        """Split and ASKED, once: as a key that is kept it must not hold the file."""
        assert self._file is not None
        columns, self._file = self._file.columns(("split", *ASKED)), None
        return columns

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Layout) and self._key == other._key


@lru_cache(maxsize=DISTINCT)
def _questions(layout: _Layout) -> _Questions:
    split, *asked = layout.read()
    mine = split.values.index(layout.split) if layout.split in split.values else -1
    rows_N = np.flatnonzero(split.codes_N == mine)
    fold, utterance, speaker, label = (column.rows(rows_N).sorted() for column in asked)
    pair_N = fold.codes_N.astype(np.int64) * max(1, len(utterance.values)) + utterance.codes_N
    order_N = np.argsort(pair_N, kind="stable")
    again = np.flatnonzero(np.diff(pair_N[order_N]) == 0)
    if again.size:
        twice = utterance.values[utterance.codes_N[order_N[again[0]]]]
        raise _QuestionError(f"utterance {twice!r} is predicted twice in one fold")
    digest = hashlib.sha256()
    for column in (fold, utterance, speaker, label):
        digest.update(column.rows(order_N).digest())
    try:
        fold_N, label_N = _known(fold, layout.folds, "fold"), _known(label, layout.classes, "label")
    except BadInputError as error:
        raise _QuestionError(str(error)) from error
    cell_N = (fold_N * len(speaker.values) + speaker.codes_N) * len(layout.classes) + label_N
    return _Questions(rows_N=rows_N, speakers=speaker.values, cell_N=cell_N, identity=digest.hexdigest())


def _known(column: TextColumn, known: Sequence[str], what: str) -> NDArray[np.intp]:
    """Each row's index in `known`."""
    places = {name: place for place, name in enumerate(known)}
    place_V = np.array([places.get(value, -1) for value in column.values], dtype=np.intp)
    place_N: NDArray[np.intp] = place_V[column.codes_N] if column.values else np.empty(0, np.intp)
    if place_N.size and place_N.min() < 0:
        foreign = column.values[column.codes_N[int(np.argmax(place_N < 0))]]
        raise BadInputError(f"{what} {foreign!r} is not in the record ({', '.join(known)})")
    return place_N


def _check_metrics(counts_CC: NDArray[np.int64], entry: FoldMetrics, where: str) -> None:
    try:
        again = {"n": int(counts_CC.sum()), "ua": ua(counts_CC), "wa": wa(counts_CC), "macro_f1": macro_f1(counts_CC)}
    except BadInputError as error:
        raise BadInputError(f"{where}, fold {entry.fold}: {error}") from error
    for name, value in again.items():
        recorded = getattr(entry, name)
        if not abs(recorded - value) <= TOLERANCE:
            raise BadInputError(
                f"{where}, fold {entry.fold}: the record says {name} {recorded}, its predictions give {value}"
            )
