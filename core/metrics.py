"""Scores of predictions against labels. All lie in [0, 1] except CCC, in [-1, 1]."""

from __future__ import annotations

__all__ = ["ccc", "confusion", "macro_f1", "ua", "wa"]

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import BadInputError


def confusion(labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Counts, shape (classes, classes): rows are the true class, columns the predicted one.

    Raises BadInputError for unequal lengths, no utterances, or a label that is no class.

    >>> confusion(["ang", "sad", "sad"], ["ang", "ang", "sad"], ["ang", "sad"]).tolist()
    [[1, 0], [1, 1]]
    """
    if len(labels) != len(predicted) or len(labels) == 0:
        raise BadInputError(f"confusion: {len(labels)} labels and {len(predicted)} predictions; need equal, at least 1")
    index = {name: position for position, name in enumerate(classes)}
    foreign = sorted({*labels, *predicted} - set(index))
    if foreign:
        raise BadInputError(f"confusion: class {foreign[0]!r} is not one of {', '.join(classes)}")
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, ([index[name] for name in labels], [index[name] for name in predicted]), 1)
    return counts


def ua(counts: NDArray[np.int64]) -> float:
    """Unweighted accuracy: the mean over classes of recall, from a (classes, classes) confusion matrix.

    Raises BadInputError when a class has no utterance: the mean over the others would be another quantity.

    >>> ua(np.array([[1, 0], [1, 1]]))
    0.75
    """
    per_class = counts.sum(axis=1)
    if (per_class == 0).any():
        raise BadInputError(f"UA is undefined: class number {int(np.argmin(per_class))} has no utterance")
    return float(np.mean(np.diag(counts) / per_class))


def wa(counts: NDArray[np.int64]) -> float:
    """Weighted accuracy: the share of correct utterances, from a (classes, classes) confusion matrix.

    >>> wa(np.array([[1, 0], [1, 2]]))
    0.75
    """
    return float(np.trace(counts) / counts.sum())


def macro_f1(counts: NDArray[np.int64]) -> float:
    """Mean over classes of F1 = 2·tp / (2·tp + fp + fn); a class neither present nor predicted counts as 0.

    >>> round(macro_f1(np.array([[1, 0], [1, 1]])), 4)
    0.6667
    """
    hits = np.diag(counts).astype(np.float64)
    total = counts.sum(axis=0) + counts.sum(axis=1)
    return float(np.mean(np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0)))


def ccc(true: ArrayLike, predicted: ArrayLike) -> float:
    """Concordance correlation (Lin 1989): 2·cov / (var_x + var_y + (mean_x − mean_y)²), in [-1, 1].

    Raises BadInputError for fewer than two values or when both sides are the same constant.

    >>> round(ccc([0.0, 1.0, 2.0], [0.0, 1.0, 2.0]), 6)
    1.0
    """
    x, y = np.asarray(true, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or x.size < 2:
        raise BadInputError(f"CCC needs two equally long lists of at least 2 values, got {x.shape} and {y.shape}")
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    # The variance of a constant is rounding noise, not zero.
    if spread <= (1e-12 * max(np.abs(x).max(), np.abs(y).max())) ** 2:
        raise BadInputError("CCC is undefined: both sides are the same constant")
    return float(2 * np.mean((x - x.mean()) * (y - y.mean())) / spread)
