"""Records of planned trials as they would have ended, without training them; and a sweep's source driven by such."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from core.records import CostEntry, FoldMetrics, InterimEntry, MetricsEntry, Record, write_record
from core.store import Workspace
from sweeps.definition import SweepDefinition
from sweeps.plan import PlannedTrial, Planner
from sweeps.sources import TrialSource

FOLDS = ("Ses01", "Ses02", "Ses03", "Ses04", "Ses05")
CPU = {"compute.device": "cpu", "compute.threads": 1}
TEMPERATURE = {"low": 0.1, "high": 10.0, "log": True}


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a trial ends. `ua`, `interim`: validation, by fold."""

    ua: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(FOLDS, 0.5))
    status: str = "complete"
    interim: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    flops: float | None = 1e9
    test: float | None = None
    """UA on the test part of every fold; a trial that has one leaves predictions too."""


def flat(ua: float, **changes: object) -> Ending:
    return Ending(ua=dict.fromkeys(FOLDS, ua), **changes)


def record_of(planned: PlannedTrial, ending: Ending) -> Record:
    n = planned.unfinished.corpus.utterances // len(FOLDS)
    tested = 0.4 if ending.test is None else ending.test
    folds = [
        FoldMetrics(fold=fold, split=split, n=n, ua=value, wa=value, macro_f1=value)
        for fold, ua in ending.ua.items()
        for split, value in (("test", tested), ("validation", ua))
    ]
    test = dict.fromkeys(("ua", "wa", "macro_f1"), tested)
    seen = dict.fromkeys(("ua", "wa", "macro_f1"), float(np.mean(list(ending.ua.values()))))
    means = {"validation": seen, "test": test}
    complete = ending.status == "complete"
    return planned.unfinished.model_copy(
        update={
            "status": ending.status,
            "reason": None if complete else f"{ending.status} on purpose",
            "failure": "error" if ending.status == "failed" else None,
            "metrics": MetricsEntry(folds=tuple(folds), mean=means, pooled=means) if complete else None,
            "interim": tuple(InterimEntry(step=step, ua=dict(ua)) for step, ua in ending.interim.items()),
            "cost": CostEntry(steps=300, frames=1000, left_out=0, device_seconds=1.0, flops=ending.flops),
        }
    )


def end(planned: PlannedTrial, workspace: Workspace, ending: Ending) -> None:
    """Write what the trial leaves: its record, and test predictions as right as its test UA says."""
    predictions = None
    if ending.test is not None:
        right = np.arange(20) < 20 * ending.test
        predictions = pd.DataFrame(
            {
                "utterance": [f"u{i}" for i in range(20)],
                "split": "test",
                "label": "neu",
                "predicted": np.where(right, "neu", "ang"),
            }
        )
    write_record(workspace.trial(planned.trial_key), record_of(planned, ending), predictions)


def drive(source: TrialSource, workspace: Workspace, how: Callable[[PlannedTrial], Ending]) -> None:
    """Run a source to its end, as a sweep does: what is open is ended, then the source asked for more."""
    while True:
        source.advance()
        open_trials = source.plan.open_trials(workspace)
        if not open_trials:
            return
        for planned in open_trials:
            end(planned, workspace, how(planned))


def planner_of(definition: SweepDefinition, demo_workspace: Workspace) -> Planner:
    return Planner(definition, demo_workspace, compute=CPU)


def definition_of(**content: object) -> SweepDefinition:
    """A sweep of EMS arms on the demo corpus."""
    settings = {"masking": {"policy": "ems"}, "intensity": {"fit": {"name": "demo", "part": "intensity"}}}
    return SweepDefinition.model_validate({"name": "tried", "settings": settings, **content})
