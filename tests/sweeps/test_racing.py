"""Replicate racing: seeds are added while the sign of a difference is open, always to both sides of a pair."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from ended_trials import FOLDS, Ending, definition_of, drive, end, flat, planner_of
from scipy import stats

from core.errors import BadInputError
from core.store import Workspace
from sweeps.plan import PlannedTrial
from sweeps.racing import ArmRace, RacingSource, paired_interval

GAINS = {0.25: 0.20, 1.0: 0.0, 4.0: -0.20}
"""Temperature → planted difference to the twin; the noise of a cell is much smaller than the outer ones."""


def race_of(**content: object):
    axes = {"masking.temperature": list(GAINS)}
    return definition_of(**{"axes": axes, "seeds": [0, 1, 2, 3, 4], "racing": {"start": 2}, **content})


def planted(planned: PlannedTrial) -> Ending:
    """Cells of arm and twin wobble; the arm without an effect wobbles evenly around its twin."""
    temperature = planned.config.masking.temperature
    gain = GAINS.get(temperature, 0.0)
    signs = np.array([1, -1, 1, -1, 0]) * (-1) ** planned.seed
    wobble = 0.02 * signs * (1 if temperature else 0)
    return Ending(ua=dict(zip(FOLDS, 0.5 + gain + wobble, strict=True)))


class Race:
    def __init__(self, demo_workspace: Workspace, workspace: Workspace, **content: object) -> None:
        self.definition, self.workspace, self._demo = race_of(**content), workspace, demo_workspace

    def source(self) -> RacingSource:
        return RacingSource(planner_of(self.definition, self._demo), self.workspace)

    def run(self, how: Callable[[PlannedTrial], Ending] = planted) -> RacingSource:
        source = self.source()
        drive(source, self.workspace, how)
        return source


@pytest.fixture
def make(demo_workspace, workspace):
    def race(**content: object) -> Race:
        return Race(demo_workspace, workspace, **content)

    return race


def standing(source: RacingSource) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {race.arm: (race.state, race.seeds) for race in source.races}


def seeds_of(source: RacingSource) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for trial in source.plan.trials:
        found.setdefault(trial.arm, []).append(trial.seed)
    return found


def test_decided_arms_stop_and_open_ones_go_on_with_their_twin(make):
    source = make().run()
    assert standing(source) == {
        "ems r0.15 s7 t0.25": ("for", (0, 1)),
        "ems r0.15 s7 t1": ("undecided", (0, 1, 2, 3, 4)),
        "ems r0.15 s7 t4": ("against", (0, 1)),
    }
    assert seeds_of(source) == {
        "ems r0.15 s7 t0.25": [0, 1],
        "random r0.15 s7": [0, 1, 2, 3, 4],
        "ems r0.15 s7 t1": [0, 1, 2, 3, 4],
        "ems r0.15 s7 t4": [0, 1],
    }
    decided = {race.arm: race for race in source.races}
    for_it, against = decided["ems r0.15 s7 t0.25"], decided["ems r0.15 s7 t4"]
    assert (for_it.difference, against.difference) == pytest.approx((0.2, -0.2))
    assert for_it.interval is not None
    assert against.interval is not None
    assert against.interval == pytest.approx(tuple(-end for end in reversed(for_it.interval)))
    assert (for_it.pairs, for_it.lost) == (2, 0)


def test_rounds_wait_for_all_of_their_trials(make):
    race = make()
    source = race.source()
    assert len(source.plan.trials) == 8
    assert not source.advance()
    first = source.plan.trials
    for planned in first[:-1]:
        end(planned, race.workspace, planted(planned))
        assert not source.advance()
        assert {each.state for each in source.races} == {"undecided"}
    end(first[-1], race.workspace, planted(first[-1]))
    assert source.advance()
    assert [trial.trial_key for trial in source.plan.trials[:8]] == [trial.trial_key for trial in first]
    added = [(trial.arm, trial.seed) for trial in source.plan.trials[8:]]
    assert sorted(added) == [("ems r0.15 s7 t1", 2), ("random r0.15 s7", 2)]


def test_an_interval_that_leaves_zero_later_ends_the_race_then(make):
    def how(planned: PlannedTrial) -> Ending:
        if planned.config.masking.temperature != 1.0:
            return planted(planned)
        # A first seed that says little, then clear ones.
        return flat(0.5 + (0.02, 0.2, 0.2, 0.2, 0.2)[planned.seed])

    race = next(each for each in make().run(how).races if each.arm.endswith("t1"))
    differences = [gain for gain in (0.02, 0.2, 0.2, 0.2) for _ in FOLDS]
    assert (race.state, race.seeds) == ("for", (0, 1, 2, 3))
    assert race.interval == pytest.approx(interval_by_hand(differences, ratio=1 / 3, level=1 - 0.05 / 4), rel=0.02)


def interval_by_hand(values: list[float], *, ratio: float, level: float) -> tuple[float, float]:
    mean, spread = np.mean(values), np.std(values, ddof=1)
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * spread * math.sqrt(1 / len(values) + ratio)
    return float(mean - half), float(mean + half)


@pytest.mark.parametrize(
    ("seeds", "start", "alpha"), [([0, 1, 2], 2, 0.05), ([0, 1, 2, 3, 4], 2, 0.05), ([0, 1], 1, 0.1)]
)
def test_the_interval_is_nadeau_and_bengios_at_a_level_shared_over_the_looks(make, seeds, start, alpha):
    race = make(seeds=seeds, racing={"start": start, "alpha": alpha}, axes={"masking.temperature": [1.0]})
    rng = np.random.default_rng(1)
    noise = {(seed, fold): float(rng.normal(0, 0.01)) for seed in seeds for fold in FOLDS}

    def how(planned: PlannedTrial) -> Ending:
        arm = bool(planned.twin_key)
        return Ending(ua={fold: 0.5 + arm * (0.3 + noise[planned.seed, fold]) for fold in FOLDS})

    found = race.run(how).races[0]
    assert found.seeds == tuple(seeds[:start])
    differences = [0.3 + noise[seed, fold] for seed in seeds[:start] for fold in FOLDS]
    planned = race.source().plan.trials[0]
    utterances = planned.unfinished.corpus.utterances
    # Five folds, the next one's speakers for validation: three fifths are trained on.
    n = utterances // 5
    ratio = n / (utterances * 4 / 5 - n)
    assert ratio == pytest.approx(1 / 3, abs=0.02)
    looks = len(seeds) - start + 1
    assert found.interval == pytest.approx(interval_by_hand(differences, ratio=ratio, level=1 - alpha / looks))


def test_the_correction_keeps_its_level_where_a_plain_t_does_not():
    """Cells that share a part of their noise, as those of a cross-validation do: correlation n₂/(n₁ + n₂) = 1/4."""
    rng = np.random.default_rng(0)
    wrong = Counter({"corrected": 0, "plain": 0})
    for _ in range(2000):
        cells = math.sqrt(0.25) * rng.normal() + math.sqrt(0.75) * rng.normal(size=10)
        for name, ratio in (("corrected", 1 / 3), ("plain", 0.0)):
            low, high = paired_interval(cells.tolist(), ratio=ratio, level=0.95)
            wrong[name] += not low <= 0 <= high
    assert wrong["corrected"] / 2000 == pytest.approx(0.05, abs=0.02)
    assert wrong["plain"] / 2000 > 0.2


def test_a_twin_shared_by_two_arms_gets_the_seeds_of_both(make):
    """Arms of ratio 0.15 are decided at once, one of ratio 0.3 is not: its twin alone goes on."""
    race = make(axes={"masking.temperature": [0.25, 1.0], "masking.ratio": [0.15, 0.3]})

    def how(planned: PlannedTrial) -> Ending:
        masking = planned.config.masking
        if masking.temperature == 1.0 and masking.ratio == 0.15:
            return flat(0.8)
        return planted(planned)

    seeds = seeds_of(race.run(how))
    assert seeds["random r0.15 s7"] == [0, 1]
    assert seeds["random r0.3 s7"] == seeds["ems r0.3 s7 t1"] == [0, 1, 2, 3, 4]
    assert seeds["ems r0.15 s7 t0.25"] == seeds["ems r0.15 s7 t1"] == seeds["ems r0.3 s7 t0.25"] == [0, 1]


def test_controls_come_with_each_seed_of_their_arm_and_hold_nothing_up(make):
    race = make(controls=["inverse"])
    source = race.source()
    for planned in source.plan.trials:
        if planned.control == "none":
            end(planned, race.workspace, planted(planned))
    assert source.advance()
    drive(source, race.workspace, planted)
    for arm, seeds in seeds_of(source).items():
        if "inverse" in arm:
            assert seeds == seeds_of(source)[arm.replace(" inverse", "")]
    assert len(source.races) == 3


@pytest.mark.slow
def test_the_order_in_which_trials_end_and_interruptions_change_nothing(demo_workspace, tmp_path):
    def stepwise(name: str, seed: int) -> RacingSource:
        race = Race(demo_workspace, Workspace.at(tmp_path / name))
        random = np.random.default_rng(seed)
        while True:
            # Put up anew after each trial.
            source = race.source()
            open_trials = source.plan.open_trials(race.workspace)
            if not open_trials:
                return source
            end(planned := open_trials[random.integers(len(open_trials))], race.workspace, planted(planned))

    whole = Race(demo_workspace, Workspace.at(tmp_path / "whole")).run()
    for seed in range(2):
        source = stepwise(str(seed), seed)
        assert [trial.trial_key for trial in source.plan.trials] == [trial.trial_key for trial in whole.plan.trials]
        assert source.races == whole.races


def test_test_numbers_change_nothing(demo_workspace, tmp_path):
    races: list[tuple[ArmRace, ...]] = []
    for test in (0.2, 0.9):
        race = Race(demo_workspace, Workspace.at(tmp_path / str(test)))
        wobble = np.random.default_rng(round(10 * test))
        source = race.run(lambda planned, by=test, rng=wobble: replace(planted(planned), test=by * rng.random()))
        races.append(source.races)
    assert races[0] == races[1]


def failing(*lost: tuple[float | None, int]) -> Callable[[PlannedTrial], Ending]:
    def how(planned: PlannedTrial) -> Ending:
        if (planned.config.masking.temperature, planned.seed) in lost:
            return flat(0.5, status="failed")
        return planted(planned)

    return how


def test_a_failed_replicate_makes_no_pair_and_is_counted(make):
    source = make().run(failing((0.25, 1)))
    race = source.races[0]
    # One pair has five cells: enough for an interval here.
    assert (race.state, race.pairs, race.lost, race.seeds) == ("for", 1, 1, (0, 1))


def test_an_arm_that_loses_its_seeds_goes_on_and_may_end_undecided(make):
    race = make().run(failing((0.25, 0), (0.25, 1))).races[0]
    assert (race.state, race.pairs, race.lost, race.seeds) == ("for", 1, 2, (0, 1, 2))


def test_an_arm_without_a_single_pair_ends_undecided(make):
    race = make().run(failing(*((0.25, seed) for seed in range(5)))).races[0]
    assert race.state == "undecided"
    assert (race.difference, race.interval, race.pairs, race.lost) == (None, None, 0, 5)


def test_a_failed_twin_costs_all_its_arms_the_seed(make):
    source = make().run(failing((None, 0)))
    assert {race.lost for race in source.races} == {1}


def test_a_trial_that_another_sweep_stopped_is_awaited(make):
    race = make()
    source = race.source()
    for planned in source.plan.trials:
        end(planned, race.workspace, flat(0.5, status="pruned"))
    assert not source.advance()
    assert source.plan.open_trials(race.workspace) == source.plan.trials
    drive(source, race.workspace, planted)
    assert standing(source) == standing(make().run())


def test_an_arm_that_is_a_twin_itself_does_not_race(make):
    arms: Mapping[str, object] = {
        "plain": {"masking.policy": "random"},
        "ems": {"masking.policy": "ems", "masking.temperature": 1.0},
    }
    settings = {"intensity": {"fit": {"name": "demo", "part": "intensity"}}}
    source = make(axes={}, arms=arms, settings=settings, contrasts={"same": {"arm": "ems", "against": "plain"}}).run()
    assert [race.arm for race in source.races] == ["ems r0.15 s7 t1"]
    assert {contrast.name for contrast in source.plan.contrasts} == {"same"}
    assert seeds_of(source)["random r0.15 s7"] == list(source.races[0].seeds)


def test_a_definition_without_racing_has_no_race(make):
    with pytest.raises(BadInputError, match="sweep tried: racing: not given"):
        make(racing=None).source()
