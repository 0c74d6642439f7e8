"""What MLflow shows of a trial and of a sweep in each of their states (ours)."""

from __future__ import annotations

__all__ = ["SWEEP_STATUS", "parent_counts", "trial_status", "trial_tags"]

from collections.abc import Mapping, Sequence

from sweeps.tracking.entries import SweepState, TrialEntry
from sweeps.tracking.experiment import TRIAL_TAG, RunStatus

SWEEP_STATUS: Mapping[SweepState, RunStatus] = {
    "open": "RUNNING",
    "complete": "FINISHED",
    "failed": "FAILED",
    "interrupted": "SCHEDULED",
}
_TRIAL_STATUS: Mapping[str, RunStatus] = {"complete": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}


def trial_status(trial: TrialEntry, *, sweep: SweepState) -> RunStatus:
    """MLflow's SCHEDULED is an open trial on which nobody is at work: it is to be continued.

    KILLED is one that was pruned, or taken out of the plan before it ended.
    """
    if trial.state != "open":
        return _TRIAL_STATUS[trial.state]
    if not trial.in_plan:
        return "KILLED"
    return "RUNNING" if trial.active and sweep == "open" else "SCHEDULED"


def trial_tags(trial: TrialEntry, *, sweep: SweepState, parent_id: str) -> dict[str, str]:
    """The trial's own tags and what tells its state: `emsweep.status` (complete, failed, pruned, running, waiting,
    interrupted, removed), `emsweep.in_plan`, and where there is something to say `.reason`, `.conflicts`, `.pictures`.
    """
    tags = dict(trial.tags) | {
        TRIAL_TAG: trial.trial_key,
        "emsweep.status": _state(trial, sweep=sweep),
        "emsweep.in_plan": str(trial.in_plan).lower(),
        # Set to nothing too: what an earlier attempt failed by is not this one's reason.
        "emsweep.reason": trial.reason or "",
        "mlflow.parentRunId": parent_id,
        "mlflow.source.name": "emsweep",
        "mlflow.source.type": "LOCAL",
    }
    if trial.conflicts:
        tags["emsweep.conflicts"] = str(trial.conflicts)
    if trial.pictures not in ("none", "due", "drawn"):
        tags["emsweep.pictures"] = trial.pictures
    return tags


def parent_counts(trials: Sequence[TrialEntry]) -> dict[str, str]:
    """Tags of the sweep's own run: how many of the plan's trials are in each state, and how many have left the plan."""
    states = [trial.state for trial in trials if trial.in_plan]
    counts = {f"trials.{name}": str(states.count(name)) for name in ("complete", "failed", "pruned", "open")}
    return counts | {"trials.removed": str(len(trials) - len(states))}


def _state(trial: TrialEntry, *, sweep: SweepState) -> str:
    if trial.state != "open":
        return trial.state
    if not trial.in_plan:
        return "removed"
    if trial_status(trial, sweep=sweep) == "RUNNING":
        return "running"
    return "waiting" if sweep == "open" else "interrupted"
