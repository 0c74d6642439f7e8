"""What search, early stopping and racing may know of a record: its validation numbers, and nothing of the test part.

The only module on their side that opens records. Nothing it hands on has a place for a test number.
"""

from __future__ import annotations

__all__ = [
    "FoldScore",
    "Outcome",
    "Validation",
    "difference",
    "fold_differences",
    "interim_value",
    "outcome_of",
    "read_validation",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from core.errors import BadInputError
from core.records import FoldMetrics, Record, read_record
from core.store import Workspace
from sweeps.strategy import Objective


@dataclass(frozen=True, kw_only=True)
class FoldScore:
    """UA in [0, 1] on the validation part of one fold, and that part's number of utterances."""

    ua: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A trial that has ended, as far as choosing may see it."""

    trial_key: str
    status: Literal["complete", "pruned", "failed"]
    reason: str | None
    """Why it was pruned or failed."""
    folds: Mapping[str, FoldScore]
    """Of a complete trial; empty otherwise."""
    utterances: int
    """In all parts of a fold together; each utterance is tested in one fold."""
    interim: Mapping[int, Mapping[str, float]]
    """Optimizer step → fold → UA, at each look while it trained."""
    steps: int | None
    flops: float | None
    """Training cost; None where the record has none."""

    @property
    def ua(self) -> float:
        """Mean over folds."""
        return fmean(score.ua for score in self.folds.values())


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a point, over all its seeds."""

    state: Literal["open", "complete", "pruned", "failed"]
    value: float | None = None
    """Objective in [-1, 1]: of a pruned point at its last look, None where no look can be compared."""
    flops: float | None = None
    """Training cost of the arm, mean over seeds; complete points only."""
    step: int | None = None
    """The last look of a pruned point."""
    reason: str | None = None


def read_validation(workspace: Workspace, trial_key: str) -> Validation | None:
    """The validation side of a trial's record; None while it has not ended.

    Raises BadInputError for a file that is no record, and for the record of a system without classes.
    """
    record = read_record(workspace.trial(trial_key))
    if record is None:
        return None
    scored = record.metrics.folds if record.metrics is not None and record.status == "complete" else ()
    folds = {fold.fold: FoldScore(ua=_ua(record, fold), n=fold.n) for fold in scored if fold.split == "validation"}
    return Validation(
        trial_key=record.trial_key,
        status=record.status,
        reason=record.reason,
        folds=folds,
        utterances=record.corpus.utterances,
        interim={look.step: dict(look.ua) for look in record.interim},
        steps=record.cost.steps if record.cost is not None else None,
        flops=record.cost.flops if record.cost is not None else None,
    )


def _ua(record: Record, fold: FoldMetrics) -> float:
    if fold.ua is None:
        raise BadInputError(f"trial {record.trial_key}: system {record.system!r} has no UA to choose by, only CCC")
    return fold.ua


def fold_differences(arm: Validation, twin: Validation) -> dict[str, float]:
    """Fold → UA of the arm less that of its twin, of the folds that both have."""
    return {name: score.ua - twin.folds[name].ua for name, score in arm.folds.items() if name in twin.folds}


def difference(arm: Validation, twin: Validation) -> float:
    """UA of a complete arm less that of its complete twin under the same seed, mean over folds; in [-1, 1]."""
    return fmean(fold_differences(arm, twin).values())


def interim_value(ua: Mapping[str, float], step: int, twin: Validation | None, *, objective: Objective) -> float | None:
    """The objective of an arm at a look: mean over the folds looked at, of both where it is a difference.

    None where there is nothing to compare: the twin has not ended, or was never looked at there.
    """
    if objective == "ua":
        return fmean(ua.values()) if ua else None
    other = twin.interim.get(step, {}) if twin is not None else {}
    shared = [value - other[fold] for fold, value in ua.items() if fold in other]
    return fmean(shared) if shared else None


def outcome_of(
    workspace: Workspace, replicates: Sequence[tuple[str, str | None]], *, objective: Objective, stopping: bool
) -> Outcome:
    """What became of a point: mean over its seeds of the difference to the twin, or of UA.

    Args:
        replicates: (trial key of the arm, of its twin) for each seed; None where the arm is a twin itself, whose
            difference is 0 by definition.
        stopping: whether the sweep stops arms early; where it does not, a trial that another sweep stopped is run to
            its end.

    A point is open until all its trials have ended; then one failed trial fails it, and one pruned trial prunes it:
    fewer seeds than another point had would be another objective (ours).
    """
    pairs: list[tuple[Validation, Validation | None]] = []
    for arm_key, twin_key in replicates:
        arm = read_validation(workspace, arm_key)
        twin = read_validation(workspace, twin_key) if twin_key is not None and objective == "difference" else None
        if arm is None or (twin is None and twin_key is not None and objective == "difference"):
            return Outcome(state="open")
        pairs.append((arm, twin))
    ended = [each for pair in pairs for each in pair if each is not None]
    failed = next((each for each in ended if each.status == "failed"), None)
    if failed is not None:
        return Outcome(state="failed", reason=f"{failed.trial_key}: {failed.reason}")
    pruned = next((each for each in ended if each.status == "pruned"), None)
    if pruned is not None and not stopping:
        return Outcome(state="open")
    if pruned is not None:
        step, value = _last_look(pairs, objective)
        return Outcome(state="pruned", value=value, step=step, reason=pruned.reason)
    costs = [arm.flops for arm, _ in pairs if arm.flops is not None]
    return Outcome(
        state="complete",
        value=fmean(_value(arm, twin, objective) for arm, twin in pairs),
        flops=fmean(costs) if len(costs) == len(pairs) else None,
    )


def _value(arm: Validation, twin: Validation | None, objective: Objective) -> float:
    if objective == "ua":
        return arm.ua
    return difference(arm, twin) if twin is not None else 0.0


def _last_look(
    pairs: Sequence[tuple[Validation, Validation | None]], objective: Objective
) -> tuple[int | None, float | None]:
    """The last step at which some seed can be compared, and the mean over the seeds that can."""
    for step in sorted({step for arm, _ in pairs for step in arm.interim}, reverse=True):
        looks = [(arm.interim[step], twin) for arm, twin in pairs if step in arm.interim]
        values = [interim_value(ua, step, twin, objective=objective) for ua, twin in looks]
        known = [value for value in values if value is not None]
        if known:
            return step, fmean(known)
    return None, None
