"""The loop of teachers and students: it learns what is there, on any scale, and an interruption changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import BadInputError
from core.frames import Frames
from core.metrics import ccc
from core.progress import discard
from core.regression import Fitted, Inputs, Task, fit_regression
from core.teacher_config import TeacherConfig

SPEECH, WORDS, TRAIN, ALL = 3, 4, 48, 80
CONFIG = TeacherConfig(projection=8, hidden=8, steps=60, batch=16, lr=2e-2, evaluate_every=12, dropout=0.2, reduce=2)
LABELS_UD = np.random.default_rng(5).normal(size=(ALL, 3)) * [1.0, 2.0, 0.5] + 3
"""The first dimension can be heard, the second is in the words, the third nowhere."""


def inputs(*, words: bool) -> Inputs:
    rng = np.random.default_rng(6)
    lengths = rng.integers(1, 12, size=ALL)
    states_FLH = rng.normal(size=(int(lengths.sum()), 2, SPEECH))
    states_FLH[:, 1, 0] = np.repeat(LABELS_UD[:, 0], lengths)
    text_UE = rng.normal(size=(ALL, WORDS)).astype(np.float32)
    text_UE[:, 1] = LABELS_UD[:, 1]
    frames = Frames(
        utterances=tuple(map(str, range(ALL))), offsets=np.cumsum(lengths) - lengths, lengths=lengths, layers=(0, 1),
        hop_s=0.03, packed_FLH=states_FLH.astype(np.float16),
    )  # fmt: skip
    return Inputs(frames=frames, text_UE=text_UE if words else None, device=torch.device("cpu"))


def task(labels_UD: np.ndarray = LABELS_UD, *, teacher: bool = False) -> Task:
    places = np.arange(ALL)
    return Task(
        name="student/fold1", train_N=places[:TRAIN], validation_V=places[TRAIN:64], wanted_W=places[64:],
        labels_ND=labels_UD[:TRAIN], labels_VD=labels_UD[TRAIN:64],
        teacher_ND=labels_UD[:TRAIN] * 0.9 + 0.2 if teacher else None,
    )  # fmt: skip


def fit(folder: Path, given: Inputs, what: Task, config: TeacherConfig = CONFIG, *, legs: int = 1) -> Fitted:
    """Run to the end, left alone after two looks in all legs but the last."""
    for leg in range(1, legs + 1):
        training = fit_regression(given, what, config, seed=3, checkpoint=folder / "checkpoint.pt", log=discard)
        looks = 0
        while leg == legs or looks < 2:
            try:
                next(training)
            except StopIteration as end:
                return end.value
            looks += 1
        training.close()
    raise AssertionError


def test_words_are_read_by_those_that_have_them_only(tmp_path):
    heard = [fit(tmp_path / name, inputs(words=words), task()) for name, words in (("speech", False), ("both", True))]
    speech, both = ([ccc(LABELS_UD[64:, d], each.outputs_WD[:, d]) for d in range(3)] for each in heard)
    assert speech[0] > 0.6
    assert both[0] > 0.6
    assert both[1] > 0.6 > 0.4 > speech[1]


def test_an_interrupted_fit_is_the_undisturbed_one(tmp_path):
    whole = fit(tmp_path / "a", inputs(words=True), task(teacher=True))
    stopped = fit(tmp_path / "b", inputs(words=True), task(teacher=True), legs=3)
    np.testing.assert_array_equal(whole.outputs_WD, stopped.outputs_WD)
    assert all(torch.equal(value, stopped.weights[name]) for name, value in whole.weights.items())
    assert {**whole.notes, "seconds": 0} == {**stopped.notes, "seconds": 0}
    assert whole.notes["steps"] == 60
    assert [report["step"] for report in whole.notes["curve"]] == [12, 24, 36, 48, 60]


def test_the_scale_of_a_corpus_changes_nothing_but_the_scale(tmp_path):
    one = fit(tmp_path / "a", inputs(words=False), task(teacher=True))
    other = fit(tmp_path / "b", inputs(words=False), task(LABELS_UD * 4 - 7, teacher=False))
    again = fit(tmp_path / "c", inputs(words=False), task(teacher=False))
    np.testing.assert_allclose(other.outputs_WD, again.outputs_WD * 4 - 7, atol=1e-3)
    assert np.abs(one.outputs_WD - again.outputs_WD).max() > 1e-3


def test_no_trust_trains_the_twin(tmp_path):
    """The limits of the losses, through the whole loop: the same batches, the same weights."""
    alone = fit(tmp_path / "a", inputs(words=False), task(), CONFIG.plain())
    never = CONFIG.model_copy(update={"sigma": 1e-9})
    np.testing.assert_allclose(
        fit(tmp_path / "b", inputs(words=False), task(teacher=True), never).outputs_WD, alone.outputs_WD, atol=1e-6
    )


def test_a_constant_dimension_is_refused_by_name(tmp_path):
    labels_UD = LABELS_UD.copy()
    labels_UD[:, 2] = 2.5
    with pytest.raises(BadInputError, match="dominance is the same in all 48 training utterances"):
        fit(tmp_path, inputs(words=False), task(labels_UD))
