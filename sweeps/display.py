"""How far a long command is: bars with ETA on a terminal, plain lines in a pipe."""

from __future__ import annotations

__all__ = ["Display", "SweepCount"]

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from sweeps.eta import duration_text

PLAIN_INTERVAL_S = 5.0


@dataclass(frozen=True, kw_only=True)
class SweepCount:
    """Trials of a sweep under way. `work` is in trials and counts the running ones by their share."""

    complete: int
    failed: int
    running: int
    total: int
    work: float
    pruned: int = 0
    eta: float | None = None
    """Seconds until the last one ends; None while that cannot be said."""

    @property
    def ended(self) -> bool:
        return self.complete + self.failed + self.pruned >= self.total

    def __str__(self) -> str:
        words = [f"{self.complete}/{self.total} complete", f"{self.running} running", f"{self.failed} failed"]
        if self.pruned:
            words.append(f"{self.pruned} pruned")
        return ", ".join(words)


class _Remaining(TimeRemainingColumn):
    """Rich's own guess from the speed of a bar, but for the sweep, whose trials say better."""

    def render(self, task: Task) -> Text:
        if "eta" not in task.fields:
            return super().render(task)
        eta = task.fields["eta"]
        return Text("-:--" if eta is None else duration_text(eta), style="progress.remaining")


class Display:
    """Shows `core.progress.Progress` calls and sweep counts on one console (standard error)."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, float] = {}
        self._over: frozenset[str] = frozenset()

    @contextmanager
    def live(self) -> Iterator[Display]:
        """Show bars during the block when the console is a terminal."""
        if not self.console.is_terminal:
            yield self
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
        with Progress(*columns, TimeElapsedColumn(), _Remaining(), console=self.console) as self._bars:
            yield self
        self._bars, self._tasks = None, {}

    def progress(self, what: str, done: int, total: int) -> None:
        """`core.progress.Progress`: one bar per activity; piped, one line per 5 seconds and one at the end."""
        note = f"{done}/{total}"
        self._show(what, done, total, fields={"note": note}, line=f"{what}: {note}", last=done >= total)

    def say(self, line: str) -> None:
        """One line above the bars."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def sweep(self, count: SweepCount) -> None:
        """The sweep's own line: complete, running, failed, pruned, ETA."""
        eta = "unknown yet" if count.eta is None else duration_text(count.eta)
        line = f"sweep: {count}{'' if count.ended else f', ETA {eta}'}"
        fields = {"note": str(count), "eta": count.eta}
        self._show("sweep", count.work, count.total, fields=fields, line=line, last=count.ended)

    def _show(self, what: str, done: float, total: float, *, fields: Mapping[str, Any], line: str, last: bool) -> None:
        if self._bars is not None:
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(what, total=total, **fields)
            self._bars.update(self._tasks[what], completed=done, total=total, **fields)
            return
        if last and what in self._over:
            return
        now = time.monotonic()
        if last or now - self._said.get(what, -PLAIN_INTERVAL_S) >= PLAIN_INTERVAL_S:
            self._said[what] = now
            self.say(line)
        # A sweep that grows, or an activity that comes again, has a second end.
        self._over = self._over | {what} if last else self._over - {what}
