"""An arm against another on the same test utterances: how much every seed, fold and speaker adds to the difference.

The difference of UA (WA) is a mean of ratios, and so a plain sum over speakers of what each adds. Intervals, tests and
effect sizes all start from these sums. Letters in names: P pairs, K seeds, F folds, S speakers, C classes.
"""

from __future__ import annotations

__all__ = ["Contributions", "Metric", "contributions"]

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError

Metric = Literal["ua", "wa", "ccc_mean", "ccc_activation", "ccc_valence", "ccc_dominance"]
"""Those of CCC are taken apart in `analysis.concordance`."""


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """A paired difference, taken apart. Shares, not percent."""

    added_KFS: NDArray[np.float64]
    """What each speaker adds under each seed: summed over folds and speakers it is the difference under that seed."""
    weight_FS: NDArray[np.float64]
    """How much of the difference a speaker is responsible for, sum 1: what it would add if every answer were won."""

    @property
    def difference(self) -> float:
        """Arm minus the other, mean over folds and seeds, in [-1, 1]."""
        return float(self.added_KFS.sum(axis=(1, 2)).mean())

    @property
    def cells(self) -> NDArray[np.float64]:
        """The difference within each seed × fold cell, shape (K, F); their mean is `difference`."""
        cells_KF: NDArray[np.float64] = self.added_KFS.sum(axis=2) * self.added_KFS.shape[1]
        return cells_KF

    @property
    def by_seed(self) -> NDArray[np.float64]:
        """The difference under each seed, shape (K)."""
        by_seed_K: NDArray[np.float64] = self.added_KFS.sum(axis=(1, 2))
        return by_seed_K

    @property
    def by_speaker(self) -> NDArray[np.float64]:
        """What each speaker adds, mean over seeds, shape (S)."""
        by_speaker_S: NDArray[np.float64] = self.added_KFS.sum(axis=1).mean(axis=0)
        return by_speaker_S

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each speaker, shape (S), sum 1."""
        weights_S: NDArray[np.float64] = self.weight_FS.sum(axis=0)
        return weights_S


def contributions(gain_KFSC: NDArray[np.float64], total_FSC: NDArray[np.int64], *, metric: Metric) -> Contributions:
    """Take a difference apart from counts by true class.

    `gain_KFSC`: correct answers of the arm minus those of the other; `total_FSC`: utterances. For UA a class counts by
    the mean of its recalls over the folds that test it, which with every class in every fold is the mean over folds of
    UA. Raises BadInputError for a fold or class without an utterance, where the mean over folds is not defined.

    >>> one = contributions(np.array([[[[2.0], [1.0]]]]), np.array([[[4], [6]]]), metric="wa")
    >>> round(one.difference, 9), one.by_speaker.round(9).tolist(), one.weights.round(9).tolist()
    (0.3, [0.2, 0.1], [0.4, 0.6])
    """
    if metric == "wa":
        gain_KFSC, total_FSC = gain_KFSC.sum(axis=3, keepdims=True), total_FSC.sum(axis=2, keepdims=True)
    n_FC = total_FSC.sum(axis=1)
    if (n_FC.sum(axis=0) == 0).any() or (n_FC.sum(axis=1) == 0).any():
        raise BadInputError(f"paired difference: utterances by fold and class {n_FC.tolist()}; each needs at least 1")
    n_folds_C = (n_FC > 0).sum(axis=0)
    scale_FC = np.divide(1.0, n_FC, out=np.zeros(n_FC.shape), where=n_FC > 0) / (n_folds_C * n_FC.shape[1])
    added_KFS = np.einsum("kfsc,fc->kfs", gain_KFSC, scale_FC)
    return Contributions(added_KFS=added_KFS, weight_FS=np.einsum("fsc,fc->fs", total_FSC, scale_FC))
