"""Early stopping with Ray's own rules: what an arm is to its twin decides, twins and controls go on."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from ended_trials import Ending, definition_of, end, flat, planner_of
from ray import tune
from ray.tune.schedulers import TrialScheduler

from core.errors import BadInputError
from core.store import Workspace
from sweeps.definition import SweepDefinition
from sweeps.plan import Plan, PlannedTrial
from sweeps.stopping import PairedStopping

TEMPERATURES = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
ASHA = {"rule": "asha", "first": 60, "factor": 3}
MEDIAN = {"rule": "median", "first": 60}
CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


class Sweep:
    """A sweep of arms that share a twin, under way in a workspace of its own."""

    def __init__(self, demo_workspace: Workspace, workspace: Workspace, **content: object) -> None:
        axes = {"masking.temperature": TEMPERATURES}
        self.definition: SweepDefinition = definition_of(**{"axes": axes, "stop": ASHA, **content})
        self.plan: Plan = planner_of(self.definition, demo_workspace).whole()
        self.workspace = workspace
        self.put_up()

    def put_up(self) -> None:
        self.rule = PairedStopping(self.definition, lambda: self.plan, self.workspace)

    def arm(self, temperature: float, seed: int = 0, control: str = "none") -> PlannedTrial:
        for trial in self.plan.trials:
            at = trial.config.masking.temperature
            if (at, trial.seed, trial.control) == (temperature, seed, control):
                return trial
        raise KeyError(temperature)

    def twin(self, seed: int = 0) -> PlannedTrial:
        return next(trial for trial in self.plan.trials if trial.twin_key is None and trial.seed == seed)

    def end_twins(self, looks: Mapping[int, Mapping[str, float]] | None = None) -> None:
        for seed in self.definition.seeds:
            interim = {60: {"Ses01": 0.3}, 180: {"Ses01": 0.4}} if looks is None else looks
            end(self.twin(seed), self.workspace, flat(0.5, interim=interim))

    def report(self, trial: PlannedTrial, step: int, ua: float | Mapping[str, float] | None) -> str:
        result = {"trial_key": trial.trial_key, "arm_key": trial.arm_key, "seed": trial.seed, "step": step}
        looks = {"Ses01": ua} if isinstance(ua, float) else ua or {}
        # As Tune flattens them.
        result |= {f"interim_ua/{fold}": value for fold, value in looks.items()}
        return self.rule.on_trial_result(None, None, result)


@pytest.fixture
def make(demo_workspace, workspace):
    def sweep(**content: object) -> Sweep:
        return Sweep(demo_workspace, workspace, **content)

    return sweep


def test_asha_lets_the_best_third_go_on(make):
    sweep = make()
    sweep.end_twins()
    gains = [0.05, 0.02, 0.08, -0.01, 0.03, 0.10]
    decisions = [
        sweep.report(sweep.arm(temperature), 60, 0.3 + gain)
        for temperature, gain in zip(TEMPERATURES, gains, strict=True)
    ]
    past: list[float] = []
    for gain, decision in zip(gains, decisions, strict=True):
        # Li et al. 2020: the first goes on, each later one while it is among the best third so far.
        assert decision == (STOP if past and gain < np.percentile(past, 100 * 2 / 3) else CONTINUE)
        past.append(gain)
    assert decisions.count(STOP) == 3
    assert sweep.rule.reason(sweep.arm(0.2).arm_key) == (
        "asha: difference 2.0 points at step 60, cut 5.0 (best 1/3 of 1 trials)"
    )
    assert sweep.rule.reason(sweep.arm(1.0).arm_key) == (
        "asha: difference -1.0 points at step 60, cut 6.0 (best 1/3 of 3 trials)"
    )
    assert sweep.rule.pruned_arms == {sweep.arm(at).arm_key for at in (0.2, 1.0, 2.0)}
    assert sweep.rule.reason(sweep.arm(0.5).arm_key) is None


def test_the_second_rung_compares_those_that_reached_it(make):
    sweep = make()
    sweep.end_twins()
    for temperature in TEMPERATURES[:3]:
        assert sweep.report(sweep.arm(temperature), 60, 0.35) == CONTINUE
    assert sweep.report(sweep.arm(0.1), 180, 0.5) == CONTINUE
    assert sweep.report(sweep.arm(0.2), 180, 0.45) == STOP
    assert sweep.report(sweep.arm(0.5), 180, 0.55) == CONTINUE


@pytest.mark.parametrize("factor", [1.3, 1.5, 2, 3, 4])
def test_every_look_of_a_trial_is_a_rung_of_asha(make, factor):
    """Rungs at whole steps: each is judged once among its like, also where the factor is no whole number."""
    sweep = make(stop={"rule": "asha", "first": 7, "factor": factor})
    looks = sweep.arm(0.1).config.interim.at
    assert looks[0] == 7
    sweep.end_twins({step: {"Ses01": 0.3} for step in looks})
    for step in looks:
        assert sweep.report(sweep.arm(0.1), step, 0.4) == CONTINUE
    for step in looks[:-1]:
        assert sweep.report(sweep.arm(0.2), step, 0.4) == CONTINUE
    assert sweep.report(sweep.arm(0.2), looks[-1], 0.39) == STOP
    assert "of 1 trials" in sweep.rule.reason(sweep.arm(0.2).arm_key)


def test_twins_and_controls_go_on_however_bad_they_are(make):
    sweep = make(controls=["inverse"])
    sweep.end_twins()
    for temperature in TEMPERATURES:
        sweep.report(sweep.arm(temperature), 60, 0.6)
    assert sweep.report(sweep.twin(), 60, 0.0) == CONTINUE
    assert sweep.report(sweep.arm(1.0, control="inverse"), 60, 0.0) == CONTINUE
    assert not sweep.rule.pruned_arms


def test_an_arm_is_stopped_with_all_its_seeds(make):
    sweep = make(seeds=[0, 1])
    sweep.end_twins()
    assert sweep.report(sweep.arm(0.1, 0), 60, 0.5) == CONTINUE
    assert sweep.report(sweep.arm(0.2, 1), 60, 0.55) == CONTINUE
    assert sweep.report(sweep.arm(0.2, 0), 60, 0.4) == STOP
    assert sweep.report(sweep.arm(0.2, 1), 61, None) == STOP
    assert sweep.report(sweep.arm(0.1, 1), 61, None) == CONTINUE
    assert sweep.rule.reason(sweep.arm(0.2, 1).arm_key) == sweep.rule.reason(sweep.arm(0.2, 0).arm_key)


def test_seeds_are_held_against_the_twin_of_their_own(make):
    sweep = make(seeds=[0, 1])
    end(sweep.twin(0), sweep.workspace, flat(0.5, interim={60: {"Ses01": 0.2}}))
    end(sweep.twin(1), sweep.workspace, flat(0.5, interim={60: {"Ses01": 0.6}}))
    assert sweep.report(sweep.arm(0.1, 0), 60, 0.3) == CONTINUE
    assert sweep.report(sweep.arm(0.2, 1), 60, 0.65) == STOP


def test_without_the_twins_look_an_arm_is_not_judged(make):
    sweep = make()
    sweep.end_twins({180: {"Ses01": 0.4}})
    for temperature, ua in zip(TEMPERATURES, (0.9, 0.5, 0.1), strict=False):
        assert sweep.report(sweep.arm(temperature), 60, ua) == CONTINUE
    assert sweep.report(sweep.arm(0.1), 180, 0.5) == CONTINUE
    assert sweep.report(sweep.arm(0.2), 180, 0.4) == STOP


def test_only_folds_that_both_saw_count(make):
    sweep = make()
    sweep.end_twins({180: {"Ses01": 0.4, "Ses02": 0.4}})
    assert sweep.report(sweep.arm(0.1), 180, {"Ses01": 0.5, "Ses02": 0.5}) == CONTINUE
    assert sweep.report(sweep.arm(0.2), 180, {"Ses01": 0.51, "Ses02": 0.51, "Ses03": 0.0}) == CONTINUE
    assert sweep.report(sweep.arm(0.5), 180, {"Ses01": 0.49, "Ses02": 0.49, "Ses03": 1.0}) == STOP


def test_ua_needs_no_twin(make):
    sweep = make(objective="ua", twins=False)
    assert sweep.report(sweep.arm(0.1), 60, 0.5) == CONTINUE
    assert sweep.report(sweep.arm(0.2), 60, 0.4) == STOP
    assert sweep.rule.reason(sweep.arm(0.2).arm_key).startswith("asha: ua 40.0 points at step 60, cut 50.0")


def test_a_look_that_is_reported_again_counts_once(make):
    sweep = make()
    sweep.end_twins()
    sweep.report(sweep.arm(0.1), 60, 0.5)
    for _ in range(5):
        assert sweep.report(sweep.arm(0.2), 60, 0.6) == CONTINUE
        assert sweep.report(sweep.arm(0.2), 61, None) == CONTINUE
    assert sweep.report(sweep.arm(0.5), 60, 0.57) == CONTINUE, "cut is two thirds of the way from 20 to 30 points"


@pytest.mark.parametrize("stop", [ASHA, MEDIAN])
def test_a_sweep_that_goes_on_judges_as_one_never_interrupted(make, stop):
    """The looks of trials that have ended are in their records."""
    ended = {0.1: 0.35, 0.2: 0.36, 0.5: 0.37, 1.0: 0.30}
    whole = make(stop=stop)
    whole.end_twins()
    for temperature, ua in ended.items():
        decision = whole.report(whole.arm(temperature), 60, ua)
        end(
            whole.arm(temperature),
            whole.workspace,
            flat(0.5, status="pruned" if decision == STOP else "complete", interim={60: {"Ses01": ua}}),
        )
    stopped, expected = whole.rule.pruned_arms, whole.report(whole.arm(2.0), 60, 0.33)
    assert expected == STOP
    words = whole.rule.reason(whole.arm(2.0).arm_key)
    whole.put_up()
    assert whole.rule.pruned_arms == stopped
    assert whole.report(whole.arm(2.0), 60, 0.33) == STOP
    assert whole.rule.reason(whole.arm(2.0).arm_key) == words


def test_an_arm_stopped_in_an_earlier_leg_stays_so_with_its_reason(make):
    sweep = make(seeds=[0, 1])
    sweep.end_twins()
    end(sweep.arm(0.1, 0), sweep.workspace, Ending(status="pruned", interim={60: {"Ses01": 0.1}}))
    sweep.put_up()
    assert sweep.rule.reason(sweep.arm(0.1).arm_key) == "pruned on purpose"
    assert sweep.report(sweep.arm(0.1, 1), 5, None) == STOP


def test_a_failed_trials_looks_do_not_count(make):
    sweep = make()
    sweep.end_twins()
    end(sweep.arm(0.1), sweep.workspace, Ending(status="failed", interim={60: {"Ses01": 0.9}}))
    sweep.put_up()
    assert sweep.report(sweep.arm(0.2), 60, 0.1) == CONTINUE


def test_trials_that_come_up_later_are_judged_among_the_earlier(make):
    sweep = make()
    sweep.end_twins()
    whole = sweep.plan
    late = sweep.arm(5.0)
    sweep.plan = replace(whole, trials=tuple(trial for trial in whole.trials if trial is not late))
    sweep.put_up()
    assert sweep.report(sweep.arm(0.1), 60, 0.5) == CONTINUE
    assert sweep.report(late, 60, 0.1) == CONTINUE, "not in the plan yet"
    sweep.plan = whole
    assert sweep.report(late, 60, 0.1) == STOP


def test_the_median_rule_stops_below_the_median_of_running_means(make):
    sweep = make(stop=MEDIAN)
    sweep.end_twins({step: {"Ses01": 0.3} for step in (60, 120, 180, 240)})
    curves = {0.1: (0.34, 0.36), 0.2: (0.36, 0.38), 0.5: (0.40, 0.42), 1.0: (0.31, 0.33), 2.0: (0.31, 0.50)}
    for place, step in enumerate((60, 120)):
        decisions = {at: sweep.report(sweep.arm(at), step, curve[place]) for at, curve in curves.items()}
        # With fewer than three others nothing is stopped; at 60 the medians are .06 and then .05.
        if step == 60:
            assert decisions == {0.1: CONTINUE, 0.2: CONTINUE, 0.5: CONTINUE, 1.0: STOP, 2.0: STOP}
    assert sweep.rule.reason(sweep.arm(1.0).arm_key) == (
        "median: best difference 1.0 points up to step 60, median of 3 other trials 6.0"
    )


def test_nothing_is_ever_paused(make):
    random = np.random.default_rng(2)
    for stop in (ASHA, MEDIAN):
        sweep = make(stop=stop, seeds=[0, 1, 2])
        sweep.end_twins({step: {"Ses01": 0.3} for step in (60, 120, 180, 240)})
        decisions = {
            sweep.report(sweep.arm(temperature, seed), step, float(random.random()))
            for step in (60, 120, 180, 240)
            for temperature in TEMPERATURES
            for seed in (0, 1, 2)
        }
        assert decisions == {CONTINUE, STOP}


@pytest.mark.parametrize("stop", [ASHA, MEDIAN])
def test_test_numbers_change_no_decision(make, demo_workspace, tmp_path, stop):
    def decisions(name: str, test: float) -> list[str]:
        sweep = Sweep(demo_workspace, Workspace.at(tmp_path / name), stop=stop, seeds=[0, 1])
        random = np.random.default_rng(4)
        for seed in (0, 1):
            looks = {step: {"Ses01": float(random.random())} for step in (60, 120, 180)}
            end(sweep.twin(seed), sweep.workspace, flat(0.5, interim=looks, test=test))
            end(sweep.arm(0.1, seed), sweep.workspace, flat(0.5, interim=looks, test=test))
        sweep.put_up()
        return [
            sweep.report(sweep.arm(temperature, seed), step, float(random.random()))
            for step in (60, 120, 180)
            for temperature in TEMPERATURES[1:]
            for seed in (0, 1)
        ]

    assert decisions("honest", 0.4) == decisions("poisoned", 0.99)
    assert {CONTINUE, STOP} == set(decisions("again", 0.0))


def test_it_is_pickled_without_what_it_knows(make):
    sweep = make()
    sweep.end_twins()
    sweep.report(sweep.arm(0.1), 60, 0.5)
    assert vars(pickle.loads(pickle.dumps(sweep.rule))) == {}


def test_a_definition_without_stop_has_no_rule(make):
    with pytest.raises(BadInputError, match="sweep tried: stop: not given"):
        make(stop=None)


def trainable() -> type[tune.Trainable]:
    """Reports a look at every step, as a trial's worker does. Made here, so that it is sent to workers by value."""

    class Trained(tune.Trainable):
        def setup(self, config: dict[str, object]) -> None:
            self.task = json.loads(config["trial"])

        def reset_config(self, new_config: dict[str, object]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, object]:
            looks = self.task["looks"]
            step, ua = looks[self.iteration]
            facts = {name: self.task[name] for name in ("trial_key", "arm_key", "seed")}
            return {**facts, "step": step, "interim_ua": {"Ses01": ua}, "done": self.iteration + 1 == len(looks)}

        def save_checkpoint(self, checkpoint_dir: str) -> None: ...

        def load_checkpoint(self, checkpoint: object) -> None: ...

    return Trained


@pytest.mark.slow
def test_ray_tune_stops_the_trials_that_it_says(make, tmp_path):
    import ray

    sweep = make()
    steps = (60, 180)
    sweep.end_twins({step: {"Ses01": 0.3} for step in steps})
    gains = {0.1: 0.1, 0.2: 0.0, 0.5: 0.2, 1.0: -0.1}
    tasks = []
    for temperature, gain in gains.items():
        trial = sweep.arm(temperature)
        task = {"trial_key": trial.trial_key, "arm_key": trial.arm_key, "seed": 0}
        tasks.append(json.dumps({**task, "looks": [(step, 0.3 + gain) for step in steps]}))
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        results = tune.Tuner(
            trainable(),
            param_space={"trial": tune.grid_search(tasks)},
            tune_config=tune.TuneConfig(
                scheduler=sweep.rule, reuse_actors=True, max_concurrent_trials=1, trial_dirname_creator=str
            ),
            run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
        ).fit()
    finally:
        ray.shutdown()
    last = {result.metrics["trial_key"]: result.metrics["step"] for result in results}
    assert [last[sweep.arm(at).trial_key] for at in gains] == [180, 60, 180, 60]
    assert sweep.rule.pruned_arms == {sweep.arm(at).arm_key for at in (0.2, 1.0)}
