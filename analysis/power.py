"""How many seeds it would take to show a difference of this size, and when no number of seeds would."""

from __future__ import annotations

__all__ = ["MAX_SEEDS", "Components", "components", "power", "seeds_for_power"]

import math
from dataclasses import dataclass
from functools import lru_cache

from scipy import optimize, stats

from analysis.intervals import spread
from analysis.paired import Contributions

MAX_SEEDS = 100


@dataclass(frozen=True, kw_only=True)
class Components:
    """Variance of a difference under k seeds: `lasting` + `fading` / k."""

    lasting: float
    """What speakers differ by whatever the seed; no seed removes it."""
    fading: float
    """What one seed adds: to all speakers at once, and to each by itself."""
    n_speakers: int


def components(pair: Contributions) -> Components | None:
    """Variance components from a difference under several seeds; None under one, which cannot tell them apart.

    Method of moments: the variance over speakers of the mean over K seeds is lasting + crossed / K, and `crossed` is
    estimated from the departures of each seed from that mean (Searle, Casella & McCulloch 1992, ch. 4).
    """
    n_seeds, _, n_speakers = pair.added_KFS.shape
    if n_seeds < 2 or n_speakers < 2:
        return None
    found = spread(pair)
    crossed = found.crossed
    lasting = max(0.0, max(found.speakers, found.folds) - crossed)
    return Components(lasting=lasting, fading=n_seeds * (found.seeds + crossed), n_speakers=n_speakers)


def power(difference: float, *, variance: float, n_speakers: int, level: float = 0.05) -> float:
    """Chance that a two-sided t-test over speakers finds `difference`, in [0, 1] (Cohen 1988, §2.2; noncentral t)."""
    if variance <= 0:
        return 1.0 if difference else level
    freedom, shift = n_speakers - 1, abs(difference) / math.sqrt(variance)
    bound = float(stats.t.ppf(1 - level / 2, df=freedom))
    # The lower tail by its mirror image: scipy's nct.cdf is NaN so far out.
    return float(stats.nct.sf(bound, freedom, shift) + stats.nct.sf(bound, freedom, -shift))


def seeds_for_power(difference: float, found: Components | None, *, wanted: float = 0.8, level: float = 0.05) -> float:
    """Seeds with which a true difference of this size would be found with chance `wanted`.

    inf when speakers alone vary too much for it, so that more seeds cannot help, or when it takes over MAX_SEEDS; NaN
    without components. It takes the estimate for the truth: a plan for the next sweep, no comment on this one's p
    (Hoenig & Heisey 2001).
    """
    if found is None:
        return math.nan

    # Power grows with the shift alone, so that the shift it takes need be found once for all comparisons.
    bound = (difference / _shift_for(wanted, n_speakers=found.n_speakers, level=level)) ** 2
    if difference == 0 or found.lasting + found.fading / MAX_SEEDS > bound:
        return math.inf
    # Not divided by what is left for seeds: it may be 0 where they add nothing.
    return float(next(seeds for seeds in range(1, MAX_SEEDS + 1) if found.lasting + found.fading / seeds <= bound))


@lru_cache(maxsize=16)
def _shift_for(wanted: float, *, n_speakers: int, level: float) -> float:
    """Difference in standard errors at which `power` is `wanted`."""

    def short(shift: float) -> float:
        return power(shift, variance=1.0, n_speakers=n_speakers, level=level) - wanted

    high = 1.0
    while short(high) < 0:
        high *= 2
    return float(optimize.brentq(short, 0.0, high, xtol=1e-12))
