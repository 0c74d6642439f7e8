from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from core.errors import BadInputError
from sweeps.tracking.experiment import Experiment
from sweeps.tracking.server import serve, serving

ROOT = Path(__file__).parents[3]


def test_a_port_in_use_is_one_clear_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(BadInputError, match=rf"port {port} on 127\.0\.0\.1: .*in use"),
            serving(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", sweep=None, port=port),
        ):
            pass


def test_an_unreachable_server_of_the_user_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{closed}")
    said: list[str] = []
    with pytest.raises(BadInputError, match=f"{closed}"):
        serve(tmp_path, sweep="grid", port=5000, say=said.append)
    assert said == []


def children_of(session: int) -> list[int]:
    """All processes of a session, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.slow
def test_the_page_is_the_sweeps_runs_and_no_process_survives_the_end(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    experiment_id = Experiment(uri, name="grid", artifact_root=tmp_path / "mlartifacts").experiment_id
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = (
        "import sys, pathlib; from sweeps.tracking.server import serve\n"
        "serve(pathlib.Path(sys.argv[1]), sweep='grid', port=int(sys.argv[2]), say=lambda url: print(url, flush=True))"
    )
    settings = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    for number in (signal.SIGINT, signal.SIGTERM):
        command = [sys.executable, "-c", script, str(tmp_path), str(port)]
        process = subprocess.Popen(command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        killer = threading.Timer(120, process.kill)
        killer.start()
        url = process.stdout.readline().strip()
        start = f"http://127.0.0.1:{port}"
        assert url.startswith(f"{start}/#/experiments/{experiment_id}/runs?")
        with urllib.request.urlopen(start, timeout=10) as answer:
            assert b"MLflow" in answer.read()
        servers = [pid for pid in map(int, _numbers_in_proc()) if _parent(pid) == process.pid]
        assert len(servers) == 1
        assert len(children_of(servers[0])) >= 1
        process.send_signal(number)
        assert process.wait(40) == (0 if number is signal.SIGINT else 128 + signal.SIGTERM)
        killer.cancel()
        deadline = time.monotonic() + 5
        while children_of(servers[0]) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert children_of(servers[0]) == []


def _numbers_in_proc() -> list[str]:
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int:
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return -1
