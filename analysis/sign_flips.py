"""Exact tests by swapping arm and twin, and the smallest p that a number of folds and seeds can reach."""

from __future__ import annotations

__all__ = [
    "MAX_EXACT",
    "MAX_LISTED",
    "RANDOM_FLIPS",
    "floor_advice",
    "seeds_to_reach",
    "sign_flip_floor",
    "sign_flip_p",
    "sign_patterns",
    "studentised_floor",
]

from collections.abc import Sequence
from functools import lru_cache
from itertools import count

import numpy as np
from numpy.typing import NDArray

from analysis.wording import count as counted
from analysis.wording import p_value
from core.errors import BadInputError

MAX_EXACT = 25
"""Values up to which `sign_flip_p` counts all patterns."""
MAX_LISTED = 13
"""Values up to which `sign_patterns` lists all patterns."""
RANDOM_FLIPS = 9_999


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided sign-flip (paired permutation) test of mean difference zero (Fisher 1935), in (0, 1].

    Exact where the values are independent and each is symmetric about zero when nothing differs. Up to MAX_EXACT
    values all 2ⁿ sign patterns are counted, by sorting the sums of one half of the values against those of the other;
    beyond, RANDOM_FLIPS patterns are drawn and p = (1 + extreme) / (1 + drawn), which is never below its true value
    (Phipson & Smyth 2010). Raises BadInputError without values or for one that is not finite.

    >>> sign_flip_p([0.01, 0.02, 0.03, 0.01, 0.02])
    0.0625
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise BadInputError(f"sign-flip test: needs at least 1 difference, all finite, got {differences}")
    bound = abs(values.sum()) - 1e-12 * np.abs(values).sum()
    if values.size > MAX_EXACT:
        return (1 + int((np.abs(_drawn(values.size) @ values) >= bound).sum())) / (1 + RANDOM_FLIPS)
    left, right = _signed_sums(values[: values.size // 2]), np.sort(_signed_sums(values[values.size // 2 :]))
    above = right.size - np.searchsorted(right, bound - left, side="left")
    below = np.searchsorted(right, -bound - left, side="right")
    extreme = int(np.minimum(above + below, right.size).sum())
    return extreme / (left.size * right.size)


def sign_flip_floor(n_values: int) -> float:
    """The smallest p that `sign_flip_p` can give: 2 / 2ⁿ where it is exact.

    >>> sign_flip_floor(5)
    0.0625
    """
    return 2.0 ** (1 - n_values) if n_values <= MAX_EXACT else 1 / (1 + RANDOM_FLIPS)


def sign_patterns(n_values: int) -> NDArray[np.float64]:
    """Sign patterns to try, shape (B, n): as they are first, then all others up to sign, or RANDOM_FLIPS drawn ones.

    Under a two-sided statistic a pattern and its opposite are the same, so that half of the 2ⁿ are enough.
    """
    if n_values > MAX_LISTED:
        return np.vstack([np.ones((1, n_values)), _drawn(n_values)])
    bits = np.arange(2 ** max(n_values - 1, 0))[:, None] >> np.arange(n_values)[None, :]
    signs_Bn: NDArray[np.float64] = np.where(bits & 1, -1.0, 1.0)
    return signs_Bn


def studentised_floor(n_values: int) -> float:
    """The smallest p over `sign_patterns`.

    >>> studentised_floor(10)
    0.001953125
    """
    return 2.0 ** (1 - n_values) if n_values <= MAX_LISTED else 1 / (1 + RANDOM_FLIPS)


def seeds_to_reach(n_folds: int, *, comparisons: int = 1, level: float = 0.05) -> int | None:
    """Seeds with which the test over folds × seeds can go below `level` after Holm over so many comparisons.

    None where the number of drawn patterns sets the floor, which no seed lowers. Raises BadInputError without folds or
    comparisons.

    >>> seeds_to_reach(5, comparisons=27)
    3
    """
    if n_folds < 1 or comparisons < 1:
        raise BadInputError(f"seeds to reach p < {level}: {n_folds} folds, {comparisons} comparisons; needs at least 1")
    if sign_flip_floor(MAX_EXACT + 1) * comparisons >= level:
        return None
    return next(seeds for seeds in count(1) if sign_flip_floor(n_folds * seeds) * comparisons < level)


def floor_advice(n_folds: int, n_seeds: int, *, comparisons: int = 1, level: float = 0.05) -> str:
    """What the test over folds × seeds cannot reach and what would let it, without a full stop.

    >>> floor_advice(5, 1, comparisons=27)
    '5 folds × 1 seed cannot go below .0625: add 2 seeds'
    >>> floor_advice(5, 3, comparisons=27)
    '5 folds × 3 seeds can go down to < .0001'
    """
    size, floor = f"{counted(n_folds, 'fold')} × {counted(n_seeds, 'seed')}", sign_flip_floor(n_folds * n_seeds)
    needed = seeds_to_reach(n_folds, comparisons=comparisons, level=level)
    if needed is None:
        return f"{size} cannot go below {p_value(floor)}: too many comparisons for any number of seeds"
    if needed <= n_seeds:
        return f"{size} can go down to {p_value(floor)}"
    return f"{size} cannot go below {p_value(floor)}: add {counted(needed - n_seeds, 'seed')}"


@lru_cache(maxsize=2)
def _drawn(n_values: int) -> NDArray[np.float64]:
    flips = np.random.default_rng(0).choice(np.array([-1.0, 1.0]), size=(RANDOM_FLIPS, n_values))
    flips.setflags(write=False)
    return flips


def _signed_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sums of all 2ⁿ sign patterns."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums
