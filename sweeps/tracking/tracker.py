"""The tracker: the one owner of a sweep's journal, which fills MLflow and draws pictures behind everybody's back.

Plain Python: `sweeps.tracking.actor` makes a Ray actor of it. Whatever it has answered to is durable; after a crash a
new one goes on from the journal alone.
"""

from __future__ import annotations

__all__ = ["Standing", "Tracker"]

import logging
import os
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import BadInputError
from core.records import read_record
from core.store import Workspace
from sweeps.tracking.drawer import Drawer, draw_due
from sweeps.tracking.entries import Point, Registration, SweepState
from sweeps.tracking.filling import finish, journal_path, settle, uploader_for
from sweeps.tracking.journal import Journal, JournalError
from sweeps.tracking.outbox import Backlog
from sweeps.tracking.uploader import Uploader

_logger = logging.getLogger(__name__)

_DRAWING_PAUSE_SECONDS = 5.0
"""Before drawing is tried again when the journal could not be told (a full disk)."""
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How tracking stands. `trouble`: why MLflow does not get everything now, in one line."""

    backlog: Backlog
    trouble: str | None
    process_id: int


class Tracker:
    """Tracks the launched sweep `sweep` in the workspace at `root`; `uri` is where MLflow is.

    Methods may be called from many threads. Each raises JournalError while the journal cannot be written (disk full):
    nothing of that call counts then, call again. Constructing raises BadInputError for a sweep that was never launched.
    """

    def __init__(self, sweep: str, root: Path, *, uri: str) -> None:
        self._sweep, self._workspace, self._uri = sweep, Workspace.at(root), uri
        self._path = journal_path(sweep, self._workspace)
        self._opening = threading.Lock()
        self._open: tuple[Journal, Uploader] | None = None
        self._begun: frozenset[str] = frozenset()
        self._due = threading.Event()
        self._ended = threading.Event()
        self._drawing: threading.Thread | None = None
        # A journal that cannot be opened now (disk full) must not end a restarted actor for good.
        with suppress(JournalError):
            self._opened()

    def register(self, trials: Sequence[Registration]) -> None:
        """The trials are part of the sweep, which is open from now on; before any of them takes a step.

        Those that are not to be run and have a record are finished as it says. A trial under way stays so when it is
        registered once more, as a growing plan does. Raises BadInputError when a trial is known with other params.
        """
        journal, uploader = self._opened()
        if journal.sweep_state() != "open":
            uploader.start()
        going_on = self._begun & {trial.trial_key for trial in journal.trials() if trial.state == "open"}
        journal.register(*(replace(each, to_run=each.to_run and each.trial_key not in going_on) for each in trials))
        self._begun |= {trial.trial_key for trial in trials if trial.to_run}
        states = {trial.trial_key: trial.state for trial in journal.trials()}
        for trial in trials:
            if trial.to_run or states[trial.trial_key] == "complete":
                continue
            record = read_record(self._workspace.trial(trial.trial_key))
            if record is not None and record.status != states[trial.trial_key]:
                finish(journal, self._workspace, record)
        self._due.set()

    def keep_only(self, trial_keys: Collection[str]) -> tuple[str, ...]:
        """The plan has these trials and no others any more; returns those that leave it now."""
        return self._opened()[0].keep_only(trial_keys)

    def log(self, trial_key: str, points: Sequence[tuple[str, int, float, int]]) -> None:
        """Add metrics (the fields of `Point`); durable when this returns. Those that are there already change nothing.

        Raises BadInputError for a trial that was not registered.
        """
        self._opened()[0].add(trial_key, [Point._make(point) for point in points])

    def finish(self, trial_key: str) -> None:
        """The trial has ended as its record says; pictures are drawn and files uploaded later.

        Raises BadInputError when there is no record, or the trial was not registered.
        """
        record = read_record(self._workspace.trial(trial_key))
        if record is None:
            raise BadInputError(f"trial {trial_key}: no record in {self._workspace.trial(trial_key)}")
        finish(self._opened()[0], self._workspace, record)
        self._due.set()

    def standing(self) -> Standing:
        """What is unsent, and why."""
        uploader = self._opened()[1]
        return Standing(backlog=uploader.backlog(), trouble=uploader.trouble, process_id=os.getpid())

    def stop(self, state: SweepState, *, timeout: float) -> Standing:
        """The sweep has ended as `state`: settle what was not told, draw and upload for at most `timeout` seconds.

        Returns what is unsent then; it stays in the journal for `sync`. Only a new tracker can open the sweep again.
        """
        deadline = time.monotonic() + timeout
        journal, uploader = self._opened()
        settle(journal, self._workspace)
        journal.set_sweep(state)
        self._due.set()
        while journal.pictures_due() and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        self._ended.set()
        self._due.set()
        backlog = uploader.stop(max(0.0, deadline - time.monotonic()), state=state)
        return Standing(backlog=backlog, trouble=uploader.trouble, process_id=os.getpid())

    def _opened(self) -> tuple[Journal, Uploader]:
        """The journal, with the threads that send from it and draw for it running."""
        with self._opening:
            if self._open is None:
                journal = Journal(self._path)
                uploader = uploader_for(self._sweep, self._workspace, uri=self._uri)
                if journal.sweep_state() == "open":
                    uploader.start()
                self._open = (journal, uploader)
                self._due.set()
                self._drawing = threading.Thread(target=self._draw, name=f"pictures of {self._sweep}", daemon=True)
                self._drawing.start()
            return self._open

    def _draw(self) -> None:
        journal, _ = self._opened()
        drawer = Drawer()
        try:
            while not self._ended.is_set():
                self._due.wait()
                self._due.clear()
                try:
                    draw_due(journal, self._workspace, drawer, until=self._ended.is_set)
                except JournalError as error:
                    _logger.warning("%s; pictures wait", error)
                    self._ended.wait(_DRAWING_PAUSE_SECONDS)
                    self._due.set()
        finally:
            drawer.close()
