"""How far a track agrees with what a corpus knows: one number per track, and what other speakers would have given.

Legend: S speakers, B resamples.
"""

from __future__ import annotations

__all__ = ["MIN_SPEAKERS", "Agreement", "BySpeaker", "agreement", "lead"]

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from core.seeding import stream

MIN_SPEAKERS = 5
"""With fewer, the widened quantile lies beyond the most extreme resample, and there is no interval."""
RESAMPLES = 10_000

BySpeaker = Mapping[str, tuple[float, int]]
"""Speaker → (sum of a quantity over the speaker's cases, number of cases): pairs, utterances."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Mean of a quantity over all cases of all speakers, e.g. the share of pairs in the right order.

    `low`, `high`: 95 % interval for other speakers, None with fewer than `MIN_SPEAKERS`; `cases`: pairs or utterances.
    """

    value: float
    low: float | None
    high: float | None
    cases: int
    speakers: int


def agreement(by_speaker: BySpeaker, *, seed: int = 0) -> Agreement:
    """The mean over cases, with the expanded percentile interval of a bootstrap over speakers.

    Cases of one speaker are not independent, so whole speakers are drawn; and ten speakers are few, so the quantile is
    moved out to Φ(−√(S/(S−1)) · t(0.025, S−1)), the width of a t interval for symmetric data (Hesterberg, The American
    Statistician 2015, arXiv 1411.5279). Two calls for the same speakers draw the same resamples. Raises BadInputError
    when there is no case.
    """
    speakers = sorted(name for name, (_, cases) in by_speaker.items() if cases)
    if not speakers:
        raise BadInputError("agreement: there is no case to judge by")
    sums_S = np.array([by_speaker[name][0] for name in speakers])
    cases_S = np.array([by_speaker[name][1] for name in speakers])
    low, high = _interval(sums_S, cases_S, seed=seed) if len(speakers) >= MIN_SPEAKERS else (None, None)
    return Agreement(
        value=float(sums_S.sum() / cases_S.sum()),
        low=low,
        high=high,
        cases=int(cases_S.sum()),
        speakers=len(speakers),
    )


def lead(one: BySpeaker, other: BySpeaker, *, seed: int = 0) -> Agreement:
    """By how much one track agrees better than another on the same cases: paired, so its interval is the narrower one.

    Raises BadInputError when the two were not judged by the same cases.
    """
    if {name: cases for name, (_, cases) in one.items()} != {name: cases for name, (_, cases) in other.items()}:
        raise BadInputError("agreement: two tracks that were judged by different cases cannot be compared")
    return agreement({name: (total - other[name][0], cases) for name, (total, cases) in one.items()}, seed=seed)


def _interval(sums_S: NDArray[np.float64], cases_S: NDArray[np.int64], *, seed: int) -> tuple[float, float]:
    from scipy import stats

    count = len(sums_S)
    drawn_BS = stream(seed, "agreement-bootstrap").integers(count, size=(RESAMPLES, count))
    means_B = sums_S[drawn_BS].sum(axis=1) / cases_S[drawn_BS].sum(axis=1)
    tail = float(stats.norm.cdf(math.sqrt(count / (count - 1)) * stats.t.ppf(0.025, df=count - 1)))
    low, high = np.quantile(means_B, [tail, 1 - tail])
    return float(low), float(high)
