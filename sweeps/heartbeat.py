"""A running sweep's sign of life, for commands in other terminals: `heartbeat.json`, written by its driver."""

from __future__ import annotations

__all__ = ["Backlog", "Beat", "DriverState", "Heartbeat", "LaneEntry", "read_beat"]

import logging
import math
import os
import socket
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import FailureKind
from core.provenance import now
from core.store import Workspace
from sweeps.display import SweepCount
from sweeps.eta import Leg, Pace, search_progress
from sweeps.glance import Glances, ends_trial
from sweeps.stop_request import StopMode, clear_stop, requested_stop

if TYPE_CHECKING:
    from core.records import Record
    from sweeps.plan import Plan, PlannedTrial

DriverState = Literal["preparing", "running", "draining", "waiting for disk", "ended"]

FILE = "heartbeat.json"
EVERY_S = 1.0

_logger = logging.getLogger(__name__)


class _Entry(BaseModel):
    # A later version of the program may add fields: an older `sweep status` reads on.
    model_config = ConfigDict(frozen=True, extra="ignore")


class LaneEntry(_Entry):
    """One trial under way."""

    trial_key: str
    arm: str
    seed: int
    node: str
    pid: int
    since: str
    """When this leg began."""
    step: int
    """Optimizer steps so far, over all upstreams."""
    total_steps: int
    share_begun: float
    """Where the checkpoint let it go on; 0 when it began anew."""
    share: float
    """Of its work, in [0, 1]."""
    metrics: dict[str, float | None]
    """Last values of a few; None: not finite."""


class Backlog(_Entry):
    """What MLflow has not received yet, in counts."""

    runs: int
    metrics: int
    artifacts: int

    @property
    def empty(self) -> bool:
        return not (self.runs or self.metrics or self.artifacts)


class Beat(_Entry):
    """The content of `heartbeat.json`. Times in UTC, ISO 8601."""

    schema_version: Literal[1] = 1
    pid: int
    host: str
    started: str
    written: str
    state: DriverState
    message: str
    """Why it waits, or what it prepares."""
    slots: int
    """Trials that run at a time."""
    lanes: tuple[LaneEntry, ...]
    queue: int
    """Trials of the plan that have not been started."""
    complete: int
    failed: int
    pruned: int
    open: int
    """Not ended, running ones included."""
    eta_seconds: float | None
    """From `written` on; None while nothing can be said."""
    eta_rough: bool
    """Some of what is left is of a kind that was not measured yet."""
    backlog: Backlog | None
    """None until the tracker has said."""
    failures: dict[FailureKind, int]
    interrupted: dict[str, float]
    """Trial key → share, of trials that were stopped under way, in this launch or before, and not started since."""


def read_beat(folder: Path) -> Beat | None:
    """The last sign of life in `sweeps/<name>/`; None where there is none that can be understood."""
    try:
        return Beat.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


@dataclass(kw_only=True)
class _Lane:
    trial: PlannedTrial
    node: str
    pid: int
    since: str
    began: float
    share_begun: float
    share: float
    step: int
    total_steps: int
    metrics: dict[str, float | None]
    has_reported: bool = False

    def leg(self) -> Leg:
        return Leg(
            trial_key=self.trial.trial_key,
            seconds=time.monotonic() - self.began,
            share_begun=self.share_begun,
            share=self.share,
        )

    def entry(self) -> LaneEntry:
        return LaneEntry(
            trial_key=self.trial.trial_key,
            arm=self.trial.arm,
            seed=self.trial.seed,
            node=self.node,
            pid=self.pid,
            since=self.since,
            step=self.step,
            total_steps=self.total_steps,
            share_begun=self.share_begun,
            share=self.share,
            metrics=self.metrics,
        )


class Heartbeat:
    """What the driver says of the sweep while it runs it. Made by `sweeps.driver.Driver`, used by one thread.

    Every method may write the file, at most once a second but for changes of state; a disk that is full or gone costs
    signs of life, never the sweep.
    """

    def __init__(self, folder: Path, workspace: Workspace, *, slots: int) -> None:
        self._folder, self._slots = folder, slots
        self._glances = Glances(workspace)
        self._started = now()
        self._state: DriverState = "preparing"
        self._message = ""
        self._trials: dict[str, PlannedTrial] = {}
        self._ended: dict[str, str] = {}
        """Trial key → complete, failed or pruned."""
        self._failures: dict[str, FailureKind] = {}
        self._lanes: dict[str, _Lane] = {}
        self._pace = Pace(slots)
        self._more = 0
        self._backlog: Backlog | None = None
        before = read_beat(folder)
        self._interrupted = before.interrupted | {lane.trial_key: lane.share for lane in before.lanes} if before else {}
        self._written = -math.inf
        self._warned = False

    def state(self, state: DriverState, message: str = "") -> None:
        """The driver goes over to another state, or waits for another reason; written at once."""
        if (state, message) != (self._state, self._message):
            self._state, self._message = state, message
            self.write()

    def progress(self, what: str, done: int, total: int) -> None:
        """`core.progress.Progress`: what it prepares."""
        self._message = "" if done >= total else f"{what}: {done}/{total}"
        self.write_if_due()

    def planned(self, plan: Plan) -> None:
        """The sweep's plan, at first and whenever it has changed; how its trials ended is read from their records.

        Call it when the records of trials that are to be run again are gone.
        """
        self._pace.plan(plan.trials)
        known, self._trials = self._trials, {trial.trial_key: trial for trial in plan.trials}
        self._lanes = {key: lane for key, lane in self._lanes.items() if key in self._trials}
        self._ended.clear()
        self._failures.clear()
        for trial_key in self._trials:
            glance = self._glances.at(trial_key)
            if glance is not None and ends_trial(glance, stop=plan.definition.stop is not None):
                self._end(trial_key, glance.status, glance.failure)
                if glance.seconds and glance.status != "failed" and trial_key not in known:
                    self._pace.took(trial_key, glance.seconds)
        search = plan.definition.search
        if search is not None:
            tried = search_progress(plan.trials)
            self._more = round((search.points - tried) * len(plan.trials) / max(1, tried))
        self.write()

    def started(self, trial_key: str) -> None:
        """A worker has begun a trial; its first report will say where it goes on."""
        self._lane_of(trial_key)
        self.write_if_due()

    def lane(
        self, trial_key: str, *, share: float, step: int = 0, total_steps: int = 0, node: str = "", pid: int = 0,
        metrics: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        """A trial is under way and has got so far; called at every report.

        Args:
            share: of its work, in [0, 1]. The first one of a leg is where its checkpoint let it go on.
            metrics: last values of a few. What is not given keeps its last value.
        """
        lane = self._lane_of(trial_key)
        if not lane.has_reported:
            lane.has_reported, lane.began, lane.share_begun = True, time.monotonic(), share
        lane.share, lane.step, lane.total_steps = min(1.0, share), step, total_steps or lane.total_steps
        lane.node, lane.pid = node or lane.node, pid or lane.pid
        lane.metrics |= {name: value if math.isfinite(value) else None for name, value in (metrics or {}).items()}
        self.write_if_due()

    def lane_done(self, trial_key: str) -> None:
        """A trial was stopped without an end: it is in the queue again."""
        lane = self._lanes.pop(trial_key, None)
        if lane is not None:
            self._interrupted[trial_key] = lane.share
        self.write_if_due()

    def ended(self, record: Record) -> None:
        """A trial has left its record."""
        lane = self._lanes.pop(record.trial_key, None)
        if record.status == "complete" and lane is not None and lane.share_begun < 1:
            leg = lane.leg()
            self._pace.took(record.trial_key, leg.seconds / (1 - leg.share_begun))
        elif record.status != "failed" and record.cost is not None and record.cost.device_seconds:
            self._pace.took(record.trial_key, record.cost.device_seconds)
        failure = (record.failure or "error") if record.status == "failed" else None
        self._end(record.trial_key, record.status, failure)
        self.write_if_due()

    def backlog(self, *, runs: int, metrics: int, artifacts: int) -> None:
        """What the tracker has not sent to MLflow yet."""
        self._backlog = Backlog(runs=runs, metrics=metrics, artifacts=artifacts)
        self.write_if_due()

    def stop_requested(self) -> StopMode | None:
        """What `sweep stop` asks for; None while nobody has."""
        return requested_stop(self._folder)

    def count(self) -> SweepCount:
        """For the driver's own display."""
        ended = Counter(self._ended.values())
        return SweepCount(
            complete=ended["complete"],
            failed=ended["failed"],
            pruned=ended["pruned"],
            running=len(self._lanes),
            total=len(self._trials),
            work=len(self._ended) + sum(lane.share for lane in self._lanes.values()),
            eta=self._eta()[0],
        )

    def write_if_due(self) -> None:
        """Write when the last time is a second ago; for the driver's loop, also when nothing has happened."""
        if time.monotonic() - self._written >= EVERY_S:
            self.write()

    def write(self) -> None:
        """Write now."""
        self._written = time.monotonic()
        part = self._folder / f".{FILE}.part"
        try:
            # Not durable on purpose: after a power cut there is no driver that it could speak of.
            part.write_text(self._beat().model_dump_json(indent=1), encoding="utf-8")
            part.replace(self._folder / FILE)
            self._warned = False
        except OSError as error:
            if not self._warned:
                _logger.warning("%s: cannot be written (%s)", self._folder / FILE, error.strerror)
            self._warned = True

    def close(self) -> None:
        """The driver lets go of the sweep."""
        clear_stop(self._folder)
        for trial_key in tuple(self._lanes):
            self.lane_done(trial_key)
        self.state("ended")

    def _lane_of(self, trial_key: str) -> _Lane:
        if trial_key not in self._lanes:
            for earlier in (self._ended, self._failures):
                earlier.pop(trial_key, None)
            share = self._interrupted.pop(trial_key, 0.0)
            self._lanes[trial_key] = _Lane(
                trial=self._trials[trial_key], node="", pid=0, since=now(), began=time.monotonic(), share_begun=share,
                share=share, step=0, total_steps=0, metrics={},
            )  # fmt: skip
        return self._lanes[trial_key]

    def _end(self, trial_key: str, status: str, failure: FailureKind | None) -> None:
        self._ended[trial_key] = status
        self._interrupted.pop(trial_key, None)
        if failure is not None:
            self._failures[trial_key] = failure

    def _waiting(self) -> list[str]:
        return [key for key in self._trials if key not in self._ended and key not in self._lanes]

    def _eta(self) -> tuple[float | None, bool]:
        eta = self._pace.left(self._waiting(), [lane.leg() for lane in self._lanes.values()], more=self._more)
        return (eta.seconds, eta.rough) if eta else (None, False)

    def _beat(self) -> Beat:
        count, (eta_seconds, rough) = Counter(self._ended.values()), self._eta()
        return Beat(
            pid=os.getpid(),
            host=socket.gethostname(),
            started=self._started,
            written=now(),
            state=self._state,
            message=self._message,
            slots=self._slots,
            lanes=tuple(lane.entry() for lane in self._lanes.values()),
            queue=len(self._waiting()),
            complete=count["complete"],
            failed=count["failed"],
            pruned=count["pruned"],
            open=len(self._trials) - len(self._ended),
            eta_seconds=eta_seconds,
            eta_rough=rough,
            backlog=self._backlog,
            failures=dict(Counter(self._failures.values())),
            interrupted=self._interrupted,
        )
