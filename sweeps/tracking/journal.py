"""The journal: the local, durable log of a sweep's trials, metrics and artifacts (SQLite in WAL mode; ours).

Trial processes write, one uploader reads. Nothing here waits for a network, and nothing is ever written twice: a
resumed trial repeats its steps bit for bit, so the same (trial key, metric, step) is the same event. The file must lie
on a local disk (SQLite's WAL needs shared memory between the writers).
"""

from __future__ import annotations

__all__ = [
    "Conflict",
    "Journal",
    "JournalError",
    "Outcome",
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
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from filelock import FileLock

from core.errors import BadInputError, EmsweepError

Outcome = Literal["complete", "failed", "pruned"]
SweepState = Literal["open", "complete", "failed", "interrupted"]

_logger = logging.getLogger(__name__)

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE sweep (only INTEGER PRIMARY KEY CHECK (only = 1), state TEXT NOT NULL);
INSERT INTO sweep VALUES (1, 'open');
CREATE TABLE trials (
  trial_key TEXT PRIMARY KEY, name TEXT NOT NULL, params TEXT NOT NULL, tags TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'open', reason TEXT, began_ms INTEGER, ended_ms INTEGER,
  active INTEGER NOT NULL DEFAULT 0, revision INTEGER NOT NULL DEFAULT 1);
CREATE TABLE metrics (
  id INTEGER PRIMARY KEY AUTOINCREMENT, trial_key TEXT NOT NULL REFERENCES trials, metric TEXT NOT NULL,
  step INTEGER NOT NULL, value REAL, time_ms INTEGER NOT NULL, UNIQUE (trial_key, metric, step));
CREATE INDEX metrics_of_trial ON metrics (trial_key, id);
CREATE TABLE conflicts (
  trial_key TEXT NOT NULL, metric TEXT NOT NULL, step INTEGER NOT NULL, kept REAL, refused REAL,
  UNIQUE (trial_key, metric, step, refused));
CREATE TABLE artifacts (
  trial_key TEXT NOT NULL, path TEXT NOT NULL, stamp TEXT NOT NULL, PRIMARY KEY (trial_key, path));
CREATE TABLE uploads (
  destination TEXT NOT NULL, trial_key TEXT NOT NULL, run_id TEXT NOT NULL, sent_to INTEGER NOT NULL DEFAULT 0,
  sent_version TEXT, PRIMARY KEY (destination, trial_key));
CREATE TABLE uploaded_artifacts (
  destination TEXT NOT NULL, trial_key TEXT NOT NULL, path TEXT NOT NULL, stamp TEXT NOT NULL,
  PRIMARY KEY (destination, trial_key, path));
"""
_TRIAL_COLUMNS = ("trial_key", "name", "params", "tags", "state", "reason", "active", "began_ms", "ended_ms")
_CONFLICTS = "(SELECT count(*) FROM conflicts WHERE conflicts.trial_key = trials.trial_key)"
VERSION = (
    f"printf('%d %d %s', revision, {_CONFLICTS}, CASE trials.state WHEN 'open' THEN (SELECT state FROM sweep) END)"
)
"""SQL of `TrialEntry.version`, for queries on `trials`."""
_METRIC_NAME = re.compile(r"[\w][\w.\-/ ]{0,249}", re.ASCII)
_APPLICATION = 0x656D7377
"""`emsw`: marks the file as ours."""
_BUSY_SECONDS = 30.0
_BUFFER_ROWS = 500
_BUFFER_SECONDS = 0.5


class JournalError(EmsweepError):
    """The journal cannot be written or read: disk full, file damaged, or held too long by another process."""


@dataclass(frozen=True, kw_only=True)
class TrialEntry:
    """One trial as the journal knows it; `open` until finished."""

    trial_key: str
    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    state: Literal["open"] | Outcome
    reason: str | None
    active: bool
    """It has logged something since it was last registered."""
    began_ms: int | None
    """Time of its first event; None while it has none: such a trial has no run in MLflow yet."""
    ended_ms: int | None
    conflicts: int
    version: str
    """Changes whenever the trial's name, tags, status, conflicts or (while it is open) the sweep's state do."""


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """A repeated (trial key, metric, step) that came with another value: the first value is kept."""

    trial_key: str
    metric: str
    step: int
    kept: float
    refused: float


class Journal:
    """The journal at `path`, made when absent. One instance per process (threads may share it).

    Raises BadInputError when the file is no journal, JournalError when it cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._buffer: list[tuple[str, str, int, float | None, int]] = []
        self._flushed_at = -math.inf
        with _told(path):
            self._connection = _open(path)

    def register_trial(self, trial_key: str, *, name: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """The trial is part of the sweep. Open again if it had failed or was pruned; complete stays complete.

        Params stay as first written, name and tags are replaced.
        Raises BadInputError when the trial is known with other params: they are part of its key.
        """
        with self.transaction() as database:
            row = database.execute("SELECT params FROM trials WHERE trial_key = ?", (trial_key,)).fetchone()
            if row and json.loads(row[0]) != dict(params):
                known = json.loads(row[0])
                key = min(key for key in {*known, *params} if known.get(key) != params.get(key))
                raise BadInputError(f"trial {trial_key}: param {key} is {params.get(key)!r}, was {known.get(key)!r}")
            database.execute(
                "INSERT INTO trials (trial_key, name, params, tags) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET name = excluded.name, tags = excluded.tags, revision = revision + 1",
                (trial_key, name, json.dumps(dict(params)), json.dumps(dict(tags))),
            )
            database.execute(
                "UPDATE trials SET state = 'open', reason = NULL, ended_ms = NULL, active = 0"
                " WHERE trial_key = ? AND state <> 'complete'",
                (trial_key,),
            )

    def log(self, trial_key: str, metrics: Mapping[str, float], *, step: int, time_ms: int | None = None) -> None:
        """Add metrics at `step`. Durable at the next flush: now if the last one is half a second old, else later.

        Flush before writing a checkpoint; what is lost with a killed process is then logged again when it resumes.
        Raises BadInputError for a metric name that MLflow would refuse (letters, digits, `_-./ `, at most 250).
        """
        moment = _now_ms() if time_ms is None else time_ms
        for metric in metrics:
            if not _METRIC_NAME.fullmatch(metric):
                raise BadInputError(f"metric {metric!r}: letters, digits and _-./ and spaces only, at most 250")
        with self._lock:
            for metric, value in metrics.items():
                number = float(value)
                self._buffer.append((trial_key, metric, step, None if math.isnan(number) else number, moment))
            if len(self._buffer) >= _BUFFER_ROWS or time.monotonic() - self._flushed_at >= _BUFFER_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Make everything logged so far durable (also against a power cut)."""
        with self._lock:
            if self._buffer:
                with self.transaction() as database:
                    _add_metrics(database, self._buffer)
                self._buffer.clear()
            self._flushed_at = time.monotonic()

    def finish(
        self, trial_key: str, *, status: Outcome, reason: str | None = None, artifacts: tuple[Path, ...] = ()
    ) -> None:
        """A trial has ended; its metrics are flushed and the artifacts wait for upload.

        Raises BadInputError for an unknown trial or an artifact that is no file.
        """
        self.flush()
        rows = [(trial_key, stored_path(path, self.path), _stamp(path)) for path in artifacts]
        with self.transaction() as database:
            done = database.execute(
                "UPDATE trials SET state = ?1, reason = ?2, ended_ms = ?3, began_ms = coalesce(began_ms, ?3),"
                " revision = revision + 1 WHERE trial_key = ?4 AND (state, reason) IS NOT (?1, ?2)",
                (status, reason, _now_ms(), trial_key),
            )
            known = database.execute("SELECT 1 FROM trials WHERE trial_key = ?", (trial_key,)).fetchone()
            if done.rowcount == 0 and known is None:
                raise BadInputError(f"trial {trial_key}: not registered in {self.path}")
            database.executemany(
                "INSERT INTO artifacts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET stamp = excluded.stamp", rows
            )

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
                | {"active": bool(entry["active"])}
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
        with self._lock, _told(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def query(self, statement: str, values: Sequence[str | int] = ()) -> list[tuple[Any, ...]]:
        """All rows of one SELECT."""
        with self._lock, _told(self.path):
            return self._connection.execute(statement, values).fetchall()


def number(stored: float | None) -> float:
    """A metric's value from its column: SQLite has no NaN and keeps it as NULL."""
    return math.nan if stored is None else stored


def stored_path(path: Path, journal: Path) -> str:
    """How the journal keeps a path: relative to itself, so that a workspace may be moved."""
    return os.path.relpath(path, journal.parent)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise BadInputError(f"{path}: metrics of a trial that was not registered ({error})") from error
    except sqlite3.Error as error:
        raise JournalError(f"{path}: {error}") from error


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    with FileLock(path.with_name(f".{path.name}.making")):
        # Turning WAL on does not honour the busy timeout, hence one process at a time.
        version = database.execute("PRAGMA user_version").fetchone()[0]
        made_by = database.execute("PRAGMA application_id").fetchone()[0]
        empty = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if empty and made_by == 0:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {_APPLICATION};"
                f" PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
            )
        elif (made_by, version) != (_APPLICATION, _SCHEMA_VERSION):
            database.close()
            raise BadInputError(f"{path}: not a journal of schema {_SCHEMA_VERSION} (it says {version})")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA foreign_keys = ON")
    return database


def _add_metrics(database: sqlite3.Connection, rows: list[tuple[str, str, int, float | None, int]]) -> None:
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


def _stamp(path: Path) -> str:
    if not path.is_file():
        raise BadInputError(f"artifact {path}: no such file")
    state = path.stat()
    return f"{state.st_size}-{state.st_mtime_ns}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
