"""The tracker itself, without Ray, against a real MLflow on SQLite."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy

from core.errors import BadInputError
from core.store import Workspace
from sweeps.tracking import drawer as drawer_module
from sweeps.tracking.drawer import Drawer, DrawerError
from sweeps.tracking.entries import Point
from sweeps.tracking.filling import sync
from sweeps.tracking.journal import Journal, JournalError
from sweeps.tracking.tracker import Tracker
from tests.sweeps.tracking.tracked import (
    FILES,
    KEYS,
    SWEEP,
    FullDiskTracker,
    check_exactly_once,
    leave_record,
    plan,
    registration,
    values,
)

STEPS = 30


@pytest.fixture
def launched(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    plan(workspace)
    return workspace


def uri(workspace: Workspace) -> str:
    return f"sqlite:///{workspace.root / 'mlflow.db'}"


def tracker_of(workspace: Workspace) -> Tracker:
    return Tracker(SWEEP, workspace.root, uri=uri(workspace))


def log_all(tracker: Tracker, key: str) -> None:
    for step in range(STEPS):
        tracker.log(key, [Point(name, step, value, 1000 + step) for name, value in values(key, step).items()])


def shown(workspace: Workspace) -> dict[str, tuple[str, dict[str, str]]]:
    """Trial key → status and tags of its run."""
    engine = sqlalchemy.create_engine(uri(workspace))
    with engine.connect() as database:
        runs = database.execute(sqlalchemy.text("SELECT run_uuid, status FROM runs")).fetchall()
        tags = database.execute(sqlalchemy.text("SELECT run_uuid, key, value FROM tags")).fetchall()
    engine.dispose()
    found = {run: (status, {name: value for of, name, value in tags if of == run}) for run, status in runs}
    return {tags.get("emsweep.trial_key", SWEEP): (status, tags) for status, tags in found.values()}


@pytest.mark.slow
def test_trials_go_through_to_mlflow_with_their_pictures(launched: Workspace) -> None:
    tracker = tracker_of(launched)
    tracker.register([registration(key) for key in KEYS])
    for key in KEYS:
        log_all(tracker, key)
        leave_record(launched, key)
        tracker.finish(key)
    standing = tracker.stop("complete", timeout=120)
    assert standing.backlog.empty, standing
    assert standing.process_id == os.getpid()
    check_exactly_once(uri(launched), steps=STEPS, artifacts=launched.root / "mlartifacts")


@pytest.mark.slow
def test_statuses_of_pruned_failed_removed_and_waiting_trials(launched: Workspace) -> None:
    tracker = tracker_of(launched)
    tracker.register([registration(key) for key in KEYS])
    for key in KEYS:
        log_all(tracker, key)
    leave_record(launched, KEYS[0])
    leave_record(launched, KEYS[1], status="pruned")
    for key in KEYS[:2]:
        tracker.finish(key)
    assert tracker.keep_only(KEYS[1:3]) == (KEYS[0], KEYS[3])
    assert tracker.stop("interrupted", timeout=120).backlog.empty
    runs = shown(launched)
    told = {
        key: (runs[key][0], runs[key][1]["emsweep.status"], runs[key][1]["emsweep.in_plan"]) for key in KEYS
    }  # fmt: skip
    assert told == {
        KEYS[0]: ("FINISHED", "complete", "false"),
        KEYS[1]: ("KILLED", "pruned", "true"),
        KEYS[2]: ("SCHEDULED", "interrupted", "true"),
        KEYS[3]: ("KILLED", "removed", "false"),
    }
    assert runs[KEYS[1]][1]["emsweep.reason"] == "pruned at step 7"
    assert runs[SWEEP][1]["trials.removed"] == "2"
    again = tracker_of(launched)
    again.register([registration(KEYS[0], to_run=False), registration(KEYS[3])])
    assert again.stop("interrupted", timeout=120).backlog.empty
    runs = shown(launched)
    assert (runs[KEYS[0]][0], runs[KEYS[0]][1]["emsweep.in_plan"]) == ("FINISHED", "true")
    assert (runs[KEYS[3]][0], runs[KEYS[3]][1]["emsweep.status"]) == ("SCHEDULED", "interrupted")


@pytest.mark.slow
def test_sync_finishes_what_a_killed_sweep_left(launched: Workspace) -> None:
    """Killed after the last record was written and before anybody was told, or a picture drawn."""
    script = (
        "import os, pathlib, sys\n"
        "from core.store import Workspace\n"
        "from sweeps.tracking.tracker import Tracker\n"
        "from tests.sweeps.tracking.test_tracker import log_all, uri\n"
        "from tests.sweeps.tracking.tracked import KEYS, SWEEP, leave_record, registration\n"
        "workspace = Workspace.at(pathlib.Path(sys.argv[1]))\n"
        "tracker = Tracker(SWEEP, workspace.root, uri=uri(workspace))\n"
        "tracker.register([registration(key) for key in KEYS])\n"
        "[(log_all(tracker, key), leave_record(workspace, key)) for key in KEYS]\n"
        "tracker.finish(KEYS[0])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script, str(launched.root)], cwd=root, check=False)
    assert done.returncode == -9
    assert sync(SWEEP, launched, timeout=120).empty
    check_states = {key: status for key, (status, _) in shown(launched).items()}
    assert check_states == dict.fromkeys(KEYS, "FINISHED") | {SWEEP: "SCHEDULED"}
    assert Journal(launched.sweep(SWEEP) / "journal.db").pictures_due() == ()
    assert {path.name for path in launched.root.glob("mlartifacts/**/artifacts/*")} == FILES | {"plan.json"}


def test_a_relaunch_finishes_the_trials_whose_end_nobody_told(launched: Workspace) -> None:
    tracker = tracker_of(launched)
    tracker.register([registration(KEYS[0]), registration(KEYS[1])])
    leave_record(launched, KEYS[0], status="failed")
    leave_record(launched, KEYS[1], status="failed")
    again = tracker_of(launched)
    again.register([registration(KEYS[0], to_run=False), registration(KEYS[1])])
    journal = Journal(launched.sweep(SWEEP) / "journal.db")
    assert {trial.trial_key: trial.state for trial in journal.trials()} == {KEYS[0]: "failed", KEYS[1]: "open"}


def test_a_growing_plan_leaves_trials_under_way_as_they_are_and_opens_failed_ones_again(launched: Workspace) -> None:
    tracker = Tracker(SWEEP, launched.root, uri="http://127.0.0.1:9")
    tracker.register([registration(key) for key in KEYS[:2]])
    log_all(tracker, KEYS[0])
    leave_record(launched, KEYS[1], status="failed")
    tracker.finish(KEYS[1])
    journal = Journal(launched.sweep(SWEEP) / "journal.db")
    before = journal.trials()[0]
    tracker.register([registration(key) for key in KEYS[:3]])
    assert journal.trials()[0] == before
    assert [trial.state for trial in journal.trials()] == ["open"] * 3
    again = Tracker(SWEEP, launched.root, uri="http://127.0.0.1:9")
    again.register([registration(KEYS[0])])
    assert not journal.trials()[0].active, "a new driver: nobody is at work on it yet"
    for each in (tracker, again):
        each.stop("interrupted", timeout=0.2)


def test_logging_does_not_wait_for_drawing_or_uploading(launched: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()

    def hang(self: Drawer, folder: Path) -> tuple[Path, ...]:
        held.wait(60)
        return ()

    monkeypatch.setattr(Drawer, "draw", hang)
    tracker = Tracker(SWEEP, launched.root, uri="http://127.0.0.1:9")
    tracker.register([registration(key) for key in KEYS])
    leave_record(launched, KEYS[0])
    tracker.finish(KEYS[0])
    began = time.monotonic()
    log_all(tracker, KEYS[1])
    assert time.monotonic() - began < 5, "30 durable commits"
    standing = tracker.stop("interrupted", timeout=0.5)
    assert (standing.backlog.pictures, standing.backlog.empty) == (1, False)
    assert standing.backlog.metrics >= STEPS * 5
    held.set()


def test_a_full_disk_is_a_journal_error_and_passes(launched: Workspace) -> None:
    tracker = FullDiskTracker(SWEEP, launched.root, uri="http://127.0.0.1:9")
    tracker.register([registration(KEYS[0])])
    tracker.room(1)
    points = [Point("loss", step, float(step), step) for step in range(5000)]
    with pytest.raises(JournalError, match="disk is full"):
        tracker.log(KEYS[0], points)
    tracker.room(1_000_000)
    tracker.log(KEYS[0], points)
    with sqlite3.connect(launched.sweep(SWEEP) / "journal.db") as database:
        assert database.execute("SELECT count(*) FROM metrics").fetchone() == (5000,)
    tracker.stop("interrupted", timeout=1)


def test_the_tracker_imports_nothing_heavy_before_it_needs_it() -> None:
    script = (
        "import sys, sweeps.tracking.tracker;"
        "print(sorted({'torch', 'ray', 'mlflow', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_was_never_launched_or_left_no_record_is_named(workspace: Workspace) -> None:
    with pytest.raises(BadInputError, match="sweep 'grid': not launched"):
        tracker_of(workspace)
    plan(workspace)
    tracker = Tracker(SWEEP, workspace.root, uri="http://127.0.0.1:9")
    tracker.register([registration(KEYS[0])])
    with pytest.raises(BadInputError, match=f"trial {KEYS[0]}: no record"):
        tracker.finish(KEYS[0])
    tracker.stop("interrupted", timeout=1)


@pytest.mark.slow
def test_the_drawing_process_is_nice_is_restarted_and_ends_with_its_owner(workspace: Workspace) -> None:
    drawer = Drawer()
    leave_record(workspace, KEYS[0])
    folder = workspace.trial(KEYS[0])
    assert {path.name for path in drawer.draw(folder)} == {"confusion.png", "masks.png", "reconstruction.png"}
    assert drawer._process is not None
    first = drawer._process.pid
    assert os.getpriority(os.PRIO_PROCESS, first) == os.getpriority(os.PRIO_PROCESS, 0) + drawer_module._NICENESS
    os.kill(first, 9)
    with pytest.raises(DrawerError, match="died"):
        drawer.draw(folder)
    assert len(drawer.draw(folder)) == 3
    (folder / "mask_example.npz").write_bytes(b"PK no archive")
    with pytest.raises(BadInputError, match="mask_example"):
        drawer.draw(folder)
    last = drawer._process
    assert last.stdin is not None
    last.stdin.close()
    assert last.wait(10) == 0, "it ends when nobody can ask it any more"
    drawer.close()
