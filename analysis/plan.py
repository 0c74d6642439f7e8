"""The plan of a sweep, `sweeps/<name>/plan.json`: which trials a report must find, and what is to be compared."""

from __future__ import annotations

__all__ = ["Contrast", "Control", "Plan", "PlannedTrial", "read_plan"]

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import BadInputError

Control = Literal["none", "loudness", "shuffled", "rolled", "inverse"]


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
    control: Control = "none"
    """The deliberately uninformed intensity track of a control arm; `none` for a real arm."""
    upstream: str = "mockingjay"


class Contrast(PlanEntry):
    """A comparison beyond that of an arm with its twin."""

    kind: Literal["control", "contrast"]
    """`control`: an arm against the same arm with a control track. `contrast`: as the definition names it."""
    name: str = Field(min_length=1)
    """The control track, or the name in the definition, e.g. `which frames`."""
    arm_key: str
    against_key: str


class Plan(PlanEntry):
    """The deduplicated trials of one sweep, in the order of its definition. Schema 2 added controls, upstreams and
    contrasts."""

    schema_version: Literal[1, 2]
    sweep: str
    definition: dict[str, Any]
    trials: tuple[PlannedTrial, ...] = Field(min_length=1)
    contrasts: tuple[Contrast, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        arms = {trial.arm_key: trial for trial in self.trials}
        cells: set[tuple[str, int]] = set()
        keys: set[str] = set()
        for trial in self.trials:
            known = arms[trial.arm_key]
            if (trial.arm, trial.twin_key) != (known.arm, known.twin_key):
                raise ValueError(f"arm {trial.arm_key} has two names or twins: {trial.arm!r} and {known.arm!r}")
            if (trial.control, trial.upstream) != (known.control, known.upstream):
                raise ValueError(f"arm {trial.arm!r} has two controls or upstreams")
            if trial.twin_key is not None and (trial.twin_key not in arms or trial.twin_key == trial.arm_key):
                raise ValueError(f"arm {trial.arm!r}: its twin {trial.twin_key} is no other arm of the plan")
            if (trial.arm_key, trial.seed) in cells or trial.trial_key in keys:
                raise ValueError(f"arm {trial.arm!r}, seed {trial.seed}: planned twice")
            cells.add((trial.arm_key, trial.seed))
            keys.add(trial.trial_key)
        for contrast in self.contrasts:
            _check_contrast(contrast, arms)
        if len(set(self.contrasts)) < len(self.contrasts):
            raise ValueError("contrasts: one of them stands there twice")
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
        raise BadInputError(f"{path}: not a plan of schema 1 or 2 ({place}: {first['msg']})") from error


def _check_contrast(contrast: Contrast, arms: dict[str, PlannedTrial]) -> None:
    arm, against = arms.get(contrast.arm_key), arms.get(contrast.against_key)
    if arm is None or against is None or arm is against:
        raise ValueError(
            f"contrast {contrast.name!r}: {contrast.arm_key} and {contrast.against_key} are not two arms of the plan"
        )
    if contrast.kind == "control" and (arm.control, against.control) != ("none", contrast.name):
        raise ValueError(
            f"control {contrast.name!r}: must compare an arm without a control track with one on {contrast.name!r}, "
            f"got {arm.control!r} and {against.control!r}"
        )
