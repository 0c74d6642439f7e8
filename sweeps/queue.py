"""The source's trials as Ray Tune asks for them: one at a time, each when it may start."""

from __future__ import annotations

__all__ = ["TrialQueue"]

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from core.records import Record, read_record
from core.store import Workspace
from core.trial import Underway, prune_trial
from sweeps.definition import SweepDefinition
from sweeps.plan import Plan, PlannedTrial
from sweeps.sources import TrialSource

NOT_BEGUN = Underway(step=0, frames=0, seconds=0.0, flops=0.0, interim=None, parameters=0)


class TrialQueue(Searcher):  # type: ignore[misc]
    """Hands out the open trials of a source; waits while an arm's twin is still to end, or the sweep is held.

    Args:
        task: what a worker needs to know of a trial, as JSON.
        grown: called with the plan whenever the source has added trials.
        held: why no trial may start now, in words; None while all is well.
        ending: whether the sweep is to end: nothing more is handed out.
        stopped: arm key → why the arm was stopped early, or None.
        skipped: called with the record of a trial that is not begun for that.

    With early stopping or a search by difference an arm is judged against its twin, so the twin runs first; it is run
    once, and all its arms wait for it.
    """

    def __init__(
        self, source: TrialSource, workspace: Workspace, *, task: Callable[[PlannedTrial], str],
        grown: Callable[[Plan], None], held: Callable[[], str | None], ending: Callable[[], bool],
        stopped: Callable[[str], str | None], skipped: Callable[[Record], None],
    ) -> None:  # fmt: skip
        super().__init__()
        self._source, self._workspace, self._task = source, workspace, task
        self._grown, self._held, self._ending = grown, held, ending
        self._stopped, self._skipped = stopped, skipped
        self._handed: dict[str, str] = {}
        """Tune's id of a trial under way → its key."""
        self._seen: set[str] = set()
        self._waiting: list[PlannedTrial] = []
        self._add(source.plan)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its settings for restoring an experiment; this project resumes by its own store instead."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:
        while not self._ending():
            if self._held():
                return None
            trial = self._next()
            if trial is not None:
                self._handed[trial_id] = trial.trial_key
                return {"trial": self._task(trial)}
            if self._handed or self._waiting:
                return None
            if not self._source.advance():
                break
            self._add(self._source.plan)
            self._grown(self._source.plan)
        return str(Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        del result, error
        self._handed.pop(trial_id, None)

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: object
    ) -> bool:
        """Nothing to set: which trials there are is the source's to say."""
        del metric, mode, config, spec
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: a source goes on from the records on disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: see `save`."""

    @property
    def waiting(self) -> int:
        """How many known trials have not been handed out."""
        return len(self._waiting)

    def _add(self, plan: Plan) -> None:
        self._trial_of = {(trial.arm_key, trial.seed): trial.trial_key for trial in plan.trials}
        fresh = [trial for trial in plan.open_trials(self._workspace) if trial.trial_key not in self._seen]
        self._seen |= {trial.trial_key for trial in fresh}
        self._waiting += fresh

    def _next(self) -> PlannedTrial | None:
        for trial in list(self._waiting):
            reason = self._stopped(trial.arm_key)
            if reason is not None:
                # An arm is stopped as a whole: seeds that have not begun are not begun.
                self._waiting.remove(trial)
                unfinished = trial.unfinished
                record = prune_trial(unfinished, self._workspace, reason=reason, underway=NOT_BEGUN, interim=())
                self._skipped(record)
            elif self._may_start(trial):
                self._waiting.remove(trial)
                return trial
        return None

    def _may_start(self, trial: PlannedTrial) -> bool:
        if not waits_for_twin(self._source.plan.definition):
            return True
        twin = self._trial_of.get((trial.twin_key or "", trial.seed))
        return twin is None or read_record(self._workspace.trial(twin)) is not None


def waits_for_twin(definition: SweepDefinition) -> bool:
    """Whether arms are judged against their twins while the sweep runs."""
    return definition.objective == "difference" and bool(definition.search or definition.stop)
