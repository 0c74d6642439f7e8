"""The trials of a source through Ray Tune: searcher, scheduler, stopper, and what follows from each report."""

from __future__ import annotations

__all__ = ["tune_trials"]

import shutil
import sys
import time
from collections import Counter
from typing import Any

from ray import tune

from core.config import UpstreamName
from core.errors import FailureKind
from core.records import Record
from core.store import Workspace
from sweeps.cluster import Resources
from sweeps.display import Display
from sweeps.ending import Ending
from sweeps.heartbeat import Heartbeat
from sweeps.memory import smaller_helps
from sweeps.plan import Plan, PlannedTrial
from sweeps.queue import TrialQueue
from sweeps.quota import free_for_quota
from sweeps.runner import registrations
from sweeps.sources import TrialSource
from sweeps.stopping import PairedStopping
from sweeps.strategy import LimitsConfig
from sweeps.tracking.actor import TrackerHandle
from sweeps.trainable import Task, TrialTrainable
from sweeps.tune_callback import SweepCallback

WORKER_RETRIES = 2
"""How often a trial whose worker was lost starts again from its checkpoint."""
GB = 1e9
STANDING_EVERY_S = 5.0
"""Between two questions how far MLflow is behind."""


class Drain(tune.Stopper):  # type: ignore[misc]
    """Ends each trial at its next report once the sweep drains: between two reports its worker is free to save."""

    def __init__(self, ending: Ending) -> None:
        self._ending = ending

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its settings for restoring an experiment; this project resumes by its own store instead."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        del trial_id, result
        return self._ending.draining

    def stop_all(self) -> bool:
        return False


class Follower:
    """What the driver does as trials report and end: signs of life, the journal, limits."""

    def __init__(
        self, source: TrialSource, workspace: Workspace, *, tracker: TrackerHandle, heartbeat: Heartbeat,
        ending: Ending, display: Display,
    ) -> None:  # fmt: skip
        self._source, self._workspace, self._tracker = source, workspace, tracker
        self._heartbeat, self._ending, self._display = heartbeat, ending, display
        self._limits = source.plan.definition.limits
        self._failures: Counter[FailureKind] = Counter()
        self._running: set[str] = set()
        self._pretraining: dict[str, bool] = {}
        """Trial → whether it was in pre-training when it was last heard of."""
        self._over_quota: str | None = None
        self._asked = time.monotonic()

    def grown(self, plan: Plan) -> None:
        """The source has added trials."""
        plan.write(self._workspace)
        self._heartbeat.planned(plan)
        self._tracker.register(registrations(plan, self._workspace))

    def held(self) -> str | None:
        """Why no trial may start now; said where people look."""
        free = shutil.disk_usage(self._workspace.root).free
        reason = self._over_quota if self._running else None
        if free < self._limits.free_gb * GB:
            reason = (
                f"{free / GB:.2f} GB free on the disk, limits.free_gb is {self._limits.free_gb:g}; waiting for room"
            )
        if not self._ending.draining:
            self._heartbeat.state("waiting for disk" if reason else "running", reason or "")
        self._heartbeat.write_if_due()
        return reason

    def started(self, trial_key: str) -> None:
        self._running.add(trial_key)
        self._heartbeat.started(trial_key)

    def reported(self, task: Task, result: dict[str, Any]) -> None:
        if result["status"] == "waiting for disk":
            self._heartbeat.state("waiting for disk", f"trial {task.trial_key} cannot write; waiting for room")
        elif "pretraining" in result:
            self._pretraining[task.trial_key] = result["pretraining"]
        elif "step" in result:
            step = result["step"]
            self._pretraining[task.trial_key] = step < task.pretraining_steps
            interim = result["underway"].interim
            metrics = {"validation_ua": interim.mean} if interim is not None else {}
            # A trial that trains no upstream has none to count.
            share = step / task.total_steps if task.total_steps else 0.0
            self._heartbeat.lane(
                task.trial_key, share=share, step=step, total_steps=task.total_steps,
                node=str(result.get("hostname", "")), pid=int(result.get("pid", 0)), metrics=metrics,
            )  # fmt: skip
        self._show()

    def left(self, trial_key: str) -> None:
        """A trial was stopped without an end: it is to be continued."""
        self._running.discard(trial_key)
        self._heartbeat.lane_done(trial_key)

    def ended(self, record: Record) -> None:
        self._running.discard(record.trial_key)
        self._heartbeat.ended(record)
        self._tracker.finish(record.trial_key)
        if record.status == "failed":
            self._count_failure(record)
        if self._limits.disk_gb is not None:
            self._keep_quota(self._limits.disk_gb)
        self._show()

    def _count_failure(self, record: Record) -> None:
        kind = record.failure or "error"
        self._failures[kind] += 1
        self._display.say(f"failed ({kind}): {record.arm} seed {record.seed}: {record.reason}")
        too_large = self._too_large(record.trial_key) if kind == "memory" else None
        if too_large is not None:
            self._ending.short_of_memory = too_large
            self._ending.drain("draining: a trial ran out of memory")
        elif self._failures[kind] == self._limits.failures:
            self._ending.drain(f"draining: {self._failures[kind]} failures of kind {kind}, as limits.failures allows")

    def _too_large(self, trial_key: str) -> tuple[UpstreamName, int] | None:
        trial = next(each for each in self._source.plan.trials if each.trial_key == trial_key)
        # One that was killed before its first report had not got beyond pre-training.
        return smaller_helps(trial.config, pretraining=self._pretraining.get(trial_key, True))

    def _keep_quota(self, limit_gb: float) -> None:
        freed = free_for_quota(self._workspace, limit_bytes=int(limit_gb * GB), running=frozenset(self._running))
        self._over_quota = None
        if freed.over:
            self._over_quota = f"the store holds {freed.size / GB:.2f} GB, limits.disk_gb is {limit_gb:g}; waiting"
            if not self._running:
                self._ending.drain(f"draining: {self._over_quota}, and nothing can be freed: sweep prune")

    def _show(self) -> None:
        if time.monotonic() - self._asked > STANDING_EVERY_S:
            self._asked = time.monotonic()
            backlog = self._tracker.standing().backlog
            self._heartbeat.backlog(runs=backlog.runs, metrics=backlog.metrics, artifacts=backlog.artifacts)
        self._display.sweep(self._heartbeat.count())


def task_of(trial: PlannedTrial, workspace: Workspace, limits: LimitsConfig) -> str:
    """What a worker needs to know of a trial, as JSON."""
    return Task(
        trial_key=trial.trial_key,
        arm=trial.arm,
        arm_key=trial.arm_key,
        seed=trial.seed,
        config=trial.config,
        pretraining_steps=trial.upstreams * trial.config.pretrain.steps,
        total_steps=trial.upstreams * trial.config.pretrain.steps + trial.own_steps,
        unfinished=trial.unfinished,
        workspace=workspace.root,
        trial_minutes=limits.trial_minutes,
        free_bytes=limits.free_gb * GB,
    ).model_dump_json()


def tune_trials(
    source: TrialSource, workspace: Workspace, resources: Resources, *, tracker: TrackerHandle, heartbeat: Heartbeat,
    ending: Ending, display: Display,
) -> None:  # fmt: skip
    """Run the source's open trials, and those that follow from them; every one leaves a record or a checkpoint.

    Needs a connection to Ray. Ends when the source is exhausted, or when the sweep drains.
    """
    definition = source.plan.definition
    follower = Follower(
        source, workspace, tracker=tracker, heartbeat=heartbeat, ending=ending, display=display
    )  # fmt: skip
    stopping = PairedStopping(definition, lambda: source.plan, workspace) if definition.stop else None

    def stopped(arm_key: str) -> str | None:
        return stopping.reason(arm_key) if stopping else None

    queue = TrialQueue(
        source, workspace, task=lambda trial: task_of(trial, workspace, definition.limits), grown=follower.grown,
        held=follower.held, ending=lambda: ending.draining, stopped=stopped, skipped=follower.ended,
    )  # fmt: skip
    _spare_mlflow()
    callback = SweepCallback(
        workspace, stopped=stopped, started=follower.started, reported=follower.reported, ended=follower.ended,
        left=follower.left,
    )  # fmt: skip
    trainable = tune.with_parameters(TrialTrainable, tracker=tracker.actor)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=queue,
            scheduler=stopping,
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=lambda trial: _key(trial),
            trial_dirname_creator=lambda trial: _key(trial),
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(workspace.sweep(definition.name)),
            verbose=0,
            stop=Drain(ending),
            callbacks=[callback],
            failure_config=tune.FailureConfig(max_failures=WORKER_RETRIES),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    tuner.fit()


def _spare_mlflow() -> None:
    """Tune would load all of MLflow here, for seconds, to see whether a callback is one of its own loggers."""
    if "mlflow" not in sys.modules:
        # The import system's way of saying: not here.
        sys.modules["mlflow"] = None  # type: ignore[assignment]
        try:
            import ray.air.integrations.mlflow  # noqa: F401
        finally:
            del sys.modules["mlflow"]


def _key(trial: Any) -> str:
    return Task.model_validate_json(trial.config["trial"]).trial_key
