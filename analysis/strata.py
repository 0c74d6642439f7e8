"""Is an effect larger than other speakers and other training seeds make of it? Seeds and folds as random, crossed.

Every trial is tested on the same folds, so a mixed model in which seed and fold are random, and change what every axis
does (the maximal model, Barr et al. 2013), needs no iteration: each effect is worked out within every seed × fold cell,
and what it does from fold to fold and from seed to seed is its error. Random seeds and folds that only shift all arms
alike would drop out of every effect, and leave arms that share a twin to count as independent. Letters in names:
K seeds, F folds, D columns of an effect.
"""

from __future__ import annotations

__all__ = ["Estimate", "estimate", "random_spread"]

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An effect of one or more columns."""

    size: float
    """Sum of its squared mean columns."""
    error: float
    """What chance alone adds to `size`, by the spread over folds and seeds."""
    mean: float
    """Of the first column: the estimate, where there is only one."""
    freedom: tuple[float, float]
    """Of numerator and denominator."""

    @property
    def f(self) -> float:
        """NaN where nothing differs from fold to fold."""
        return self.size / self.error if self.error > 0 else math.nan

    @property
    def p(self) -> float:
        return float(stats.f.sf(self.f, *self.freedom)) if self.error > 0 else math.nan

    @property
    def bounds(self) -> tuple[float, float] | None:
        """95 % interval of the first column; None without an error."""
        if not self.error > 0:
            return None
        width = float(stats.t.ppf((1 + LEVEL) / 2, df=self.freedom[1])) * math.sqrt(self.error)
        return self.mean - width, self.mean + width


def estimate(cells_KFD: NDArray[np.float64]) -> Estimate:
    """The effect with its error, from its value in every seed × fold cell.

    F = size / error. Error: variance of the mean over folds plus variance of the mean over seeds, each by itself: min
    F′ (Clark 1973), which counts seed × fold twice and so errs on the careful side, far so where seeds matter little.
    Columns need neither equal variances nor independence: the degrees of freedom are cut by Box's ε over folds
    (Greenhouse & Geisser 1959), those of the sum are after Satterthwaite (1946). Under one seed it is the repeated-
    measures F over folds, and other seeds are not covered. NaN error with one fold.
    """
    n_seeds, n_folds, n_columns = cells_KFD.shape
    mean_D = cells_KFD.mean(axis=(0, 1))
    folds_FD = cells_KFD.mean(axis=0)
    residual_FD = folds_FD - mean_D
    size = float(mean_D @ mean_D)
    if n_folds < 2:
        return Estimate(size=size, error=math.nan, mean=float(mean_D[0]), freedom=(n_columns, 0.0))
    covariance_DD = residual_FD.T @ residual_FD / (n_folds - 1)
    folds = float(np.trace(covariance_DD)) / n_folds
    if folds <= ROUNDING * size / n_folds:
        folds = 0.0
    wide = float(np.trace(covariance_DD)) ** 2 / float((covariance_DD**2).sum()) if folds > 0 else 1.0
    seeds = 0.0
    freedom = wide * (n_folds - 1)
    if n_seeds > 1:
        departure_KD = cells_KFD.mean(axis=1) - mean_D
        seeds = float((departure_KD**2).sum()) / (n_seeds * (n_seeds - 1))
        if seeds > ROUNDING * size:
            freedom = (folds + seeds) ** 2 / (folds**2 / freedom + seeds**2 / (wide * (n_seeds - 1)))
    return Estimate(size=size, error=folds + seeds, mean=float(mean_D[0]), freedom=(wide, freedom))


def random_spread(cells_KF: NDArray[np.float64]) -> tuple[float, float]:
    """Standard deviations that seeds and that folds add to a value, from two-way ANOVA moments, not below 0; NaN where
    there is one of them.
    """
    n_seeds, n_folds = cells_KF.shape
    by_seed, by_fold = cells_KF.mean(axis=1), cells_KF.mean(axis=0)
    if min(n_seeds, n_folds) < 2:
        alone = [float(values.std(ddof=1)) if values.size > 1 else math.nan for values in (by_seed, by_fold)]
        return alone[0], alone[1]
    rest_KF = cells_KF - by_seed[:, None] - by_fold + cells_KF.mean()
    crossed = float((rest_KF**2).sum()) / ((n_seeds - 1) * (n_folds - 1))
    seeds = float(by_seed.var(ddof=1)) - crossed / n_folds
    folds = float(by_fold.var(ddof=1)) - crossed / n_seeds
    return math.sqrt(max(0.0, seeds)), math.sqrt(max(0.0, folds))
