"""Paired differences made to measure: contributions with given values, or drawn ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.paired import Contributions


def equal_speakers(difference_KS: NDArray[np.float64], *, folds: list[int] | None = None) -> Contributions:
    """Every speaker counts the same; `difference_KS`: its own difference under each seed. One fold each, or `folds`."""
    n_seeds, n_speakers = difference_KS.shape
    places = list(range(n_speakers)) if folds is None else folds
    added_KFS = np.zeros((n_seeds, max(places) + 1, n_speakers))
    weight_FS = np.zeros((max(places) + 1, n_speakers))
    added_KFS[:, places, np.arange(n_speakers)] = difference_KS / n_speakers
    weight_FS[places, np.arange(n_speakers)] = 1 / n_speakers
    return Contributions(added_KFS=added_KFS, weight_FS=weight_FS)


def drawn(rng: np.random.Generator, *, n_speakers: int = 10, mean: float = 0.0, spread: float = 0.04) -> Contributions:
    """One seed, one speaker per fold, speakers of unequal weight."""
    weight_S = rng.dirichlet(np.full(n_speakers, 20.0))
    added_S = weight_S * (mean + spread * rng.standard_normal(n_speakers))
    return Contributions(added_KFS=np.diag(added_S)[None], weight_FS=np.diag(weight_S))
