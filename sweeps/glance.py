"""What people and drivers want to know of a trial's record, read quickly. Test results never leave the parser."""

from __future__ import annotations

__all__ = ["Glance", "Glances", "ends_trial"]

import os
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import BadInputError, FailureKind
from core.store import Workspace


class _Entry(BaseModel):
    # What is not named here is skipped while parsing: that is most of a record, and the sealed test part.
    model_config = ConfigDict(extra="ignore")


class _Scores(_Entry):
    ua: float | None = None


class _Means(_Entry):
    validation: _Scores


class _Metrics(_Entry):
    mean: _Means


class _Cost(_Entry):
    device_seconds: float


class _Record(_Entry):
    status: Literal["complete", "pruned", "failed"]
    reason: str | None = None
    failure: FailureKind | None = None
    metrics: _Metrics | None = None
    cost: _Cost | None = None


@dataclass(frozen=True, kw_only=True)
class Glance:
    """How a trial ended."""

    status: Literal["complete", "pruned", "failed"]
    reason: str | None
    failure: FailureKind | None
    """`error` for failures recorded before kinds were told apart."""
    ua: float | None
    """On validation, mean over folds, in [0, 1]; None unless complete, and of a system without classes."""
    seconds: float
    """On the device, over all legs; 0 where nothing was measured."""


def ends_trial(glance: Glance, *, stop: bool) -> bool:
    """Whether the trial is not to be run (again). `stop`: the sweep has a rule of early stopping; if it no longer has
    one, trials that were stopped early are open. As `sweeps.plan.Plan.open_trials`."""
    return stop or glance.status != "pruned"


class Glances:
    """Glances at the records of a workspace, kept for as long as their files stay the same."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._kept: dict[str, tuple[tuple[int, int, int], Glance]] = {}

    def at(self, trial_key: str) -> Glance | None:
        """The trial's record at a glance; None when it has not ended. Raises BadInputError when it is no record."""
        path = self._workspace.trial(trial_key) / "record.json"
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
                kept = self._kept.get(trial_key)
                if kept is not None and kept[0] == stamp:
                    return kept[1]
                record = _Record.model_validate_json(file.read())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            first = error.errors()[0]
            raise BadInputError(f"{path}: no record ({'.'.join(map(str, first['loc']))}: {first['msg']})") from error
        glance = _glance(record)
        self._kept[trial_key] = (stamp, glance)
        return glance


def _glance(record: _Record) -> Glance:
    complete = record.status == "complete"
    return Glance(
        status=record.status,
        reason=record.reason,
        failure=record.failure or ("error" if record.status == "failed" else None),
        ua=record.metrics.mean.validation.ua if complete and record.metrics else None,
        seconds=record.cost.device_seconds if record.cost else 0.0,
    )
