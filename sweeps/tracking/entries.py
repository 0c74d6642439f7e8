"""What the journal holds: trials, points of their metrics, and values it refused."""

from __future__ import annotations

__all__ = ["Conflict", "Outcome", "Point", "Registration", "SweepState", "TrialEntry", "check_metric"]

import re
from collections.abc import Mapping
from dataclasses import dataclass
from posixpath import normpath
from typing import Literal, NamedTuple

from core.errors import BadInputError

Outcome = Literal["complete", "failed", "pruned"]
SweepState = Literal["open", "complete", "failed", "interrupted"]

_METRIC_NAME = re.compile(r"[\w][\w.\-/ ]{0,249}", re.ASCII)


class Point(NamedTuple):
    """One value of one metric at one step, logged at `time_ms` (Unix time in milliseconds)."""

    metric: str
    step: int
    value: float
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What the journal is told of a trial before it takes a step."""

    trial_key: str
    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    to_run: bool = True
    """It is to be run (again): open, unless the journal knows it as complete. False leaves its state as it is."""


@dataclass(frozen=True, kw_only=True)
class TrialEntry:
    """One trial as the journal knows it; `open` until finished."""

    trial_key: str
    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    state: Literal["open"] | Outcome
    reason: str | None
    active: bool
    """It has logged something since it was last registered."""
    in_plan: bool
    """False once the definition no longer has it."""
    pictures: str
    """`none`, `due`, `drawn`, or why they could not be drawn."""
    began_ms: int | None
    """Time of its first event; None while it has none: such a trial has no run in MLflow yet."""
    ended_ms: int | None
    conflicts: int
    version: str
    """Changes whenever the trial's name, tags, status, conflicts or (while it is open) the sweep's state do."""


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """A repeated (trial key, metric, step) that came with another value: the first value is kept."""

    trial_key: str
    metric: str
    step: int
    kept: float
    refused: float


def check_metric(name: str) -> None:
    """Raises BadInputError for a metric name that MLflow would refuse.

    At most 250 letters, digits, `_-./` and spaces; `/` parts it as it does a path: `a//b`, `a/` and `./a` are none.
    """
    if not _METRIC_NAME.fullmatch(name) or normpath(name) != name:
        raise BadInputError(f"metric {name!r}: a path of letters, digits and _-./ and spaces, at most 250")
