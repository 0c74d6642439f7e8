"""One real `mlflow server` over HTTP, killed and started again while a sweep is being uploaded."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from sweeps.tracking import uploader as uploader_module
from sweeps.tracking.experiment import RunStatus
from sweeps.tracking.journal import Journal, Registration
from sweeps.tracking.uploader import Uploader

KEYS = [f"{n:016x}" for n in range(3)]
STEPS = range(0, 4000, 10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        f"{folder}/artifacts",
    ]
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return process
        except OSError:
            time.sleep(0.2)
    raise AssertionError((folder / "server.log").read_text())


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_server_killed_and_restarted_ends_up_with_each_event_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploader_module, "_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(uploader_module, "_LONGEST_PAUSE_SECONDS", 1.0)
    port = free_port()
    journal = Journal(tmp_path / "sweeps" / "grid" / "journal.db")
    uploader = Uploader(
        journal.path, tracking_uri=f"http://127.0.0.1:{port}", sweep="grid", artifact_root=tmp_path / "unused",
        parent_tags={}, parent_params={},
    )  # fmt: skip
    record = tmp_path / "record.json"
    record.write_text("{}")
    server = start_server(tmp_path, port)
    uploader.start()
    for place, key in enumerate(KEYS):
        journal.register(Registration(trial_key=key, name=key, params={"seed": str(place)}, tags={}))
        for step in STEPS:
            journal.log(key, {"loss": math.exp(-step / 1000) + place, "norm": step / 3}, step=step)
        journal.flush()
        if place == 0:
            time.sleep(1.0)
            kill(server)
        journal.finish(key, status="complete", artifacts=(record,))
    deadline = time.monotonic() + 60
    while uploader.trouble is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert uploader.trouble is not None
    server = start_server(tmp_path, port)
    try:
        deadline = time.monotonic() + 60
        while not uploader.backlog().empty and time.monotonic() < deadline:
            time.sleep(0.1)
        assert uploader.stop(60, state="complete").empty
        check_arrived(f"http://127.0.0.1:{port}")
    finally:
        kill(server)


def check_arrived(uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("grid")
    runs = client.search_runs([experiment.experiment_id])
    trials = {run.data.tags["emsweep.trial_key"]: run for run in runs if "emsweep.trial_key" in run.data.tags}
    assert len(runs) == len(KEYS) + 1
    assert sorted(trials) == KEYS
    finished: RunStatus = "FINISHED"
    assert {run.info.status for run in runs} == {finished}
    for place, key in enumerate(KEYS):
        run_id = trials[key].info.run_id
        history = [(event.step, event.value) for event in client.get_metric_history(run_id, "loss")]
        assert sorted(history) == [(step, math.exp(-step / 1000) + place) for step in STEPS]
        assert len(client.get_metric_history(run_id, "norm")) == len(STEPS)
        assert [found.path for found in client.list_artifacts(run_id)] == ["record.json"]
