"""What a sweep needs to go on without its definition at hand."""

from __future__ import annotations

import json

import pytest

from core.errors import BadInputError, FailureKind
from core.records import read_record
from core.store import Workspace
from core.trial import fail_trial
from sweeps.cluster import Resources
from sweeps.definition import load_definition
from sweeps.launching import Launching, failed_trials, reopen_failed, sample_plan
from sweeps.plan_text import plan_text

AXES = ["axes.masking.ratio=[0.2]", "axes.masking.temperature=[0.3]", "axes.masking.span=[7]", "seeds=[0,1]"]


@pytest.fixture
def place(demo_workspace, tmp_path) -> Workspace:
    """A workspace of its own that sees the demo corpus."""
    (tmp_path / "workspace").mkdir()
    demo_workspace.store.root.mkdir(parents=True, exist_ok=True)
    (tmp_path / "workspace" / "store").symlink_to(demo_workspace.store.root)
    return Workspace.at(tmp_path / "workspace")


def launching(*overrides: str) -> Launching:
    return Launching(definition=load_definition("ems_grid", [*AXES, *overrides]), resources=Resources(cpus=2))


def test_it_reads_what_it_wrote(place):
    wanted = launching("search.method=tpe", "search.points=3", "axes.masking.ratio={low: 0.1, high: 0.5}")
    wanted.write(place)
    assert Launching.read("ems_grid", place) == wanted


def test_a_smaller_micro_batch_is_remembered_for_the_same_resources(place):
    first = launching()
    Launching(definition=first.definition, resources=first.resources, micro_batch={"mockingjay": 4}).write(place)
    again = Launching.of(load_definition("ems_grid", AXES), Resources(cpus=2), place)
    assert again.micro_batch == {"mockingjay": 4}
    assert {trial.config.pretrain.micro_batch for trial in again.planner(place).whole().trials} == {4}
    elsewhere = Launching.of(load_definition("ems_grid", AXES), Resources(cpus=1), place)
    assert elsewhere.micro_batch == {}


@pytest.mark.parametrize("content", ["", "{}", '{"definition": {}, "resources": {}, "micro_batch": {}}'])
def test_what_is_no_launch_is_named(place, content):
    with pytest.raises(BadInputError, match=r"sweep 'ems_grid': not launched in .* \(there: none\)"):
        Launching.read("ems_grid", place)
    path = place.sweep("ems_grid") / "launch.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(BadInputError, match=r"launch\.json"):
        Launching.read("ems_grid", place)


def test_failures_are_reopened_by_kind_and_remembered(place):
    wanted = launching()
    wanted.write(place)
    first, second, third, _ = wanted.planner(place).whole().trials
    for trial, kind in ((first, "memory"), (second, "lost-worker"), (third, "lost-worker")):
        fail_trial(trial.unfinished, place, reason=f"of {trial.arm}", kind=kind)
    plan = wanted.known_plan(place)

    def failed(*kinds: FailureKind) -> list[str]:
        return [trial.trial_key for trial in failed_trials(plan, place, kinds=set(kinds))]

    assert failed("time-out") == []
    assert failed("lost-worker") == [second.trial_key, third.trial_key]
    reopen_failed(wanted, place, kinds={"lost-worker"})
    assert failed("lost-worker", "memory") == [first.trial_key]
    assert read_record(place.trial(first.trial_key)).failure == "memory"
    assert read_record(place.trial(second.trial_key)) is None
    lines = (place.sweep("ems_grid") / "retried.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines] == [f"of {second.arm}", f"of {third.arm}"]


def test_a_search_is_estimated_by_as_many_points_as_it_tries(place):
    wanted = launching("search.method=tpe", "search.points=5", "axes.masking.ratio={low: 0.1, high: 0.5}")
    plan = sample_plan(wanted.planner(place))
    ratios = {trial.config.masking.ratio for trial in plan.trials}
    assert len(ratios) == 5
    assert all(0.1 <= ratio <= 0.5 for ratio in ratios)
    # Five arms, each with a twin of its own ratio, under two seeds.
    assert len(plan.trials) == 20
    assert not (place.sweep("ems_grid")).exists()


def test_a_race_is_known_before_it_begins_and_a_search_is_not(place):
    race = launching("racing.start=1").known_plan(place)
    assert [trial.seed for trial in race.trials] == [0, 0]
    search = launching("search.method=tpe", "search.points=5").known_plan(place)
    assert search.trials == ()
    assert plan_text(search, set()) == (
        "sweep ems_grid (preset smoke): 0 trials so far, 0 to run; tpe chooses 5 points as it goes"
    )
    assert not place.sweep("ems_grid").exists()
