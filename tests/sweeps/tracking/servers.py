"""Real servers that tests kill and start again on the same data: MLflow's, and PostgreSQL as Debian packages it."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

START_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def family(pid: int) -> list[int]:
    """A process and all that descend from it, from /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


class Server:
    """A server process; `kill` sends SIGKILL to it and all its descendants at once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        if self._process is None:
            return
        for member in family(self._process.pid):
            try:
                os.kill(member, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        self._process = None

    def close(self) -> None:
        self.kill()

    def _run(self, command: list[str], answers: Callable[[], bool], **options: Any) -> None:
        log = self.folder / f"{type(self).__name__}.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, **options)
        deadline = time.monotonic() + START_SECONDS
        while not answers():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


class MlflowServer(Server):
    """`mlflow server` with its tables at `backend` (default: SQLite in the folder)."""

    def __init__(self, folder: Path, *, backend: str | None = None) -> None:
        super().__init__(folder)
        self.backend = backend or f"sqlite:///{folder}/server.db"
        self.artifacts = folder / "artifacts"
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(self.port)]
        command += ["--backend-store-uri", self.backend, "--artifacts-destination", str(self.artifacts)]
        settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self._run(command, self._answers, env=os.environ | settings)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return True
        except OSError:
            return False


def postgresql_missing() -> str | None:
    """Why no PostgreSQL can be started here, None if one can."""
    if _binary("postgres") is None:
        return "no PostgreSQL server binaries (Debian: postgresql)"
    if os.geteuid() == 0 and _server_user() is None:
        return "PostgreSQL does not run as root, and there is no user postgres"
    return None


class PostgresServer(Server):
    """PostgreSQL on loopback, durable by its usual settings, its data in a folder that `close` removes.

    Not in the test's own folder: where pytest runs as root, the server's user cannot reach that.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._user = _server_user()
        self._data = Path(tempfile.mkdtemp(prefix="emsweep-postgresql-"))
        self._options: dict[str, Any] = {"cwd": self._data}
        if self._user is not None:
            shutil.chown(self._data, self._user)
            self._options |= {"user": self._user, "group": self._user}
        self.uri = f"postgresql+psycopg2://{self._user or getpass.getuser()}@127.0.0.1:{self.port}/postgres"
        command = [str(_binary("initdb")), "-D", str(self._data), "-A", "trust"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._options)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._data)

    def start(self) -> None:
        command = [str(_binary("postgres")), "-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        self._run(command, self._answers, **self._options)

    def _answers(self) -> bool:
        ready = [str(_binary("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-d", "postgres"]
        ready += ["-U", self._user or getpass.getuser()]
        return subprocess.run(ready, check=False).returncode == 0


def _binary(name: str) -> Path | None:
    found = [*sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), *filter(None, [shutil.which(name)])]
    return Path(found[-1]) if found else None


def _server_user() -> str | None:
    """The user that the server runs as when we are root."""
    if os.geteuid() != 0:
        return None
    return next((entry.pw_name for entry in pwd.getpwall() if entry.pw_name == "postgres"), None)
