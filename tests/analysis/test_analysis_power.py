"""Corrected t, effect sizes and seeds needed, against scipy, statsmodels and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from paired_examples import equal_speakers
from scipy import stats
from statsmodels.stats.power import TTestPower

from analysis.corrected_t import corrected_t_p, part_ratio
from analysis.effects import effect_size
from analysis.power import MAX_SEEDS, Components, components, power, seeds_for_power
from core.errors import BadInputError
from core.records import FoldMetrics

CELLS = [0.02, 0.01, 0.03, 0.02, 0.04, -0.01]


def test_without_overlap_it_is_the_plain_t_test() -> None:
    assert corrected_t_p(CELLS, test_to_train=1e-12) == pytest.approx(stats.ttest_1samp(CELLS, 0).pvalue)


def test_overlap_shrinks_t_by_the_published_factor() -> None:
    """Nadeau & Bengio: 10 times more test data than 1/n counts for makes t smaller by √((1/n) / (1/n + ratio))."""
    plain = stats.ttest_1samp(CELLS, 0).statistic
    expected = 2 * stats.t.sf(plain * math.sqrt((1 / 6) / (1 / 6 + 1 / 3)), 5)
    assert corrected_t_p(CELLS, test_to_train=1 / 3) == pytest.approx(expected)


def test_corrected_t_without_spread_or_with_one_cell() -> None:
    assert math.isnan(corrected_t_p([0.1], test_to_train=0.25))
    assert corrected_t_p([0.0, 0.0], test_to_train=0.25) == 1.0
    assert corrected_t_p([0.1, 0.1, 0.1], test_to_train=0.25) == 0.0


@pytest.mark.parametrize(("values", "ratio"), [(CELLS, 0.0), (CELLS, math.inf), ([0.1, math.nan], 0.25)])
def test_corrected_t_refuses_what_is_not_finite(values: list[float], ratio: float) -> None:
    with pytest.raises(BadInputError, match="corrected t-test"):
        corrected_t_p(values, test_to_train=ratio)


def test_parts_of_a_record() -> None:
    """Five folds of 100, the next one's speakers for validation: 100 / (500 − 100 − 100)."""
    folds = [
        FoldMetrics(fold=str(k), split=split, n=100, ua=0.5, wa=0.5, macro_f1=0.5)
        for k in range(5)
        for split in ("test", "validation")
    ]
    assert part_ratio(folds) == pytest.approx(1 / 3)
    assert math.isnan(part_ratio(folds[:2]))
    assert math.isnan(part_ratio([]))


def test_effect_size_is_the_corrected_mean_over_sd() -> None:
    values = np.random.default_rng(0).normal(0.02, 0.03, 10)
    found = effect_size(float(values.mean()), variance=float(stats.sem(values)) ** 2, n_speakers=10)
    # J is nearly 1 − 3 / (4m − 1): Hedges 1981
    assert found == pytest.approx(values.mean() / values.std(ddof=1) * (1 - 3 / (4 * 9 - 1)), rel=1e-3)
    assert math.isnan(effect_size(0.1, variance=0.0, n_speakers=10))
    assert math.isnan(effect_size(0.1, variance=math.nan, n_speakers=2))


@pytest.mark.parametrize("difference", [-0.03, 0.005, 0.02])
def test_power_is_that_of_statsmodels(difference: float) -> None:
    expected = TTestPower().power(abs(difference) / 0.03, 10, 0.05, alternative="two-sided")
    assert power(difference, variance=0.03**2 / 10, n_speakers=10) == pytest.approx(expected, abs=1e-9)


def test_power_without_variance() -> None:
    assert (power(0.01, variance=0.0, n_speakers=5), power(0.0, variance=0.0, n_speakers=5)) == (1.0, 0.05)


def test_seeds_needed_are_the_first_number_that_is_enough() -> None:
    found = Components(lasting=0.005**2, fading=0.02**2, n_speakers=10)
    enough = [k for k in range(1, 101) if power(0.02, variance=0.005**2 + 0.02**2 / k, n_speakers=10) >= 0.8]
    assert 1 < seeds_for_power(0.02, found) == enough[0] < MAX_SEEDS
    assert seeds_for_power(-0.02, found) == enough[0]
    assert seeds_for_power(0.5, found) == 1


def test_more_seeds_cannot_help_where_speakers_differ_too_much() -> None:
    assert power(0.02, variance=0.01**2, n_speakers=10) < 0.8
    assert seeds_for_power(0.02, Components(lasting=0.01**2, fading=1e-6, n_speakers=10)) == math.inf
    assert seeds_for_power(0.0, Components(lasting=0.0, fading=0.0, n_speakers=10)) == math.inf
    assert math.isnan(seeds_for_power(0.02, None))


def test_components_of_one_seed_are_not_known() -> None:
    assert components(equal_speakers(np.ones((1, 10)))) is None


def test_components_are_right_on_average() -> None:
    rng = np.random.default_rng(1)
    found = [
        components(
            equal_speakers(rng.normal(0, 0.04, (1, 10)) + rng.normal(0, 0.03, (4, 1)) + rng.normal(0, 0.02, (4, 10)))
        )
        for _ in range(1000)
    ]
    lasting = np.mean([one.lasting for one in found if one])
    fading = np.mean([one.fading for one in found if one])
    assert lasting == pytest.approx(0.04**2 / 10, rel=0.05)
    assert fading == pytest.approx(0.03**2 + 0.02**2 / 10, rel=0.08)
