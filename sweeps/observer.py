"""Looks at a sweep from outside, by its files alone: from any terminal, while it runs and after."""

from __future__ import annotations

__all__ = ["Observer", "snapshot"]

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from core.errors import BadInputError, EmsweepError, FailureKind
from core.store import Workspace
from sweeps.disk_use import DiskUse, disk_use
from sweeps.driver import is_driven
from sweeps.eta import search_progress
from sweeps.glance import Glances, ends_trial
from sweeps.heartbeat import Backlog, Beat, read_beat
from sweeps.pair_matrix import TrialStatus, pair_matrix
from sweeps.plan_file import PlanFile, TrialInPlan, known_sweeps, read_plan_file
from sweeps.status import DriverStatus, Failures, Incomplete, SearchStatus, Status
from sweeps.tracking.experiment import destination_name, tracking_uri
from sweeps.tracking.journal import Journal
from sweeps.tracking.outbox import Outbox

DISK_EVERY_S = 30.0
"""How old the size of the workspace may be for an observer that looks again and again."""


def snapshot(name: str, workspace: Workspace) -> Status:
    """Look once. Raises BadInputError for a sweep that was never launched in this workspace."""
    return Observer(name, workspace).look()


class Observer:
    """Looks again and again; reads only once what has not changed. Creates nothing and holds nothing up."""

    def __init__(self, name: str, workspace: Workspace) -> None:
        self._name, self._workspace = name, workspace
        self._folder = workspace.sweep(name)
        self._glances = Glances(workspace)
        self._plan: tuple[tuple[int, int], PlanFile] | None = None
        self._disk: tuple[float, DiskUse] | None = None

    def look(self) -> Status:
        """The sweep now. Raises BadInputError for a sweep that was never launched in this workspace."""
        # In this order: what a driver leaves when it ends in between is read after.
        driven = is_driven(self._folder)
        beat = read_beat(self._folder)
        plan = self._read_plan(driven)
        trials = _states(plan, self._glances, beat, driven=driven)
        incomplete = _incomplete(plan, trials)
        backlog, trouble = self._backlog(beat if driven else None)
        status = Status(
            sweep=self._name,
            workspace=self._workspace.root,
            description=plan.definition.description,
            driven=driven,
            died=not driven and beat is not None and beat.state != "ended",
            trials=tuple(trials.values()),
            search=_search(plan),
            matrix=pair_matrix(plan.trials, trials),
            failures=_by_kind(incomplete),
            pruned=tuple(each for each in incomplete if each.trial.state == "pruned"),
            disk=self._disk_use(),
            backlog=backlog,
            backlog_trouble=trouble,
        )
        return _with_driver(status, beat) if driven and beat is not None else status

    def _read_plan(self, driven: bool) -> PlanFile:
        path = self._folder / "plan.json"
        try:
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if self._plan is None or self._plan[0] != stamp:
                self._plan = (stamp, read_plan_file(path))
        except FileNotFoundError as error:
            if driven:
                return PlanFile.model_validate({"definition": {}, "trials": ()})
            known = ", ".join(known_sweeps(self._workspace)) or "none"
            message = f"sweep {self._name!r}: not launched in {self._workspace.root} (there: {known})"
            raise BadInputError(message) from error
        return self._plan[1]

    def _backlog(self, beat: Beat | None) -> tuple[Backlog | None, str | None]:
        """As the driver says, else as the journal does, which then nobody writes."""
        if beat is not None and beat.backlog is not None:
            return beat.backlog, None
        path = self._folder / "journal.db"
        if not path.exists():
            return None, "no journal yet"
        try:
            journal = Journal(path)
            try:
                destination = destination_name(tracking_uri(self._workspace.root))
                unsent = Outbox(journal=journal, destination=destination).backlog()
            finally:
                journal.close()
        except EmsweepError as error:
            return None, str(error)
        return Backlog(runs=unsent.runs, metrics=unsent.metrics, artifacts=unsent.artifacts), None

    def _disk_use(self) -> DiskUse:
        moment = time.monotonic()
        if self._disk is None or moment - self._disk[0] > DISK_EVERY_S:
            self._disk = (moment, disk_use(self._workspace))
        return self._disk[1]


def _states(plan: PlanFile, glances: Glances, beat: Beat | None, *, driven: bool) -> dict[str, TrialStatus]:
    """Trial key → where it is, in the order of the plan."""
    lanes = {lane.trial_key: lane.share for lane in beat.lanes} if beat else {}
    left = dict(beat.interrupted) if beat else {}
    if not driven:
        left |= lanes
        lanes = {}
    stop = plan.definition.stop is not None
    return {trial.trial_key: _state(trial, glances, lanes, left, stop=stop) for trial in plan.trials}


def _state(
    trial: TrialInPlan, glances: Glances, lanes: Mapping[str, float], left: Mapping[str, float], *, stop: bool
) -> TrialStatus:
    key = trial.trial_key
    glance = glances.at(key)
    if glance is not None and ends_trial(glance, stop=stop):
        return TrialStatus(
            trial_key=key, arm=trial.arm, seed=trial.seed, state=glance.status, ua=glance.ua, failure=glance.failure,
            reason=glance.reason,
        )  # fmt: skip
    if key in lanes:
        return TrialStatus(trial_key=key, arm=trial.arm, seed=trial.seed, state="running", share=lanes[key])
    if key in left:
        return TrialStatus(trial_key=key, arm=trial.arm, seed=trial.seed, state="interrupted", share=left[key])
    return TrialStatus(trial_key=key, arm=trial.arm, seed=trial.seed, state="waiting")


def _incomplete(plan: PlanFile, trials: Mapping[str, TrialStatus]) -> list[Incomplete]:
    arms_of_twin: dict[tuple[str, int], list[str]] = defaultdict(list)
    for trial in plan.trials:
        if trial.twin_key is not None:
            arms_of_twin[trial.twin_key, trial.seed].append(trial.arm)
    found = []
    for trial in plan.trials:
        status = trials[trial.trial_key]
        if status.state in ("failed", "pruned"):
            own = [trial.arm] if trial.twin_key is not None else []
            pairs = (*own, *arms_of_twin.get((trial.arm_key, trial.seed), ()))
            found.append(Incomplete(trial=status, pairs=pairs))
    return found


def _by_kind(incomplete: Iterable[Incomplete]) -> tuple[Failures, ...]:
    kinds: dict[FailureKind, list[Incomplete]] = defaultdict(list)
    for each in incomplete:
        if each.trial.failure is not None:
            kinds[each.trial.failure].append(each)
    failures = [Failures(kind=kind, trials=tuple(trials)) for kind, trials in kinds.items()]
    return tuple(sorted(failures, key=lambda each: -len(each.trials)))


def _search(plan: PlanFile) -> SearchStatus | None:
    search = plan.definition.search
    if search is None:
        return None
    return SearchStatus(method=search.method, tried=search_progress(plan.trials), points=search.points)


def _with_driver(status: Status, beat: Beat) -> Status:
    silent = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(beat.written)).total_seconds())
    running = {trial.trial_key for trial in status.trials if trial.state == "running"}
    driver = DriverStatus(
        pid=beat.pid,
        host=beat.host,
        started=beat.started,
        state=beat.state,
        message=beat.message,
        slots=beat.slots,
        silent_seconds=silent,
    )
    return replace(
        status,
        driver=driver,
        lanes=tuple(lane for lane in beat.lanes if lane.trial_key in running),
        eta_seconds=None if beat.eta_seconds is None else max(0.0, beat.eta_seconds - silent),
        eta_rough=beat.eta_rough,
    )
