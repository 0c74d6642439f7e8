"""Is the arm better than its twin, or is it the choice of speakers? Paired intervals and exact tests.

What is assumed and what is not: intervals answer "other speakers, the same trained models"; they do not include the
variation between seeds, which the tables give as sd. The test treats folds as the independent unit, although folds
share training data. Letters in names: F folds, S speakers, C classes, B resamples.
"""

from __future__ import annotations

__all__ = [
    "MIN_SPEAKERS",
    "PairedCounts",
    "bootstrap_differences",
    "expanded_interval",
    "holm",
    "paired_difference",
    "sign_flip_floor",
    "sign_flip_p",
    "speaker_weights",
]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from core.errors import BadInputError

MIN_SPEAKERS = 5
"""With fewer, the widened quantile of `expanded_interval` lies beyond the most extreme resample (S⁻ˢ)."""
MAX_EXACT_FOLDS = 40
RANDOM_FLIPS = 100_000
MAX_UNDEFINED = 0.05
"""Largest share of resamples without a defined UA (a class lost) that still gives an interval."""

Metric = Literal["ua", "wa"]


@dataclass(frozen=True, kw_only=True)
class PairedCounts:
    """An arm against its twin on the same test utterances."""

    gain: NDArray[np.float64]
    """Correct answers of the arm minus those of the twin, mean over the seeds both have, by true class: (F, S, C)."""
    total: NDArray[np.int64]
    """Utterances by true class: (F, S, C)."""


@lru_cache(maxsize=4)
def speaker_weights(n_speakers: int, *, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each speaker is drawn in each resample, shape (B, S): S draws with replacement per row.

    All comparisons of a report share them, so that their intervals differ by the data alone.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, n_speakers]))
    weights_BS = rng.multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), size=resamples)
    weights_BS.setflags(write=False)
    return weights_BS


def paired_difference(pair: PairedCounts, *, metric: Metric) -> float:
    """Arm minus twin, mean over folds (and seeds), in [-1, 1]."""
    once_BS = np.ones((1, pair.total.shape[1]), dtype=np.int64)
    return float(bootstrap_differences(pair, metric=metric, weights_BS=once_BS)[0])


def bootstrap_differences(pair: PairedCounts, *, metric: Metric, weights_BS: NDArray[np.int64]) -> NDArray[np.float64]:
    """Arm minus twin in every resample of speakers, shape (B,); NaN where a class has no utterance left.

    A speaker's utterances are drawn together and in both arms at once: utterances of one speaker are not independent,
    and an interval over utterances is too narrow (Bisani & Ney 2004; Field & Welsh 2007). Within a resample each fold
    counts by its share of drawn speakers, so that every speaker drawn once gives the plain mean over folds (ours).
    For UA, recalls are averaged over folds per class and then over classes, which is the same mean.
    """
    gain_FSC, total_FSC = pair.gain, pair.total.astype(np.float64)
    if metric == "wa":
        gain_FSC, total_FSC = gain_FSC.sum(axis=2, keepdims=True), total_FSC.sum(axis=2, keepdims=True)
    top_BC = np.zeros((len(weights_BS), gain_FSC.shape[2]))
    bottom_BC = np.zeros_like(top_BC)
    for gain_SC, total_SC in zip(gain_FSC, total_FSC, strict=True):
        tested_S = total_SC.sum(axis=1) > 0
        drawn_BS = weights_BS[:, tested_S].astype(np.float64)
        fold_B1 = drawn_BS.mean(axis=1, keepdims=True)
        n_BC = drawn_BS @ total_SC[tested_S]
        rate_BC = np.divide(drawn_BS @ gain_SC[tested_S], n_BC, out=np.zeros_like(n_BC), where=n_BC > 0)
        top_BC += fold_B1 * rate_BC
        bottom_BC += fold_B1 * (n_BC > 0)
    differences_BC = np.divide(top_BC, bottom_BC, out=np.full_like(top_BC, np.nan), where=bottom_BC > 0)
    result: NDArray[np.float64] = differences_BC.mean(axis=1)
    return result


def expanded_interval(
    draws_B: NDArray[np.float64], *, n_speakers: int, level: float = 0.95
) -> tuple[float, float] | None:
    """Expanded percentile interval (Hesterberg, The American Statistician 2015, arXiv 1411.5279).

    Ten speakers are ten clusters: plain bootstrap percentiles are then too narrow. The quantile is moved out to
    Φ(−√(S/(S−1)) · t(α/2, S−1)), which for symmetric data is the width of a t interval. Returns None with fewer than
    MIN_SPEAKERS speakers or when more than MAX_UNDEFINED of the resamples have no value.
    """
    defined = draws_B[~np.isnan(draws_B)]
    if n_speakers < MIN_SPEAKERS or len(defined) < (1 - MAX_UNDEFINED) * len(draws_B):
        return None
    t = stats.t.ppf((1 + level) / 2, df=n_speakers - 1)
    tail = float(stats.norm.cdf(-math.sqrt(n_speakers / (n_speakers - 1)) * t))
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def sign_flip_p(differences_F: Sequence[float]) -> float:
    """Two-sided sign-flip (paired permutation) test of mean difference zero (Fisher 1935), in (0, 1].

    One value per fold: cells of one fold under several seeds share their test data, so seeds are averaged first. Up
    to MAX_EXACT_FOLDS folds all 2^F sign patterns are counted, by sorting the sums of one half of the folds against
    those of the other; beyond, RANDOM_FLIPS patterns are drawn and p = (1 + extreme) / (1 + drawn), which is never
    below its true value (Phipson & Smyth 2010). Raises BadInputError without folds or for a value that is not finite.

    >>> sign_flip_p([0.01, 0.02, 0.03, 0.01, 0.02])
    0.0625
    """
    values = np.asarray(differences_F, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise BadInputError(f"sign-flip test: needs at least 1 fold difference, all finite, got {differences_F}")
    bound = abs(values.sum()) - 1e-12 * np.abs(values).sum()
    if values.size > MAX_EXACT_FOLDS:
        flips = np.random.default_rng(0).choice(np.array([-1.0, 1.0]), size=(RANDOM_FLIPS, values.size))
        return (1 + int((np.abs(flips @ values) >= bound).sum())) / (1 + RANDOM_FLIPS)
    left, right = _signed_sums(values[: values.size // 2]), np.sort(_signed_sums(values[values.size // 2 :]))
    above = right.size - np.searchsorted(right, bound - left, side="left")
    below = np.searchsorted(right, -bound - left, side="right")
    extreme = int(np.minimum(above + below, right.size).sum())
    return extreme / (left.size * right.size)


def sign_flip_floor(n_folds: int) -> float:
    """The smallest p that `sign_flip_p` can give: 2 / 2^F where it is exact.

    >>> sign_flip_floor(5)
    0.0625
    """
    return 2.0 ** (1 - n_folds) if n_folds <= MAX_EXACT_FOLDS else 1 / (1 + RANDOM_FLIPS)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction for several comparisons (Holm 1979), in the order given.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    if not p_values:
        return []
    return [float(value) for value in multipletests(list(p_values), method="holm")[1]]


def _signed_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sums of all 2^n sign patterns."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums
