"""How long a sweep still takes, with hand-made arms whose costs differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from sweeps.eta import Leg, Pace, search_progress, shape


@dataclass(frozen=True, kw_only=True)
class Trial:
    trial_key: str
    axes: dict[str, Any] = field(default_factory=dict)
    upstream: str = "mockingjay"
    arm: str = "arm"
    arm_key: str = "arm"
    twin_key: str | None = None
    seed: int = 0
    control: str = "none"


def leg(trial_key: str, seconds: float, *, share: float, begun: float = 0.0) -> Leg:
    return Leg(trial_key=trial_key, seconds=seconds, share_begun=begun, share=share)


def pace(slots: int, *trials: Trial) -> Pace:
    made = Pace(slots)
    made.plan(trials)
    return made


def test_trials_that_differ_in_what_is_hidden_have_one_shape():
    first = Trial(trial_key="1", axes={"masking.ratio": 0.15, "pretrain.steps": 100})
    assert shape(first) == shape(Trial(trial_key="2", axes={"masking.ratio": 0.3, "pretrain.steps": 100}))
    assert shape(first) != shape(Trial(trial_key="3", axes={"masking.ratio": 0.15, "pretrain.steps": 200}))
    assert shape(first) != shape(Trial(trial_key="4", axes=first.axes, upstream="npc"))
    assert shape(Trial(trial_key="5", axes={"score.head": True})) != shape(Trial(trial_key="6"))


def test_arms_are_timed_by_their_own_kind():
    short = [Trial(trial_key=f"s{i}", axes={"pretrain.steps": 100}) for i in range(4)]
    long = [Trial(trial_key=f"l{i}", axes={"pretrain.steps": 1000}) for i in range(4)]
    made = pace(1, *short, *long)
    made.took("s0", 10.0)
    made.took("l0", 100.0)
    eta = made.left(["s1", "l1", "l2"], [])
    assert (eta.seconds, eta.rough) == (210.0, False)
    # By shares of the trials alone it would be 3 × 55 s.


def test_a_kind_that_was_not_measured_is_guessed_and_said_to_be():
    npc = Trial(trial_key="n", upstream="npc")
    made = pace(1, Trial(trial_key="m"), npc)
    assert made.left(["n"], []) is None
    made.took("m", 20.0)
    assert made.left(["n"], []) == made.left([], [], more=1)
    assert made.left(["n"], []).rough
    assert made.left(["n"], []).seconds == 20.0


def test_the_last_lane_counts():
    trials = [Trial(trial_key=f"{i}") for i in range(6)]
    made = pace(2, *trials)
    made.took("0", 30.0)
    assert made.left(["1", "2", "3"], []).seconds == 60.0
    assert made.left(["1"], [leg("2", 27.0, share=0.9), leg("3", 3.0, share=0.1)]).seconds == pytest.approx(33.0)


def test_a_running_trial_by_its_own_pace_once_it_has_one():
    made = pace(1, Trial(trial_key="0"), Trial(trial_key="1"))
    made.took("0", 100.0)
    assert made.left([], [leg("1", 8.0, share=0.05)]).seconds == pytest.approx(92.0)
    assert made.left([], [leg("1", 80.0, share=0.4)]).seconds == pytest.approx(120.0)
    # Resumed at 60 %: the leg's own twenty percent took 80 s, so do the twenty that are left.
    assert made.left([], [leg("1", 80.0, share=0.8, begun=0.6)]).seconds == pytest.approx(80.0)
    assert made.left([], [leg("1", 500.0, share=0.0)]).seconds == 0.0


def test_recent_trials_count():
    made = pace(1, *(Trial(trial_key=f"{i}") for i in range(20)))
    for i in range(9):
        made.took(f"{i}", 10.0)
    for i in range(9, 17):
        made.took(f"{i}", 40.0)
    assert made.left(["17"], []).seconds == 40.0


def test_nothing_left():
    assert pace(3).left([], []).seconds == 0.0


def test_points_of_a_search_without_twins_and_controls():
    trials = [
        Trial(trial_key="1", arm_key="a", twin_key="t"), Trial(trial_key="2", arm_key="t"),
        Trial(trial_key="3", arm_key="c", twin_key="t", control="loudness"),
        Trial(trial_key="4", arm_key="b", twin_key="t"), Trial(trial_key="5", arm_key="b", twin_key="t", seed=1),
    ]  # fmt: skip
    assert search_progress(trials) == 2
