"""`sweep watch`: a sweep live, the whole screen on a terminal, plain lines in a pipe. Leaves the sweep alone."""

from __future__ import annotations

__all__ = ["changes", "ctrl_c_between_looks", "watch_live", "watch_plain"]

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from sweeps.matrix_text import points_text
from sweeps.observer import Observer
from sweeps.pair_matrix import TrialStatus
from sweeps.status import Status
from sweeps.status_text import counts_line, status_text

LOOK_S = 1.0
"""Longest between two looks in a pipe, however long the interval between two lines of counts."""
FEWEST_ARMS = 4


@contextmanager
def ctrl_c_between_looks() -> Iterator[Callable[[float], None]]:
    """A pause, in seconds, that Ctrl-C ends with KeyboardInterrupt, at the next one if it comes in a look.

    Raised wherever the program happens to be, it may come out in a destructor, where Python drops it.
    """
    asked = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: asked.set())

    def pause(seconds: float) -> None:
        if asked.wait(seconds):
            raise KeyboardInterrupt

    try:
        yield pause
    finally:
        signal.signal(signal.SIGINT, before)


def watch_plain(
    observer: Observer, *, interval: float, say: Callable[[str], None], pause: Callable[[float], None] = time.sleep
) -> Status:
    """Say each change in a line as it is seen, and the counts at most once per `interval` seconds.

    Returns the last status, when nobody runs the sweep any more.
    """
    status = observer.look()
    said = ""
    due = time.monotonic()
    while status.driven:
        if time.monotonic() >= due and counts_line(status) != said:
            said = counts_line(status)
            due = time.monotonic() + interval
            say(f"{status.sweep}: {said}")
        pause(min(interval, LOOK_S))
        before, status = status, observer.look()
        for line in changes(before, status):
            say(line)
    return status


def watch_live(
    observer: Observer, console: Console, *, interval: float, pause: Callable[[float], None] = time.sleep
) -> Status:
    """Show the status on the whole screen, anew every `interval` seconds, until nobody runs the sweep any more."""
    status = observer.look()
    if not status.driven:
        return status
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while status.driven:
            live.update(Text(_screen(status, console), no_wrap=True), refresh=True)
            pause(interval)
            status = observer.look()
    return status


def _screen(status: Status, console: Console) -> str:
    """As many arms as the screen has room for; what must be cut is the matrix, not what stands below it."""
    width, height = console.size
    arms = len(status.matrix.rows)
    text = status_text(status, width=width, shown=1)
    while len(text.splitlines()) > height and arms > FEWEST_ARMS:
        arms = max(FEWEST_ARMS, arms - max(1, len(text.splitlines()) - height))
        text = status_text(status, width=width, shown=1, arms=arms)
    return "\n".join(text.splitlines()[:height])


def changes(before: Status, after: Status) -> Iterator[str]:
    """What has happened between two looks, a line each."""
    yield from _driver_changes(before, after)
    known = {trial.trial_key: trial for trial in before.trials}
    for trial in after.trials:
        earlier = known.get(trial.trial_key)
        if earlier is None or earlier.state != trial.state:
            yield from _ended(trial)
    if after.search and (before.search is None or before.search.tried != after.search.tried):
        yield f"search: {after.search.tried} of {after.search.points} points tried"
    differences = {(row.arm_key, cell.seed): cell.difference for row in before.matrix.rows for cell in row.cells}
    for row in after.matrix.rows:
        for cell in row.cells:
            if cell.difference is not None and differences.get((row.arm_key, cell.seed)) is None:
                yield f"pair: {row.arm} seed {cell.seed}: {points_text(cell.difference)} points on validation"


def _driver_changes(before: Status, after: Status) -> Iterator[str]:
    if after.driver is None:
        return
    said = (before.driver.state, before.driver.message) if before.driver else None
    if said != (after.driver.state, after.driver.message):
        message = f": {after.driver.message}" if after.driver.message else ""
        yield f"driver: {after.driver.state}{message}"


def _ended(trial: TrialStatus) -> Iterator[str]:
    name = f"{trial.arm} seed {trial.seed}"
    if trial.state == "complete" and trial.ua is not None:
        yield f"complete: {name}: UA {100 * trial.ua:.1f} % on validation"
    elif trial.state == "failed":
        yield f"failed: {name}: {trial.failure}: {trial.reason}"
    elif trial.state == "pruned":
        yield f"pruned: {name}: {trial.reason}"
