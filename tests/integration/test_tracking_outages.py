"""Tracking, exactly once: real servers, actors and drivers killed (SIGKILL) in the middle of a stream of metrics.

Afterwards MLflow's own tables have one run per trial, each point once, none missing, no run RUNNING.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.store import Workspace
from sweeps.tracking.filling import sync, uploader_for
from tests.sweeps.tracking.servers import MlflowServer, PostgresServer, Server, family, postgresql_missing
from tests.sweeps.tracking.tracked import SWEEP, check_exactly_once

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = 400


@contextmanager
def driver(
    workspace: Path, *, pause: float, uri: str | None = None, crashes: int = 0
) -> Iterator[subprocess.Popen[str]]:
    """A driver under way; whatever it has started is gone after the block."""
    command = [sys.executable, "-m", "tests.sweeps.tracking.tracked_driver"]
    command += [str(workspace), str(STEPS), str(pause), str(crashes)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RAY_"))}
    settings = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
    if uri is not None:
        settings["MLFLOW_TRACKING_URI"] = uri
    (workspace / "tracking").unlink(missing_ok=True)
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=clean | settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        for member in family(process.pid) if process.poll() is None else ():
            try:
                os.kill(member, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.communicate()


def await_path(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"{path} is not there after 120 s"
        time.sleep(0.05)


def ended_well(process: subprocess.Popen[str]) -> None:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert json.loads(output.strip().splitlines()[-1]) == {"unsent": False, "trouble": None}, errors


def uploaded_metrics(workspace: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many points MLflow still lacks."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uploader_for(SWEEP, Workspace.at(workspace)).backlog().metrics


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_a_tracking_actor_killed_time_and_again_loses_and_doubles_nothing(workspace: Path) -> None:
    with driver(workspace, pause=0.4, crashes=4) as process:
        ended_well(process)
    check_exactly_once(f"sqlite:///{workspace}/mlflow.db", steps=STEPS, artifacts=workspace / "mlartifacts")


@pytest.mark.slow
def test_a_driver_killed_time_and_again_and_relaunched_ends_with_one_run_per_trial(workspace: Path) -> None:
    for seconds in (1.0, 4.0, 2.5):
        with driver(workspace, pause=0.2) as process:
            await_path(workspace / "tracking", process)
            time.sleep(seconds)
            assert process.poll() is None, "it must be killed under way"
            # Ray's processes see for themselves that their driver is gone, as after a real crash.
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    with driver(workspace, pause=0.0) as process:
        ended_well(process)
    check_exactly_once(f"sqlite:///{workspace}/mlflow.db", steps=STEPS, artifacts=workspace / "mlartifacts")


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_servers_killed_and_restarted_under_a_running_sweep(
    tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    servers: list[Server] = []
    if database == "postgresql":
        if reason := postgresql_missing():
            pytest.skip(reason)
        tables = PostgresServer(tmp_path)
        servers.append(tables)
        tables.start()
    server = MlflowServer(tmp_path, backend=tables.uri if database == "postgresql" else None)
    servers.append(server)
    try:
        server.start()
        with driver(workspace, pause=0.5, uri=server.uri) as process:
            await_path(workspace / "tracking", process)
            time.sleep(4)
            if database == "postgresql":
                # First the database alone: the server answers, with errors.
                tables.kill()
                time.sleep(3)
                tables.start()
                time.sleep(5)
                tables.kill()
            server.kill()
            time.sleep(3)
            if database == "postgresql":
                tables.start()
            server.start()
            ended_well(process)
        assert uploaded_metrics(workspace, server.uri, monkeypatch) == 0
        check_exactly_once(server.backend, steps=STEPS, artifacts=tmp_path / "artifacts")
    finally:
        for each in reversed(servers):
            each.close()


@pytest.mark.slow
def test_sync_brings_a_sweep_that_never_saw_mlflow(
    tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is down for the whole sweep; by hand, later, it gets everything, killed once more on the way."""
    server = MlflowServer(tmp_path)
    with driver(workspace, pause=0.0, uri=server.uri) as process:
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert json.loads(output.strip().splitlines()[-1])["unsent"]
    server.start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        uploader_for(SWEEP, Workspace.at(workspace)).drain(timeout=0.3)
        server.kill()
        server.start()
        assert sync(SWEEP, Workspace.at(workspace), timeout=120).empty
        check_exactly_once(server.backend, steps=STEPS, artifacts=tmp_path / "artifacts")
    finally:
        server.close()
