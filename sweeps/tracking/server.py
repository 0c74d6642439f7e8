"""MLflow's pages for `sweep ui`: the user's own server if there is one, else a small local one while needed."""

from __future__ import annotations

__all__ = ["Page", "serve", "serving"]

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from core.errors import BadInputError
from sweeps.tracking.experiment import (
    TrackingError,
    find_experiment,
    is_server,
    prepare_database,
    runs_page,
    tracking_uri,
)

_START_SECONDS = 120.0
_END_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page that answers. `process` is the local server behind it, None for the user's own."""

    url: str
    process: subprocess.Popen[bytes] | None

    def wait(self) -> None:
        """Until the local server ends (or Ctrl-C); returns at once when the server is the user's own."""
        if self.process is not None:
            self.process.wait()


def serve(
    workspace: Path, *, sweep: str | None, host: str = "127.0.0.1", port: int, say: Callable[[str], None]
) -> None:
    """Say where the runs page of a sweep is, and serve it until Ctrl-C (at once done when MLflow is the user's own).

    Raises as `serving` does.
    """
    with serving(workspace, tracking_uri(workspace), sweep=sweep, host=host, port=port) as page:
        say(page.url)
        try:
            page.wait()
        except KeyboardInterrupt:
            return


@contextmanager
def serving(workspace: Path, uri: str, *, sweep: str | None, host: str = "127.0.0.1", port: int) -> Iterator[Page]:
    """The runs page of a sweep (None: of the experiment last changed), served for the length of the block.

    One worker and no job execution: a fraction of the usual start-up time and memory. Output goes to
    `mlflow-server.log` in the workspace. The server and its children are gone when the block ends, also by Ctrl-C,
    SIGTERM or a closed terminal. Raises BadInputError when the port is taken or the server does not start.
    """
    if is_server(uri):
        yield Page(url=_page(uri, uri.rstrip("/"), sweep), process=None)
        return
    _check_free(host, port)
    log = workspace / "mlflow-server.log"
    with _ending_by_signal():
        prepare_database(uri)
        process = _start(workspace, uri, host=host, port=port, log=log)
        try:
            _await_answer(process, host=host, port=port, log=log)
            yield Page(url=_page(uri, f"http://{host}:{port}", sweep), process=process)
        finally:
            _end(process)


def _page(uri: str, address: str, sweep: str | None) -> str:
    try:
        return runs_page(address, find_experiment(uri, sweep))
    except TrackingError as error:
        raise BadInputError(str(error)) from error


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadInputError(f"port {port} on {host}: {error.strerror}; choose another one") from error


def _start(workspace: Path, uri: str, *, host: str, port: int, log: Path) -> subprocess.Popen[bytes]:
    # Settings that may hold a password go through the environment: the command line is public.
    settings = {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": (workspace.absolute() / "mlartifacts").as_uri(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", host, "--port", str(port)]
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches only us, and the whole group can be ended.
        return subprocess.Popen(
            command, env=os.environ | settings, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip


def _await_answer(process: subprocess.Popen[bytes], *, host: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
            raise BadInputError(f"mlflow server ended with code {process.returncode}: {last} (all of it: {log})")
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise BadInputError(f"mlflow server does not answer on {host}:{port} after {_START_SECONDS:.0f} s (see {log})")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


@contextmanager
def _ending_by_signal() -> Iterator[None]:
    """SIGTERM and a closed terminal leave the block like Ctrl-C does, so that it can tidy up.

    SIGINT is set too: a command that a script starts in the background finds it ignored.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    previous[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
