"""Several arms at once: p values that hold for the whole family, and intervals that do.

Letters in names: P pairs (members of the family), S speakers, B sign patterns.
"""

from __future__ import annotations

__all__ = ["Family", "family", "holm"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.intervals import LEVEL, ROUNDING, ratios
from analysis.sign_flips import sign_patterns


@dataclass(frozen=True, kw_only=True)
class Family:
    """Tests of several pairs over the same sign patterns of speakers."""

    p_P: NDArray[np.float64]
    """Of each pair by itself."""
    p_max_t_P: NDArray[np.float64]
    """Corrected over the family, never below `p_P`."""
    quantile: float
    """Half-width in standard errors with which the intervals of all pairs hold at once."""


def family(
    added_SP: NDArray[np.float64], weight_SP: NDArray[np.float64], *, error_P: NDArray[np.float64], level: float = LEVEL
) -> Family:
    """Sign-flip tests over speakers, one pattern for all pairs at once, corrected by step-down max-T.

    Arm and other are swapped for whole speakers, in all pairs of the family together, so that what arms share (their
    twin, the speakers) is kept (Westfall & Young 1993, algorithm 2.8; Romano & Wolf 2005). The statistic is
    |difference| over its standard error, worked out anew in each pattern (Janssen 1997: studentised, it needs no
    equal variances). The observed one is divided by `error_P`, where it is larger than that of speakers alone: it holds
    what speakers of one fold share, and seeds (ours; never makes p smaller). `quantile`: of the largest statistic with
    the differences themselves taken out, as a wild bootstrap with Rademacher signs (Cameron, Gelbach & Miller 2008).
    A pair that lacks some speakers has zeros there.
    """
    signs_BS = sign_patterns(len(added_SP))
    difference_P = added_SP.sum(axis=0)
    t_BP = _studentised(added_SP, weight_SP, signs_BS)
    observed_P = np.minimum(t_BP[0], np.divide(np.abs(difference_P), error_P, out=t_BP[0].copy(), where=error_P > 0))
    residual_SP = added_SP - weight_SP * difference_P
    widest_B = _studentised(residual_SP, weight_SP, signs_BS).max(axis=1)
    return Family(
        p_P=(t_BP >= observed_P * (1 - ROUNDING)).mean(axis=0),
        p_max_t_P=_step_down(t_BP, observed_P),
        quantile=float(np.quantile(widest_B, level, method="higher")),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction for several comparisons (Holm 1979), in the order given.

    Not statsmodels' `multipletests`, against which it is tested: it collects Python's garbage on every call, a fifth of
    a second each in a report of 1,000 trials.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    if not p_values:
        return []
    p_P = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_P, kind="stable")
    corrected_P = np.maximum.accumulate(p_P[order] * np.arange(p_P.size, 0, -1))
    out_P = np.empty_like(p_P)
    out_P[order] = np.minimum(corrected_P, 1.0)
    return [float(value) for value in out_P]


def _studentised(
    added_SP: NDArray[np.float64], weight_SP: NDArray[np.float64], signs_BS: NDArray[np.float64]
) -> NDArray[np.float64]:
    squares_P = (added_SP**2).sum(axis=0)
    flipped_BP = signs_BS @ added_SP
    spread_BP = (
        squares_P - 2 * flipped_BP * (signs_BS @ (added_SP * weight_SP)) + flipped_BP**2 * (weight_SP**2).sum(axis=0)
    )
    t_BP = ratios(flipped_BP, spread_BP, scale_P=squares_P, n_speakers_P=(weight_SP > 0).sum(axis=0))
    return np.fabs(t_BP)


def _step_down(t_BP: NDArray[np.float64], observed_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest first: each is held against the largest of those not yet dealt with; p never falls on the way down."""
    order = np.argsort(-observed_P, kind="stable")
    remaining_BP = np.maximum.accumulate(t_BP[:, order[::-1]], axis=1)[:, ::-1]
    p_P = (remaining_BP >= observed_P[order] * (1 - ROUNDING)).mean(axis=0)
    out_P: NDArray[np.float64] = np.empty_like(p_P)
    out_P[order] = np.maximum.accumulate(p_P)
    return out_P
