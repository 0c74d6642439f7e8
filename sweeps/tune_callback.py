"""What Ray Tune tells the driver: counts for the display, ends for the journal."""

from __future__ import annotations

__all__ = ["SweepCallback"]

import json
import math
from typing import Any

from ray import tune

from core.records import read_record
from core.store import Workspace
from sweeps.display import Display, SweepCount
from sweeps.plan import Plan, PlannedTrial
from sweeps.tracking.filling import finish
from sweeps.tracking.journal import Journal


class SweepCallback(tune.Callback):  # type: ignore[misc]
    """Keeps the display and the journal up to date while Tune runs."""

    def __init__(
        self, plan: Plan, trials: tuple[PlannedTrial, ...], workspace: Workspace, *, journal: Journal, display: Display
    ) -> None:
        self._workspace, self._journal, self._display = workspace, journal, display
        self._expected = {trial.trial_key: _expected_reports(trial) for trial in trials}
        self._shares: dict[str, float] = {}
        self._total = len(plan.trials)
        self._complete = self._total - len(trials)
        self._failed = 0

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its settings for restoring an experiment; this project resumes by its own store instead."""
        return {}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any]) -> None:
        key = _key(trial)
        self._shares[key] = min(1.0, result["training_iteration"] / self._expected[key])
        self._show()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any) -> None:
        key = _key(trial)
        record = read_record(self._workspace.trial(key))
        if record is None:
            return
        self._shares.pop(key, None)
        self._complete += record.status == "complete"
        self._failed += record.status == "failed"
        finish(self._journal, self._workspace, record)
        self._show()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any) -> None:
        self._shares.pop(_key(trial), None)
        self._failed += 1
        self._show()

    def _show(self) -> None:
        self._display.sweep(
            SweepCount(
                complete=self._complete,
                failed=self._failed,
                running=len(self._shares),
                total=self._total,
                work=self._complete + self._failed + sum(self._shares.values()),
            )
        )


def _key(trial: Any) -> str:
    return str(json.loads(trial.config["trial"])["trial_key"])


def _expected_reports(trial: PlannedTrial) -> int:
    """Reports of an undisturbed trial: what its upstreams say while they train, one each when done, and the end."""
    config = trial.config
    return trial.upstreams * (math.ceil(config.pretrain.steps / config.pretrain.report_every) + 1) + 1
