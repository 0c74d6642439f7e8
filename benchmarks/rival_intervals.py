"""Intervals that analysis does not use, to show what they would have claimed. 95 %, of the difference of UA.

Letters in names: K seeds, F folds, S speakers, C classes, N utterances, B resamples.
"""

from __future__ import annotations

__all__ = ["speaker_intervals", "utterance_interval"]

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.paired import Contributions

Bounds = tuple[float, float]


def speaker_intervals(pair: Contributions, *, draws_BS: NDArray[np.float64]) -> dict[str, Bounds]:
    """Bootstrap over speakers: percentiles, expanded percentiles, BCa.

    Efron & Tibshirani (1993, ch. 13 and 14); Hesterberg (2015) moves the quantiles out for small samples.
    """
    added_S, weight_S, difference = pair.by_speaker, pair.weights, pair.difference
    drawn_B, n = (draws_BS @ added_S) / (draws_BS @ weight_S), added_S.size
    tail = float(stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf(0.975, df=n - 1)))
    left_out_S = (difference - added_S) / (1 - weight_S)
    departure_S = left_out_S.mean() - left_out_S
    squares = float((departure_S**2).sum())
    acceleration = float((departure_S**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0
    bias = float(stats.norm.ppf(np.clip((drawn_B < difference).mean(), 1e-4, 1 - 1e-4)))
    bent = [bias + (bias + z) / (1 - acceleration * (bias + z)) for z in (-1.96, 1.96)]
    tails = {"percentile": (0.025, 0.975), "expanded": (tail, 1 - tail), "bca": tuple(stats.norm.cdf(bent))}
    return {name: _quantiles(drawn_B, *both) for name, both in tails.items()}


def utterance_interval(
    gain_KN: NDArray[np.float64],
    *,
    fold_N: NDArray[np.intp],
    class_N: NDArray[np.intp],
    resamples: int,
    rng: np.random.Generator,
) -> Bounds:
    """Percentiles of a bootstrap that takes utterances for independent, seeds averaged: what is wrong with it.

    Utterances of one fold, class and gain are the same to it, so that their numbers are drawn instead (multinomial).
    """
    n_folds, n_classes, n_seeds = fold_N.max() + 1, class_N.max() + 1, len(gain_KN)
    values = np.arange(-n_seeds, n_seeds + 1) / n_seeds
    cell_N = (fold_N * n_classes + class_N) * values.size + gain_KN.sum(axis=0).astype(np.intp) + n_seeds
    counts = np.bincount(cell_N, minlength=n_folds * n_classes * values.size)
    drawn = rng.multinomial(fold_N.size, counts / fold_N.size, size=resamples)
    drawn = drawn.reshape(resamples, n_folds, n_classes, values.size)
    n_BFC = drawn.sum(axis=3)
    rate_BFC = np.divide(drawn @ values, n_BFC, out=np.full(n_BFC.shape, np.nan), where=n_BFC > 0)
    return _quantiles(np.nanmean(rate_BFC, axis=(1, 2)), 0.025, 0.975)


def _quantiles(drawn_B: NDArray[np.float64], low: float, high: float) -> Bounds:
    found = np.quantile(drawn_B, [low, high])
    return float(found[0]), float(found[1])
