"""How often the test part has been looked at: one line per report in `sweeps/<name>/openings.jsonl` (ours)."""

from __future__ import annotations

__all__ = ["Opening", "record_opening"]

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class Opening:
    """One look at the test predictions."""

    number: int
    """Counted from 1: how often the test part of this sweep has been read, this time included."""
    at: str
    """UTC, ISO 8601, to the second."""
    by: str
    trials: int
    """Trials whose test predictions were read."""


def record_opening(path: Path, *, by: str, trials: int) -> Opening:
    """Append one look to the log and return it. Call before the predictions are read.

    Raises BadInputError when the log cannot be written: then the test part stays closed.
    """
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = json.dumps({"schema_version": 1, "at": at, "by": by, "trials": trials})
    try:
        with path.open("a+", encoding="utf-8") as file:
            file.seek(0)
            number = 1 + sum(1 for earlier in file if earlier.strip())
            file.write(line + "\n")
    except OSError as error:
        raise BadInputError(f"{path}: the look at the test part cannot be recorded ({error.strerror})") from error
    return Opening(number=number, at=at, by=by, trials=trials)
