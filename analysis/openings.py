"""How often the test part has been looked at: one line per report in `sweeps/<name>/openings.jsonl` (ours).

A plan that was put together for one report, of several sweeps or from MLflow, lies in a folder of its own; a look at it
is a look at the sweeps it was made of, and is counted with each of them: `counted_in.json` beside it names their logs.
"""

from __future__ import annotations

__all__ = ["CountedIn", "Opening", "count_in", "record_opening"]

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from analysis.wording import count, joined
from core.errors import BadInputError

COUNTED_IN = "counted_in.json"


@dataclass(frozen=True, kw_only=True)
class Opening:
    """One look at the test predictions."""

    number: int
    """Counted from 1: how often the test part of this sweep has been read, this time included; of several sweeps, that
    of the one that was read most often."""
    at: str
    """UTC, ISO 8601, to the second."""
    by: str
    trials: int
    """Trials whose test predictions were read."""
    sweeps: dict[str, int] = field(default_factory=dict)
    """Sweep → its own number, in a report of several."""

    @property
    def times(self) -> str:
        """`2 times`; of several sweeps `2 times for ems_grid and 1 time for ems_more`: each has its own count."""
        each = [f"{count(number, 'time')} for {sweep}" for sweep, number in self.sweeps.items()]
        return joined(each) or count(self.number, "time")


@dataclass(frozen=True, kw_only=True)
class CountedIn:
    """A sweep in which looks at another plan count too."""

    sweep: str
    log: str
    """Path of its `openings.jsonl`."""
    trials: int
    """Its trials that such a look reads."""


def count_in(folder: Path, sweeps: Sequence[CountedIn]) -> None:
    """Looks at the plan in `folder` are looks at these sweeps."""
    (folder / COUNTED_IN).write_text(json.dumps([asdict(each) for each in sweeps], indent=1), encoding="utf-8")


def record_opening(path: Path, *, by: str, trials: int) -> Opening:
    """Append one look to the log and return it. Call before the predictions are read.

    Raises BadInputError when the log, or that of a sweep it counts in too, cannot be written: then the test part stays
    closed.
    """
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    numbers = {
        each.sweep: _append(Path(each.log), at=at, by=by, trials=each.trials)
        for each in _counted_in(path.parent)
        if each.trials
    }
    if not numbers:
        return Opening(number=_append(path, at=at, by=by, trials=trials), at=at, by=by, trials=trials)
    several = numbers if len(numbers) > 1 else {}
    return Opening(number=max(numbers.values()), at=at, by=by, trials=trials, sweeps=several)


def _append(path: Path, *, at: str, by: str, trials: int) -> int:
    """Write a line; returns its number."""
    line = json.dumps({"schema_version": 1, "at": at, "by": by, "trials": trials})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="utf-8") as file:
            file.seek(0)
            number = 1 + sum(1 for earlier in file if earlier.strip())
            file.write(line + "\n")
    except OSError as error:
        raise BadInputError(f"{path}: the look at the test part cannot be recorded ({error.strerror})") from error
    return number


def _counted_in(folder: Path) -> tuple[CountedIn, ...]:
    path = folder / COUNTED_IN
    if not path.exists():
        return ()
    try:
        return tuple(CountedIn(**entry) for entry in json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BadInputError(f"{path}: does not say where the look is to be counted ({error})") from error
