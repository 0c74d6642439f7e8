from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from core.errors import BadInputError
from core.intensity.agreement import MIN_SPEAKERS, agreement, lead


def test_it_is_the_mean_over_cases_not_over_speakers():
    found = agreement({"a": (3.0, 3), "b": (0.0, 1), "silent": (0.0, 0)})
    assert found.value == 0.75
    assert found.cases == 4
    assert found.speakers == 2


def test_the_interval_counts_speakers_and_is_as_wide_as_a_t_interval():
    random = np.random.default_rng(0)
    means = random.normal(0.6, 0.1, size=10)
    found = agreement({str(speaker): (100 * mean, 100) for speaker, mean in enumerate(means)})
    low, high = stats.t.interval(0.95, df=9, loc=means.mean(), scale=stats.sem(means))
    assert found.high - found.low == pytest.approx(high - low, rel=0.12)
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth_with_ten_speakers():
    random = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        rows = {str(speaker): (20 * value, 20) for speaker, value in enumerate(random.normal(0.5, 0.1, size=10))}
        found = agreement(rows)
        held += found.low <= 0.5 <= found.high
    assert 0.91 <= held / 300 <= 0.98


def test_few_speakers_have_no_interval():
    rows = {str(speaker): (speaker % 2, 1) for speaker in range(MIN_SPEAKERS)}
    assert agreement(rows).low is not None
    del rows["0"]
    found = agreement(rows)
    assert (found.low, found.high) == (None, None)


def test_a_lead_is_paired():
    """Two tracks that both depend on the speaker, one always 2 % better: the lead is sure, the values are not."""
    shares = np.linspace(0.3, 0.9, 12)
    one = {str(speaker): (50 * (share + 0.02), 50) for speaker, share in enumerate(shares)}
    other = {str(speaker): (50 * share, 50) for speaker, share in enumerate(shares)}
    found = lead(one, other)
    assert found.value == pytest.approx(0.02)
    assert found.low == pytest.approx(0.02)
    assert found.high == pytest.approx(0.02)
    assert agreement(one).high - agreement(one).low > 0.1
    assert lead(other, one).value == pytest.approx(-0.02)


def test_the_same_again_is_the_same_and_another_seed_is_another_interval():
    rows = {str(speaker): (speaker**2.1, 37) for speaker in range(10)}
    assert agreement(rows) == agreement(rows)
    assert agreement(rows, seed=1).low != agreement(rows).low


def test_no_case_and_other_cases_are_refused():
    with pytest.raises(BadInputError, match="no case"):
        agreement({"a": (0.0, 0)})
    with pytest.raises(BadInputError, match="different cases"):
        lead({"a": (1.0, 2)}, {"a": (1.0, 3)})
