"""Execute a plan: shared stages first, then every open trial through Ray Tune."""

from __future__ import annotations

__all__ = ["LaunchResult", "Resources", "launch"]

import json
import logging
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import BadInputError
from core.progress import Progress
from core.records import Record, read_record
from core.resolve import resolve
from core.store import Workspace
from core.systems import ems
from core.trial import fail_trial
from sweeps.display import Display
from sweeps.plan import Plan, PlannedTrial
from sweeps.tracking.filling import finish, register, uploader_for
from sweeps.tracking.journal import Journal, SweepState

RAY_SETTINGS = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Ray's own tables, result files and warnings off: the display, the journal and the store take their place."""
WORKER_RETRIES = 2
"""How often a trial whose worker was lost starts again from its checkpoint."""

REACH_PATIENCE_S = 10.0
"""How long a Ray address may take to accept a connection."""
UPLOAD_PATIENCE_S = 60.0
"""How long a finished sweep waits for MLflow; what is left stays in the journal."""


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


@dataclass(frozen=True, kw_only=True)
class LaunchResult:
    """How many trials of the plan ended how."""

    complete: int
    failed: Mapping[str, str]
    """Trial key → reason."""
    open: int

    @property
    def state(self) -> SweepState:
        """What the sweep's own run in MLflow shall show."""
        return "interrupted" if self.open else "failed" if self.failed else "complete"

    @property
    def exit_code(self) -> int:
        """0 all complete, 1 none complete, 3 some failed, 4 interrupted and resumable."""
        if self.open:
            return 4
        if not self.failed:
            return 0
        return 3 if self.complete else 1


def launch(plan: Plan, workspace: Workspace, resources: Resources, *, display: Display) -> LaunchResult:
    """Run the plan's open trials and return how all of them ended; Ctrl-C leaves a checkpoint of the running ones.

    The journal and the plan lie in `sweeps/<name>/`; Ray's own state in `sweeps/<name>/ray/`. Raises BadInputError when
    Ray cannot be reached or cannot ever give a trial its resources.
    """
    open_trials = plan.open_trials(workspace)
    with _cluster(resources) if open_trials else nullcontext():
        return _execute(plan, open_trials, workspace, resources, display=display)


def _execute(
    plan: Plan, open_trials: tuple[PlannedTrial, ...], workspace: Workspace, resources: Resources, *, display: Display
) -> LaunchResult:
    for trial in open_trials:
        # What failed before is tried again; should that be interrupted, it is open, not failed.
        (workspace.trial(trial.trial_key) / "record.json").unlink(missing_ok=True)
    plan.write(workspace)
    journal = Journal(workspace.sweep(plan.definition.name) / "journal.db")
    by_arm = {trial.arm_key: trial for trial in plan.trials}
    for trial in plan.trials:
        register(journal, trial, twin=by_arm.get(trial.twin_key or ""))
    uploader = uploader_for(plan.definition.name, workspace)
    uploader.start()
    try:
        if open_trials:
            with _ending_by_signal():
                _prepare(open_trials, workspace, progress=display.progress)
                _run_tune(plan, open_trials, workspace, resources, journal=journal, display=display)
    except KeyboardInterrupt:
        display.say("interrupted")
    finally:
        result = _settle(plan, workspace, journal)
        journal.close()
        backlog = uploader.stop(UPLOAD_PATIENCE_S, state=result.state)
        if not backlog.empty:
            display.say(f"MLflow has not got everything ({uploader.trouble}); later: sweep sync {plan.definition.name}")
    return result


def _prepare(trials: tuple[PlannedTrial, ...], workspace: Workspace, *, progress: Progress) -> None:
    """Make what trials share here, with a progress bar, before any of them waits for it on a worker."""
    seen: set[str] = set()
    for trial in trials:
        config = trial.config
        parts = (config.corpus, config.features, config.intensity, config.pretraining_audio)
        key = json.dumps([part.model_dump(mode="json") for part in parts])
        if key not in seen:
            seen.add(key)
            ems.prepare(config, resolve(config, workspace, progress=progress), workspace, progress=progress)


def _run_tune(
    plan: Plan, trials: tuple[PlannedTrial, ...], workspace: Workspace, resources: Resources, *,
    journal: Journal, display: Display,
) -> None:  # fmt: skip
    from ray import tune

    from sweeps.trainable import TrialTrainable
    from sweeps.tune_callback import SweepCallback

    tasks = [tune_task(trial, workspace, journal.path) for trial in trials]
    callback = SweepCallback(plan, trials, workspace, journal=journal, display=display)
    tuner = tune.Tuner(
        tune.with_resources(TrialTrainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
        param_space={"trial": tune.grid_search(tasks)},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            trial_name_creator=lambda trial: json.loads(trial.config["trial"])["trial_key"],
            trial_dirname_creator=lambda trial: json.loads(trial.config["trial"])["trial_key"],
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(workspace.sweep(plan.definition.name)),
            verbose=0,
            callbacks=[callback],
            failure_config=tune.FailureConfig(max_failures=WORKER_RETRIES),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    for outcome in tuner.fit():
        if outcome.error is not None:
            _record_error(json.loads(outcome.config["trial"]), outcome.error, workspace)


def tune_task(trial: PlannedTrial, workspace: Workspace, journal: Path) -> str:
    """What a `TrialTrainable` needs to know, as JSON."""
    return json.dumps(
        {
            "trial_key": trial.trial_key,
            "arm": trial.arm,
            "config": trial.config.model_dump_json(),
            "unfinished": trial.unfinished.model_dump_json(),
            "workspace": str(workspace.root),
            "journal": str(journal),
        }
    )


@contextmanager
def _cluster(resources: Resources) -> Iterator[None]:
    """Connected to Ray for the length of the block; refuses what no node can give before any work is done."""
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


def _check_reachable(address: str) -> None:
    """Ray itself tries an address where nothing answers for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=REACH_PATIENCE_S).close()
    except (OSError, ValueError) as error:
        raise BadInputError(f"--address {address}: nothing answers there ({error})") from error


@contextmanager
def _ending_by_signal() -> Iterator[None]:
    """SIGTERM (a batch system, a stopped container) ends the sweep as Ctrl-C does: with checkpoints, resumable.

    SIGINT is set too: a command that a script starts in the background finds it ignored.
    """
    previous = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT)),
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _record_error(task: dict[str, Any], error: BaseException, workspace: Workspace) -> None:
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    reason = f"{type(cause).__name__}: {lines[-1].strip() if lines else ''}"
    fail_trial(Record.model_validate_json(task["unfinished"]), workspace, reason=reason)


def _settle(plan: Plan, workspace: Workspace, journal: Journal) -> LaunchResult:
    """Count records, and tell the journal how each trial ended."""
    records = {trial.trial_key: read_record(workspace.trial(trial.trial_key)) for trial in plan.trials}
    known = {entry.trial_key: entry.state for entry in journal.trials()}
    for key, record in records.items():
        if record is not None and known.get(key) != record.status:
            finish(journal, workspace, record)
    complete = sum(record is not None and record.status == "complete" for record in records.values())
    failed = {key: record.reason or "" for key, record in records.items() if record and record.status == "failed"}
    return LaunchResult(complete=complete, failed=failed, open=len(records) - complete - len(failed))
