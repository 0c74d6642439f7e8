"""The uploader: fills MLflow from a sweep's journal, each run, metric and artifact exactly once (ours).

MLflow may be slow, down or gone: training never waits for it, what it has not got stays in the journal.
"""

from __future__ import annotations

__all__ = ["Uploader"]

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from core.errors import BadInputError
from sweeps.tracking.experiment import (
    METRICS_PER_CALL,
    SWEEP_TAG,
    Experiment,
    FoundRun,
    TrackingError,
    destination_name,
)
from sweeps.tracking.journal import Journal, JournalError, SweepState, TrialEntry
from sweeps.tracking.outbox import SWEEP, Backlog, Outbox
from sweeps.tracking.shown import SWEEP_STATUS, parent_counts, trial_status, trial_tags
from sweeps.tracking.sweep_files import folder_of, sweep_files

_logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 5.0
"""Between two passes while all is well."""
_LONGEST_PAUSE_SECONDS = 60.0
"""Between two tries of an MLflow that is down; the pause doubles up to this."""
_REFUSED_PAUSE_SECONDS = 60.0
"""Before a run that MLflow refused to change (somebody deleted it) is tried again."""
_LAST_PAUSE_SECONDS = 1.0
"""Between two tries once the sweep has ended and waits for an MLflow that has answered before."""
_TURN_SECONDS = 10.0
"""How long `drain` waits for its turn: what a killed driver has started takes seconds to end."""


def _nothing() -> None:
    pass


class Uploader:
    """Uploads the journal at `journal_path` to the experiment named `sweep`.

    One process at a time uploads a journal; a second one raises BadInputError (`sync_once`, `drain`) or waits its turn
    (`start`). `artifact_root` is where MLflow keeps artifacts when `tracking_uri` is a database.
    """

    def __init__(
        self,
        journal_path: Path,
        *,
        tracking_uri: str,
        sweep: str,
        artifact_root: Path,
        parent_tags: Mapping[str, str],
        parent_params: Mapping[str, str],
    ) -> None:
        self._journal = Journal(journal_path)
        self._outbox = Outbox(journal=self._journal, destination=destination_name(tracking_uri))
        self._uri = tracking_uri
        self._sweep = sweep
        self._artifact_root = artifact_root
        self._parent = (dict(parent_params), dict(parent_tags))
        self._experiment: Experiment | None = None
        self._checked = False
        self._parent_described = False
        self._answered = False
        self._refused: dict[str, float] = {}
        # thread_local=False: the thread and a caller of sync_once in the same process hold it together.
        self._turn = FileLock(journal_path.with_name(f".{journal_path.name}.uploader"), timeout=0, thread_local=False)
        self._pass = threading.Lock()
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._thread: threading.Thread | None = None
        self.trouble: str | None = None
        """Why the last pass did not get through, in one line; None when it did."""

    def backlog(self) -> Backlog:
        """What this MLflow has not received yet; asks the journal only."""
        return self._outbox.backlog()

    def sync_once(self) -> Backlog:
        """One pass over everything unsent; returns what is left.

        Raises TrackingError when MLflow does not answer, BadInputError while another process uploads this journal.
        """
        try:
            with self._turn:
                self._one_pass()
        except Timeout as error:
            raise BadInputError(f"{self._journal.path}: another process is uploading this journal now") from error
        return self.backlog()

    def drain(self, *, timeout: float, before: Callable[[], None] = _nothing) -> Backlog:
        """Upload all that a sweep left behind when its driver is gone; returns what could not be sent in time.

        A sweep still open is set to interrupted: its driver would hold the turn. `before` is called with the turn held,
        to bring the journal up to date. Raises as `sync_once`.
        """
        self._deadline = time.monotonic() + timeout
        try:
            with self._turn.acquire(timeout=min(timeout, _TURN_SECONDS)):
                if self._journal.sweep_state() == "open":
                    self._journal.set_sweep("interrupted")
                before()
                return self.sync_once()
        except Timeout as error:
            raise BadInputError(f"{self._journal.path}: its sweep is being run or uploaded now") from error

    def start(self) -> None:
        """The sweep is open: upload in a background thread until `stop`. Returns at once, whatever MLflow does."""
        self._journal.set_sweep("open")
        self._stopping.clear()
        self._deadline = float("inf")
        self._begin()

    def stop(self, timeout: float, *, state: SweepState = "interrupted") -> Backlog:
        """The sweep has ended as `state`: one last pass, at most `timeout` seconds. Returns what is unsent then.

        Also without a `start` before it. An MLflow that has answered before is given that time to come back.
        """
        self._journal.set_sweep(state)
        self._deadline = time.monotonic() + timeout
        self._stopping.set()
        if self._thread is None:
            self._begin()
        assert self._thread is not None
        self._thread.join(timeout)
        return self.backlog()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"uploader of {self._sweep}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        pause = _PAUSE_SECONDS
        try:
            while not self._stopping.is_set():
                pause = _PAUSE_SECONDS if self._try_pass() else min(2 * pause, _LONGEST_PAUSE_SECONDS)
                self._stopping.wait(pause)
            self._checked = False
            self._refused.clear()
            while not self._try_pass() and self._answered:
                if time.monotonic() + _LAST_PAUSE_SECONDS >= self._deadline:
                    break
                time.sleep(_LAST_PAUSE_SECONDS)
        finally:
            if (defect := sys.exc_info()[1]) is not None:
                self.trouble = f"uploader: {type(defect).__name__}: {defect}"
            self._turn.release(force=True)

    def _try_pass(self) -> bool:
        try:
            self._turn.acquire()
            self._one_pass()
        except (TrackingError, JournalError, Timeout, OSError) as error:
            if self.trouble is None:
                _logger.warning("%s; everything is kept in %s", error, self._journal.path)
            self.trouble = str(error)
            # One refused run must not slow down the others.
            return isinstance(error, TrackingError) and error.refused
        self._answered = True
        if self.trouble is not None and not self._refused:
            _logger.warning("MLflow answers again")
            self.trouble = None
        return True

    def _one_pass(self) -> None:
        with self._pass:
            try:
                if self._experiment is None:
                    self._experiment = Experiment(self._uri, name=self._sweep, artifact_root=self._artifact_root)
                if not self._checked:
                    self._check_runs(self._experiment)
                self._journal.keep_files(SWEEP, sweep_files(self._journal.path.parent))
                self._send_all(self._experiment)
            except TrackingError:
                # What MLflow did of the failed call is unknown, and it may have lost its data: look again.
                self._experiment, self._checked = None, False
                raise

    def _check_runs(self, experiment: Experiment) -> None:
        """Forget runs that MLflow no longer has; delete the second of two runs of one trial.

        A run that somebody deleted by hand stays the trial's, unless there is another one.
        """
        remembered = self._outbox.runs()
        found: dict[str, list[FoundRun]] = {}
        for run in experiment.runs():
            found.setdefault(run.trial_key, []).append(run)
        for trial_key, (run_id, _) in remembered.items():
            if run_id not in {run.run_id for run in found.get(trial_key, [])}:
                self._outbox.forget(trial_key)
        for trial_key, runs in found.items():
            alive = sorted(run.run_id for run in runs if not run.deleted)
            known = remembered.get(trial_key, ("", None))[0]
            if alive and known and known not in alive:
                self._outbox.forget(trial_key)
            for run_id in alive:
                if run_id != (known if known in alive else alive[0]):
                    experiment.delete(run_id)
        self._checked = True

    def _send_all(self, experiment: Experiment) -> None:
        waiting = self._outbox.waiting() - {key for key, until in self._refused.items() if time.monotonic() < until}
        refusal: TrackingError | None = None
        parent = self._outbox.run(SWEEP)
        parent_id = parent[0] if parent else self._create_parent(experiment)
        for trial in self._journal.trials():
            if trial.trial_key in waiting and time.monotonic() < self._deadline:
                try:
                    self._send_trial(experiment, trial, parent_id)
                    self._refused.pop(trial.trial_key, None)
                except TrackingError as error:
                    # One run that MLflow refuses must not hold up the others.
                    if not error.refused:
                        raise
                    refusal = error
                    self._refused[trial.trial_key] = time.monotonic() + _REFUSED_PAUSE_SECONDS
        if SWEEP in waiting and time.monotonic() < self._deadline:
            self._send_parent(experiment, parent_id)
        if refusal is not None:
            raise refusal

    def _send_trial(self, experiment: Experiment, trial: TrialEntry, parent_id: str) -> None:
        known = self._outbox.run(trial.trial_key)
        run_id = known[0] if known else self._open_run(experiment, trial, parent_id)
        while metrics := self._outbox.metrics(trial.trial_key, limit=METRICS_PER_CALL):
            if time.monotonic() >= self._deadline:
                return
            experiment.add_metrics(run_id, metrics)
            self._outbox.sent_metrics(trial.trial_key, up_to=metrics[-1].order)
        for artifact in self._outbox.artifacts(trial.trial_key):
            experiment.add_artifact(run_id, artifact.path)
            self._outbox.sent_artifact(trial.trial_key, artifact)
        if self._outbox.run(trial.trial_key) != (run_id, trial.version):
            experiment.describe(run_id, params={}, tags=self._tags(trial, parent_id))
            status = trial_status(trial, sweep=self._journal.sweep_state())
            experiment.set_status(run_id, status, ended_ms=trial.ended_ms)
            self._outbox.sent_status(trial.trial_key, version=trial.version)

    def _open_run(self, experiment: Experiment, trial: TrialEntry, parent_id: str) -> str:
        tags = self._tags(trial, parent_id)
        run_id = experiment.find(trial.trial_key)
        if run_id is None:
            assert trial.began_ms is not None, "a trial without events is never unsent"
            run_id = experiment.create(trial.name, began_ms=trial.began_ms, params=trial.params, tags=tags)
            self._outbox.remember(trial.trial_key, run_id=run_id)
            if trial_status(trial, sweep=self._journal.sweep_state()) == "RUNNING":
                self._outbox.sent_status(trial.trial_key, version=trial.version)
        else:
            experiment.describe(run_id, params=trial.params, tags=tags)
            self._outbox.remember(trial.trial_key, run_id=run_id)
        return run_id

    def _create_parent(self, experiment: Experiment) -> str:
        params, tags = self._parent
        tags = tags | {SWEEP_TAG: self._sweep, "mlflow.source.name": "emsweep", "mlflow.source.type": "LOCAL"}
        run_id = experiment.find(SWEEP)
        if run_id is None:
            began_ms = (trial.began_ms for trial in self._journal.trials() if trial.began_ms is not None)
            run_id = experiment.create(
                self._sweep, began_ms=min(began_ms, default=time.time_ns() // 1_000_000), params=params, tags=tags
            )
        else:
            experiment.describe(run_id, params=params, tags=tags)
        self._outbox.remember(SWEEP, run_id=run_id)
        return run_id

    def _send_parent(self, experiment: Experiment, run_id: str) -> None:
        root = self._journal.path.parent
        for artifact in self._outbox.artifacts(SWEEP):
            experiment.add_artifact(run_id, artifact.path, folder=folder_of(artifact.path, root))
            self._outbox.sent_artifact(SWEEP, artifact)
        version, state = self._outbox.sweep_version(), self._journal.sweep_state()
        known = self._outbox.run(SWEEP)
        if known is not None and known[1] == version:
            return
        # The definition may have been edited since the run was created.
        tags = {} if self._parent_described else self._parent[1]
        counts = parent_counts(self._journal.trials())
        experiment.describe(run_id, params={}, tags=tags | {"emsweep.status": state} | counts)
        self._parent_described = True
        experiment.set_status(run_id, SWEEP_STATUS[state], ended_ms=time.time_ns() // 1_000_000)
        self._outbox.sent_status(SWEEP, version=version)

    def _tags(self, trial: TrialEntry, parent_id: str) -> dict[str, str]:
        return trial_tags(trial, sweep=self._journal.sweep_state(), parent_id=parent_id)
