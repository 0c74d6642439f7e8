"""Arms against seeds: where each trial of a pair is, and what the pair says on validation once both are complete."""

from __future__ import annotations

__all__ = ["Cell", "PairMatrix", "Row", "TrialState", "TrialStatus", "pair_matrix"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from core.errors import FailureKind
from sweeps.eta import Planned

TrialState = Literal["complete", "running", "interrupted", "waiting", "pruned", "failed"]


@dataclass(frozen=True, kw_only=True)
class TrialStatus:
    """Where one trial is."""

    trial_key: str
    arm: str
    seed: int
    state: TrialState
    """`interrupted`: it has begun, nobody runs it, and it goes on from a checkpoint."""
    share: float | None = None
    """Of its work, in [0, 1]; of running and interrupted ones."""
    ua: float | None = None
    """On validation, mean over folds; of complete ones."""
    failure: FailureKind | None = None
    reason: str | None = None
    """Why it was pruned or failed."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """An arm under one seed."""

    seed: int
    trial: TrialStatus
    twin: TrialStatus | None
    """None for an arm that has none, and for twins."""
    difference: float | None
    """Validation UA of the arm less that of its twin; None unless both are complete."""

    @property
    def unpaired(self) -> bool:
        """Whether its twin failed or was stopped: as things stand there will be no difference."""
        return self.twin is not None and self.twin.state in ("failed", "pruned")


@dataclass(frozen=True, kw_only=True)
class Row:
    """An arm, over all its seeds."""

    arm: str
    arm_key: str
    twin_key: str | None
    twin: str | None
    role: Literal["arm", "twin", "control"]
    control: str
    """Track of a control arm; `none` for others."""
    cells: tuple[Cell, ...]
    pairs: int
    """Complete ones."""
    mean_difference: float | None
    """Over complete pairs."""
    mean_ua: float | None
    """Over complete trials."""


@dataclass(frozen=True, kw_only=True)
class PairMatrix:
    """All arms in the order of the plan; an arm that races has cells of the seeds it was given."""

    seeds: tuple[int, ...]
    rows: tuple[Row, ...]


def pair_matrix(trials: Sequence[Planned], states: Mapping[str, TrialStatus]) -> PairMatrix:
    """Put the states of a plan's trials (by trial key) together in pairs."""
    by_cell = {(trial.arm_key, trial.seed): states[trial.trial_key] for trial in trials}
    twins = {trial.twin_key for trial in trials}
    arms: dict[str, list[Planned]] = {}
    for trial in trials:
        arms.setdefault(trial.arm_key, []).append(trial)
    rows = []
    for arm_key, replicates in arms.items():
        first = replicates[0]
        cells = tuple(_cell(trial, by_cell) for trial in sorted(replicates, key=lambda trial: trial.seed))
        differences = [cell.difference for cell in cells if cell.difference is not None]
        scores = [cell.trial.ua for cell in cells if cell.trial.ua is not None]
        rows.append(
            Row(
                arm=first.arm,
                arm_key=arm_key,
                twin_key=first.twin_key,
                twin=arms[first.twin_key][0].arm if first.twin_key in arms else None,
                role="control" if first.control != "none" else "twin" if arm_key in twins else "arm",
                control=first.control,
                cells=cells,
                pairs=len(differences),
                mean_difference=fmean(differences) if differences else None,
                mean_ua=fmean(scores) if scores else None,
            )
        )
    return PairMatrix(seeds=tuple(sorted({trial.seed for trial in trials})), rows=tuple(rows))


def _cell(trial: Planned, by_cell: Mapping[tuple[str, int], TrialStatus]) -> Cell:
    own = by_cell[trial.arm_key, trial.seed]
    twin = by_cell.get((trial.twin_key, trial.seed)) if trial.twin_key else None
    return Cell(seed=trial.seed, trial=own, twin=twin, difference=_difference(own, twin))


def _difference(arm: TrialStatus, twin: TrialStatus | None) -> float | None:
    if arm.ua is None or twin is None or twin.ua is None:
        return None
    return arm.ua - twin.ua
