"""The plan of a launched sweep as other terminals read it: `sweeps/<name>/plan.json`."""

from __future__ import annotations

__all__ = ["PlanFile", "TrialInPlan", "known_sweeps", "read_plan_file"]

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import BadInputError
from core.store import Workspace


class _Entry(BaseModel):
    # Only what is needed here: the schema is `sweeps.plan`'s and may grow.
    model_config = ConfigDict(frozen=True, extra="ignore")


class TrialInPlan(_Entry):
    """One trial; the fields are `sweeps.plan.PlannedTrial`'s."""

    trial_key: str
    arm: str
    arm_key: str
    twin_key: str | None
    seed: int
    axes: dict[str, Any]
    control: str = "none"
    upstream: str = "mockingjay"


class _Search(_Entry):
    method: str
    points: int


class _Definition(_Entry):
    description: str = ""
    search: _Search | None = None
    stop: dict[str, Any] | None = None


class PlanFile(_Entry):
    """The trials that have come up so far, in their order, and what of the definition matters to a reader."""

    definition: _Definition
    trials: tuple[TrialInPlan, ...]


def read_plan_file(path: Path) -> PlanFile:
    """Raises BadInputError when it is no plan, FileNotFoundError when there is none."""
    try:
        return PlanFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInputError(f"{path}: no plan ({'.'.join(map(str, first['loc']))}: {first['msg']})") from error


def known_sweeps(workspace: Workspace) -> tuple[str, ...]:
    """Names of the sweeps that were launched in a workspace."""
    return tuple(sorted(path.parent.name for path in workspace.root.glob("sweeps/*/plan.json")))
