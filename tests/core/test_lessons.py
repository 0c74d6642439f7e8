"""Who teaches whom: no teacher of a sample knows a label of its speaker, and nobody knows one of the test part."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.corpora.folds import Fold, make_folds
from core.corpora.manifest import Manifest, Utterance
from core.data_config import FoldsConfig
from core.errors import BadInputError
from core.lessons import inner_parts, lessons_of
from core.teacher_config import TeacherConfig

SPEAKERS = {"a": 25, "b": 15, "c": 15, "d": 10, "e": 20}
MANIFEST = Manifest(
    corpus="made",
    part="main",
    classes=(),
    utterances=tuple(
        Utterance(
            utterance=f"{speaker}{number}", path=Path("x.wav"), speaker=speaker, session=speaker, label="",
            duration_s=1.0, content=f"{speaker}{number}",
        )
        for speaker, count in SPEAKERS.items()
        for number in range(count)
    ),
)  # fmt: skip


def folds(validation: str) -> tuple[Fold, ...]:
    config = FoldsConfig.model_validate({"scheme": "leave-one-speaker-out", "validation": validation})
    return make_folds(MANIFEST, config).folds


@pytest.mark.parametrize("validation", ["next-fold", "superb"])
@pytest.mark.parametrize("count", [2, 3])
def test_out_of_fold_teachers_know_no_label_of_the_speakers_they_speak_of(validation, count):
    for place, fold in enumerate(folds(validation), start=1):
        lessons = lessons_of(TeacherConfig(inner_folds=count), fold, MANIFEST, place=place)
        assert len(lessons.teachers) == count
        # Each training utterance is spoken of once, and no other is.
        assert sorted(name for lesson in lessons.teachers for name in lesson.wanted) == sorted(fold.train)
        for lesson in lessons.teachers:
            known = {name[0] for name in (*lesson.train, *lesson.validation)}
            assert known.isdisjoint({name[0] for name in lesson.wanted})
            assert set(lesson.train) < set(fold.train)


@pytest.mark.parametrize("settings", [{"weighting": "none"}, {"weighting": "teacher"}, {"outputs": "in-sample"}, {}])
def test_nobody_knows_a_label_of_the_test_part(settings):
    for place, fold in enumerate(folds("next-fold"), start=1):
        lessons = lessons_of(TeacherConfig.model_validate({"inner_folds": 2, **settings}), fold, MANIFEST, place=place)
        models = [*lessons.teachers, *([lessons.student] if lessons.student else [])]
        for lesson in models:
            assert {*lesson.train, *lesson.validation}.isdisjoint(fold.test)
        assert set(models[-1].wanted) >= {*fold.validation, *fold.test}


def test_a_student_is_the_same_task_with_and_without_teachers():
    fold = folds("next-fold")[0]
    taught = lessons_of(TeacherConfig(inner_folds=2), fold, MANIFEST, place=1)
    assert taught.student == lessons_of(TeacherConfig(weighting="none"), fold, MANIFEST, place=1).student


def test_too_many_inner_folds_are_refused_with_both_numbers():
    with pytest.raises(BadInputError, match=r"teacher\.inner_folds: 4 is over the 3 training speakers of fold a"):
        lessons_of(TeacherConfig(inner_folds=4), folds("next-fold")[0], MANIFEST, place=1)
    assert inner_parts(["a", "b", "b"], 2, fold="1") == (frozenset({"b"}), frozenset({"a"}))
