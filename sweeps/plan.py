"""The deduplicated list of trials a definition expands to, twins included."""

from __future__ import annotations

__all__ = ["Plan", "PlannedTrial", "make_plan"]

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config import TrialConfig
from core.errors import BadInputError
from core.progress import Progress, silent
from core.provenance import now
from core.records import Record, read_record
from core.resolve import Corpora, key_content, resolve, twin_of
from core.store import Workspace, write_atomically
from core.trial import arm_name, identify, unfinished_record
from sweeps.definition import SweepDefinition, trial_config

PLAN_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """One trial of the plan. `axes` holds the dotted axis settings that mean something for it."""

    trial_key: str
    arm: str
    arm_key: str
    twin_key: str | None
    seed: int
    axes: dict[str, Any]
    settings: dict[str, Any]
    """What the trial key is a hash of."""
    upstreams: int
    """How many are pre-trained: one per fold where each hears its train part only."""
    config: TrialConfig
    unfinished: Record
    """What its record will say if it fails."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A definition and the trials it means, in the order they are to run."""

    definition: SweepDefinition
    trials: tuple[PlannedTrial, ...]

    def open_trials(self, workspace: Workspace) -> tuple[PlannedTrial, ...]:
        """The trials that have no complete record yet."""

        def is_open(trial: PlannedTrial) -> bool:
            record = read_record(workspace.trial(trial.trial_key))
            return record is None or record.status != "complete"

        return tuple(filter(is_open, self.trials))

    def write(self, workspace: Workspace) -> Path:
        """Write `sweeps/<name>/plan.json`, which `analysis` reads to know what should be there."""
        path = workspace.sweep(self.definition.name) / "plan.json"
        trials = [
            {
                "trial_key": trial.trial_key,
                "arm": trial.arm,
                "arm_key": trial.arm_key,
                "twin_key": trial.twin_key,
                "seed": trial.seed,
                "axes": trial.axes,
            }
            for trial in self.trials
        ]
        content = {
            "schema_version": PLAN_SCHEMA,
            "sweep": self.definition.name,
            "definition": self.definition.model_dump(mode="json"),
            "trials": trials,
        }
        write_atomically(path, json.dumps(content, indent=1).encode())
        return path


def make_plan(
    definition: SweepDefinition, workspace: Workspace, *, compute: dict[str, Any], progress: Progress = silent
) -> Plan:
    """Expand the grid over its seeds, add twins, and keep identical trials once.

    Args:
        definition: axes, seeds, settings.
        compute: settings that the command line fixes for all trials (`compute.device`, `compute.threads`).

    A trial that two points share (a twin is shared by all temperatures) stands at its first place, directly after the
    first arm that needs it, so that pairs finish together. Raises BadInputError for settings that are refused, and
    CorpusError or LeakageError for corpora that are.
    """
    trials: dict[str, PlannedTrial] = {}
    corpora: dict[str, Corpora] = {}
    names = list(definition.axes)
    for values in itertools.product(*definition.axes.values()):
        axes = dict(zip(names, values, strict=True))
        for seed in definition.seeds:
            config = trial_config(definition, {**compute, **axes, "seed": seed})
            known = _resolved(config, corpora, workspace, progress)
            twin = twin_of(config) if definition.twins else None
            for member in filter(None, (config, twin)):
                planned = _planned(member, known, axes, twins=definition.twins)
                trials.setdefault(planned.trial_key, planned)
    plan = Plan(definition=definition, trials=tuple(trials.values()))
    _check_names(plan)
    return plan


def _resolved(config: TrialConfig, seen: dict[str, Corpora], workspace: Workspace, progress: Progress) -> Corpora:
    """The corpora of a config; most points of a grid share them."""
    parts = (config.corpus, config.folds, config.pretraining_audio, config.intensity)
    key = json.dumps([part.model_dump(mode="json") for part in parts])
    if key not in seen:
        seen[key] = resolve(config, workspace, progress=progress)
    return seen[key]


def _planned(config: TrialConfig, corpora: Corpora, axes: dict[str, Any], *, twins: bool) -> PlannedTrial:
    named = {"masking.policy", "masking.ratio", "masking.span", "masking.temperature", "intensity.control"}
    unused = {"masking.temperature", "intensity.control"} if config.masking.policy == "random" else set()
    own = {name: value for name, value in axes.items() if name not in unused}
    extra = " ".join(f"{name}={value}" for name, value in own.items() if name not in named)
    named_arm = f"{arm_name(config)} {extra}".strip()
    identity = identify(config, corpora, arm=named_arm)
    return PlannedTrial(
        trial_key=identity.trial_key,
        arm=identity.arm,
        arm_key=identity.arm_key,
        twin_key=identity.twin_key if twins else None,
        seed=config.seed,
        axes=own,
        settings=key_content(config, corpora),
        upstreams=len(corpora.folds.folds) if config.pretraining_audio.source == "fold" else 1,
        config=config,
        unfinished=unfinished_record(config, corpora, identity, now()),
    )


def _check_names(plan: Plan) -> None:
    arms: dict[str, str] = {}
    for trial in plan.trials:
        if arms.setdefault(trial.arm, trial.arm_key) != trial.arm_key:
            raise BadInputError(f"sweep {plan.definition.name}: two different arms are both called {trial.arm!r}")
