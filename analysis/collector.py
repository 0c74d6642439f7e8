"""Python's collector of reference cycles, put aside while much is made that stays.

It goes through every object again and again as their number grows: 1 second in 9 of a report of 1,000 trials, for a few
figures' worth of garbage.
"""

from __future__ import annotations

__all__ = ["collector_paused"]

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Collect no cycles inside; afterwards as it was, whatever was raised."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
