"""In which order Ray Tune gets the trials, and when it has to wait."""

from __future__ import annotations

import json

import pytest
from ray.tune.search import Searcher

from core.trial import Underway, fail_trial, prune_trial
from sweeps.definition import load_definition
from sweeps.plan import Planner
from sweeps.queue import TrialQueue
from sweeps.sources import FixedSource

AXES = ["axes.masking.ratio=[0.2]", "axes.masking.temperature=[0.3,1.0]", "axes.masking.span=[7]", "seeds=[0,1]"]
JUDGED = ["stop.rule=asha", "stop.first=20"]
FINISHED = Searcher.FINISHED


class Growing:
    """A source that adds a second plan once the first has ended."""

    def __init__(self, first, second):
        self.plan, self._second = first, second

    def advance(self):
        grows, self.plan = self.plan is not self._second, self._second
        return grows


class Sweep:
    """A queue, and what is going on around it."""

    def __init__(self, workspace, source):
        self.workspace, self.reason, self.is_ending, self.stopped = workspace, None, False, {}
        self.skipped, self.grown = [], []
        self.queue = TrialQueue(
            source, workspace, task=lambda trial: json.dumps([trial.arm, trial.seed]), grown=self.grown.append,
            held=lambda: self.reason, ending=lambda: self.is_ending, stopped=self.stopped.get,
            skipped=self.skipped.append,
        )  # fmt: skip
        self.by_name = {(trial.arm, trial.seed): trial for trial in source.plan.trials}

    def next(self, trial_id):
        found = self.queue.suggest(trial_id)
        return tuple(json.loads(found["trial"])) if isinstance(found, dict) else found

    def end(self, trial_id, name):
        fail_trial(self.by_name[name].unfinished, self.workspace, reason="x", kind="error")
        self.queue.on_trial_complete(trial_id)


@pytest.fixture
def planner(demo_workspace):
    def make(*overrides):
        definition = load_definition("ems_grid", [*AXES, *overrides])
        return Planner(definition, demo_workspace, compute={"compute.device": "cpu", "compute.threads": 1})

    return make


def test_without_early_stopping_the_plan_is_handed_out_as_it_stands(planner, workspace):
    plan = planner().whole()
    sweep = Sweep(workspace, FixedSource(plan))
    assert [sweep.next(str(place)) for place in range(6)] == [(trial.arm, trial.seed) for trial in plan.trials]
    assert sweep.next("6") is None, "trials are under way: Tune is to wait"
    for place in range(6):
        sweep.queue.on_trial_complete(str(place))
    assert sweep.next("7") == FINISHED


def test_an_arm_that_is_judged_waits_for_its_twin_of_the_same_seed(planner, workspace):
    sweep = Sweep(workspace, FixedSource(planner(*JUDGED).whole()))
    twin = "random r0.2 s7"
    assert [sweep.next("a"), sweep.next("b")] == [(twin, 0), (twin, 1)]
    assert sweep.next("c") is None
    sweep.end("b", (twin, 1))
    assert {sweep.next("d"), sweep.next("e")} == {("ems r0.2 s7 t0.3", 1), ("ems r0.2 s7 t1", 1)}
    assert sweep.next("f") is None


def test_seeds_of_a_stopped_arm_are_not_begun_and_have_a_record(planner, workspace):
    sweep = Sweep(workspace, FixedSource(planner(*JUDGED).whole()))
    twin = "random r0.2 s7"
    assert [sweep.next("a"), sweep.next("b")] == [(twin, 0), (twin, 1)]
    for trial_id, seed in (("a", 0), ("b", 1)):
        sweep.end(trial_id, (twin, seed))
    assert sweep.next("c") == ("ems r0.2 s7 t0.3", 0)
    arm = sweep.by_name["ems r0.2 s7 t0.3", 0]
    sweep.stopped[arm.arm_key] = "asha: too low"
    underway = Underway(step=20, frames=1, seconds=1.0, flops=1.0, interim=None, parameters=1)
    prune_trial(arm.unfinished, workspace, reason="asha: too low", underway=underway, interim=())
    sweep.queue.on_trial_complete("c")
    assert sweep.next("d") == ("ems r0.2 s7 t1", 0)
    assert sweep.next("e") == ("ems r0.2 s7 t1", 1)
    (record,) = sweep.skipped
    assert (record.arm, record.seed, record.status, record.reason) == ("ems r0.2 s7 t0.3", 1, "pruned", "asha: too low")
    assert record.cost.steps == 0


def test_a_held_sweep_starts_nothing_and_an_ending_one_is_finished(planner, workspace):
    sweep = Sweep(workspace, FixedSource(planner().whole()))
    sweep.reason = "disk full"
    assert sweep.next("a") is None
    sweep.reason = None
    assert sweep.next("a") is not None
    sweep.is_ending = True
    assert sweep.next("b") == FINISHED


def test_what_has_a_record_is_not_run_and_a_source_grows_when_all_has_ended(planner, workspace):
    first, second = planner("seeds=[0]").whole(), planner().whole()
    done = first.trials[0]
    fail_trial(done.unfinished, workspace, reason="x", kind="error")
    sweep = Sweep(workspace, Growing(first, second))
    handed = [sweep.next("a"), sweep.next("b")]
    assert handed == [(trial.arm, trial.seed) for trial in first.trials[1:]]
    assert sweep.next("c") is None
    assert sweep.grown == []
    for trial_id, name in zip("ab", handed, strict=True):
        sweep.end(trial_id, name)
    assert sweep.next("d")[1] == 1
    assert sweep.grown == [second]
