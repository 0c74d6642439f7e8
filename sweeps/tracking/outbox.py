"""What one MLflow has received of a journal and what not: the memory that makes uploading exactly once (ours).

Kept per destination, so that a journal can fill a second MLflow, or the same one anew after its data were lost.
"""

from __future__ import annotations

__all__ = ["Artifact", "Backlog", "Metric", "Outbox", "SWEEP"]

import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweeps.tracking.journal import VERSION, Journal, number, stored_path

SWEEP = "sweep"
"""Stands for the sweep's own (parent) run where a trial key is asked for."""

_OPEN = "(SELECT count(*) FROM trials WHERE state = 'open' AND in_plan)"
_STATUS_UNSENT = f"(began_ms IS NOT NULL AND sent_version IS NOT {VERSION})"
_SWEEP_VERSION = (
    "(SELECT state || (SELECT ' ' || coalesce(group_concat(n, ' '), '') FROM"
    " (SELECT shown || count(*) AS n FROM"
    "  (SELECT CASE in_plan WHEN 1 THEN state ELSE 'removed' END AS shown FROM trials) GROUP BY shown ORDER BY shown))"
    " FROM sweep)"
)
_ARTIFACT_UNSENT = (
    "NOT EXISTS (SELECT 1 FROM uploaded_artifacts u WHERE u.destination = ?1 AND u.trial_key = artifacts.trial_key"
    " AND u.path = artifacts.path AND u.stamp = artifacts.stamp)"
)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One value of one metric at one step. `order` grows with every event of the journal."""

    order: int
    metric: str
    step: int
    value: float
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One file that a trial left; `stamp` tells its content's version (size and modification time)."""

    path: Path
    stamp: str


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What a destination has not received yet."""

    trials_open: int
    runs: int
    """Runs that are missing there or show an old status, the sweep's own included."""
    metrics: int
    artifacts: int
    pictures: int
    """Trials whose pictures are still to be drawn."""
    conflicts: int
    """Values refused by the journal because a repeated step came with another one (an error of resuming)."""

    @property
    def empty(self) -> bool:
        return not (self.runs or self.metrics or self.artifacts or self.pictures)


@dataclass(frozen=True, kw_only=True)
class Outbox:
    """A journal seen from the destination that it is sent to (a name that stays the same, without credentials)."""

    journal: Journal
    destination: str

    def backlog(self) -> Backlog:
        """Counts of everything unsent."""
        counts = self.journal.query(
            f"WITH shown AS (SELECT * FROM uploads WHERE destination = ?1) SELECT {_OPEN},"
            f" (SELECT count(*) FROM trials LEFT JOIN shown USING (trial_key) WHERE {_STATUS_UNSENT})"
            f" + (NOT EXISTS (SELECT 1 FROM shown WHERE trial_key = '{SWEEP}' AND sent_version IS {_SWEEP_VERSION})),"
            " (SELECT count(*) FROM metrics LEFT JOIN shown USING (trial_key) WHERE id > coalesce(sent_to, 0)),"
            f" (SELECT count(*) FROM artifacts WHERE {_ARTIFACT_UNSENT}),"
            " (SELECT count(*) FROM trials WHERE pictures = 'due'), (SELECT count(*) FROM conflicts)",
            (self.destination,),
        )[0]
        names = ("trials_open", "runs", "metrics", "artifacts", "pictures", "conflicts")
        return Backlog(**dict(zip(names, counts, strict=True)))

    def waiting(self) -> frozenset[str]:
        """The trials (and `SWEEP`) of which anything is unsent."""
        rows = self.journal.query(
            "WITH shown AS (SELECT * FROM uploads WHERE destination = ?1)"
            f" SELECT trial_key FROM trials LEFT JOIN shown USING (trial_key) WHERE {_STATUS_UNSENT}"
            " UNION SELECT trial_key FROM trials LEFT JOIN shown USING (trial_key) WHERE coalesce(sent_to, 0) <"
            "   (SELECT max(id) FROM metrics WHERE metrics.trial_key = trials.trial_key)"
            f" UNION SELECT trial_key FROM artifacts WHERE {_ARTIFACT_UNSENT}"
            f" UNION SELECT '{SWEEP}' WHERE NOT EXISTS (SELECT 1 FROM shown WHERE trial_key = '{SWEEP}'"
            f"   AND sent_version IS {_SWEEP_VERSION})",
            (self.destination,),
        )
        return frozenset(trial_key for (trial_key,) in rows)

    def metrics(self, trial_key: str, *, limit: int) -> tuple[Metric, ...]:
        """The oldest unsent metrics of a trial, at most `limit`, in order."""
        rows = self.journal.query(
            "SELECT id, metric, step, value, time_ms FROM metrics WHERE trial_key = ?1 AND id > coalesce("
            "(SELECT sent_to FROM uploads WHERE destination = ?2 AND trial_key = ?1), 0) ORDER BY id LIMIT ?3",
            (trial_key, self.destination, limit),
        )
        return tuple(
            Metric(order=order, metric=metric, step=step, value=number(value), time_ms=time_ms)
            for order, metric, step, value, time_ms in rows
        )

    def artifacts(self, trial_key: str) -> tuple[Artifact, ...]:
        """The artifacts of a trial that were not sent in their present version."""
        rows = self.journal.query(
            f"SELECT path, stamp FROM artifacts WHERE trial_key = ?2 AND {_ARTIFACT_UNSENT} ORDER BY path",
            (self.destination, trial_key),
        )
        folder = self.journal.path.parent
        return tuple(Artifact(path=Path(os.path.normpath(folder / path)), stamp=stamp) for path, stamp in rows)

    def sweep_version(self) -> str:
        """Changes whenever the sweep's state or the number of its trials in any state does."""
        return str(self.journal.query(f"SELECT {_SWEEP_VERSION}")[0][0])

    def runs(self) -> Mapping[str, tuple[str, str | None]]:
        """Trial key (or `SWEEP`) → its run and the version of its status and tags sent, for every run remembered."""
        rows = self.journal.query(
            "SELECT trial_key, run_id, sent_version FROM uploads WHERE destination = ?", (self.destination,)
        )
        return {trial_key: (run_id, version) for trial_key, run_id, version in rows}

    def run(self, trial_key: str) -> tuple[str, str | None] | None:
        """The entry of one trial in `runs()`, None when its run is not remembered."""
        rows = self.journal.query(
            "SELECT run_id, sent_version FROM uploads WHERE destination = ? AND trial_key = ?",
            (self.destination, trial_key),
        )
        return rows[0] if rows else None

    def remember(self, trial_key: str, *, run_id: str) -> None:
        """The trial's run; nothing counts as sent to it yet (sending again what it has changes nothing there)."""
        with self.journal.transaction() as database:
            self._forget(database, trial_key)
            database.execute(
                "INSERT INTO uploads (destination, trial_key, run_id) VALUES (?, ?, ?)",
                (self.destination, trial_key, run_id),
            )

    def forget(self, trial_key: str) -> None:
        """The trial's run is no more: everything is unsent again."""
        with self.journal.transaction() as database:
            self._forget(database, trial_key)

    def sent_metrics(self, trial_key: str, *, up_to: int) -> None:
        """The trial's metrics up to the one of order `up_to` have arrived."""
        with self.journal.transaction() as database:
            database.execute(
                "UPDATE uploads SET sent_to = ? WHERE destination = ? AND trial_key = ?",
                (up_to, self.destination, trial_key),
            )

    def sent_artifact(self, trial_key: str, artifact: Artifact) -> None:
        """This version of the artifact has arrived."""
        with self.journal.transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO uploaded_artifacts VALUES (?, ?, ?, ?)",
                (self.destination, trial_key, stored_path(artifact.path, self.journal.path), artifact.stamp),
            )

    def sent_status(self, trial_key: str, *, version: str) -> None:
        """The trial's (or the sweep's) status and tags of this version have arrived."""
        with self.journal.transaction() as database:
            database.execute(
                "UPDATE uploads SET sent_version = ? WHERE destination = ? AND trial_key = ?",
                (version, self.destination, trial_key),
            )

    def _forget(self, database: sqlite3.Connection, trial_key: str) -> None:
        for table in ("uploads", "uploaded_artifacts"):
            database.execute(
                f"DELETE FROM {table} WHERE destination = ? AND trial_key = ?", (self.destination, trial_key)
            )
