"""Intervals and tests against scipy, against cases worked by hand, and against data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics import (
    MIN_SPEAKERS,
    PairedCounts,
    bootstrap_differences,
    expanded_interval,
    holm,
    paired_difference,
    sign_flip_floor,
    sign_flip_p,
    speaker_weights,
)
from core.errors import BadInputError
from core.metrics import ua


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-50, 50).map(lambda x: x / 100), min_size=2, max_size=9))
def test_sign_flip_equals_scipy(differences: list[float]) -> None:
    """Ties (equal and zero differences) included: scipy counts sign patterns with a tolerance too."""
    reference = stats.permutation_test(
        (np.array(differences),), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
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


def test_five_folds_cannot_go_below_one_sixteenth() -> None:
    assert sign_flip_p([0.9, 0.8, 0.7, 0.9, 0.8]) == sign_flip_floor(5) == 0.0625
    assert sign_flip_floor(6) < 0.05


def test_many_folds_stay_exact_and_more_are_drawn() -> None:
    rng = np.random.default_rng(3)
    differences = rng.normal(0.3, 1, size=24)
    drawn = np.abs(rng.choice([-1, 1], size=(200_000, 24)) @ differences) >= abs(differences.sum()) - 1e-12
    assert sign_flip_p(differences.tolist()) == pytest.approx(drawn.mean(), abs=0.005)
    many = rng.normal(0.3, 1, size=91)
    assert sign_flip_p(many.tolist()) == pytest.approx(stats.ttest_1samp(many, 0).pvalue, abs=0.01)
    assert sign_flip_p([1.0] * 91) == sign_flip_floor(91) > 0


@pytest.mark.parametrize("differences", [[], [0.1, float("nan")]])
def test_sign_flip_refuses_nothing_and_nan(differences: list[float]) -> None:
    with pytest.raises(BadInputError, match="sign-flip test"):
        sign_flip_p(differences)


def test_holm_by_hand() -> None:
    # sorted .01 ×3 = .03, .02 ×2 = .04, .04 ×1 → kept at .04
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([]) == []


def make_pair(right_arm: np.ndarray, right_twin: np.ndarray, total: np.ndarray) -> PairedCounts:
    return PairedCounts(gain=(right_arm - right_twin).astype(float), total=total)


def two_folds() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two folds of two speakers and two classes, speakers 0 and 1 in fold 0, 2 and 3 in fold 1: (F, S, C)."""
    total = np.zeros((2, 4, 2), dtype=np.int64)
    total[0, 0], total[0, 1], total[1, 2], total[1, 3] = (4, 2), (6, 2), (5, 5), (1, 3)
    arm, twin = np.zeros_like(total), np.zeros_like(total)
    arm[0, 0], arm[0, 1], arm[1, 2], arm[1, 3] = (3, 1), (5, 2), (4, 2), (1, 2)
    twin[0, 0], twin[0, 1], twin[1, 2], twin[1, 3] = (2, 1), (5, 1), (3, 3), (0, 2)
    return arm, twin, total


def test_difference_is_the_mean_over_folds_of_ua() -> None:
    arm, twin, total = two_folds()

    def fold_ua(right: np.ndarray, fold: int) -> float:
        hits, n = right[fold].sum(axis=0), total[fold].sum(axis=0)
        return ua(np.array([[hits[0], n[0] - hits[0]], [n[1] - hits[1], hits[1]]]))

    expected = np.mean([fold_ua(arm, fold) - fold_ua(twin, fold) for fold in (0, 1)])
    assert paired_difference(make_pair(arm, twin, total), metric="ua") == pytest.approx(expected, abs=1e-12)
    wa_expected = np.mean([(11 - 9) / 14, (9 - 8) / 14])
    assert paired_difference(make_pair(arm, twin, total), metric="wa") == pytest.approx(wa_expected, abs=1e-12)


def test_one_resample_by_hand() -> None:
    """Speaker 0 twice, 2 and 3 once, 1 never: fold 0 counts by 2 drawn of 2 speakers, fold 1 too."""
    arm, twin, total = two_folds()
    drawn = bootstrap_differences(make_pair(arm, twin, total), metric="wa", weights_BS=np.array([[2, 0, 1, 1]]))
    assert drawn[0] == pytest.approx((1 / 6 + 1 / 14) / 2)
    # UA: class 0: fold 0 (3-2)/4, fold 1 (5-3)/6; class 1: fold 0 0/2, fold 1 (4-5)/8
    drawn = bootstrap_differences(make_pair(arm, twin, total), metric="ua", weights_BS=np.array([[2, 0, 1, 1]]))
    assert drawn[0] == pytest.approx(((1 / 4 + 2 / 6) / 2 + (0 - 1 / 8) / 2) / 2)


def test_a_fold_nobody_was_drawn_from_does_not_count() -> None:
    arm, twin, total = two_folds()
    drawn = bootstrap_differences(make_pair(arm, twin, total), metric="wa", weights_BS=np.array([[3, 1, 0, 0]]))
    assert drawn[0] == pytest.approx((3 * 1 + 1 * 1) / (3 * 6 + 1 * 8))


def test_with_one_speaker_per_fold_it_is_the_plain_bootstrap_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    total = np.zeros((6, 6, 1), dtype=np.int64)
    gain = np.zeros((6, 6, 1))
    total[range(6), range(6)] = 10
    gain[range(6), range(6), 0] = rng.integers(-5, 6, size=6)
    weights = speaker_weights(6, resamples=500, seed=1)
    drawn = bootstrap_differences(PairedCounts(gain=gain, total=total), metric="ua", weights_BS=weights)
    assert drawn == pytest.approx(weights @ (gain.sum(axis=(0, 2)) / 10) / 6)


def test_weights_draw_every_speaker_equally_and_are_repeatable() -> None:
    weights = speaker_weights(10, resamples=4000, seed=0)
    assert (weights.sum(axis=1) == 10).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(10), abs=0.06)
    speaker_weights.cache_clear()
    assert (speaker_weights(10, resamples=4000, seed=0) == weights).all()
    assert (speaker_weights(10, resamples=4000, seed=1) != weights).any()


def test_no_interval_where_it_would_be_invented() -> None:
    draws = np.linspace(-1, 1, 1000)
    assert expanded_interval(draws, n_speakers=MIN_SPEAKERS - 1) is None
    assert expanded_interval(np.where(draws > 0.8, np.nan, draws), n_speakers=10) is None
    assert expanded_interval(draws, n_speakers=MIN_SPEAKERS) is not None


def test_interval_covers_the_truth_where_utterances_would_not() -> None:
    """Ten speakers who differ: the speaker interval covers the true difference in about 95 % of repeated corpora.

    An interval that resamples utterances covers far less: the reason why speakers are the unit.
    """
    rng = np.random.default_rng(11)
    n, repetitions, truth = 60, 400, 0.05
    weights = speaker_weights(10, resamples=2000, seed=0)
    hits = naive = 0
    for _ in range(repetitions):
        gains = truth + rng.normal(0, 0.08, size=10)
        per_utterance = rng.binomial(1, np.clip(0.5 + gains, 0, 1)[:, None], size=(10, n)) - rng.binomial(
            1, 0.5, (10, n)
        )
        gain, total = np.zeros((5, 10, 1)), np.zeros((5, 10, 1), dtype=np.int64)
        gain[np.arange(10) // 2, np.arange(10), 0] = per_utterance.sum(axis=1)
        total[np.arange(10) // 2, np.arange(10), 0] = n
        pair = PairedCounts(gain=gain, total=total)
        interval = expanded_interval(bootstrap_differences(pair, metric="wa", weights_BS=weights), n_speakers=10)
        assert interval is not None
        hits += interval[0] <= truth <= interval[1]
        half = 1.96 * per_utterance.std() / np.sqrt(per_utterance.size)
        naive += abs(per_utterance.mean() - truth) <= half
    assert 0.92 <= hits / repetitions <= 0.98
    assert naive / repetitions < 0.90


def test_expanded_interval_has_the_width_of_a_t_interval() -> None:
    """On normal draws whose sd is the bootstrap's, √((n−1)/n)·s/√n."""
    n, s = 10, 1.0
    quantiles = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000) * s * np.sqrt((n - 1) / n) / np.sqrt(n)
    low, high = expanded_interval(quantiles, n_speakers=n) or (0, 0)
    half = stats.t.ppf(0.975, n - 1) * s / np.sqrt(n)
    assert (low, high) == pytest.approx((-half, half), rel=1e-3)
