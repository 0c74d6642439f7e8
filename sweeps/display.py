"""How far a long command is: bars with ETA on a terminal, plain lines in a pipe."""

from __future__ import annotations

__all__ = ["Display", "SweepCount"]

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_INTERVAL_S = 5.0


@dataclass(frozen=True, kw_only=True)
class SweepCount:
    """Trials of a sweep under way. `work` is in trials and counts the running ones by their share."""

    complete: int
    failed: int
    running: int
    total: int
    work: float


class Display:
    """Shows `core.progress.Progress` calls and sweep counts on one console (standard error)."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, float] = {}
        self._sweep_started = 0.0

    @contextmanager
    def live(self) -> Iterator[Display]:
        """Show bars during the block when the console is a terminal."""
        if not self.console.is_terminal:
            yield self
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console) as self._bars:
            yield self
        self._bars, self._tasks = None, {}

    def progress(self, what: str, done: int, total: int) -> None:
        """`core.progress.Progress`: one bar per activity; piped, one line per 5 seconds and one at the end."""
        self._show(what, done, total, note=f"{done}/{total}", line=f"{what}: {done}/{total}", last=done >= total)

    def say(self, line: str) -> None:
        """One line above the bars."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def sweep(self, count: SweepCount) -> None:
        """The sweep's own line: complete, running, failed, ETA."""
        self._sweep_started = self._sweep_started or time.monotonic()
        note = f"{count.complete}/{count.total} complete, {count.running} running, {count.failed} failed"
        finished = count.complete + count.failed >= count.total
        line = f"sweep: {note}{'' if finished else self._eta(count)}"
        self._show("sweep", count.work, count.total, note=note, line=line, last=finished)

    def _eta(self, count: SweepCount) -> str:
        elapsed = time.monotonic() - self._sweep_started
        if count.work < 0.5:
            return ", ETA unknown yet"
        left = elapsed / count.work * (count.total - count.work)
        return f", ETA {int(left // 60)}:{int(left % 60):02d}"

    def _show(self, what: str, done: float, total: float, *, note: str, line: str, last: bool) -> None:
        if self._bars is not None:
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(what, total=total, note=note)
            self._bars.update(self._tasks[what], completed=done, total=total, note=note)
            return
        now = time.monotonic()
        if last or now - self._said.get(what, -PLAIN_INTERVAL_S) >= PLAIN_INTERVAL_S:
            if last and self._said.get(what) == float("inf"):
                return
            self._said[what] = float("inf") if last else now
            self.say(line)
