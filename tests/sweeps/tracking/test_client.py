"""Logging from trials through the real tracking actor; what arrived is read from the journal with plain SQL."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from core.errors import BadInputError
from core.store import Workspace
from sweeps.tracking.actor import TrackerHandle, start_tracker
from sweeps.tracking.calls import TrackerLostError
from sweeps.tracking.client import TrackingClient
from sweeps.tracking.journal import JournalError
from tests.sweeps.tracking.tracked import KEYS, SWEEP, FullDiskTracker, plan, registration, values

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture
def launched(cluster: None, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    plan(workspace)
    return workspace


@pytest.fixture
def tracker(launched: Workspace) -> Iterator[TrackerHandle]:
    handle = start_tracker(SWEEP, launched)
    handle.register([registration(KEYS[0])])
    yield handle
    handle.stop("interrupted", timeout=1)


def stored(workspace: Workspace) -> list[tuple[str, int, float]]:
    with sqlite3.connect(workspace.sweep(SWEEP) / "journal.db") as database:
        return database.execute("SELECT metric, step, value FROM metrics ORDER BY metric, step").fetchall()


def expected(steps: int) -> list[tuple[str, int, float]]:
    return sorted((name, step, value) for step in range(steps) for name, value in values(KEYS[0], step).items())


def test_confirmed_is_durable_and_a_step_costs_less_than_a_millisecond(
    launched: Workspace, tracker: TrackerHandle
) -> None:
    client = TrackingClient(tracker.actor, KEYS[0])
    costs = []
    for begin in range(0, 300, 10):
        client.confirm()
        assert len(stored(launched)) == begin * 5
        began = time.perf_counter()
        for step in range(begin, begin + 10):
            client.log(values(KEYS[0], step), step)
        client.send()
        costs.append((time.perf_counter() - began) / 10)
    client.confirm()
    assert stored(launched) == expected(300)
    assert sorted(costs)[len(costs) // 2] < 1e-3, costs


def test_what_is_only_logged_is_not_sent_and_bad_names_are_refused_at_once(
    launched: Workspace, tracker: TrackerHandle
) -> None:
    client = TrackingClient(tracker.actor, KEYS[0])
    client.log(values(KEYS[0], 0), 0)
    client.confirm()
    assert stored(launched) == []
    with pytest.raises(BadInputError, match="metric 'loss%'"):
        client.log({"loss%": 1.0}, 1)


def test_an_actor_killed_between_sending_and_confirming_loses_nothing(
    launched: Workspace, tracker: TrackerHandle
) -> None:
    client = TrackingClient(tracker.actor, KEYS[0])
    for step in range(6):
        client.log(values(KEYS[0], step), step)
        client.send()
        if step % 2:
            ray.kill(tracker.actor, no_restart=False)
    client.confirm()
    assert stored(launched) == expected(6)
    assert tracker.standing().backlog.metrics == 30, "the driver's calls outlive it too"


def test_a_full_disk_is_told_apart_and_logging_goes_on_when_there_is_room(launched: Workspace) -> None:
    make: Any = ray.remote(num_cpus=0, concurrency_groups={"log": 2, "other": 2})(FullDiskTracker)
    actor = make.remote(SWEEP, launched.root, uri="http://127.0.0.1:9")
    TrackerHandle(actor, sweep=SWEEP, workspace=launched).register([registration(KEYS[0])])
    ray.get(actor.room.options(concurrency_group="other").remote(1))
    client = TrackingClient(actor, KEYS[0])
    for begin in range(0, 2000, 1000):
        for step in range(begin, begin + 1000):
            client.log(values(KEYS[0], step), step)
        client.send()
    for _ in range(2):
        with pytest.raises(JournalError, match="disk is full"):
            client.confirm()
    ray.get(actor.room.options(concurrency_group="other").remote(1_000_000))
    client.confirm()
    assert stored(launched) == expected(2000)
    ray.kill(actor)


def test_a_trial_nobody_registered_is_an_error_of_its_own(tracker: TrackerHandle) -> None:
    client = TrackingClient(tracker.actor, "unknown")
    client.log({"loss": 1.0}, 0)
    client.send()
    with pytest.raises(BadInputError, match="not registered"):
        client.confirm()


def test_an_actor_ended_for_good_is_said_at_once(launched: Workspace) -> None:
    handle = start_tracker(SWEEP, launched)
    handle.register([registration(KEYS[0])])
    client = TrackingClient(handle.actor, KEYS[0])
    standing = handle.stop("interrupted", timeout=1)
    assert not standing.backlog.empty, "the sweep's own run has not reached an MLflow that is not there"
    client.log({"loss": 1.0}, 0)
    client.send()
    began = time.monotonic()
    with pytest.raises(TrackerLostError):
        client.confirm()
    assert time.monotonic() - began < 30
    gone = handle.stop("interrupted", timeout=1)
    assert "tracker" in str(gone.trouble)


def test_the_actor_takes_nothing_from_the_trials(tracker: TrackerHandle) -> None:
    tracker.standing()
    assert ray.available_resources()["CPU"] == 2


def test_a_driver_without_a_launched_sweep_is_told_so(cluster: None, tmp_path: Path) -> None:
    handle = start_tracker("never", Workspace.at(tmp_path / "empty"))
    with pytest.raises((BadInputError, TrackerLostError)):
        handle.register([registration(KEYS[0])])
