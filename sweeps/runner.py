"""Execute a sweep: shared stages first, then the trials of its source through Ray Tune, until it ends or is ended."""

from __future__ import annotations

__all__ = ["LaunchResult", "count", "launch", "registrations"]

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from core.config import UpstreamName
from core.errors import FailureKind
from core.records import read_record
from core.resolve import corpora_key, resolve
from core.store import Workspace
from core.upstreams import prepare
from sweeps.cluster import connected, connecting, slots
from sweeps.display import Display
from sweeps.driver import Driver
from sweeps.ending import Ending
from sweeps.heartbeat import Heartbeat
from sweeps.launching import Launching, reopen_failed
from sweeps.plan import Plan, PlannedTrial
from sweeps.sources import TrialSource
from sweeps.tracking.entries import Registration, SweepState
from sweeps.tracking.experiment import tracking_uri
from sweeps.tracking.filling import registration
from sweeps.tracking.tracker import Tracker

UPLOAD_PATIENCE_S = 60.0
"""How long a finished sweep waits for MLflow; what is left stays in the journal."""
HURRIED_PATIENCE_S = 3.0
"""How long one that is to stop now does."""


@dataclass(frozen=True, kw_only=True)
class LaunchResult:
    """How many trials of the plan ended how."""

    total: int
    complete: int
    pruned: int
    failed: Mapping[str, str]
    """Trial key → reason."""
    open: int

    @property
    def state(self) -> SweepState:
        """What the sweep's own run in MLflow shall show."""
        return "interrupted" if self.open else "failed" if self.failed else "complete"

    @property
    def exit_code(self) -> int:
        """0 all complete or stopped early, 1 none complete, 3 some failed, 4 interrupted and resumable."""
        if self.open:
            return 4
        if not self.failed:
            return 0
        return 3 if self.complete else 1

    def as_json(self) -> dict[str, Any]:
        return {
            "complete": self.complete, "pruned": self.pruned, "failed": dict(self.failed), "open": self.open,
        }  # fmt: skip

    def as_text(self) -> str:
        pruned = f"{self.pruned} stopped early, " if self.pruned else ""
        return f"{self.complete} of {self.total} trials complete, {pruned}{len(self.failed)} failed, {self.open} open"


def launch(
    launching: Launching, workspace: Workspace, *, display: Display, retrying: Collection[FailureKind] = (),
    anything_open: bool = True,
) -> LaunchResult:  # fmt: skip
    """Run what is open of a sweep and return how all of its trials ended.

    Args:
        retrying: trials that failed for one of these reasons are run once more.
        anything_open: as far as is known; then Ray starts at once, while the sweep is still being planned.

    The sweep's folder gets how it was launched, its plan, journal, signs of life, and Ray's own state. Where memory is
    short the trials of that upstream are run anew with half the micro-batch, all of them: pairs stay alike. Raises
    BadInputError when the sweep is being run already, and when Ray cannot be reached or cannot ever give a trial its
    resources.
    """
    name, resources = launching.definition.name, launching.resources
    with ExitStack() as stack:
        if resources.address:
            stack.enter_context(connected(resources))
        heartbeat = stack.enter_context(Driver(name, workspace, slots=slots(resources)))
        if retrying:
            reopen_failed(launching, workspace, kinds=retrying)
        while True:
            ending = Ending(heartbeat, display)
            with ending.on_signals():
                leg = _Leg(launching, workspace, heartbeat=heartbeat, ending=ending, display=display)
                result = leg.run(anything_open=anything_open)
            if ending.short_of_memory is None:
                return result
            launching = _with_less_memory(launching, ending.short_of_memory, display)


def _with_less_memory(launching: Launching, short: tuple[UpstreamName, int], display: Display) -> Launching:
    upstream, size = short
    display.say(f"out of memory with {size} utterances per forward pass of {upstream}: all its trials take {size // 2}")
    return replace(launching, micro_batch=launching.micro_batch | {upstream: size // 2})


class _Leg:
    """One go of a sweep, until it is through or ended."""

    def __init__(
        self, launching: Launching, workspace: Workspace, *, heartbeat: Heartbeat, ending: Ending, display: Display
    ) -> None:
        self._launching, self._workspace = launching, workspace
        self._heartbeat, self._ending, self._display = heartbeat, ending, display

    def run(self, *, anything_open: bool) -> LaunchResult:
        name = self._launching.definition.name
        self._launching.write(self._workspace)
        source: TrialSource | None = None
        connection: Callable[[], None] | None = None
        tracker, patience = None, UPLOAD_PATIENCE_S
        with ExitStack() as stack:
            try:
                if anything_open:
                    connection = self._connecting(stack)
                planner = self._launching.planner(self._workspace, progress=self._progress)
                source = self._launching.source(planner, self._workspace)
                while not (open_trials := source.plan.open_trials(self._workspace)) and source.advance():
                    pass
                source.plan.write(self._workspace)
                self._heartbeat.planned(source.plan)
                if open_trials:
                    connection = connection or self._connecting(stack)
                    self._prepare(open_trials)
                    connection()
                    self._ending.listen()
                self._ending.preparing = False
                tracker = self._tracker(name, with_ray=bool(open_trials))
                tracker.register(registrations(source.plan, self._workspace))
                tracker.keep_only([trial.trial_key for trial in source.plan.trials])
                if open_trials:
                    self._run_tune(source, tracker)
            except KeyboardInterrupt:
                self._display.say("interrupted")
                patience = HURRIED_PATIENCE_S
            finally:
                plan = source.plan if source else Plan(definition=self._launching.definition, trials=())
                result = count(plan, self._workspace)
                if tracker is not None:
                    self._stop(tracker, result, patience)
        return result

    def _connecting(self, stack: ExitStack) -> Callable[[], None]:
        """Starts a local Ray; gives what waits for it. Another one was connected to before the sweep was locked."""
        resources = self._launching.resources
        return stack.enter_context(connecting(resources)) if not resources.address else lambda: None

    def _tracker(self, name: str, *, with_ray: bool) -> Any:
        if with_ray:
            from sweeps.tracking.actor import start_tracker

            return start_tracker(name, self._workspace)
        return Tracker(name, self._workspace.root, uri=tracking_uri(self._workspace.root))

    def _stop(self, tracker: Any, result: LaunchResult, patience: float) -> None:
        standing = tracker.stop(result.state, timeout=patience)
        if not standing.backlog.empty:
            name = self._launching.definition.name
            self._display.say(f"MLflow has not got everything ({standing.trouble}); later: sweep sync {name}")

    def _progress(self, what: str, done: int, total: int) -> None:
        self._display.progress(what, done, total)
        self._heartbeat.progress(what, done, total)

    def _prepare(self, trials: tuple[PlannedTrial, ...]) -> None:
        """Make what trials share here, with a progress bar, before any of them waits for it on a worker."""
        seen: set[str] = set()
        for trial in trials:
            config = trial.config
            key = f"{corpora_key(config)} {config.features.model_dump_json()}"
            if key not in seen:
                seen.add(key)
                corpora = resolve(config, self._workspace, progress=self._progress)
                prepare(config, corpora, self._workspace, progress=self._progress)

    def _run_tune(self, source: TrialSource, tracker: Any) -> None:
        from sweeps.tuning import tune_trials

        tune_trials(
            source, self._workspace, self._launching.resources, tracker=tracker, heartbeat=self._heartbeat,
            ending=self._ending, display=self._display,
        )  # fmt: skip


def count(plan: Plan, workspace: Workspace) -> LaunchResult:
    """How the trials of a plan stand, by their records."""
    still_open = plan.open_trials(workspace)
    records = [read_record(workspace.trial(trial.trial_key)) for trial in plan.trials]
    ended = [record for record in records if record is not None]
    return LaunchResult(
        total=len(plan.trials),
        complete=sum(record.status == "complete" for record in ended),
        pruned=sum(record.status == "pruned" for record in ended),
        failed={record.trial_key: record.reason or "" for record in ended if record.status == "failed"},
        open=len(still_open),
    )


def registrations(plan: Plan, workspace: Workspace) -> list[Registration]:
    """What the tracker is to know of a plan's trials."""
    by_arm = {trial.arm_key: trial for trial in plan.trials}
    to_run = {trial.trial_key for trial in plan.open_trials(workspace)}
    return [
        registration(trial, twin=by_arm.get(trial.twin_key or ""), to_run=trial.trial_key in to_run)
        for trial in plan.trials
    ]
