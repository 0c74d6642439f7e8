"""A difference taken apart by speaker and seed adds up again to what scikit-learn finds in the cells."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from analysis.paired import Metric, contributions
from core.errors import BadInputError

CLASSES = 3


def answers(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[list[tuple[np.ndarray, np.ndarray]]]]:
    """Two folds of two speakers, three classes, two seeds: gains, totals, and the raw answers of both by seed, fold."""
    total = np.zeros((2, 4, CLASSES), dtype=np.int64)
    total[0, :2], total[1, 2:] = rng.integers(1, 9, (2, CLASSES)), rng.integers(1, 9, (2, CLASSES))
    gain, raw = np.zeros((2, *total.shape)), []
    for seed in range(2):
        raw.append([])
        for fold in range(2):
            labels = [np.repeat(np.arange(CLASSES), total[fold, s]) for s in range(4)]
            both = [[np.where(rng.random(len(y)) < 0.6, y, (y + 1) % CLASSES) for y in labels] for _ in range(2)]
            for s, y in enumerate(labels):
                for c in range(CLASSES):
                    right = [(own[s][y == c] == c).sum() for own in both]
                    gain[seed, fold, s, c] = right[0] - right[1]
            raw[-1].append((np.concatenate(labels), np.stack([np.concatenate(own) for own in both])))
    return gain, total, raw


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("metric", "score"), [("ua", balanced_accuracy_score), ("wa", accuracy_score)])
def test_cells_are_the_differences_of_the_metric(seed: int, metric: Metric, score) -> None:
    gain, total, raw = answers(np.random.default_rng(seed))
    parts = contributions(gain, total, metric=metric)
    expected = np.array([[score(y, own[0]) - score(y, own[1]) for y, own in folds] for folds in raw])
    assert parts.cells == pytest.approx(expected, abs=1e-12)
    assert parts.difference == pytest.approx(expected.mean(), abs=1e-12)
    assert parts.by_seed == pytest.approx(expected.mean(axis=1), abs=1e-12)
    assert parts.by_speaker.sum() == pytest.approx(expected.mean(), abs=1e-12)
    assert parts.weights.sum() == pytest.approx(1)


def test_an_arm_that_wins_every_answer_adds_the_weights() -> None:
    _, total, _ = answers(np.random.default_rng(0))
    parts = contributions(total[None].astype(float), total, metric="ua")
    assert parts.difference == pytest.approx(1)
    assert parts.by_speaker == pytest.approx(parts.weights)


def test_by_hand() -> None:
    """Fold 0: speaker 0 gains 1 of 2 in class 0; fold 1: speaker 1 loses 1 of 4 in class 1."""
    total = np.array([[[2, 1], [0, 0]], [[0, 0], [1, 4]]])
    gain = np.array([[[[1.0, 0], [0, 0]], [[0, 0], [0, -1.0]]]])
    parts = contributions(gain, total, metric="ua")
    assert parts.by_speaker == pytest.approx([0.5 / 4, -0.25 / 4])
    assert contributions(gain, total, metric="wa").by_speaker == pytest.approx([1 / 3 / 2, -1 / 5 / 2])


def test_a_class_without_utterances_is_refused() -> None:
    with pytest.raises(BadInputError, match="utterances by fold and class"):
        contributions(np.zeros((1, 1, 1, 2)), np.array([[[3, 0]]]), metric="ua")
