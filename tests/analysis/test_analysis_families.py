"""Corrected p values against scipy, statsmodels and a brute-force count of every sign pattern."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paired_examples import drawn, equal_speakers
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.families import Family, family, holm
from analysis.intervals import spread, stacked
from analysis.paired import Contributions
from analysis.sign_flips import sign_flip_p


def of(pairs: list[Contributions]) -> Family:
    errors = [spread(pair).se * spread(pair).widening for pair in pairs]
    return family(*stacked(pairs), error_P=np.array(errors))


def sharing_a_twin(seed: int, *, arms: int = 6, speakers: int = 8, mean: float = 0.0) -> list[Contributions]:
    rng = np.random.default_rng(seed)
    twin = rng.normal(0, 0.03, (1, speakers))
    return [equal_speakers(mean * arm + rng.normal(0, 0.03, (1, speakers)) - twin) for arm in range(arms)]


@pytest.mark.parametrize("seed", range(4))
def test_alone_it_is_the_permutation_test_of_scipy_on_t(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.02, 0.04, (1, 8))
    reference = stats.permutation_test(
        (values[0],), lambda x: stats.ttest_1samp(x, 0).statistic, permutation_type="samples", n_resamples=np.inf
    )
    found = of([equal_speakers(values)])
    assert found.p_P[0] == pytest.approx(reference.pvalue)
    # With equal speakers t and the mean put the patterns in the same order.
    assert found.p_P[0] == pytest.approx(sign_flip_p(values[0].tolist()))
    assert found.p_max_t_P[0] == found.p_P[0]


@pytest.mark.parametrize("seed", range(4))
def test_step_down_against_every_pattern_counted(seed: int) -> None:
    """Westfall & Young 1993, algorithm 2.8, written out: t of every arm under every pattern, arm by arm."""
    pairs = sharing_a_twin(seed, mean=0.01)
    values = np.array([pair.by_speaker for pair in pairs]) * 8
    observed = np.abs(stats.ttest_1samp(values, 0, axis=1).statistic)
    patterns = [np.array(signs) for signs in product((1, -1), repeat=8)]
    t = np.abs([stats.ttest_1samp(signs * values, 0, axis=1).statistic for signs in patterns])
    expected, largest = np.empty(len(pairs)), 0.0
    order = np.argsort(-observed)
    for place, arm in enumerate(order):
        largest = max(largest, float((t[:, order[place:]].max(axis=1) >= observed[arm] - 1e-9).mean()))
        expected[arm] = largest
    found = of(pairs)
    assert found.p_max_t_P == pytest.approx(expected)
    assert (found.p_max_t_P >= found.p_P).all()
    assert found.p_max_t_P.min() <= min(multipletests(found.p_P, method="bonferroni")[1]) + 1e-12


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.permutations(range(6)))
def test_the_order_of_arms_changes_nothing(seed: int, order: list[int]) -> None:
    pairs = sharing_a_twin(seed, mean=0.005)
    first, again = of(pairs), of([pairs[arm] for arm in order])
    assert again.p_P == pytest.approx(first.p_P[order])
    assert again.p_max_t_P == pytest.approx(first.p_max_t_P[order])
    assert again.quantile == pytest.approx(first.quantile)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_swapping_all_arms_and_twins_changes_no_p(seed: int) -> None:
    pairs = sharing_a_twin(seed, mean=0.005)
    swapped = [Contributions(added_KFS=-pair.added_KFS, weight_FS=pair.weight_FS) for pair in pairs]
    first, again = of(pairs), of(swapped)
    assert again.p_P == pytest.approx(first.p_P)
    assert again.p_max_t_P == pytest.approx(first.p_max_t_P)


@pytest.mark.parametrize("seed", range(3))
def test_an_identical_arm_costs_max_t_nothing_and_holm_something(seed: int) -> None:
    pairs = sharing_a_twin(seed, mean=0.01)
    first, again = of(pairs), of([*pairs, pairs[-1]])
    assert again.p_P[:6] == pytest.approx(first.p_P)
    assert again.p_max_t_P[:6] == pytest.approx(first.p_max_t_P)
    assert again.quantile == pytest.approx(first.quantile)
    assert sum(holm(again.p_P.tolist())[:6]) > sum(holm(first.p_P.tolist()))


def test_other_speakers_are_no_evidence() -> None:
    """Arms of a joined sweep on other speakers: zeros there, and each p as by itself."""
    rng = np.random.default_rng(1)
    one, other = drawn(rng, n_speakers=6, mean=0.03), drawn(rng, n_speakers=7, mean=0.03)
    added, weight = np.zeros((13, 2)), np.zeros((13, 2))
    added[:6, 0], weight[:6, 0] = one.by_speaker, one.weights
    added[6:, 1], weight[6:, 1] = other.by_speaker, other.weights
    errors = np.array([spread(one).se, spread(other).se])
    both = family(added, weight, error_P=errors)
    assert both.p_P == pytest.approx([of([one]).p_P[0], of([other]).p_P[0]])


def test_a_larger_error_makes_p_larger() -> None:
    pairs = sharing_a_twin(3, mean=0.02)
    errors = np.array([spread(pair).se for pair in pairs])
    tight, wide = (family(*stacked(pairs), error_P=errors * factor) for factor in (1, 1.3))
    assert (wide.p_P >= tight.p_P).all()
    assert (wide.p_P > tight.p_P).any()
    assert family(*stacked(pairs), error_P=errors * 0.5).p_P == pytest.approx(tight.p_P)


@pytest.mark.parametrize("values", [np.zeros((1, 10)), np.zeros((1, 1))])
def test_no_difference_is_no_evidence(values: np.ndarray) -> None:
    found = of([equal_speakers(values)])
    assert (found.p_P[0], found.p_max_t_P[0]) == (1.0, 1.0)


def test_a_difference_without_spread_reaches_the_floor() -> None:
    assert of([equal_speakers(np.full((1, 10), 0.05))]).p_P[0] == 2**-9


def test_holm_by_hand() -> None:
    # sorted .01 ×3 = .03, .02 ×2 = .04, .04 ×1 → kept at .04
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([]) == []


@pytest.mark.parametrize("size", [1, 2, 30])
def test_holm_is_that_of_statsmodels(size: int) -> None:
    # Rounded, so that some are equal.
    p_values = np.random.default_rng(size).beta(0.3, 1, size).round(2).tolist()
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_joint_intervals_are_wider_than_single_ones() -> None:
    one, six = of(sharing_a_twin(5)[:1]), of(sharing_a_twin(5))
    assert stats.t.ppf(0.975, 7) * 0.7 < one.quantile < six.quantile < math.inf
