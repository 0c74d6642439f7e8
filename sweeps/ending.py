"""Whether and how a running sweep is to end before it is through: by a signal, a request, a limit, a lack of memory."""

from __future__ import annotations

__all__ = ["Ending"]

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from core.config import UpstreamName
from sweeps.display import Display
from sweeps.heartbeat import Heartbeat

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Ending:
    """Asked by everybody who would start something new.

    Attributes:
        preparing: nothing runs yet that would have to be drained: the first signal ends the sweep.
        short_of_memory: upstream and micro-batch that did not fit: the sweep goes on at once with a smaller one.
    """

    def __init__(self, heartbeat: Heartbeat, display: Display) -> None:
        self._heartbeat, self._display = heartbeat, display
        self._why: str | None = None
        self.preparing = True
        self.short_of_memory: tuple[UpstreamName, int] | None = None

    @property
    def draining(self) -> bool:
        """Nothing new is started; each trial stops at its next report, with a checkpoint."""
        requested = self._heartbeat.stop_requested()
        if requested == "now":
            raise KeyboardInterrupt
        if requested == "drain":
            self.drain("asked to stop by sweep stop: draining")
        return self._why is not None

    def drain(self, why: str) -> None:
        """End the sweep as soon as its trials have left a checkpoint; `why` is said once."""
        if self._why is None:
            self._why = why
            self._display.say(why)
            self._heartbeat.state("draining", why)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM (a batch system, a stopped container) drain the sweep; a second one stops it now.

        SIGINT is set too: a command that a script starts in the background finds it ignored.
        """
        previous = {number: signal.getsignal(number) for number in SIGNALS}
        self.listen()
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def listen(self) -> None:
        """Set the handlers, once more after connecting to Ray: it puts its own in the place of SIGTERM's."""
        for number in SIGNALS:
            signal.signal(number, self._heard)

    def _heard(self, *_: object) -> None:
        if self.preparing or self._why is not None:
            raise KeyboardInterrupt
        self.drain("draining: trials stop at their next report, with a checkpoint; once more to stop now")
