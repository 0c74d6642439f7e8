"""What can go wrong, told apart. Every error names the thing, the value and the bound in one line."""

from __future__ import annotations

__all__ = [
    "BadInputError",
    "CorpusError",
    "EmsweepError",
    "FailureKind",
    "LeakageError",
    "MissingDependencyError",
    "NonFiniteLossError",
    "TimeLimitError",
]

from typing import Literal

FailureKind = Literal["non-finite", "memory", "time-out", "lost-worker", "bad-data", "error"]
"""Why a trial failed. `error`: anything else, a defect of this program included."""


class EmsweepError(Exception):
    """Root of all errors this project raises on purpose."""


class BadInputError(EmsweepError):
    """A setting, file or argument given by the user cannot be used."""


class CorpusError(BadInputError):
    """A corpus on disk is not what its name promises."""


class LeakageError(BadInputError):
    """Something the test part must not touch would be touched: a speaker, a label, a statistic."""


class MissingDependencyError(BadInputError):
    """An optional package that this request needs is not installed."""


class NonFiniteLossError(EmsweepError):
    """The training loss became NaN or infinite.

    Attributes:
        step: optimizer step (counted from 1) at which it happened.
    """

    def __init__(self, *, stage: str, step: int, value: float) -> None:
        super().__init__(f"{stage}: loss is {value} at step {step}; the trial stops here")
        self.step = step


class TimeLimitError(EmsweepError):
    """A trial took longer than the sweep's limit for one trial."""
