"""Who runs a sweep, what it says of it, and how it is asked to stop: with real processes and real kills."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time

import pytest
from written_sweep import NAME, TWIN, by_key, complete, driving, failed, pruned, put, written_plan

from core.errors import BadInputError
from core.store import Workspace
from sweeps.driver import Driver, is_driven
from sweeps.heartbeat import read_beat
from sweeps.stop_request import request_stop, requested_stop
from sweeps.strategy import SearchConfig, StopConfig


@pytest.fixture
def plan(workspace: Workspace):
    plan = written_plan()
    plan.write(workspace)
    return plan


def content(workspace: Workspace) -> dict:
    return json.loads((workspace.sweep(NAME) / "heartbeat.json").read_text())


@pytest.mark.slow
def test_one_driver_at_a_time_until_it_is_killed(workspace, plan):
    folder = workspace.sweep(NAME)
    assert not is_driven(folder)
    with driving(workspace) as driver:
        assert is_driven(folder)
        driver.tell("child", 30)
        with pytest.raises(BadInputError, match=rf"is being run already by process {driver.pid} on .* since 20"):
            Driver(NAME, workspace, slots=1).__enter__()
        assert read_beat(folder).pid == driver.pid
        driver.kill()
        # The child that it had started lives on, and holds nothing.
        assert not is_driven(folder)
        with Driver(NAME, workspace, slots=1):
            assert is_driven(folder)
            assert read_beat(folder).pid == os.getpid()
    assert not is_driven(folder)
    assert read_beat(folder).state == "ended"


def test_looking_does_not_keep_a_driver_out(workspace, plan):
    folder = workspace.sweep(NAME)
    with Driver(NAME, workspace, slots=1):
        pass
    look = "import sys, pathlib; from sweeps.driver import is_driven\nwhile True: is_driven(pathlib.Path(sys.argv[1]))"
    watchers = [subprocess.Popen([sys.executable, "-c", look, str(folder)]) for _ in range(2)]
    try:
        time.sleep(1.0)
        for _ in range(5):
            with Driver(NAME, workspace, slots=1):
                assert is_driven(folder)
    finally:
        for watcher in watchers:
            watcher.kill()
            watcher.wait()


def test_looking_creates_nothing(workspace):
    assert not is_driven(workspace.sweep("never"))
    assert read_beat(workspace.sweep("never")) is None
    assert list(workspace.root.iterdir()) == []


def test_what_the_driver_says(workspace, plan):
    trials = by_key(plan)
    put(workspace, complete(trials["random-0"], 0.5))
    with Driver(NAME, workspace, slots=2) as heartbeat:
        heartbeat.planned(plan)
        heartbeat.lane("random-1", share=0.25, step=10, total_steps=40, node="n1", pid=7, metrics={"loss": 0.5})
        heartbeat.lane("random-2", share=0.0, total_steps=40, metrics={"loss": float("nan")})
        heartbeat.lane("random-1", share=0.5, step=20)
        heartbeat.ended(failed(trials["ems-r0.15-s7-t1-0"], "memory", "out of it"))
        heartbeat.backlog(runs=1, metrics=200, artifacts=3)
        heartbeat.state("waiting for disk", "0.2 GB free, 0.5 GB wanted")
        said = content(workspace)
        first, second = said["lanes"]
        assert (first["step"], first["total_steps"], first["share_begun"], first["share"]) == (20, 40, 0.25, 0.5)
        assert (first["node"], first["pid"], first["metrics"]) == ("n1", 7, {"loss": 0.5})
        assert (second["arm"], second["seed"], second["metrics"]) == ("random r0.15 s7", 2, {"loss": None})
        counts = {name: said[name] for name in ("complete", "failed", "pruned", "open", "queue", "slots")}
        assert counts == {"complete": 1, "failed": 1, "pruned": 0, "open": 7, "queue": 5, "slots": 2}
        assert said["failures"] == {"memory": 1}
        assert said["backlog"] == {"runs": 1, "metrics": 200, "artifacts": 3}
        assert (said["state"], said["message"]) == ("waiting for disk", "0.2 GB free, 0.5 GB wanted")
        count = heartbeat.count()
        assert (count.complete, count.failed, count.running, count.total, count.work) == (1, 1, 2, 9, 2.5)


@pytest.mark.slow
def test_reports_are_written_once_a_second_and_states_at_once(workspace, plan):
    with Driver(NAME, workspace, slots=2) as heartbeat:
        heartbeat.planned(plan)
        for share in (0.1, 0.2, 0.3):
            heartbeat.lane("random-0", share=share)
        assert content(workspace)["lanes"] == []
        heartbeat.state("running")
        assert content(workspace)["lanes"][0]["share"] == 0.3
        heartbeat.lane("random-0", share=0.4)
        time.sleep(1.05)
        heartbeat.write_if_due()
        assert content(workspace)["lanes"][0]["share"] == 0.4
        heartbeat.progress("features", 3, 10)
        time.sleep(1.05)
        heartbeat.write_if_due()
        assert content(workspace)["message"] == "features: 3/10"


def test_what_was_under_way_is_remembered_until_it_goes_on(workspace, plan):
    trials = by_key(plan)
    with driving(workspace) as driver:
        driver.tell("lane", "random-0", 0.4)
        driver.tell("lane", "random-1", 0.7)
        driver.kill()
    with Driver(NAME, workspace, slots=2) as heartbeat:
        heartbeat.planned(plan)
        heartbeat.lane("random-2", share=0.1)
        heartbeat.ended(complete(trials["random-1"], 0.5))
        heartbeat.write()
        assert content(workspace)["interrupted"] == {"random-0": 0.4}
        heartbeat.lane("random-0", share=0.35)
        heartbeat.write()
        assert content(workspace)["interrupted"] == {}
        heartbeat.lane_done("random-0")
    assert content(workspace)["interrupted"] == {"random-0": 0.35, "random-2": 0.1}
    assert content(workspace)["lanes"] == []


def test_a_request_to_stop_reaches_the_driver_and_is_gone_with_it(workspace, plan):
    folder = workspace.sweep(NAME)
    request_stop(folder, "now")
    with Driver(NAME, workspace, slots=1) as heartbeat:
        assert heartbeat.stop_requested() is None  # it was meant for an earlier one
        request_stop(folder, "drain")
        assert heartbeat.stop_requested() == "drain"
        request_stop(folder, "now")
        request_stop(folder, "drain")
        assert heartbeat.stop_requested() == "now"
    assert requested_stop(folder) is None
    (folder / "stop.request").touch()
    assert requested_stop(folder) == "drain"


def test_a_file_that_cannot_be_written_costs_no_sweep(workspace, plan, caplog):
    folder = workspace.sweep(NAME)
    with Driver(NAME, workspace, slots=1) as heartbeat:
        heartbeat.planned(plan)
        (folder / "heartbeat.json").unlink()
        (folder / "heartbeat.json").mkdir()
        with caplog.at_level(logging.WARNING):
            for state in ("running", "draining"):
                heartbeat.state(state)
        assert len(caplog.records) == 1
        assert read_beat(folder) is None
        (folder / "heartbeat.json").rmdir()
        heartbeat.state("running")
        assert read_beat(folder).state == "running"


def test_a_plan_that_changes_replaces_the_one_before(workspace, plan):
    trials = by_key(plan)
    with Driver(NAME, workspace, slots=2) as heartbeat:
        heartbeat.planned(plan)
        for trial_key in ("random-0", "random-1"):
            heartbeat.lane(trial_key, share=0.5)
        put(workspace, failed(trials["ems-r0.15-s7-t1-0"], "memory", "out of it"))
        put(workspace, complete(trials["ems-r0.15-s7-t0.25-1"], 0.5))
        heartbeat.planned(plan)
        assert (heartbeat.count().failed, heartbeat.count().complete, heartbeat.count().running) == (1, 1, 2)
        # Run again with less memory, and without seed 1.
        (workspace.trial("ems-r0.15-s7-t1-0") / "record.json").unlink()
        heartbeat.planned(written_plan(seeds=(0,)))
        count = heartbeat.count()
        assert (count.failed, count.complete, count.running, count.total) == (0, 0, 1, 3)
        said = content(workspace)
        assert (said["open"], said["queue"], said["failures"]) == (3, 2, {})


def test_pruned_trials_are_open_once_the_rule_is_gone(workspace):
    for stop, ended in ((StopConfig(rule="asha", first=2), 1), (None, 0)):
        plan = written_plan(stop=stop)
        put(workspace, pruned(by_key(plan)["ems-r0.15-s7-t1-0"], "rung 2: 0.1 under 0.2"))
        with Driver(NAME, workspace, slots=1) as heartbeat:
            heartbeat.planned(plan)
            assert heartbeat.count().pruned == ended
        assert len(plan.open_trials(workspace)) == 9 - ended


class TestEta:
    """Two lanes; a trial takes as long as its predecessors did."""

    def test_from_the_records_of_earlier_launches(self, workspace, plan):
        trials = by_key(plan)
        put(workspace, *(complete(trials[f"{TWIN}-{seed}"], 0.5, seconds=100.0) for seed in (0, 1, 2)))
        with Driver(NAME, workspace, slots=2) as heartbeat:
            assert heartbeat.count().eta == 0
            heartbeat.planned(plan)
            assert heartbeat.count().eta == pytest.approx(300)  # six trials in two lanes
            assert read_beat(workspace.sweep(NAME)).eta_seconds == pytest.approx(300)
            heartbeat.lane("ems-r0.15-s7-t1-0", share=0.0)
            assert heartbeat.count().eta == pytest.approx(300, abs=1)

    def test_unknown_before_anything_is_measured(self, workspace, plan):
        with Driver(NAME, workspace, slots=2) as heartbeat:
            heartbeat.planned(plan)
            assert heartbeat.count().eta is None
            heartbeat.lane("random-0", share=0.0)
            assert heartbeat.count().eta is None
            time.sleep(0.2)
            heartbeat.lane("random-0", share=0.5)
            # Nine trials of 0.4 s by the pace of the first: five rounds of two lanes, less the half that is done.
            assert 1.0 < heartbeat.count().eta < 4.0

    def test_of_a_search_it_covers_the_points_to_come(self, workspace):
        plan = written_plan(search=SearchConfig(method="random", points=6), seeds=(0,))
        put(workspace, *(complete(trial, 0.5, seconds=60.0) for trial in plan.trials))
        with Driver(NAME, workspace, slots=1) as heartbeat:
            heartbeat.planned(plan)
            # Two points took three trials with their twin: four more points, six trials.
            assert heartbeat.count().eta == pytest.approx(360)
            assert read_beat(workspace.sweep(NAME)).eta_rough
