"""What a system answers with: one of the classes, or a number for each dimension."""

from __future__ import annotations

__all__ = ["Answers", "answers_of"]

from typing import Literal

from core.records import Record

Answers = Literal["classes", "dimensions"]


def answers_of(record: Record) -> Answers | None:
    """By the metrics in the record; None where it has none."""
    if record.metrics is None or not record.metrics.folds:
        return None
    return "classes" if record.metrics.folds[0].ua is not None else "dimensions"
