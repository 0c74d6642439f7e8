"""Steps of the systems' own loops, counted by hand and against what a trial says of itself."""

from __future__ import annotations

from core.config import TrialConfig
from core.corpora.folds import Fold, Folds
from core.own_steps import own_steps


def folds(*sizes: int) -> Folds:
    parts = [
        Fold(name=str(place), train=tuple(map(str, range(size))), validation=("v",), test=("t",))
        for place, size in enumerate(sizes)
    ]
    return Folds(scheme="file", validation="next-fold", folds=tuple(parts), leaky=False)


def config(**parts) -> TrialConfig:
    return TrialConfig.model_validate(parts)


def test_alignment_counts_both_masked_predictions_and_both_tunings_of_each_fold():
    settings = {"units": {"updates": 7}, "tuning": {"epochs": 3, "batch": 4}}
    trial = config(system="frame_alignment", alignment=settings)
    # ⌈9 / 4⌉ = 3 and ⌈8 / 4⌉ = 2 batches an epoch.
    assert own_steps(trial, folds(9, 8)) == 2 * (2 * 7 + 3 * 3 + 3 * 2)
    assert own_steps(config(system="frame_alignment", alignment=settings | {"aligned": False}), folds(9, 8)) == 29


def test_an_adaptation_that_all_folds_share_is_counted_once():
    settings = {"audio": "transductive", "units": {"updates": 7}, "tuning": {"epochs": 3, "batch": 4}}
    shared = {"system": "frame_alignment", "pretraining_audio": {"source": "transductive"}}
    published = {"system": "frame_alignment", "upstream": "hubert", "transformer": {"model": "somewhere"}}
    for parts in (shared, published):
        assert own_steps(config(**parts, alignment=settings), folds(9, 8)) == 7 + 2 * 7 + 2 * (3 * 3 + 3 * 2)
        assert own_steps(config(**parts, alignment=settings | {"aligned": False}), folds(9, 8)) == 7 + 3 * 3 + 3 * 2
        # Each fold hears something else.
        fold = config(**parts, alignment=settings | {"audio": "fold"})
        assert own_steps(fold, folds(9, 8)) == 2 * (2 * 7 + 3 * 3 + 3 * 2)
    # Each fold begins at an upstream of its own.
    assert own_steps(config(system="frame_alignment", alignment=settings), folds(9, 8)) == 2 * (2 * 7 + 3 * 3 + 3 * 2)


def test_teachers_and_student_are_counted_in_each_fold():
    student = {"steps": 10, "inner_folds": 3}
    for weighting, models in (("none", 1), ("teacher", 1), ("soft", 4), ("hard", 4)):
        trial = config(system="teacher_student", teacher=student | {"weighting": weighting})
        assert own_steps(trial, folds(9, 8)) == 2 * models * 10
    shown = config(system="teacher_student", teacher=student | {"weighting": "soft", "outputs": "in-sample"})
    assert own_steps(shown, folds(9, 8)) == 2 * 2 * 10


def test_a_probe_is_counted_nowhere():
    assert own_steps(config(), folds(9)) == own_steps(config(system="sap"), folds(9)) == 0
