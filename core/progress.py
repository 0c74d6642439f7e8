"""How long work says where it is: one callable, so that `core` needs to know no terminal and no tracker."""

from __future__ import annotations

__all__ = ["LogMetrics", "Progress", "discard", "silent"]

from collections.abc import Callable, Mapping

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, units done, units in all); the last call has done == total."""

LogMetrics = Callable[[Mapping[str, float], int], None]
"""Called with (metric name → value, step); repeated calls for one step carry the same values."""


def silent(what: str, done: int, total: int) -> None:
    """A Progress that says nothing."""
    del what, done, total


def discard(values: Mapping[str, float], step: int) -> None:
    """A LogMetrics that keeps nothing."""
    del values, step
