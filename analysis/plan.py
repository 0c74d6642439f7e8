"""The plan of a sweep, `sweeps/<name>/plan.json`: which trials a report must find."""

from __future__ import annotations

__all__ = ["Plan", "PlannedTrial", "read_plan"]

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import BadInputError


class PlanEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedTrial(PlanEntry):
    """One arm under one seed, as the sweep expanded it."""

    trial_key: str = Field(pattern=r"^\w[\w.-]*$")
    """Also the name of the trial's folder."""
    arm: str
    """Readable name of the arm."""
    arm_key: str
    twin_key: str | None
    """Arm key of the twin; None when the arm is compared with nothing."""
    seed: int
    axes: dict[str, Any]
    """Dotted setting → value, for the settings this sweep varies."""


class Plan(PlanEntry):
    """The deduplicated trials of one sweep, in the order of its definition."""

    schema_version: Literal[1]
    sweep: str
    definition: dict[str, Any]
    trials: tuple[PlannedTrial, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        arms = {trial.arm_key: trial for trial in self.trials}
        cells: set[tuple[str, int]] = set()
        keys: set[str] = set()
        for trial in self.trials:
            known = arms[trial.arm_key]
            if (trial.arm, trial.twin_key) != (known.arm, known.twin_key):
                raise ValueError(f"arm {trial.arm_key} has two names or twins: {trial.arm!r} and {known.arm!r}")
            if trial.twin_key is not None and (trial.twin_key not in arms or trial.twin_key == trial.arm_key):
                raise ValueError(f"arm {trial.arm!r}: its twin {trial.twin_key} is no other arm of the plan")
            if (trial.arm_key, trial.seed) in cells or trial.trial_key in keys:
                raise ValueError(f"arm {trial.arm!r}, seed {trial.seed}: planned twice")
            cells.add((trial.arm_key, trial.seed))
            keys.add(trial.trial_key)
        return self


def read_plan(path: Path) -> Plan:
    """Read and check a plan. Raises BadInputError when it is absent, malformed or contradicts itself."""
    try:
        return Plan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInputError(f"{path}: no plan to report on ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "plan"
        raise BadInputError(f"{path}: not a plan of schema 1 ({place}: {first['msg']})") from error
