"""The uploader against a real MLflow on SQLite; what arrived is read from MLflow's tables with plain SQL."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from core.errors import BadInputError
from sweeps.tracking import uploader as uploader_module
from sweeps.tracking.experiment import TrackingError, destination_name, prepare_database, tracking_uri
from sweeps.tracking.journal import Journal, Registration
from sweeps.tracking.uploader import Uploader

KEYS = tuple(f"{n:016x}" for n in range(4))
STEPS = range(0, 500, 10)


@pytest.fixture(scope="session")
def made_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: the migrations take seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    prepare_database(f"sqlite:///{path}")
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


class Sweep:
    """A sweep's workspace with a journal; trial 0 complete, 1 failed, 2 pruned, 3 open."""

    def __init__(self, root: Path, made_database: Path) -> None:
        self.root, self.database = root, root / "mlflow.db"
        root.mkdir(exist_ok=True)
        shutil.copy(made_database, self.database)
        self.path = root / "sweeps" / "grid" / "journal.db"
        self.journal = Journal(self.path)

    def uploader(self, uri: str | None = None) -> Uploader:
        return Uploader(
            self.path,
            tracking_uri=uri or f"sqlite:///{self.database}",
            sweep="grid",
            artifact_root=self.root / "mlartifacts",
            parent_tags={"commit": "abc"},
            parent_params={"trials": "4"},
        )

    def register(self, key: str) -> None:
        n = KEYS.index(key)
        params = {"masking.ratio": "0.15", "seed": str(n)}
        tags = {"arm": "ems", "twin": "random", "seed": str(n), "commit": "abc", "corpus_fingerprint": "f00"}
        self.journal.register(Registration(trial_key=key, name=f"ems seed {n}", params=params, tags=tags))

    def log(self, key: str, steps: range = STEPS) -> None:
        for step in steps:
            values = {"pretrain/loss": math.exp(-step / 100) + KEYS.index(key), "pretrain/grad_norm": step / 7}
            self.journal.log(key, values, step=step, time_ms=1_700_000_000_000 + step)
        self.journal.flush()

    def run_all(self) -> None:
        record = self.root / "trials" / KEYS[0] / "record.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text('{"status": "complete"}')
        for key in KEYS:
            self.register(key)
            self.log(key)
        self.journal.finish(KEYS[0], status="complete", artifacts=(record,))
        self.journal.finish(KEYS[1], status="failed", reason="loss is nan at step 490")
        self.journal.finish(KEYS[2], status="pruned")

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.database) as database:
            return database.execute(statement).fetchall()

    def runs(self) -> dict[str, tuple[str, str]]:
        """Trial key (or sweep name) → (run id, status) of every run not deleted; fails when one has two."""
        rows = self.sql(
            "SELECT t.value, r.run_uuid, r.status FROM runs r JOIN tags t USING (run_uuid)"
            " WHERE t.key IN ('emsweep.trial_key', 'emsweep.sweep') AND r.lifecycle_stage = 'active'"
        )
        assert max(Counter(key for key, _, _ in rows).values(), default=1) == 1
        return {key: (run_id, status) for key, run_id, status in rows}

    def check_metrics(self) -> None:
        """Every metric of every trial once, with its value, step and time."""
        keys = {run_id: key for key, (run_id, _) in self.runs().items()}
        rows = self.sql("SELECT run_uuid, key, step, value, timestamp FROM metrics")
        arrived = sorted((keys[run], key, step, value, moment) for run, key, step, value, moment in rows)
        expected = []
        for n, key in enumerate(KEYS):
            for step in STEPS:
                moment = 1_700_000_000_000 + step
                expected.append((key, "pretrain/loss", step, math.exp(-step / 100) + n, moment))
                expected.append((key, "pretrain/grad_norm", step, step / 7, moment))
        assert arrived == sorted(expected)

    def tags(self, key: str) -> dict[str, str]:
        return dict(self.sql(f"SELECT key, value FROM tags WHERE run_uuid = '{self.runs()[key][0]}'"))


def wait_until_sent(uploader: Uploader, *, patience_s: float = 60) -> None:
    deadline = time.monotonic() + patience_s
    while not uploader.backlog().empty and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.fixture
def sweep(tmp_path: Path, made_database: Path) -> Sweep:
    return Sweep(tmp_path / "workspace", made_database)


def test_everything_arrives_once_with_status_tags_params_and_artifacts(sweep: Sweep) -> None:
    sweep.run_all()
    uploader = sweep.uploader()
    assert uploader.backlog().metrics == 4 * len(STEPS) * 2
    assert uploader.sync_once().empty
    sweep.check_metrics()
    statuses = {key: status for key, (_, status) in sweep.runs().items()}
    assert statuses == dict(zip(KEYS, ["FINISHED", "FAILED", "KILLED", "RUNNING"], strict=True)) | {"grid": "RUNNING"}
    parent_id, _ = sweep.runs()["grid"]
    tags = sweep.tags(KEYS[1])
    assert tags["mlflow.parentRunId"] == parent_id
    assert tags["emsweep.reason"] == "loss is nan at step 490"
    assert (tags["arm"], tags["twin"], tags["seed"], tags["commit"]) == ("ems", "random", "1", "abc")
    params = dict(sweep.sql(f"SELECT key, value FROM params WHERE run_uuid = '{sweep.runs()[KEYS[2]][0]}'"))
    assert params == {"masking.ratio": "0.15", "seed": "2"}
    run_id, _ = sweep.runs()[KEYS[0]]
    saved = sweep.root / "mlartifacts" / "grid" / run_id / "artifacts" / "record.json"
    assert json.loads(saved.read_text()) == {"status": "complete"}
    assert sweep.sql("SELECT count(*) FROM experiments WHERE name <> 'Default'") == [(1,)]
    kind = dict(sweep.sql("SELECT key, value FROM experiment_tags"))
    assert kind["mlflow.experimentKind"] == "custom_model_development"


def test_a_second_uploader_makes_no_second_run_and_sends_only_what_is_new(sweep: Sweep) -> None:
    sweep.run_all()
    sweep.uploader().sync_once()
    before = sweep.runs()
    sweep.log(KEYS[3], range(0, 520, 10))
    again = sweep.uploader()
    assert again.backlog().metrics == 2 * 2
    assert again.sync_once().empty
    assert sweep.runs() == before


@pytest.mark.parametrize("call", ["create_run", "log_batch", "log_artifact", "set_terminated"])
def test_a_call_that_was_carried_out_but_never_answered_doubles_nothing(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Every call of this kind is carried out, then its answer is lost, once: also the crash before remembering."""
    from mlflow import MlflowClient

    real = getattr(MlflowClient, call)
    seen: set[str] = set()

    def lose_the_first_answer(self: MlflowClient, *positional: Any, **named: Any) -> Any:
        answer = real(self, *positional, **named)
        what = repr(positional) + repr(sorted(named.items()))
        if what not in seen:
            seen.add(what)
            raise ConnectionResetError("answer lost")
        return answer

    monkeypatch.setattr(MlflowClient, call, lose_the_first_answer)
    sweep.run_all()
    failures = 0
    for _ in range(60):
        # A new uploader each time: nothing may depend on what the broken one had in memory.
        try:
            if sweep.uploader().sync_once().empty:
                break
        except TrackingError:
            failures += 1
    assert failures >= 1
    sweep.check_metrics()
    assert len(sweep.runs()) == 5


def test_a_run_created_by_a_request_believed_lost_is_removed_when_found(sweep: Sweep) -> None:
    from mlflow import MlflowClient

    sweep.run_all()
    uploader = sweep.uploader()
    uploader.sync_once()
    kept = sweep.runs()
    client = MlflowClient(tracking_uri=f"sqlite:///{sweep.database}")
    experiment_id = client.get_experiment_by_name("grid").experiment_id
    late = client.create_run(experiment_id, tags={"emsweep.trial_key": KEYS[0]}).info.run_id
    sweep.uploader().sync_once()
    assert sweep.runs() == kept
    assert client.get_run(late).info.lifecycle_stage == "deleted"


def test_a_batch_sent_twice_adds_nothing(sweep: Sweep) -> None:
    sweep.run_all()
    sweep.uploader().sync_once()
    with sqlite3.connect(sweep.path) as database:
        database.execute("UPDATE uploads SET sent_to = 0, sent_version = NULL")
    assert sweep.uploader().sync_once().empty
    sweep.check_metrics()


def test_nothing_stays_running_after_the_sweep_and_resuming_continues_the_same_run(sweep: Sweep) -> None:
    sweep.run_all()
    uploader = sweep.uploader()
    uploader.start()
    assert uploader.stop(60, state="interrupted").empty
    assert sweep.runs()[KEYS[3]][1] == sweep.runs()["grid"][1] == "SCHEDULED"
    assert sweep.tags(KEYS[3])["emsweep.status"] == "interrupted"
    before = {key: run_id for key, (run_id, _) in sweep.runs().items()}
    sweep.register(KEYS[3])
    sweep.journal.set_sweep("open")
    sweep.uploader().sync_once()
    assert sweep.tags(KEYS[3])["emsweep.status"] == "waiting"
    sweep.log(KEYS[3], range(400, 500, 10))
    resumed = sweep.uploader()
    resumed.sync_once()
    assert (sweep.runs()[KEYS[3]][1], sweep.runs()["grid"][1]) == ("RUNNING", "RUNNING")
    sweep.journal.finish(KEYS[3], status="complete")
    resumed.start()
    assert resumed.stop(60, state="failed").empty
    assert {key: run_id for key, (run_id, _) in sweep.runs().items()} == before
    assert (sweep.runs()[KEYS[3]][1], sweep.runs()["grid"][1]) == ("FINISHED", "FAILED")
    sweep.check_metrics()


def test_drain_ends_what_a_killed_driver_left_running(sweep: Sweep) -> None:
    sweep.run_all()
    sweep.uploader().sync_once()
    assert sweep.runs()[KEYS[3]][1] == "RUNNING"
    assert sweep.uploader().drain(timeout=60).empty
    assert "RUNNING" not in {status for _, status in sweep.runs().values()}
    assert sweep.journal.sweep_state() == "interrupted"


def test_planned_trials_have_no_run_before_they_begin(sweep: Sweep) -> None:
    sweep.register(KEYS[0])
    assert sweep.uploader().sync_once().empty
    assert set(sweep.runs()) == {"grid"}
    assert sweep.runs()["grid"][1] == "RUNNING"


def test_a_second_mlflow_gets_everything_too(sweep: Sweep, made_database: Path) -> None:
    sweep.run_all()
    sweep.uploader().sync_once()
    other = sweep.root / "other.db"
    shutil.copy(made_database, other)
    second = sweep.uploader(f"sqlite:///{other}")
    assert second.backlog().metrics == 4 * len(STEPS) * 2
    assert second.sync_once().empty
    sweep.database = other
    sweep.check_metrics()


def test_runs_that_mlflow_lost_are_filled_again(sweep: Sweep) -> None:
    sweep.run_all()
    sweep.uploader().sync_once()
    lost, _ = sweep.runs()[KEYS[1]]
    with sqlite3.connect(sweep.database) as database:
        for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
            database.execute(f"DELETE FROM {table} WHERE run_uuid = '{lost}'")
    assert sweep.uploader().sync_once().empty
    assert sweep.runs()[KEYS[1]][0] != lost
    sweep.check_metrics()


def test_a_run_deleted_by_hand_stays_deleted_and_holds_nobody_up(sweep: Sweep) -> None:
    from mlflow import MlflowClient

    sweep.run_all()
    uploader = sweep.uploader()
    uploader.sync_once()
    deleted, _ = sweep.runs()[KEYS[3]]
    MlflowClient(tracking_uri=f"sqlite:///{sweep.database}").delete_run(deleted)
    for key in (KEYS[3], KEYS[2]):
        sweep.journal.log(key, {"late": 1.0}, step=0)
    sweep.journal.flush()
    with pytest.raises(TrackingError, match=deleted):
        uploader.sync_once()
    assert uploader.backlog().metrics == 1
    assert sweep.sql("SELECT run_uuid FROM metrics WHERE key = 'late'") == [(sweep.runs()[KEYS[2]][0],)]
    assert KEYS[3] not in sweep.runs()


def test_conflicts_are_visible_on_the_run(sweep: Sweep) -> None:
    sweep.run_all()
    sweep.uploader().sync_once()
    sweep.journal.log(KEYS[3], {"pretrain/loss": 99.0}, step=10)
    sweep.journal.flush()
    assert sweep.uploader().sync_once().conflicts == 1
    assert sweep.tags(KEYS[3])["emsweep.conflicts"] == "1"
    sweep.check_metrics()


def test_one_process_at_a_time(sweep: Sweep) -> None:
    sweep.run_all()
    with FileLock(sweep.path.with_name(".journal.db.uploader")):
        with pytest.raises(BadInputError, match="another process is uploading"):
            sweep.uploader().sync_once()
        with pytest.raises(BadInputError, match="being run or uploaded"):
            sweep.uploader().drain(timeout=1)
    assert sweep.journal.sweep_state() == "open"


def test_an_mlflow_that_is_down_costs_the_sweep_nothing(sweep: Sweep, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    uploader = sweep.uploader(f"http://user:secret@127.0.0.1:{closed}")
    with caplog.at_level(logging.WARNING):
        uploader.start()
        sweep.run_all()
        deadline = time.monotonic() + 30
        while uploader.trouble is None and time.monotonic() < deadline:
            time.sleep(0.05)
        began = time.monotonic()
        backlog = uploader.stop(5)
    assert time.monotonic() - began < 5
    assert (backlog.metrics, backlog.artifacts, backlog.runs) == (4 * len(STEPS) * 2, 1, 5)
    assert uploader.trouble is not None
    kept_and_said = sweep.path.read_bytes().decode("latin-1") + uploader.trouble + caplog.text
    assert "secret" not in kept_and_said
    assert sum("everything is kept in" in record.message for record in caplog.records) == 1


def test_an_mlflow_that_is_down_when_the_sweep_ends_is_given_time_to_come_back(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploader_module, "_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(uploader_module, "_LAST_PAUSE_SECONDS", 0.05)
    real, down, refused = uploader_module.Experiment, threading.Event(), []

    def opened(*positional: Any, **named: Any) -> Any:
        if down.is_set():
            refused.append(1)
            if len(refused) > 3:
                down.clear()
            raise TrackingError("MLflow is down", refused=False)
        return real(*positional, **named)

    monkeypatch.setattr(uploader_module, "Experiment", opened)
    uploader = sweep.uploader()
    uploader.start()
    sweep.run_all()
    wait_until_sent(uploader)
    # It stops in the middle of a call, so that the connection is opened again.
    down.set()
    monkeypatch.setattr(real, "describe", _fail_once(real.describe))
    assert uploader.stop(60, state="complete").empty
    assert (len(refused), uploader.trouble) == (4, None)
    sweep.check_metrics()


def _fail_once(call: Any) -> Any:
    failed = threading.Event()

    def failing(*positional: Any, **named: Any) -> Any:
        if not failed.is_set():
            failed.set()
            raise TrackingError("connection lost", refused=False)
        return call(*positional, **named)

    return failing


@pytest.mark.slow
def test_a_hanging_mlflow_is_left_behind_at_the_deadline(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    class Hanging(uploader_module.Experiment):
        def add_metrics(self, run_id: str, metrics: Any) -> None:
            released.wait(30)
            super().add_metrics(run_id, metrics)

    monkeypatch.setattr(uploader_module, "Experiment", Hanging)
    sweep.run_all()
    uploader = sweep.uploader()
    uploader.start()
    time.sleep(1.0)
    began = time.monotonic()
    backlog = uploader.stop(0.5)
    assert time.monotonic() - began < 1.5
    assert backlog.metrics > 0
    released.set()
    assert uploader._thread is not None
    uploader._thread.join(30)
    assert sweep.uploader().drain(timeout=60).empty
    sweep.check_metrics()


def test_the_background_thread_follows_a_running_sweep(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploader_module, "_PAUSE_SECONDS", 0.05)
    uploader = sweep.uploader()
    uploader.start()
    sweep.run_all()
    wait_until_sent(uploader)
    assert sweep.runs()[KEYS[3]][1] == "RUNNING"
    sweep.journal.finish(KEYS[3], status="complete")
    assert uploader.stop(60, state="complete").empty
    assert uploader.trouble is None
    assert {status for _, status in sweep.runs().values()} == {"FINISHED", "FAILED", "KILLED"}
    sweep.check_metrics()


def test_where_mlflow_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg2://me:secret@db:5432/mlflow")
    assert destination_name(tracking_uri(tmp_path)) == "postgresql+psycopg2://db:5432/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(BadInputError, match=r"\./mlruns"):
        tracking_uri(tmp_path)


@pytest.mark.slow
def test_our_client_is_impatient_sends_no_telemetry_and_leaves_the_environment_alone() -> None:
    """In a process of its own: pytest's environment already turns MLflow's telemetry off."""
    script = (
        "import os; before = set(os.environ); from sweeps.tracking.experiment import impatient_client\n"
        "impatient_client('http://127.0.0.1:9')\n"
        "from mlflow.telemetry import get_telemetry_client; from mlflow import environment_variables as v\n"
        "print(get_telemetry_client(), v.MLFLOW_HTTP_REQUEST_MAX_RETRIES.get(), v.MLFLOW_HTTP_REQUEST_TIMEOUT.get(),"
        " sorted(name for name in set(os.environ) - before if name.startswith('MLFLOW')))"
    )
    settings = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[3], env=settings, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split("\n")[0] == "None 0 10 []"


def test_the_database_is_in_wal_mode(made_database: Path) -> None:
    with sqlite3.connect(made_database) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
