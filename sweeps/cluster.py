"""Ray for the length of a sweep: a cluster of its own on this machine, or a running one."""

from __future__ import annotations

__all__ = ["Resources", "connected", "connecting", "slots"]

import logging
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from core.errors import BadInputError

RAY_SETTINGS = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "2",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Ray's own tables, result files, warnings and signals off: the display, the journal, the store and the runner take
their place. Two trials wait ready, so that no worker waits for the next one."""
REACH_PATIENCE_S = 10.0
"""How long a Ray address may take to accept a connection."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one trial gets, and where."""

    cpus: float = 1.0
    gpus: float = 0.0
    address: str | None = None
    """A running Ray cluster; None starts a local one."""

    def compute_settings(self) -> dict[str, Any]:
        """The trial settings these resources fix: both can change a result's last digits."""
        return {"compute.device": "cuda" if self.gpus else "cpu", "compute.threads": max(1, int(self.cpus))}

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@contextmanager
def connected(resources: Resources) -> Iterator[None]:
    """Connected to Ray for the length of the block.

    Raises BadInputError when Ray cannot be reached or no node can ever give a trial its resources.
    """
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    if resources.address:
        _check_reachable(resources.address)
    import ray

    where = {"address": resources.address} if resources.address else {"address": "local", "include_dashboard": False}
    try:
        ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BadInputError(f"--address {resources.address}: no Ray cluster there ({error})") from error
    try:
        for name, wanted in (("CPU", resources.cpus), ("GPU", resources.gpus)):
            most = max((node["Resources"].get(name, 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
            if wanted > most:
                raise BadInputError(f"--{name.lower()}s-per-trial {wanted:g}: the largest node has {most:g}")
        yield
    finally:
        ray.shutdown()


@contextmanager
def connecting(resources: Resources) -> Iterator[Callable[[], None]]:
    """A local Ray, started behind the block's back; gives what waits until it is there and raises as `connected`."""
    with ThreadPoolExecutor(1) as thread, ExitStack() as stack:
        connection = thread.submit(stack.enter_context, connected(resources))
        try:
            yield lambda: connection.result()
        finally:
            # What is only half started cannot be stopped.
            connection.exception()


def slots(resources: Resources) -> int:
    """How many trials run at a time: of the cluster where connected, else of this machine's processors."""
    if resources.address is None:
        return max(1, int(len(os.sched_getaffinity(0)) / resources.cpus))
    import ray

    counts = [
        min(
            int(node["Resources"].get(name, 0.0) / wanted)
            for name, wanted in (("CPU", resources.cpus), ("GPU", resources.gpus))
            if wanted
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    return max(1, sum(counts))


def _check_reachable(address: str) -> None:
    """Ray itself tries an address where nothing answers for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=REACH_PATIENCE_S).close()
    except (OSError, ValueError) as error:
        raise BadInputError(f"--address {address}: nothing answers there ({error})") from error
