"""Masks checked by hand, by property, and against the law they are drawn from."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import MaskingConfig
from core.errors import BadInputError
from core.masking import MaskAudit, corrupt, draw_mask, hidden_runs, span_scores
from core.seeding import stream


def ems(*, ratio: float = 0.15, span: int = 7, temperature: float = 1.0) -> MaskingConfig:
    return MaskingConfig(policy="ems", ratio=ratio, span=span, temperature=temperature)


def random(*, ratio: float = 0.15, span: int = 7) -> MaskingConfig:
    return MaskingConfig(policy="random", ratio=ratio, span=span, temperature=None)


def draw(intensity: np.ndarray, config: MaskingConfig, index: int = 0) -> np.ndarray:
    return draw_mask(intensity, config, count=stream(1, "count", index), place=stream(1, "place", index))


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=length).astype(np.float32)


@settings(max_examples=300, deadline=None)
@given(
    length=st.integers(1, 400),
    span=st.integers(1, 30),
    ratio=st.floats(0.01, 0.99),
    temperature=st.sampled_from([0.01, 0.3, 1.0, 10.0]),
    seed=st.integers(0, 10_000),
)
def test_twins_hide_equally_many_frames_near_the_ratio(length, span, ratio, temperature, seed):
    intensity = noise(length, seed)
    arm = draw(intensity, ems(ratio=ratio, span=span, temperature=temperature), seed)
    twin = draw(intensity, random(ratio=ratio, span=span), seed)
    assert arm.sum() == twin.sum()
    assert abs(arm.sum() - ratio * length) < min(span, length) + 1e-6


@settings(max_examples=200, deadline=None)
@given(length=st.integers(20, 300), span=st.integers(1, 12), seed=st.integers(0, 10_000))
def test_runs_are_whole_spans_while_there_is_room(length, span, seed):
    mask = draw(noise(length, seed), ems(ratio=0.3, span=span), seed)
    assert all(run % min(span, length) == 0 for run in hidden_runs(mask)[:, 1])


def test_expected_share_is_the_ratio_exactly_also_where_spans_do_not_fit():
    # 100 frames at 15 % are 2.14 spans of 7: always 2 would be 14 %, always rounding up 21 %.
    config = ems(ratio=0.15, span=7)
    shares = [draw(noise(100), config, index).mean() for index in range(4000)]
    assert np.mean(shares) == pytest.approx(0.15, abs=0.002)


def test_infinite_temperature_is_the_random_arm_bit_for_bit():
    intensity = noise(250)
    for index in range(50):
        hot = draw(intensity, ems(temperature=math.inf), index)
        assert np.array_equal(hot, draw(intensity, random(), index))


def test_cold_temperature_takes_the_most_intense_disjoint_spans():
    intensity = np.zeros(40, dtype=np.float32)
    intensity[5:10] = 3.0
    intensity[30:35] = 2.0
    mask = draw(intensity, ems(ratio=0.25, span=5, temperature=1e-6))
    assert hidden_runs(mask).tolist() == [[5, 5], [30, 5]]


@pytest.mark.slow
def test_first_span_follows_the_stated_law():
    """With one span to place, P(start) ∝ exp(z/τ): compared with 40,000 draws."""
    intensity = np.array([0.0, 0.2, 1.0, 0.4, -0.5, 0.1], dtype=np.float32)
    config = ems(ratio=2 / 6, span=2, temperature=0.7)
    scores = span_scores(intensity, 2)
    law = np.exp(scores / 0.7) / np.exp(scores / 0.7).sum()
    draws = Counter(int(hidden_runs(draw(intensity, config, i))[0, 0]) for i in range(40_000))
    observed = np.array([draws[start] for start in range(5)]) / 40_000
    assert np.abs(observed - law).max() < 0.01


@pytest.mark.slow
def test_two_spans_follow_draws_without_replacement():
    """Span 1, two of four frames: P({a, b}) = p_a·p_b/(1−p_a) + p_b·p_a/(1−p_b)."""
    intensity = np.array([0.0, 1.0, 2.0, 3.0], dtype=np.float32)
    config = ems(ratio=0.5, span=1, temperature=1.0)
    z = (intensity - intensity.mean()) / intensity.std()
    p = np.exp(z) / np.exp(z).sum()
    draws = Counter(tuple(np.flatnonzero(draw(intensity, config, i)).tolist()) for i in range(30_000))
    for a, b in itertools.combinations(range(4), 2):
        law = p[a] * p[b] / (1 - p[a]) + p[b] * p[a] / (1 - p[b])
        assert draws[a, b] / 30_000 == pytest.approx(law, abs=0.012)


def test_constant_intensity_is_random_masking():
    flat = np.full(200, 0.7, dtype=np.float32)
    assert np.array_equal(span_scores(flat, 7), np.zeros(194))
    assert np.array_equal(draw(flat, ems(temperature=0.01)), draw(flat, random()))


def test_full_ratio_crowds_but_meets_the_number():
    mask = draw(noise(50), ems(ratio=0.95, span=10))
    assert mask.sum() in (40, 50)


def test_nan_intensity_is_refused_with_its_frame():
    intensity = noise(30)
    intensity[11] = np.nan
    with pytest.raises(BadInputError, match="frame 11 is nan"):
        draw(intensity, ems())


def test_an_empty_utterance_is_refused():
    with pytest.raises(BadInputError, match="no frames"):
        draw(np.zeros(0, dtype=np.float32), random())


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1])
def test_ratios_at_and_beyond_the_ends_are_refused(ratio):
    with pytest.raises(ValueError, match="ratio"):
        random(ratio=ratio)


def test_corruption_by_fate():
    fbank = np.arange(40, dtype=np.float32).reshape(20, 2) + 1
    mask = np.zeros(20, dtype=bool)
    mask[3:8] = True
    outcomes = Counter()
    for index in range(3000):
        seen = corrupt(fbank, mask, random(), fate=stream(0, "fate", index))
        assert np.array_equal(seen[~mask], fbank[~mask])
        if (seen[mask] == 0).all():
            outcomes["zero"] += 1
        elif np.array_equal(seen, fbank):
            outcomes["kept"] += 1
        else:
            steps = np.diff(seen[3:8, 0])
            assert (steps == 2).all(), "a replaced span is a contiguous stretch of the utterance"
            outcomes["replaced"] += 1
    assert outcomes["zero"] / 3000 == pytest.approx(0.8, abs=0.03)
    assert outcomes["replaced"] / 3000 == pytest.approx(0.1 * 15 / 16, abs=0.02)


def test_audit_by_hand():
    audit = MaskAudit()
    audit.count(np.array([True, True, False, False]), np.array([3, 1, 1, 1], dtype=np.float32))
    assert (audit.hidden, audit.valid, dict(audit.runs)) == (2, 4, {2: 1})
    assert audit.realised_ratio == 0.5
    assert audit.intensity_share == 1.0
    spread = math.sqrt(0.75)
    assert audit.intensity_z == pytest.approx((1.5 - 0.5) / spread / 2)
    assert MaskAudit.from_json(audit.to_json()) == audit


def test_audit_tells_emotional_from_random_masking():
    arm, twin = MaskAudit(), MaskAudit()
    for index in range(200):
        intensity = np.convolve(noise(200, index), np.ones(15) / 15, mode="same").astype(np.float32)
        arm.count(draw(intensity, ems(temperature=0.3), index), intensity)
        twin.count(draw(intensity, random(), index), intensity)
    assert arm.hidden == twin.hidden
    assert arm.intensity_z > 0.8
    assert abs(twin.intensity_z) < 0.08
    assert arm.intensity_share > twin.intensity_share + 0.03
