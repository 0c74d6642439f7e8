"""Would other speakers, and other seeds, show the same difference? Studentised intervals over speakers.

With ten speakers, percentile and BCa intervals are far too narrow; measured in docs/calibration.md, which is why they
are not here. Letters in names: P pairs, K seeds, F folds, S speakers, B resamples.
"""

from __future__ import annotations

__all__ = [
    "LEVEL",
    "METHOD",
    "MIN_SPEAKERS",
    "Spread",
    "interval",
    "paired_interval",
    "ratios",
    "speaker_weights",
    "spread",
    "stacked",
    "studentised_quantiles",
]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.paired import Contributions

LEVEL = 0.95
MIN_SPEAKERS = 5
"""With fewer, more than 1 in 100 resamples are one speaker drawn over and over (S¹⁻ˢ), and have no spread."""
METHOD = "studentised over speakers"
AT_ONCE = 8
"""Pairs resampled at a time: their arrays stay in the processor's cache, which halves the time."""
ROUNDING = 1e-9
"""Spread below this share of the values themselves is the rounding of equal values, not spread."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Variance of a difference, by where it comes from."""

    speakers: float
    """Of the mean over speakers, as if all were drawn independently."""
    folds: float
    """The same with the folds as clusters: larger where speakers tested by the same model move together. 0 where a
    fold tests one speaker, or with fewer than 3 folds."""
    seeds: float
    """What other seeds would add for all speakers at once; 0 under one seed, where it cannot be known."""
    crossed: float
    """Part of `speakers` that is seed × speaker and would go with more seeds; 0 under one seed."""
    widening: float
    """Factor for how badly few seeds pin their own variance down: ratio of t quantiles, at least 1."""

    @property
    def se(self) -> float:
        """Standard error of the difference, in shares."""
        return math.sqrt(max(self.speakers, self.folds) + self.seeds)


@lru_cache(maxsize=4)
def speaker_weights(n_speakers: int, *, resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each speaker is drawn in each resample, shape (B, S): S draws with replacement per row.

    All comparisons of a report share them, so that their intervals differ by the data alone.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, n_speakers]))
    weights_BS = rng.multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), size=resamples).astype(np.float64)
    weights_BS.setflags(write=False)
    return weights_BS


def spread(pair: Contributions) -> Spread:
    """Where the variance of a difference comes from.

    Speakers and folds: sums of squared residuals of a ratio estimate, clusters as the unit, m/(m − 1) for m of them
    (Cochran 1977, §6.4; Cameron & Miller 2015, CR1). Seeds cross with speakers: their part is the variance between
    seeds less that of seed × speaker, not below 0 (crossed random effects by ANOVA moments, Searle, Casella & McCulloch
    1992, ch. 4). Degrees of freedom of the sum after Satterthwaite (1946). That the larger of speakers and folds counts
    is ours. NaN for one speaker.
    """
    added_KFS, weight_FS, difference = pair.added_KFS, pair.weight_FS, pair.difference
    n_seeds, n_folds, n_speakers = added_KFS.shape
    residual_FS = added_KFS.mean(axis=0) - weight_FS * difference
    speakers = _clustered(residual_FS.sum(axis=0))
    folds = _clustered(residual_FS.sum(axis=1)) if 3 <= n_folds < n_speakers else 0.0
    if n_seeds < 2:
        return Spread(speakers=speakers, folds=folds, seeds=0.0, crossed=0.0, widening=1.0)
    departure_K = pair.by_seed - difference
    crossed_KS = added_KFS.sum(axis=1) - pair.by_speaker - departure_K[:, None] * pair.weights
    shared = float((departure_K**2).sum()) / (n_seeds * (n_seeds - 1))
    crossed = sum(_clustered(row_S) for row_S in crossed_KS) / (n_seeds * (n_seeds - 1))
    seeds = max(0.0, shared - crossed)
    base = max(speakers, folds)
    widening = 1.0
    if seeds > 0 and n_speakers > 1:
        freedom = (base + seeds) ** 2 / (base**2 / (n_speakers - 1) + seeds**2 / (n_seeds - 1))
        widening = max(1.0, _t(freedom) / _t(n_speakers - 1))
    return Spread(speakers=speakers, folds=folds, seeds=seeds, crossed=crossed, widening=widening)


def stacked(pairs: Sequence[Contributions]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each speaker adds to each pair and with what weight, both (S, P); all pairs on the same speakers."""
    return np.stack([pair.by_speaker for pair in pairs], axis=1), np.stack([pair.weights for pair in pairs], axis=1)


def studentised_quantiles(
    added_SP: NDArray[np.float64],
    weight_SP: NDArray[np.float64],
    *,
    draws_BS: NDArray[np.float64],
    level: float = LEVEL,
) -> NDArray[np.float64]:
    """Quantiles of (difference in a resample of speakers − estimate) / its standard error there, shape (2, P).

    Percentile-t (Efron & Tibshirani 1993, §12.5; Hall 1988). A speaker's utterances are drawn together, in both arms
    and under all seeds at once: utterances of one speaker are not independent, and an interval over utterances is too
    narrow (Bisani & Ney 2004; Field & Welsh 2007). Infinite where too many resamples are without any spread.
    """
    # Values that were drawn, not between them: half-way to infinity there is no number.
    last = len(draws_BS) - 1
    below = math.floor(last * (1 - level) / 2)
    ends = [below, last - below]
    draws_SB, found = np.ascontiguousarray(draws_BS.T), []
    for start in range(0, added_SP.shape[1], AT_ONCE):
        t_PB = _resampled(added_SP[:, start : start + AT_ONCE], weight_SP[:, start : start + AT_ONCE], draws_SB)
        found.append(np.partition(t_PB, ends, axis=1)[:, ends])
    return np.concatenate(found).T if found else np.empty((2, 0))


def _resampled(
    added_SP: NDArray[np.float64], weight_SP: NDArray[np.float64], draws_SB: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Studentised departure of each pair in each resample, shape (P, B)."""
    mass_PB = weight_SP.T @ draws_SB
    drawn_PB = (added_SP.T @ draws_SB) / mass_PB
    squares_PB = (added_SP**2).T @ draws_SB - 2 * drawn_PB * ((added_SP * weight_SP).T @ draws_SB)
    squares_PB += drawn_PB**2 * ((weight_SP**2).T @ draws_SB)
    t_BP = ratios(
        (drawn_PB - added_SP.sum(axis=0)[:, None]).T,
        (squares_PB / mass_PB**2).T,
        scale_P=(added_SP**2).sum(axis=0),
        n_speakers_P=(weight_SP > 0).sum(axis=0),
    )
    return t_BP.T


def ratios(
    departure_BP: NDArray[np.float64],
    squares_BP: NDArray[np.float64],
    *,
    scale_P: NDArray[np.float64],
    n_speakers_P: NDArray[np.int64],
) -> NDArray[np.float64]:
    """departure / √(S/(S−1) · squares), with 0/0 = 0; what is rounding beside `scale_P` (a sum of squares) is 0."""
    floor_P = ROUNDING**2 * scale_P
    squares_BP = np.where(squares_BP > floor_P, squares_BP, 0.0) * n_speakers_P / np.maximum(n_speakers_P - 1, 1)
    departure_BP = np.where(departure_BP**2 > floor_P, departure_BP, 0.0)
    out_BP = np.where(departure_BP == 0, 0.0, np.copysign(np.inf, departure_BP))
    return np.divide(departure_BP, np.sqrt(squares_BP), out=out_BP, where=squares_BP > 0)


def interval(
    difference: float, found: Spread, *, quantiles: tuple[float, float], n_speakers: int
) -> tuple[float, float] | None:
    """Bounds of the difference; None with fewer than MIN_SPEAKERS speakers, or where hardly any of them differ.

    >>> found = Spread(speakers=4e-4, folds=0.0, seeds=0.0, crossed=0.0, widening=1.0)
    >>> [round(bound, 9) for bound in interval(0.05, found, quantiles=(-2.0, 3.0), n_speakers=10)]
    [-0.01, 0.09]
    """
    if n_speakers < MIN_SPEAKERS or not math.isfinite(found.se):
        return None
    width = found.se * found.widening
    if width == 0:
        return difference, difference
    low, high = difference - quantiles[1] * width, difference - quantiles[0] * width
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def paired_interval(pair: Contributions, *, resamples: int, seed: int) -> tuple[float, float] | None:
    """`interval` of one pair by itself."""
    added_SP, weight_SP = stacked([pair])
    n_speakers = len(added_SP)
    draws_BS = speaker_weights(n_speakers, resamples=resamples, seed=seed)
    (low,), (high,) = studentised_quantiles(added_SP, weight_SP, draws_BS=draws_BS).tolist()
    return interval(pair.difference, spread(pair), quantiles=(low, high), n_speakers=n_speakers)


def _clustered(residual_G: NDArray[np.float64]) -> float:
    if residual_G.size < 2:
        return math.nan
    return residual_G.size / (residual_G.size - 1) * float((residual_G**2).sum())


def _t(freedom: float) -> float:
    # What `stats.t.ppf` calls, after a hundred times as long spent on its arguments.
    return float(special.stdtrit(freedom, (1 + LEVEL) / 2))
