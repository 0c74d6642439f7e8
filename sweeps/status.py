"""Where a sweep is: everything that `sweep status` and `sweep watch` say. Validation only."""

from __future__ import annotations

__all__ = ["DriverStatus", "Failures", "Incomplete", "SearchStatus", "Status"]

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.errors import FailureKind
from sweeps.disk_use import DiskUse
from sweeps.heartbeat import Backlog, DriverState, LaneEntry
from sweeps.pair_matrix import PairMatrix, Row, TrialState, TrialStatus

STATUS_SCHEMA = 1
STATES: tuple[TrialState, ...] = ("complete", "running", "interrupted", "waiting", "pruned", "failed")


@dataclass(frozen=True, kw_only=True)
class DriverStatus:
    """The process that runs the sweep."""

    pid: int
    host: str
    started: str
    state: DriverState
    message: str
    slots: int
    silent_seconds: float
    """Since its last sign of life; about a second while all is well."""


@dataclass(frozen=True, kw_only=True)
class SearchStatus:
    """A search that adds points as it goes."""

    method: str
    tried: int
    """Points whose trials have come up, ended or not."""
    points: int
    """How many there will be."""


@dataclass(frozen=True, kw_only=True)
class Incomplete:
    """A trial that failed or was stopped, and the arms of which it leaves a pair incomplete under its seed."""

    trial: TrialStatus
    pairs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Failures:
    """Trials that failed in one way."""

    kind: FailureKind
    trials: tuple[Incomplete, ...]


@dataclass(frozen=True, kw_only=True)
class Status:
    """Everything that `sweep status` says."""

    sweep: str
    workspace: Path
    description: str
    driven: bool
    """Whether a process runs it."""
    died: bool
    """Its last driver was killed: it left without saying so."""
    trials: tuple[TrialStatus, ...]
    """In the order of the plan."""
    search: SearchStatus | None
    matrix: PairMatrix
    failures: tuple[Failures, ...]
    """The most frequent kind first."""
    pruned: tuple[Incomplete, ...]
    disk: DiskUse
    backlog: Backlog | None
    """What MLflow has not received; None where that is not known."""
    backlog_trouble: str | None
    """Why it is not known."""
    driver: DriverStatus | None = None
    """None while nobody runs it."""
    lanes: tuple[LaneEntry, ...] = ()
    eta_seconds: float | None = None
    eta_rough: bool = False
    """Some of what is left is of a kind that was not measured yet, or not even thought of (search)."""

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """State of a trial → number of trials, and their total."""
        found = Counter(trial.state for trial in self.trials)
        return {state: found[state] for state in STATES} | {"total": len(self.trials)}

    @property
    def open(self) -> int:
        """Trials that have not ended."""
        return sum(self.counts[state] for state in ("running", "interrupted", "waiting"))

    @property
    def unfinished(self) -> bool:
        """Whether there is something to resume: open trials, or a search that was killed between two batches."""
        searching = self.search is not None and self.search.tried < self.search.points
        return self.open > 0 or not self.trials or (searching and self.died)

    @property
    def exit_code(self) -> int:
        """That of the sweep: 0 all complete (or stopped early), 1 none complete, 3 some failed, 4 resumable."""
        if self.unfinished:
            return 4
        if not self.failures:
            return 0
        return 3 if self.counts["complete"] else 1

    @property
    def next_steps(self) -> tuple[str, ...]:
        """Commands that make sense now, the likeliest first."""
        if self.driven:
            return (f"sweep watch {self.sweep}", f"sweep stop {self.sweep}")
        steps = [f"sweep resume {self.sweep}"] if self.unfinished else []
        steps += [f"sweep retry {self.sweep} --reason {failures.kind}" for failures in self.failures]
        if self.backlog is not None and not self.backlog.empty:
            steps.append(f"sweep sync {self.sweep}")
        if self.counts["complete"]:
            steps.append(f"sweep report {self.sweep}")
        return tuple(steps)

    def as_json(self) -> dict[str, Any]:
        """JSON values; each trial stands in `trials`, cells of the matrix name them by their keys."""
        return {
            "schema_version": STATUS_SCHEMA,
            "sweep": self.sweep,
            "workspace": str(self.workspace),
            "driver": asdict(self.driver) if self.driver else None,
            "driven": self.driven,
            "died": self.died,
            "counts": dict(self.counts),
            "search": asdict(self.search) if self.search else None,
            "eta_seconds": self.eta_seconds,
            "eta_rough": self.eta_rough,
            "trials": [asdict(trial) for trial in self.trials],
            "matrix": _matrix_json(self.matrix),
            "lanes": [lane.model_dump() for lane in self.lanes],
            "failures": [
                {"kind": each.kind, "count": len(each.trials), "trials": [_incomplete_json(one) for one in each.trials]}
                for each in self.failures
            ],
            "pruned": [_incomplete_json(each) for each in self.pruned],
            "disk": asdict(self.disk),
            "backlog": self.backlog.model_dump() if self.backlog else None,
            "backlog_trouble": self.backlog_trouble,
            "next": list(self.next_steps),
            "exit_code": self.exit_code,
        }


def _matrix_json(matrix: PairMatrix) -> dict[str, Any]:
    return {"seeds": list(matrix.seeds), "rows": [_row_json(row) for row in matrix.rows]}


def _row_json(row: Row) -> dict[str, Any]:
    cells = [
        {
            "seed": cell.seed,
            "trial_key": cell.trial.trial_key,
            "twin_trial_key": cell.twin.trial_key if cell.twin else None,
            "difference": cell.difference,
            "unpaired": cell.unpaired,
        }
        for cell in row.cells
    ]
    return {
        "arm": row.arm,
        "arm_key": row.arm_key,
        "twin": row.twin,
        "twin_key": row.twin_key,
        "role": row.role,
        "control": row.control,
        "pairs": row.pairs,
        "mean_difference": row.mean_difference,
        "mean_ua": row.mean_ua,
        "cells": cells,
    }


def _incomplete_json(incomplete: Incomplete) -> dict[str, Any]:
    trial = incomplete.trial
    return {
        "trial_key": trial.trial_key,
        "arm": trial.arm,
        "seed": trial.seed,
        "reason": trial.reason,
        "incomplete_pairs": list(incomplete.pairs),
    }
