"""What a student learns: CCC as in the metrics, the two rules by hand, and their limits, which are their twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from core.guidance import ccc_loss, guided_loss
from core.metrics import ccc
from core.teacher_config import TeacherConfig


def drawn(seed: int, *, size: int = 24) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(size, 3))).float()


STUDENT, LABELS, TEACHER = drawn(0), drawn(1), drawn(1) + 0.7 * drawn(2)


def test_the_loss_is_one_less_the_metric():
    expected = np.mean([1 - ccc(LABELS[:, d].numpy(), STUDENT[:, d].numpy()) for d in range(3)])
    assert ccc_loss(STUDENT, LABELS).item() == pytest.approx(expected, abs=1e-6)
    assert ccc_loss(LABELS, LABELS).item() == pytest.approx(0.0, abs=1e-6)
    assert ccc_loss(-LABELS + 2 * LABELS.mean(0), LABELS).item() == pytest.approx(2.0, abs=1e-6)


def test_a_constant_output_has_no_concordance_and_still_a_gradient():
    constant = torch.zeros(24, 3, requires_grad=True)
    loss = ccc_loss(constant, LABELS)
    loss.backward()
    assert loss.item() == pytest.approx(1.0, abs=1e-6)
    assert constant.grad is not None
    assert torch.isfinite(constant.grad).all()
    assert constant.grad.abs().max() > 0


def test_soft_by_hand():
    student, labels, teacher = (torch.tensor(rows) for rows in ([[0.0], [2.0]], [[0.0], [1.0]], [[0.5], [1.0]]))
    config = TeacherConfig(weighting="soft", sigma=0.5, weight=3.0)
    # CCC: means 1 and 1/2, variances 1 and 1/4, covariance 1/2: 2·(1/2) / (1 + 1/4 + 1/4) = 2/3.
    # q = exp(−0.5/0.5), exp(0); (s − t)² = 0.25, 1.
    expected = (1 - 2 / 3) + 3.0 * (math.exp(-1) * 0.25 + 1.0) / 2
    assert guided_loss(student, labels, teacher, config).item() == pytest.approx(expected, abs=1e-6)


def test_hard_by_hand():
    labels, teacher = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.3], [2.0], [1.5]])
    config = TeacherConfig(weighting="hard", tau=0.5)
    learnt = torch.tensor([[0.3], [1.0], [1.5]])
    student = torch.tensor([[1.0], [0.0], [3.0]])
    expected = ccc_loss(student, learnt).item()
    assert guided_loss(student, labels, teacher, config).item() == pytest.approx(expected)
    # At the threshold itself the teacher is right enough.
    assert guided_loss(learnt, labels, teacher, config).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("weighting", ["soft", "hard"])
def test_a_teacher_that_is_never_trusted_is_no_teacher(weighting):
    config = TeacherConfig(weighting=weighting, sigma=1e-7, tau=1e-7)
    alone = guided_loss(STUDENT, LABELS, None, TeacherConfig(weighting="none"))
    assert guided_loss(STUDENT, LABELS, TEACHER, config).item() == pytest.approx(alone.item(), abs=1e-6)
    assert alone.item() == ccc_loss(STUDENT, LABELS).item()


def test_a_teacher_that_is_always_trusted_is_unconditional():
    pull = (STUDENT - TEACHER).square().mean().item()
    soft = ccc_loss(STUDENT, LABELS).item() + 0.4 * pull
    for sigma in (1e7, math.inf):
        config = TeacherConfig(weighting="soft", sigma=sigma, weight=0.4)
        assert guided_loss(STUDENT, LABELS, TEACHER, config).item() == pytest.approx(soft, abs=1e-5)
    for tau in (1e7, math.inf):
        config = TeacherConfig(weighting="hard", tau=tau)
        assert guided_loss(STUDENT, LABELS, TEACHER, config).item() == ccc_loss(STUDENT, TEACHER).item()


def test_settings_say_what_means_nothing():
    own = {"sigma", "weight", "tau", "modality", "text_model", "transcripts", "outputs", "inner_folds"}
    assert set(TeacherConfig(weighting="none").unused()) == own
    assert set(TeacherConfig(weighting="soft").unused()) == {"tau"}
    assert set(TeacherConfig(weighting="hard", outputs="in-sample").unused()) == {"sigma", "weight", "inner_folds"}
    assert set(TeacherConfig(weighting="teacher").unused()) == {"sigma", "weight", "tau", "outputs", "inner_folds"}
    by_ear = TeacherConfig(weighting="soft", modality="speech")
    assert set(by_ear.unused()) == {"tau", "text_model", "transcripts"}
    assert by_ear.words() == ["soft", "sigma1", "weight1", "speech-teacher"]
    assert TeacherConfig(weighting="hard", outputs="in-sample").leaks()
    assert "transcripts of the test part" in TeacherConfig(weighting="teacher").leaks()[0]
    assert not TeacherConfig(weighting="teacher", modality="speech").leaks()
    assert not TeacherConfig(weighting="none", outputs="in-sample").leaks()
    assert TeacherConfig.model_validate({"sigma": "inf"}).model_dump(mode="json")["sigma"] == "inf"
