"""One trial as Ray Tune sees it: an actor that is reused, a step per report, progress kept in the artifact store."""

from __future__ import annotations

__all__ = ["Task", "TrialTrainable"]

import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from ray import tune
from ray.actor import ActorHandle

from core.config import TrialConfig
from core.errors import TimeLimitError
from core.failures import batch_setting, failure_kind, is_disk_full
from core.records import Record, read_record
from core.store import Workspace
from core.trial import Underway, fail_trial, trial_steps
from sweeps.memory import PRETRAINING, advice
from sweeps.tracking.calls import TrackerLostError
from sweeps.tracking.client import TrackingClient
from sweeps.tracking.journal import JournalError

BETWEEN_REPORTS_S = 1.0
"""At least so long a trial runs before Tune hears of it again, unless there is something to decide on."""
DISK_PAUSE_S = 2.0
"""Between two looks at a full disk."""
HANG_FACTOR = 1.5
"""A trial is ended from outside when it takes this much longer than its limit without coming to a report."""
_logger = logging.getLogger(__name__)


class Task(BaseModel):
    """What a worker needs to know of a trial."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    trial_key: str
    arm: str
    arm_key: str
    seed: int
    config: TrialConfig
    pretraining_steps: int
    """Of `total_steps`, the first ones."""
    total_steps: int
    unfinished: Record
    workspace: Path
    trial_minutes: float | None
    free_bytes: float
    """Less than this on the workspace's disk, and the trial waits."""


class TrialTrainable(tune.Trainable):  # type: ignore[misc]
    """Runs the trial of `config["trial"]`, a `Task` as JSON; `tracker` is the sweep's tracking actor.

    Checkpoints lie in the artifact store under the stage's key, not in Ray's: a trial continues from them wherever and
    however it is started again, so Tune's own are empty.
    """

    def setup(self, config: dict[str, Any], tracker: ActorHandle | None = None) -> None:
        self._tracker = tracker
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._close()
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        # Nothing is created here: a reused actor may be set up for a trial that never takes a step.
        self._task = Task.model_validate_json(config["trial"])
        self._workspace = Workspace(root=self._task.workspace)
        self._steps: Iterator[Record | Underway] | None = None
        self._client: TrackingClient | None = None
        self._watchdog: threading.Timer | None = None
        self._started = time.monotonic()

    def _start(self) -> Iterator[Record | Underway]:
        task = self._task
        self._client = self._client or TrackingClient(self._tracker, task.trial_key)
        if task.trial_minutes is not None and self._watchdog is None:
            self._started = time.monotonic()
            self._watchdog = threading.Timer(60 * HANG_FACTOR * task.trial_minutes, self._end_hanging)
            self._watchdog.daemon = True
            self._watchdog.start()
        return trial_steps(
            task.config, self._workspace, arm=task.arm, expected_key=task.trial_key, log=self._client.log
        )

    def step(self) -> dict[str, Any]:
        earlier = read_record(self._workspace.trial(self._task.trial_key))
        if earlier is not None and earlier.status == "failed":
            # Ended from outside, and started again by Tune, which knows only that a worker was lost.
            return self._ended(earlier)
        if self._disk_is_full():
            time.sleep(DISK_PAUSE_S)
            return self._says({"status": "waiting for disk"})
        try:
            return self._advance()
        except TrackerLostError:
            # Tracking is at fault, not the trial: Tune starts it again from its checkpoint.
            raise
        except JournalError:
            # All is kept, here and in the generator; the head cannot write it now.
            time.sleep(DISK_PAUSE_S)
            return self._says({"status": "waiting for disk"})
        except Exception as error:
            # The border: whatever goes wrong in a trial ends this trial, not the sweep.
            if is_disk_full(error):
                # The generator is gone with what it had not saved; it goes on from its last checkpoint.
                self._steps = None
                return self._says({"status": "waiting for disk"})
            _logger.warning("trial %s failed", self._task.trial_key, exc_info=True)
            reason = f"{type(error).__name__}: {_first_line(error)}"
            kind = failure_kind(error)
            setting = batch_setting(error) if kind == "memory" else None
            if setting is not None:
                reason += f"; {advice(setting, self._task.config)}"
            record = fail_trial(self._task.unfinished, self._workspace, reason=reason, kind=kind)
            return self._ended(record) | {"pretraining": setting == PRETRAINING}

    def _advance(self) -> dict[str, Any]:
        if self._steps is None:
            self._steps = self._start()
        until = time.monotonic() + BETWEEN_REPORTS_S
        reached = self._next(self._steps)
        # Each report takes Tune a tenth of a second, which a trial of short stretches would feel.
        while isinstance(reached, Underway) and reached.interim is None and time.monotonic() < until:
            reached = self._next(self._steps)
        if isinstance(reached, Record):
            return self._ended(reached)
        facts = {"status": "running", "step": reached.step, "underway": reached}
        if reached.interim is not None:
            facts["interim_ua"] = dict(reached.interim.ua)
        return self._says(facts)

    def _next(self, steps: Iterator[Record | Underway]) -> Record | Underway:
        assert self._client is not None
        # Durable before anything follows from it; the last one before the record is written.
        self._client.confirm()
        reached = next(steps)
        self._client.send()
        if isinstance(reached, Record):
            self._client.confirm()
            return reached
        limit = self._task.trial_minutes
        if limit is not None and time.monotonic() - self._started > 60 * limit:
            raise TimeLimitError(f"step {reached.step}: the trial has run longer than {limit:g} minutes")
        return reached

    def _says(self, facts: dict[str, Any]) -> dict[str, Any]:
        task = self._task
        return {"done": False, "trial_key": task.trial_key, "arm_key": task.arm_key, "seed": task.seed, **facts}

    def _ended(self, record: Record) -> dict[str, Any]:
        self._close()
        return self._says({"status": record.status, "done": True})

    def _disk_is_full(self) -> bool:
        return shutil.disk_usage(self._workspace.root).free < self._task.free_bytes

    def _end_hanging(self) -> None:
        limit = self._task.trial_minutes
        reason = f"TimeLimitError: no report within {HANG_FACTOR:g} times the limit of {limit:g} minutes"
        fail_trial(self._task.unfinished, self._workspace, reason=reason, kind="time-out")
        os._exit(1)

    def _close(self) -> None:
        """Leave a checkpoint when the trial is under way, and let go of what it holds."""
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        if self._steps is not None:
            self._steps.close()  # type: ignore[attr-defined]
            self._steps = None
        # What it had not confirmed is logged again when the trial goes on.
        self._client = None

    def cleanup(self) -> None:
        self._close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: see the class."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing to load: see the class."""


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else ""
