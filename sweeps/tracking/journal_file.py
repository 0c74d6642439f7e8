"""The journal's file: its tables, how an older one is brought up to date, and what its errors become (ours)."""

from __future__ import annotations

__all__ = ["SCHEMA_VERSION", "JournalError", "open_journal", "told"]

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from core.errors import BadInputError, EmsweepError

SCHEMA_VERSION = 2
"""2 added `trials.in_plan` and `trials.pictures`; a journal of schema 1 is brought up to date when opened."""
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
_FROM_1_TO_2 = """
ALTER TABLE trials ADD COLUMN in_plan INTEGER NOT NULL DEFAULT 1;
ALTER TABLE trials ADD COLUMN pictures TEXT NOT NULL DEFAULT 'none';
"""
_APPLICATION = 0x656D7377
"""`emsw`: marks the file as ours."""
_BUSY_SECONDS = 30.0


class JournalError(EmsweepError):
    """The journal cannot be written or read: disk full, file damaged, or held too long by another process."""


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Whatever SQLite or the disk raises in the block leaves as one JournalError, an unknown trial as BadInputError."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise BadInputError(f"{path}: metrics of a trial that was not registered ({error})") from error
    except (sqlite3.Error, OSError) as error:
        raise JournalError(f"{path}: {error}") from error


def open_journal(path: Path) -> sqlite3.Connection:
    """Connect to the journal at `path`, made when absent; each commit reaches the disk.

    Raises BadInputError when the file is of another kind or of a later schema; errors of SQLite as they are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        with FileLock(path.with_name(f".{path.name}.making")):
            # Turning WAL on does not honour the busy timeout, hence one process at a time.
            _bring_up_to_date(database, path)
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        database.close()
        raise
    return database


def _bring_up_to_date(database: sqlite3.Connection, path: Path) -> None:
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    made_by = database.execute("PRAGMA application_id").fetchone()[0]
    if made_by == 0 and database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        database.execute("PRAGMA journal_mode = WAL")
        _run(database, f"{_SCHEMA} {_FROM_1_TO_2} PRAGMA application_id = {_APPLICATION};")
    elif made_by != _APPLICATION or version not in (1, SCHEMA_VERSION):
        raise BadInputError(f"{path}: not a journal of schema {SCHEMA_VERSION} (it says {version})")
    elif version == 1:
        _run(database, _FROM_1_TO_2)


def _run(database: sqlite3.Connection, statements: str) -> None:
    try:
        database.executescript(f"BEGIN IMMEDIATE; {statements} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    except sqlite3.Error:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
