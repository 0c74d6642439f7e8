"""What a trial says while it runs: its cost by hand, over all upstreams."""

from __future__ import annotations

import pytest

from core.config import NpcConfig, TrialConfig
from core.models.build import build_upstream
from core.pretrain import Reached, trained_parameters
from core.underway import Tally, training_flops
from tests.core.tiny_trial import PARAMETERS, tiny_trial


@pytest.mark.parametrize("upstream", ["mockingjay", "npc"])
@pytest.mark.parametrize("head", [False, True])
def test_parameters_are_those_that_the_optimizer_steps(tiny, upstream, head):
    config = tiny(upstream, head=head)
    real = sum(parameter.numel() for parameter in build_upstream(config, 6).parameters())
    assert trained_parameters(config, 6) == real


def test_parameters_by_hand(tmp_path):
    assert trained_parameters(tiny_trial(tmp_path), 8) == PARAMETERS


def test_flops_by_hand(tiny):
    # Two frames are one position of this Mockingjay; a second head sends every position through it twice.
    assert training_flops(tiny(), parameters=100, frames=50) == 6 * 100 * 25
    assert training_flops(tiny(head=True), parameters=100, frames=50) == 6 * 100 * 50
    npc = TrialConfig(upstream="npc", npc=NpcConfig(hidden=16, codebooks=(8,)), mockingjay={"stack": 3})
    assert training_flops(npc, parameters=100, frames=50) == 6 * 100 * 50


def test_upstreams_add_up_and_only_asked_steps_are_entries(tiny):
    logged: list[tuple[dict[str, float], int]] = []
    config = TrialConfig.model_validate(tiny().model_dump() | {"interim": {"at": [12]}})
    tally = Tally(config=config, parameters=10, log=lambda values, step: logged.append((dict(values), step)))
    first = tally.at(Reached(step=10, frames=100, seconds=1.0, ua={"a": 0.25}))
    assert (first.step, first.frames, first.seconds, first.flops, first.interim) == (10, 100, 1.0, 3000.0, None)
    tally.end(Reached(step=10, frames=100, seconds=1.0, ua={"a": 0.25}))
    second = tally.at(Reached(step=2, frames=20, seconds=0.5, ua={"b": 0.75}))
    assert (second.step, second.frames, second.seconds, second.flops) == (12, 120, 1.5, 3600.0)
    assert second.interim is not None
    assert (second.interim.step, second.interim.ua, second.interim.mean) == (12, {"a": 0.25, "b": 0.75}, 0.5)
    assert logged == [({"interim/validation_ua": 0.5}, 12)]
    assert tally.spent(2.0).seconds == 3.0
    assert tally.entries == [second.interim]


def test_loops_of_a_system_are_counted_beside_the_upstreams(tiny):
    tally = Tally(config=tiny(), parameters=10, log=lambda values, step: None)
    tally.end(Reached(step=10, frames=100, seconds=1.0))
    after = tally.worked(steps=3, frames=7, seconds=0.5, flops=11.0)
    # 100 frames are 50 positions of the upstream: 6 · 10 · 50.
    assert (after.step, after.frames, after.seconds, after.flops) == (13, 107, 1.5, 3011.0)
    assert tally.worked(steps=1, frames=1, seconds=0.0, flops=1.0) == tally.now()
    assert (tally.now().step, tally.now().flops) == (14, 3012.0)
