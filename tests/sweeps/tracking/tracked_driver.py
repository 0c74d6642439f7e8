"""A driver whose trials do nothing but log, through the real tracking actor: to be killed, and started again.

Run: python -m tests.sweeps.tracking.tracked_driver WORKSPACE STEPS SECONDS_PER_BATCH CRASHES
A trial keeps to the protocol of the real ones: confirm what was sent, write the checkpoint, take steps, send; confirm
once more before the record. Prints one JSON line at the end.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import ray

from core.store import Workspace, write_atomically
from sweeps.tracking.actor import TrackerHandle, start_tracker
from sweeps.tracking.client import TrackingClient
from tests.sweeps.tracking.tracked import KEYS, SWEEP, leave_record, plan, registration, values

BATCH = 10


@ray.remote(num_cpus=0, max_retries=0)
def trial(tracker: Any, key: str, root: Path, steps: int, pause: float) -> str:
    workspace = Workspace.at(root)
    client = TrackingClient(tracker, key)
    checkpoint = root / "checkpoints" / key
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for begin in range(first, steps, BATCH):
        client.confirm()
        write_atomically(checkpoint, str(begin).encode())
        for step in range(begin, begin + BATCH):
            client.log(values(key, step), step)
        client.send()
        time.sleep(pause)
    client.confirm()
    leave_record(workspace, key)
    return key


def crash(tracker: TrackerHandle, *, gently: bool) -> None:
    if gently:
        ray.kill(tracker.actor, no_restart=False)
    else:
        os.kill(tracker.standing().process_id, signal.SIGKILL)


def main(root: Path, steps: int, pause: float, crashes: int) -> None:
    workspace = Workspace.at(root)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    plan(workspace)
    tracker = start_tracker(SWEEP, workspace)
    to_run = [key for key in KEYS if not (workspace.trial(key) / "record.json").exists()]
    tracker.register([registration(key, to_run=key in to_run) for key in KEYS])
    (root / "tracking").touch()
    running = [trial.remote(tracker.actor, key, root, steps, pause) for key in to_run]
    last_crash = time.monotonic()
    while running:
        ended, running = ray.wait(running, timeout=0.2)
        for key in ray.get(ended):
            tracker.finish(key)
        if crashes and time.monotonic() - last_crash > 3.0:
            crash(tracker, gently=bool(crashes % 2))
            crashes, last_crash = crashes - 1, time.monotonic()
    standing = tracker.stop("complete", timeout=120)
    sys.stdout.write(json.dumps({"unsent": not standing.backlog.empty, "trouble": standing.trouble}) + "\n")
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
