"""Early stopping over pairs: Ray's own rules, fed with what an arm is to its twin at each look.

Twins and controls are never stopped. An arm is stopped as a whole: all its seeds, when one of them is.
"""

from __future__ import annotations

__all__ = ["PairedStopping"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from core.errors import BadInputError
from core.store import Workspace
from sweeps.definition import SweepDefinition
from sweeps.objective import Validation, interim_value, read_validation
from sweeps.plan import Plan, PlannedTrial
from sweeps.strategy import StopConfig

LEAST_FOR_MEDIAN = 3
"""Other trials that the median rule wants to have seen (ours; Ray's own default)."""
RUNGS = 30
"""More than any trial has: no look lies beyond a trial's last step, so no rung needs to."""
LOOK = "interim_ua/"
PAST = 1e-6
"""Added to a step before ASHA compares it with a rung, which may be no whole number."""


@dataclass(frozen=True, kw_only=True)
class _Runner:
    """A trial as Ray's rules know it: by its key, so that a trial which starts again is the same one."""

    trial_id: str


class PairedStopping(FIFOScheduler):  # type: ignore[misc]
    """Asks ASHA or the median rule about each look of an arm's trial, with the objective as its value.

    The objective is validation UA less that of the twin under the same seed at the same step, over the folds looked at
    so far; where the twin was not looked at then, the arm is not judged at that step. Looks in the records of trials
    that have ended are known from the start, so a sweep that goes on judges as one that was never interrupted. A look
    that is reported again counts once.

    It is told `trial_key`, `step` and, after a look, `interim_ua` (fold → UA) by the results of the trials.

    Args:
        plan_of: the trials known so far; it may grow.
    """

    _supports_buffered_results = False

    def __init__(self, definition: SweepDefinition, plan_of: Callable[[], Plan], workspace: Workspace) -> None:
        super().__init__()
        if definition.stop is None:
            raise BadInputError(f"sweep {definition.name}: stop: not given")
        self._stop, self._objective = definition.stop, definition.objective
        self._plan_of, self._workspace = plan_of, workspace
        self._rule = _rule(definition.stop)
        self._looks: dict[str, dict[int, float]] = {}
        """Trial key → step → objective, of all that the rule has been told."""
        self._stopped: dict[str, str] = {}
        """Arm key → why."""
        self._complete: dict[str, Validation] = {}
        self._plan: Plan | None = None
        self._trials: dict[str, PlannedTrial] = {}
        self._twins: dict[tuple[str, int], str] = {}
        self._refresh()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its settings for restoring an experiment; this project resumes by its own store instead."""
        return {}

    @property
    def pruned_arms(self) -> frozenset[str]:
        """Arm keys of those that are stopped."""
        return frozenset(self._stopped)

    def reason(self, arm_key: str) -> str | None:
        """Why the arm was stopped; None where it was not."""
        return self._stopped.get(arm_key)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        del tune_controller, trial
        self._refresh()
        planned = self._trials.get(result["trial_key"])
        if planned is None or not self._is_judged(planned):
            return str(TrialScheduler.CONTINUE)
        # Tune hands schedulers its results flattened: `interim_ua/<fold>`.
        ua = {key.removeprefix(LOOK): float(value) for key, value in result.items() if key.startswith(LOOK)}
        if ua and planned.arm_key not in self._stopped:
            self._judge(planned, int(result["step"]), ua)
        return str(TrialScheduler.STOP if planned.arm_key in self._stopped else TrialScheduler.CONTINUE)

    def debug_string(self) -> str:
        return f"{self._stop.rule}: {len(self._stopped)} arms stopped"

    def _judge(self, planned: PlannedTrial, step: int, ua: Mapping[str, float]) -> None:
        value = self._value(planned, step, ua)
        seen = self._looks.get(planned.trial_key, {})
        if value is None or step in seen:
            return
        others = {key: looks for key, looks in self._looks.items() if key != planned.trial_key}
        runner = _Runner(trial_id=planned.trial_key)
        if planned.trial_key not in self._looks:
            self._rule.on_trial_add(None, runner)
        action = self._rule.on_trial_result(None, runner, _look(step, value))
        self._looks.setdefault(planned.trial_key, {})[step] = value
        if action == TrialScheduler.STOP:
            own = self._looks[planned.trial_key]
            say = _asha_reason if self._stop.rule == "asha" else _median_reason
            self._stopped[planned.arm_key] = say(self._stop, self._objective, step, own, others)

    def _value(self, planned: PlannedTrial, step: int, ua: Mapping[str, float]) -> float | None:
        twin_key = self._twins.get((planned.twin_key or "", planned.seed))
        twin = self._read(twin_key) if twin_key is not None and self._objective == "difference" else None
        return interim_value(ua, step, twin, objective=self._objective)

    def _is_judged(self, planned: PlannedTrial) -> bool:
        """Whether this is a trial of an arm: not of a control, not of what is the twin of an arm."""
        if planned.control != "none" or (planned.arm_key, planned.seed) in self._twins:
            return False
        return planned.twin_key is not None or self._objective == "ua"

    def _read(self, trial_key: str) -> Validation | None:
        """A twin's validation side; what is complete stays as it is."""
        known = self._complete.get(trial_key)
        if known is not None:
            return known
        found = read_validation(self._workspace, trial_key)
        if found is not None and found.status == "complete":
            self._complete[trial_key] = found
        return found

    def _refresh(self) -> None:
        """Learn of trials that are new in the plan, and what those of them that have ended were seen to be."""
        plan = self._plan_of()
        if plan is self._plan:
            return
        self._plan = plan
        fresh = [trial for trial in plan.trials if trial.trial_key not in self._trials]
        self._trials |= {trial.trial_key: trial for trial in fresh}
        wanted = {trial.twin_key for trial in plan.trials}
        self._twins = {(trial.arm_key, trial.seed): trial.trial_key for trial in plan.trials if trial.arm_key in wanted}
        for planned in fresh:
            self._recall(planned)

    def _recall(self, planned: PlannedTrial) -> None:
        """Tell the rule the looks of a trial that has ended; what it would have decided is past."""
        ended = read_validation(self._workspace, planned.trial_key) if self._is_judged(planned) else None
        if ended is None or ended.status == "failed":
            return
        if ended.status == "pruned":
            self._stopped.setdefault(planned.arm_key, ended.reason or f"{self._stop.rule}: pruned")
        runner = _Runner(trial_id=planned.trial_key)
        for step, ua in sorted(ended.interim.items()):
            value = self._value(planned, step, ua)
            if value is None:
                continue
            if planned.trial_key not in self._looks:
                self._rule.on_trial_add(None, runner)
            if self._stop.rule == "asha":
                self._rule.on_trial_result(None, runner, _look(step, value))
            else:
                # The median rule takes no further look of a trial that it would have stopped.
                self._rule.on_trial_complete(None, runner, _look(step, value))
            self._looks.setdefault(planned.trial_key, {})[step] = value


def _rule(stop: StopConfig) -> Any:
    if stop.rule == "median":
        return MedianStoppingRule(
            time_attr="step",
            metric="objective",
            mode="max",
            grace_period=stop.first,
            min_samples_required=LEAST_FOR_MEDIAN,
            # A trial is never paused: its actor is another trial's next.
            min_time_slice=float("inf"),
        )
    # One bracket: with more of them Ray draws each trial's from a global stream.
    return AsyncHyperBandScheduler(
        time_attr="step",
        metric="objective",
        mode="max",
        grace_period=stop.first,
        reduction_factor=stop.factor,
        max_t=stop.first * stop.factor**RUNGS,
        brackets=1,
    )


def _look(step: int, value: float) -> dict[str, float]:
    return {"step": step + PAST, "objective": value}


def _asha_reason(
    stop: StopConfig, objective: str, step: int, own: Mapping[int, float], others: Mapping[str, Mapping[int, float]]
) -> str:
    past = [looks[step] for looks in others.values() if step in looks]
    cut = float(np.percentile(past, (1 - 1 / stop.factor) * 100))
    return (
        f"asha: {objective} {_points(own[step])} points at step {step}, cut {_points(cut)} "
        f"(best 1/{stop.factor:g} of {len(past)} trials)"
    )


def _median_reason(
    stop: StopConfig, objective: str, step: int, own: Mapping[int, float], others: Mapping[str, Mapping[int, float]]
) -> str:
    reached = [looks for looks in others.values() if max(looks) >= step]
    past = [[value for at, value in looks.items() if stop.first <= at <= step] for looks in reached]
    means = [fmean(values) for values in past if values]
    return (
        f"median: best {objective} {_points(max(own.values()))} points up to step {step}, "
        f"median of {len(means)} other trials {_points(median(means))}"
    )


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
