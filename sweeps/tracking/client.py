"""How a trial logs: into a buffer of its own, sent to the tracking actor on the head now and then (ours).

A step costs microseconds. What `confirm` has let pass is on the head's disk; what it has not is kept here and sent
again, so nothing is lost with the actor and nothing is there twice (the journal knows each trial key, metric, step).
"""

from __future__ import annotations

__all__ = ["TrackingClient"]

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from core.errors import EmsweepError
from sweeps.tracking.calls import answered, method
from sweeps.tracking.entries import check_metric

PATIENCE_S = 300.0
"""How long the tracking actor may be away before the trial gives up."""


@dataclass
class _Batch:
    points: list[tuple[str, int, float, int]]
    call: Any
    """The reference of the last call that carried it; None when it is to be sent again."""


class TrackingClient:
    """Logs the metrics of one trial through the tracking actor `tracker` (its Ray handle). Not for several threads."""

    def __init__(self, tracker: Any, trial_key: str, *, patience_s: float = PATIENCE_S) -> None:
        self._call = method(tracker, "log")
        self._trial_key = trial_key
        self._patience_s = patience_s
        self._known: set[str] = set()
        # Fields of `Point`, as plain tuples: they are pickled seven times as fast.
        self._buffer: list[tuple[str, int, float, int]] = []
        self._batches: deque[_Batch] = deque()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep metrics for the next `send`. Raises BadInputError for a name that MLflow would refuse."""
        now_ms = time.time_ns() // 1_000_000
        for metric, value in metrics.items():
            if metric not in self._known:
                check_metric(metric)
                self._known.add(metric)
            self._buffer.append((metric, step, float(value), now_ms))

    def send(self) -> None:
        """Send what was logged; returns at once."""
        if self._buffer:
            batch, self._buffer = _Batch(self._buffer, None), []
            batch.call = self._ask(batch)
            self._batches.append(batch)

    def confirm(self) -> None:
        """Wait until all that was sent is durable.

        Raises JournalError while the head cannot write it (disk full): all is kept, confirm again later. Raises
        TrackerLostError when the actor is gone for good, BadInputError when the trial was not registered.
        """
        while self._batches:
            batch = self._batches[0]
            try:
                answered(partial(self._ask, batch), patience_s=self._patience_s, asked=batch.call)
            except EmsweepError:
                # What the others were answered then says nothing about now.
                for each in self._batches:
                    each.call = None
                raise
            self._batches.popleft()

    def _ask(self, batch: _Batch) -> Any:
        return self._call.remote(self._trial_key, batch.points)
