"""Which models a teacher–student trial fits in each fold, on whom, and for whom; nothing is trained here.

The test part of a fold stands only in what is wanted of a model: outputs, never labels.
"""

from __future__ import annotations

__all__ = ["FoldLessons", "Lesson", "inner_parts", "lessons_of"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from core.corpora.folds import Fold
from core.corpora.manifest import Manifest
from core.errors import BadInputError
from core.teacher_config import TeacherConfig


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One model: who it is, whose labels it learns, by whose labels its best step is chosen, whose outputs it owes."""

    role: Literal["teacher", "student"]
    name: str
    """Names its random streams and curves: the same for the students of an arm and of its twin."""
    train: tuple[str, ...]
    validation: tuple[str, ...]
    wanted: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FoldLessons:
    """The models of one fold; without a student the only teacher is what is tested."""

    teachers: tuple[Lesson, ...]
    student: Lesson | None


def lessons_of(config: TeacherConfig, fold: Fold, manifest: Manifest, *, place: int) -> FoldLessons:
    """The models of the fold at `place` (from 1).

    Out of fold each teacher leaves some of the training speakers out, in training and, where validation shares them,
    in choosing its step; of those speakers' training utterances its outputs are wanted. Raises BadInputError for more
    inner folds than training speakers, and where leaving speakers out leaves nobody to validate on.
    """
    student = Lesson(
        role="student",
        name=f"student/fold{place}",
        train=fold.train,
        validation=fold.validation,
        wanted=(*fold.validation, *fold.test),
    )
    whole = Lesson(
        role="teacher",
        name=f"teacher/fold{place}",
        train=fold.train,
        validation=fold.validation,
        wanted=(*fold.train, *fold.validation, *fold.test),
    )
    if config.weighting == "none":
        return FoldLessons(teachers=(), student=student)
    if config.weighting == "teacher":
        return FoldLessons(teachers=(whole,), student=None)
    if config.outputs == "in-sample":
        return FoldLessons(teachers=(whole,), student=student)
    speaker_of = {item.utterance: item.speaker for item in manifest.utterances}
    left_out = inner_parts([speaker_of[name] for name in fold.train], config.inner_folds, fold=fold.name)
    teachers = tuple(
        _without(fold, speakers, speaker_of, name=f"teacher/fold{place}.{number}")
        for number, speakers in enumerate(left_out, start=1)
    )
    return FoldLessons(teachers=teachers, student=student)


def inner_parts(speakers: Sequence[str], count: int, *, fold: str) -> tuple[frozenset[str], ...]:
    """`count` disjoint sets of speakers, given with one entry per utterance: by falling number of utterances, each to
    the set that has fewest so far (ours). Raises BadInputError for fewer speakers than sets.

    >>> [sorted(part) for part in inner_parts(["a", "a", "a", "b", "c", "b"], 2, fold="1")]
    [['a'], ['b', 'c']]
    """
    utterances = {speaker: speakers.count(speaker) for speaker in sorted(set(speakers))}
    if count > len(utterances):
        raise BadInputError(
            f"teacher.inner_folds: {count} is over the {len(utterances)} training speakers of fold {fold}"
        )
    parts: list[list[str]] = [[] for _ in range(count)]
    for speaker in sorted(utterances, key=lambda name: (-utterances[name], name)):
        min(parts, key=lambda part: sum(utterances[name] for name in part)).append(speaker)
    return tuple(frozenset(part) for part in parts)


def _without(fold: Fold, left_out: frozenset[str], speaker_of: Mapping[str, str], *, name: str) -> Lesson:
    validation = tuple(each for each in fold.validation if speaker_of[each] not in left_out)
    if not validation:
        raise BadInputError(
            f"teacher.inner_folds: fold {fold.name} validates only on speakers that {name} leaves out; use more parts"
        )
    return Lesson(
        role="teacher",
        name=name,
        train=tuple(each for each in fold.train if speaker_of[each] not in left_out),
        validation=validation,
        wanted=tuple(each for each in fold.train if speaker_of[each] in left_out),
    )
