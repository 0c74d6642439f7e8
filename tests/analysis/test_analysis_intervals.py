"""Standard errors against statsmodels and ANOVA, quantiles against a plain loop, and what swapping must do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from paired_examples import drawn, equal_speakers
from scipy import stats

from analysis.intervals import (
    MIN_SPEAKERS,
    Spread,
    interval,
    paired_interval,
    speaker_weights,
    spread,
    stacked,
    studentised_quantiles,
)
from analysis.paired import Contributions

FOLDS = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def mirrored(pair: Contributions) -> Contributions:
    return Contributions(added_KFS=-pair.added_KFS, weight_FS=pair.weight_FS)


def test_speakers_and_folds_are_the_cluster_variances_of_statsmodels() -> None:
    values = np.random.default_rng(2).normal(0.02, 0.05, (1, 10))
    found = spread(equal_speakers(values, folds=FOLDS))
    model = sm.OLS(values[0], np.ones(10))
    by_fold = model.fit(cov_type="cluster", cov_kwds={"groups": np.array(FOLDS)}).bse[0]
    assert found.folds == pytest.approx(by_fold**2)
    assert math.sqrt(found.speakers) == pytest.approx(stats.sem(values[0]))
    assert (found.seeds, found.crossed, found.widening) == (0.0, 0.0, 1.0)
    assert found.se == pytest.approx(max(by_fold, stats.sem(values[0])))


def test_folds_count_only_where_they_hold_several_speakers() -> None:
    values = np.random.default_rng(3).normal(size=(1, 10))
    assert spread(equal_speakers(values)).folds == 0
    assert spread(equal_speakers(values, folds=[0] * 5 + [1] * 5)).folds == 0  # one difference of two folds: no spread


def test_unequal_speakers_by_hand() -> None:
    """Weights ¾ and ¼, differences .1 and −.1: mean .05, residuals .0375 and −.0375, times 2/(2−1)."""
    pair = Contributions(added_KFS=np.array([[[0.075, -0.025]]]), weight_FS=np.array([[0.75, 0.25]]))
    assert spread(pair).speakers == pytest.approx(2 * 2 * 0.0375**2)


def test_seeds_are_the_crossed_components_of_anova() -> None:
    """Mean squares of seed and of seed × speaker in a two-way layout without repetition."""
    rng = np.random.default_rng(4)
    n_seeds, n_speakers = 4, 10
    values = rng.normal(0, 0.03, (1, n_speakers)) + rng.normal(0, 0.05, (n_seeds, 1)) + rng.normal(0, 0.01, (4, 10))
    found = spread(equal_speakers(values))
    rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    between = n_speakers * values.mean(axis=1).var(ddof=1)
    interaction = (rest**2).sum() / ((n_seeds - 1) * (n_speakers - 1))
    assert found.crossed == pytest.approx(interaction / values.size)
    assert found.seeds == pytest.approx((between - interaction) / values.size)
    freedom = (found.speakers + found.seeds) ** 2 / (found.speakers**2 / 9 + found.seeds**2 / 3)
    assert found.widening == pytest.approx(stats.t.ppf(0.975, freedom) / stats.t.ppf(0.975, 9))


def test_variance_is_right_on_average() -> None:
    """Speakers .04, seeds .03, seed × speaker .02: the true variance of the mean over 3 seeds and 10 speakers."""
    rng = np.random.default_rng(5)
    truth = 0.04**2 / 10 + 0.03**2 / 3 + 0.02**2 / 30
    squares = []
    for _ in range(1500):
        values = rng.normal(0, 0.04, (1, 10)) + rng.normal(0, 0.03, (3, 1)) + rng.normal(0, 0.02, (3, 10))
        squares.append(spread(equal_speakers(values)).se ** 2)
    assert np.mean(squares) == pytest.approx(truth, rel=0.08)


def test_quantiles_are_those_of_a_plain_percentile_t() -> None:
    values = np.random.default_rng(6).normal(0.01, 0.05, (1, 12))
    pair, draws = equal_speakers(values), speaker_weights(12, resamples=400, seed=3)
    low, high = studentised_quantiles(*stacked([pair]), draws_BS=draws)
    plain = []
    for row in draws.astype(int):
        again = np.repeat(values[0], row)
        plain.append((again.mean() - values.mean()) / (again.std(ddof=1) / math.sqrt(12)))
    assert low[0] == pytest.approx(np.quantile(plain, 0.025, method="lower"), rel=1e-9)
    assert high[0] == pytest.approx(np.quantile(plain, 0.975, method="higher"), rel=1e-9)


def test_on_many_speakers_it_is_the_t_interval() -> None:
    values = np.random.default_rng(7).normal(0.02, 0.05, (1, 200))
    found = paired_interval(equal_speakers(values), resamples=10_000, seed=0)
    expected = stats.ttest_1samp(values[0], 0).confidence_interval(0.95)
    assert found == pytest.approx(tuple(expected), abs=3e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(-0.1, 0.1), st.integers(MIN_SPEAKERS, 14))
def test_swapping_arm_and_twin_mirrors_the_interval(seed: int, mean: float, n_speakers: int) -> None:
    pair = drawn(np.random.default_rng(seed), n_speakers=n_speakers, mean=mean)
    own, other = (paired_interval(each, resamples=300, seed=1) for each in (pair, mirrored(pair)))
    assert own is not None
    assert other is not None
    assert (-own[1], -own[0]) == pytest.approx(other, abs=1e-12)
    assert own[0] <= pair.difference <= own[1]


def test_arms_share_draws_and_do_not_change_each_others_intervals() -> None:
    rng = np.random.default_rng(8)
    pairs, draws = [drawn(rng) for _ in range(5)], speaker_weights(10, resamples=500, seed=0)
    whole = studentised_quantiles(*stacked([*pairs, pairs[0]]), draws_BS=draws)
    for column, pair in enumerate(pairs):
        alone = studentised_quantiles(*stacked([pair]), draws_BS=draws)
        assert whole[:, column] == pytest.approx(alone[:, 0], rel=1e-9)
    assert whole[:, 5] == pytest.approx(whole[:, 0], rel=1e-12)


def test_no_interval_where_it_would_be_invented() -> None:
    few = equal_speakers(np.random.default_rng(9).normal(size=(1, MIN_SPEAKERS - 1)))
    assert paired_interval(few, resamples=300, seed=0) is None
    one_differs = equal_speakers(np.array([[0.1] + [0.0] * 9]))
    assert paired_interval(one_differs, resamples=300, seed=0) is None
    assert paired_interval(equal_speakers(np.array([[0.1]])), resamples=300, seed=0) is None


def test_equal_arms_have_an_interval_of_nothing() -> None:
    assert paired_interval(equal_speakers(np.zeros((2, 10))), resamples=300, seed=0) == (0.0, 0.0)
    constant = paired_interval(equal_speakers(np.full((1, 10), 0.1)), resamples=300, seed=0)
    assert constant == pytest.approx((0.1, 0.1), abs=1e-9)


def test_few_seeds_widen() -> None:
    narrow = Spread(speakers=1e-4, folds=0.0, seeds=0.0, crossed=0.0, widening=1.0)
    wide = Spread(speakers=1e-4, folds=4e-4, seeds=5e-4, crossed=0.0, widening=1.5)
    assert interval(0.0, narrow, quantiles=(-2, 2), n_speakers=10) == pytest.approx((-0.02, 0.02))
    assert interval(0.0, wide, quantiles=(-2, 2), n_speakers=10) == pytest.approx((-0.09, 0.09))


def test_weights_draw_every_speaker_equally_and_are_repeatable() -> None:
    weights = speaker_weights(10, resamples=4000, seed=0)
    assert (weights.sum(axis=1) == 10).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(10), abs=0.06)
    speaker_weights.cache_clear()
    assert (speaker_weights(10, resamples=4000, seed=0) == weights).all()
    assert (speaker_weights(10, resamples=4000, seed=1) != weights).any()
