"""What Ray Tune tells the driver: records of trials that ended without one, and who is where."""

from __future__ import annotations

__all__ = ["SweepCallback"]

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ray import tune
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, WorkerCrashedError

from core.errors import FailureKind
from core.records import InterimEntry, Record, read_record
from core.store import Workspace
from core.trial import Underway, fail_trial, prune_trial
from sweeps.trainable import Task

LOST = (RayActorError, WorkerCrashedError)


class SweepCallback(tune.Callback):  # type: ignore[misc]
    """Follows the trials under way.

    Args:
        stopped: arm key → why early stopping ended the arm, or None.
        started: called with the key of every trial that a worker has begun.
        reported: called with (task, Tune's result) at every report.
        ended: called with the record of every trial that ended.
        left: called with the key of a trial that stopped without an end: it is to be continued.
    """

    def __init__(
        self, workspace: Workspace, *, stopped: Callable[[str], str | None], started: Callable[[str], None],
        reported: Callable[[Task, dict[str, Any]], None], ended: Callable[[Record], None],
        left: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._workspace, self._stopped = workspace, stopped
        self._started, self._reported, self._ended, self._left = started, reported, ended, left
        self._underway: dict[str, Underway] = {}
        self._interim: dict[str, list[InterimEntry]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its settings for restoring an experiment; this project resumes by its own store instead."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any) -> None:
        self._started(_task(trial).trial_key)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any]) -> None:
        key = result["trial_key"]
        if "underway" in result:
            underway: Underway = result["underway"]
            self._underway[key] = underway
            if underway.interim is not None:
                self._interim.setdefault(key, []).append(underway.interim)
        self._reported(_task(trial), result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any) -> None:
        task = _task(trial)
        record = read_record(self._workspace.trial(task.trial_key))
        reason = self._stopped(task.arm_key)
        if record is None and reason is not None:
            record = prune_trial(
                task.unfinished,
                self._workspace,
                reason=reason,
                underway=self._underway[task.trial_key],
                interim=tuple(self._interim.get(task.trial_key, ())),
            )
        self._end(task, record)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any) -> None:
        task = _task(trial)
        record = read_record(self._workspace.trial(task.trial_key))
        if record is None:
            kind, reason = _told(trial.get_pickled_error())
            record = fail_trial(task.unfinished, self._workspace, reason=reason, kind=kind)
        self._end(task, record)

    def _end(self, task: Task, record: Record | None) -> None:
        self._underway.pop(task.trial_key, None)
        self._interim.pop(task.trial_key, None)
        if record is None:
            self._left(task.trial_key)
            return
        self._ended(record)


def _task(trial: Any) -> Task:
    return _parsed(trial.config["trial"])


@lru_cache(maxsize=256)
def _parsed(task: str) -> Task:
    return Task.model_validate_json(task)


def _told(error: BaseException | None) -> tuple[FailureKind, str]:
    """Kind and reason of what ended a trial from outside. Tune has started it again a few times by then."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    reason = f"{type(cause).__name__}: {lines[0].strip() if lines else ''}"
    if isinstance(cause, OutOfMemoryError):
        return "memory", reason
    if isinstance(cause, LOST) or not isinstance(cause, RayError):
        return "lost-worker", reason
    return "error", reason
