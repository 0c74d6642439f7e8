"""One trial as Ray Tune sees it: an actor that is reused, a step per report, progress kept in the artifact store."""

from __future__ import annotations

__all__ = ["TrialTrainable"]

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from core.config import TrialConfig
from core.errors import EmsweepError
from core.records import Record
from core.store import Workspace
from core.trial import fail_trial, trial_steps
from sweeps.tracking.journal import Journal, JournalError


class TrialTrainable(tune.Trainable):  # type: ignore[misc]
    """Runs the planned trial in `config["trial"]` (JSON of key, arm, trial config, workspace, journal).

    Checkpoints lie in the artifact store under the stage's key, not in Ray's: a trial continues from them wherever and
    however it is started again, so Tune's own are empty.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._close()
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        # Nothing is created here: a reused actor may be set up for a trial that never takes a step.
        self._task = json.loads(config["trial"])
        self._steps: Iterator[Record | None] | None = None
        self._journal: Journal | None = None

    def _start(self) -> Iterator[Record | None]:
        task = self._task
        self._journal = Journal(Path(task["journal"]))
        config = TrialConfig.model_validate_json(task["config"])
        self._workspace = Workspace.at(Path(task["workspace"]))
        return trial_steps(config, self._workspace, arm=task["arm"], expected_key=task["trial_key"], log=self._log)

    def step(self) -> dict[str, Any]:
        if self._steps is None:
            self._steps = self._start()
        try:
            record = next(self._steps)
        except JournalError:
            # The log is at fault, not the trial: Tune starts it again from its checkpoint.
            raise
        except EmsweepError as error:
            unfinished = Record.model_validate_json(self._task["unfinished"])
            record = fail_trial(unfinished, self._workspace, reason=f"{type(error).__name__}: {error}")
        if record is None:
            return {"done": False, "status": "running"}
        self._close()
        return {"done": True, "status": record.status}

    def _log(self, values: Mapping[str, float], step: int) -> None:
        assert self._journal is not None
        self._journal.log(self._task["trial_key"], values, step=step)
        # Durable before the checkpoint that lets a resumed trial skip this step.
        self._journal.flush()

    def _close(self) -> None:
        """Leave a checkpoint when the trial is under way, and let go of what it holds."""
        if self._steps is not None:
            self._steps.close()  # type: ignore[attr-defined]
            self._steps = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def cleanup(self) -> None:
        self._close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: see the class."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing to load: see the class."""
