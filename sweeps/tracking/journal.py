"""The journal: the local, durable log of a sweep's trials, metrics and artifacts (SQLite in WAL mode; ours).

The sweep's tracker writes, one uploader reads; commands on the same host may look in. Nothing here waits for a network,
and nothing is ever written twice: a resumed trial repeats its steps bit for bit, so the same (trial key, metric, step)
is the same event. The file must lie on a disk where SQLite's WAL works: all who open it run on one host.
"""

from __future__ import annotations

__all__ = [
    "Conflict",
    "Journal",
    "JournalError",
    "Outcome",
    "Point",
    "Registration",
    "SweepState",
    "TrialEntry",
    "VERSION",
    "number",
    "stored_path",
]

import json
import logging
import math
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from core.errors import BadInputError
from sweeps.tracking.entries import Conflict, Outcome, Point, Registration, SweepState, TrialEntry, check_metric
from sweeps.tracking.journal_file import JournalError, open_journal, told

_logger = logging.getLogger(__name__)

_TRIAL_COLUMNS = (
    "trial_key", "name", "params", "tags", "state", "reason", "active", "in_plan", "pictures", "began_ms", "ended_ms",
)  # fmt: skip
_CONFLICTS = "(SELECT count(*) FROM conflicts WHERE conflicts.trial_key = trials.trial_key)"
VERSION = (
    f"printf('%d %d %s', revision, {_CONFLICTS}, CASE trials.state WHEN 'open' THEN (SELECT state FROM sweep) END)"
)
"""SQL of `TrialEntry.version`, for queries on `trials`."""
_BUFFER_ROWS = 500
_BUFFER_SECONDS = 0.5


class Journal:
    """The journal at `path`, made when absent. One instance per process (threads may share it).

    Raises BadInputError when the file is no journal, JournalError when it cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._buffer: list[tuple[str, Point]] = []
        self._flushed_at = -math.inf
        with told(path):
            self._connection = open_journal(path)

    def register(self, *registrations: Registration) -> None:
        """The trials are part of the sweep, all of them or (on an error) none; what is known already is not changed.

        Params stay as first written, name and tags are replaced.
        Raises BadInputError when a trial is known with other params: they are part of its key.
        """
        with self.transaction() as database:
            for registration in registrations:
                _register(database, registration)

    def keep_only(self, trial_keys: Collection[str]) -> tuple[str, ...]:
        """All trials but these have left the plan; returns those that do so now. Registered again they are back.

        Complete ones keep what they are, open ones will not be continued.
        """
        with self.transaction() as database:
            gone = database.execute(
                "UPDATE trials SET in_plan = 0, ended_ms = coalesce(ended_ms, ?), revision = revision + 1"
                " WHERE in_plan = 1 AND trial_key NOT IN (SELECT value FROM json_each(?)) RETURNING trial_key",
                (_now_ms(), json.dumps(sorted(trial_keys))),
            ).fetchall()
        return tuple(sorted(trial_key for (trial_key,) in gone))

    def add(self, trial_key: str, points: Sequence[Point]) -> None:
        """Add metrics of a trial; durable, also against a power cut, when this returns."""
        with self.transaction() as database:
            _add_points(database, [(trial_key, point) for point in points])

    def log(self, trial_key: str, metrics: Mapping[str, float], *, step: int, time_ms: int | None = None) -> None:
        """Add metrics at `step`. Durable at the next flush: now if the last one is half a second old, else later.

        Raises as `check_metric` does.
        """
        moment = _now_ms() if time_ms is None else time_ms
        for metric in metrics:
            check_metric(metric)
        with self._lock:
            self._buffer += [(trial_key, Point(metric, step, value, moment)) for metric, value in metrics.items()]
            if len(self._buffer) >= _BUFFER_ROWS or time.monotonic() - self._flushed_at >= _BUFFER_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Make everything logged so far durable (also against a power cut)."""
        with self._lock:
            if self._buffer:
                with self.transaction() as database:
                    _add_points(database, self._buffer)
                self._buffer.clear()
            self._flushed_at = time.monotonic()

    def finish(
        self, trial_key: str, *, status: Outcome, reason: str | None = None, artifacts: tuple[Path, ...] = (),
        pictures: bool = False,
    ) -> None:  # fmt: skip
        """A trial has ended; its metrics are flushed and the artifacts wait for upload.

        With `pictures` some are to be drawn from the artifacts, now or whenever somebody has the time; told again with
        the same artifacts, nothing is drawn anew. Raises BadInputError for an unknown trial or an artifact that is no
        file.
        """
        self.flush()
        rows = _artifact_rows(trial_key, artifacts, journal=self.path)
        with self.transaction() as database:
            done = database.execute(
                "UPDATE trials SET state = ?1, reason = ?2, ended_ms = ?3, began_ms = coalesce(began_ms, ?3),"
                " revision = revision + 1 WHERE trial_key = ?4 AND (state, reason) IS NOT (?1, ?2)",
                (status, reason, _now_ms(), trial_key),
            )
            known = database.execute("SELECT 1 FROM trials WHERE trial_key = ?", (trial_key,)).fetchone()
            if done.rowcount == 0 and known is None:
                raise BadInputError(f"trial {trial_key}: not registered in {self.path}")
            if _add_artifacts(database, rows) and pictures:
                database.execute("UPDATE trials SET pictures = 'due' WHERE trial_key = ?", (trial_key,))

    def pictures_due(self) -> tuple[str, ...]:
        """The trials whose pictures are to be drawn, in the order in which they were registered."""
        return tuple(key for (key,) in self.query("SELECT trial_key FROM trials WHERE pictures = 'due' ORDER BY rowid"))

    def add_pictures(self, trial_key: str, pictures: tuple[Path, ...], *, problem: str | None = None) -> None:
        """The trial's pictures are drawn, or cannot be for the reason `problem`."""
        rows = _artifact_rows(trial_key, pictures, journal=self.path)
        with self.transaction() as database:
            _add_artifacts(database, rows)
            database.execute(
                "UPDATE trials SET pictures = ?1, revision = revision + (?1 IS NOT 'drawn') WHERE trial_key = ?2",
                (problem or "drawn", trial_key),
            )

    def keep_files(self, owner: str, paths: tuple[Path, ...]) -> None:
        """The files of `owner` (a trial, or the sweep's own run) are these and no others; the new and changed wait."""
        rows = _artifact_rows(owner, paths, journal=self.path)
        known = self.query("SELECT path, stamp FROM artifacts WHERE trial_key = ?", (owner,))
        if {(path, stamp) for path, stamp in known} == {(path, stamp) for _, path, stamp in rows}:
            return
        with self.transaction() as database:
            database.execute("DELETE FROM artifacts WHERE trial_key = ?", (owner,))
            _add_artifacts(database, rows)

    def set_sweep(self, state: SweepState) -> None:
        """Whether a driver is at work (`open`) or how it ended; open trials of an ended sweep are interrupted ones."""
        with self.transaction() as database:
            database.execute("UPDATE sweep SET state = ?", (state,))

    def close(self) -> None:
        """Flush and release the file."""
        with self._lock:
            self.flush()
            self._connection.close()

    def sweep_state(self) -> SweepState:
        """The state last set; `open` at first."""
        return cast("SweepState", self.query("SELECT state FROM sweep")[0][0])

    def trials(self) -> tuple[TrialEntry, ...]:
        """All trials, in the order in which they began."""
        rows = self.query(f"SELECT {', '.join(_TRIAL_COLUMNS)}, {_CONFLICTS}, {VERSION} FROM trials ORDER BY rowid")
        names = (*_TRIAL_COLUMNS, "conflicts", "version")
        entries = [dict(zip(names, row, strict=True)) for row in rows]
        return tuple(
            TrialEntry(
                **entry
                | {"params": json.loads(entry["params"]), "tags": json.loads(entry["tags"])}
                | {"active": bool(entry["active"]), "in_plan": bool(entry["in_plan"])}
            )
            for entry in entries
        )

    def conflicts(self) -> tuple[Conflict, ...]:
        """Every refused value, in the order of arrival."""
        rows = self.query("SELECT trial_key, metric, step, kept, refused FROM conflicts ORDER BY rowid")
        return tuple(
            Conflict(trial_key=key, metric=metric, step=step, kept=number(kept), refused=number(refused))
            for key, metric, step, kept, refused in rows
        )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All statements of the block or none of them; waits while another process writes."""
        with self._lock, told(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # On a full disk SQLite may have rolled back by itself, or left a failed commit open.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def query(self, statement: str, values: Sequence[str | int] = ()) -> list[tuple[Any, ...]]:
        """All rows of one SELECT."""
        with self._lock, told(self.path):
            return self._connection.execute(statement, values).fetchall()


def number(stored: float | None) -> float:
    """A metric's value from its column: SQLite has no NaN and keeps it as NULL."""
    return math.nan if stored is None else stored


def stored_path(path: Path, journal: Path) -> str:
    """How the journal keeps a path: relative to itself, so that a workspace may be moved."""
    return os.path.relpath(path, journal.parent)


def _register(database: sqlite3.Connection, trial: Registration) -> None:
    row = database.execute("SELECT params FROM trials WHERE trial_key = ?", (trial.trial_key,)).fetchone()
    if row and json.loads(row[0]) != dict(trial.params):
        known, params = json.loads(row[0]), trial.params
        key = min(key for key in {*known, *params} if known.get(key) != params.get(key))
        raise BadInputError(f"trial {trial.trial_key}: param {key} is {params.get(key)!r}, was {known.get(key)!r}")
    database.execute(
        "INSERT INTO trials (trial_key, name, params, tags) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET name = excluded.name, tags = excluded.tags, in_plan = 1, revision = revision + 1"
        " WHERE (trials.name, trials.tags, trials.in_plan) IS NOT (excluded.name, excluded.tags, 1)",
        (trial.trial_key, trial.name, json.dumps(dict(trial.params)), json.dumps(dict(trial.tags))),
    )
    if trial.to_run:
        database.execute(
            "UPDATE trials SET state = 'open', reason = NULL, ended_ms = NULL, active = 0, revision = revision + 1"
            " WHERE trial_key = ? AND state <> 'complete' AND (state <> 'open' OR active OR ended_ms IS NOT NULL)",
            (trial.trial_key,),
        )


def _add_points(database: sqlite3.Connection, points: Sequence[tuple[str, Point]]) -> None:
    rows = [
        (trial_key, point.metric, point.step, None if math.isnan(point.value) else float(point.value), point.time_ms)
        for trial_key, point in points
    ]
    added = database.executemany(
        "INSERT INTO metrics (trial_key, metric, step, value, time_ms) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        rows,
    )
    for trial_key in {row[0] for row in rows}:
        began_ms = min(row[-1] for row in rows if row[0] == trial_key)
        database.execute(
            "UPDATE trials SET active = 1, began_ms = coalesce(began_ms, ?), revision = revision + 1"
            " WHERE trial_key = ? AND active = 0",
            (began_ms, trial_key),
        )
    if added.rowcount == len(rows):
        return
    for trial_key, metric, step, value, _ in rows:
        kept = database.execute(
            "SELECT value FROM metrics WHERE trial_key = ? AND metric = ? AND step = ? AND value IS NOT ?",
            (trial_key, metric, step, value),
        ).fetchone()
        if kept:
            _logger.warning(
                "%s: %s at step %d is %s, was %s; the first is kept", trial_key, metric, step, value, kept[0]
            )
            database.execute(
                "INSERT INTO conflicts VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (trial_key, metric, step, kept[0], value),
            )


def _artifact_rows(trial_key: str, paths: tuple[Path, ...], *, journal: Path) -> list[tuple[str, str, str]]:
    return [(trial_key, stored_path(path, journal), _stamp(path)) for path in paths]


def _add_artifacts(database: sqlite3.Connection, rows: list[tuple[str, str, str]]) -> bool:
    """Whether any of them is new or changed."""
    added = database.executemany(
        "INSERT INTO artifacts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET stamp = excluded.stamp"
        " WHERE excluded.stamp <> artifacts.stamp",
        rows,
    )
    return added.rowcount > 0


def _stamp(path: Path) -> str:
    if not path.is_file():
        raise BadInputError(f"artifact {path}: no such file")
    state = path.stat()
    return f"{state.st_size}-{state.st_mtime_ns}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
