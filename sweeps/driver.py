"""Who runs a sweep: one process at a time, which holds `.driver.lock` in the sweep's folder for the whole launch."""

from __future__ import annotations

__all__ = ["DRIVER_LOCK", "Driver", "is_driven", "is_held"]

import fcntl
import os
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from core.errors import BadInputError
from core.store import Workspace
from sweeps.heartbeat import Heartbeat, read_beat
from sweeps.stop_request import clear_stop

DRIVER_LOCK = ".driver.lock"
PATIENCE_S = 1.0
"""A command that looks whether anybody holds the lock does so for an instant: not a reason to refuse a driver."""


class Driver:
    """Context manager of the process that runs a sweep; gives its heartbeat.

    The operating system drops the lock with the process, however that ends. Raises BadInputError on entry when another
    process holds it.

    Args:
        slots: trials that run at a time.
    """

    def __init__(self, name: str, workspace: Workspace, *, slots: int) -> None:
        self._name, self._workspace, self._slots = name, workspace, slots
        self._folder = workspace.sweep(name)
        self._lock = FileLock(self._folder / DRIVER_LOCK, timeout=PATIENCE_S)
        self._heartbeat: Heartbeat | None = None

    def __enter__(self) -> Heartbeat:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise BadInputError(f"sweep {self._name}: is being run already{self._by_whom()}") from error
        clear_stop(self._folder)
        self._heartbeat = Heartbeat(self._folder, self._workspace, slots=self._slots)
        self._heartbeat.write()
        return self._heartbeat

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._heartbeat is not None:
                self._heartbeat.close()
        finally:
            self._lock.release()

    def _by_whom(self) -> str:
        beat = read_beat(self._folder)
        who = f" by process {beat.pid} on {beat.host} since {beat.started}" if beat else ""
        return f"{who}; look: sweep watch {self._name}; end it: sweep stop {self._name}"


def is_driven(folder: Path) -> bool:
    """Whether a process runs the sweep in `folder`. Creates nothing, and needs no right to write."""
    return is_held(folder / DRIVER_LOCK)


def is_held(path: Path) -> bool:
    """Whether some process holds this lock file. Creates nothing, and needs no right to write."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who look do not see each other; gone with the descriptor.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
