"""The exact test against scipy and by hand; what a number of folds and seeds can reach."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.sign_flips import (
    MAX_EXACT,
    MAX_LISTED,
    RANDOM_FLIPS,
    floor_advice,
    seeds_to_reach,
    sign_flip_floor,
    sign_flip_p,
    sign_patterns,
    studentised_floor,
)
from core.errors import BadInputError


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=9))
def test_sign_flip_equals_scipy(differences: list[int]) -> None:
    """Ties (equal and zero differences) included; whole numbers, whose sums have no rounding that could break them."""
    reference = stats.permutation_test(
        (np.array(differences),), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    # scipy doubles the smaller tail, which for a symmetric null distribution is the same
    assert sign_flip_p(differences) == pytest.approx(min(1.0, reference.pvalue), abs=1e-12)


def test_sign_flip_by_hand() -> None:
    # |1 + 2 + 4| = 7 is reached by +++ and --- of the 8 patterns; |1 + 2 - 4| = 1 or more by all 8.
    assert sign_flip_p([1, 2, 4]) == 2 / 8
    assert sign_flip_p([1, 2, -4]) == 1.0
    # |1 + 4 - 2| = 3 or more: ±(1+2+4), ±(1-2+4), ±(-1+2+4); only ±(1+2-4) falls short.
    assert sign_flip_p([1, -2, 4]) == 6 / 8
    assert sign_flip_p([0.0, 0.0]) == 1.0


def test_rounding_breaks_no_tie() -> None:
    """0.01 is the smallest sum that an odd number of hundredths can have: every pattern is at least as extreme."""
    assert sign_flip_p([-0.2, 0.38, 0.4, -0.47, -0.15, -0.31, 0.36]) == 1.0


def test_five_folds_cannot_go_below_one_sixteenth() -> None:
    assert sign_flip_p([0.9, 0.8, 0.7, 0.9, 0.8]) == sign_flip_floor(5) == 0.0625
    assert sign_flip_floor(6) < 0.05


def test_many_values_stay_exact_and_more_are_drawn() -> None:
    rng = np.random.default_rng(3)
    differences = rng.normal(0.3, 1, size=MAX_EXACT - 1)
    drawn = np.abs(rng.choice([-1, 1], size=(100_000, MAX_EXACT - 1)) @ differences) >= abs(differences.sum()) - 1e-12
    assert sign_flip_p(differences.tolist()) == pytest.approx(drawn.mean(), abs=0.006)
    many = rng.normal(0.3, 1, size=91)
    assert sign_flip_p(many.tolist()) == pytest.approx(stats.ttest_1samp(many, 0).pvalue, abs=0.01)
    assert sign_flip_p([1.0] * 91) == sign_flip_floor(91) == 1 / (1 + RANDOM_FLIPS)


@pytest.mark.parametrize("differences", [[], [0.1, float("nan")]])
def test_sign_flip_refuses_nothing_and_nan(differences: list[float]) -> None:
    with pytest.raises(BadInputError, match="sign-flip test"):
        sign_flip_p(differences)


def test_patterns_are_all_there_are_up_to_sign() -> None:
    patterns = sign_patterns(4)
    assert (patterns[0] == 1).all()
    both = {tuple(row) for row in patterns} | {tuple(-row) for row in patterns}
    assert (len(patterns), len(both)) == (8, 16)
    assert sign_patterns(1).tolist() == [[1.0]]
    assert len(sign_patterns(MAX_LISTED)) == 2 ** (MAX_LISTED - 1)
    assert sign_patterns(MAX_LISTED + 1).shape == (1 + RANDOM_FLIPS, MAX_LISTED + 1)
    assert studentised_floor(MAX_LISTED) == 1 / len(sign_patterns(MAX_LISTED))


@pytest.mark.parametrize(("folds", "comparisons", "seeds"), [(5, 1, 2), (5, 27, 3), (10, 27, 2), (10, 1, 1), (1, 1, 6)])
def test_seeds_that_bring_the_floor_below_the_level(folds: int, comparisons: int, seeds: int) -> None:
    assert seeds_to_reach(folds, comparisons=comparisons) == seeds
    assert 2.0 ** (1 - folds * seeds) * comparisons < 0.05 <= 2.0 ** (1 - folds * (seeds - 1)) * comparisons


def test_advice() -> None:
    assert floor_advice(5, 1) == "5 folds × 1 seed cannot go below .0625: add 1 seed"
    assert floor_advice(5, 1, comparisons=27) == "5 folds × 1 seed cannot go below .0625: add 2 seeds"
    assert floor_advice(10, 1) == "10 folds × 1 seed can go down to .0020"


def test_where_drawing_sets_the_floor_seeds_do_not_help() -> None:
    assert seeds_to_reach(5, comparisons=10**4) is None
    assert floor_advice(5, 3, comparisons=10**4).endswith("too many comparisons for any number of seeds")


@pytest.mark.parametrize(("folds", "comparisons"), [(0, 1), (5, 0)])
def test_advice_needs_folds_and_comparisons(folds: int, comparisons: int) -> None:
    with pytest.raises(BadInputError, match="seeds to reach"):
        seeds_to_reach(folds, comparisons=comparisons)
