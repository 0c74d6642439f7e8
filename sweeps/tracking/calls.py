"""Calls to the tracking actor that outlive its crashes: asked again until it is back (ours).

Every method of the tracker may be carried out twice without harm, so a call whose answer was lost is simply repeated.
"""

from __future__ import annotations

__all__ = ["TrackerLostError", "answered", "method"]

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayTaskError

from core.errors import EmsweepError

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 5.0


class TrackerLostError(EmsweepError):
    """The tracking actor was ended for good, or has not answered in time: the sweep cannot go on without it."""


def method(actor: Any, name: str) -> Any:
    """A method of the actor, in the group of threads it belongs to: logging never waits for anything else."""
    return getattr(actor, name).options(concurrency_group="log" if name == "log" else "other")


def answered(ask: Callable[[], Any], *, patience_s: float, asked: Any = None) -> Any:
    """The answer to the call that `ask` makes, repeated while the actor is restarting.

    Args:
        ask: makes the call and returns its reference.
        patience_s: for all tries together.
        asked: a call already on its way, to be waited for first.

    Raises TrackerLostError, and what the method itself raised.
    """
    deadline = time.monotonic() + patience_s
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return ray.get(ask() if asked is None else asked, timeout=max(0.0, deadline - time.monotonic()))
        except ActorUnavailableError as error:
            if time.monotonic() + pause > deadline:
                raise TrackerLostError(f"tracker: not back after {patience_s:g} s") from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        except ActorDiedError as error:
            raise TrackerLostError("tracker: its process was ended") from error
        except GetTimeoutError as error:
            raise TrackerLostError(f"tracker: no answer in {patience_s:g} s") from error
        except RayTaskError as error:
            if isinstance(error.cause, EmsweepError):
                raise error.cause from error
            raise
        asked = None
