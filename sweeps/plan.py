"""The deduplicated list of trials a definition expands to, twins and controls included, and what it compares."""

from __future__ import annotations

__all__ = ["Plan", "PlannedContrast", "PlannedTrial", "Planner", "make_plan"]

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from core.config import ControlName, InterimConfig, TrialConfig, UpstreamName
from core.errors import BadInputError
from core.heard import heard_parts
from core.own_steps import own_steps
from core.progress import Progress, silent
from core.provenance import now
from core.records import Record, read_record
from core.relevance import unused_settings
from core.resolve import Corpora, corpora_key, key_content, resolve
from core.store import Workspace, write_atomically
from core.trial import arm_name, identify, unfinished_record
from sweeps.definition import SweepDefinition
from sweeps.earlier_upstream import refuse_untrained
from sweeps.settings import get, within
from sweeps.space import Point, Role, contrast_pairs, family, points
from sweeps.strategy import rungs

PLAN_SCHEMA = 2
NAMED = {
    "upstream", "masking.policy", "masking.ratio", "masking.span", "masking.temperature", "intensity.control",
    "score.added_to_input", "score.head", "transformer.model", "transformer.layers",
    "alignment.aligned", "alignment.audio", "alignment.k", "alignment.layer", "alignment.pooling",
    "alignment.units.updates", "sap.heads", "sap.layers", "sap.pooling", "sap.threshold", "system",
    "teacher.weighting", "teacher.sigma", "teacher.tau", "teacher.weight", "teacher.outputs", "teacher.modality",
}  # fmt: skip
"""Settings that the arm's own name says."""


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """One trial of the plan."""

    trial_key: str
    arm: str
    arm_key: str
    twin_key: str | None
    seed: int
    axes: dict[str, Any]
    """Dotted setting → value, of those that the sweep varies and that mean something for this trial."""
    control: Literal["none"] | ControlName
    """The track a control arm has in place of the source's."""
    upstream: str
    settings: dict[str, Any]
    """What the trial key is a hash of."""
    upstreams: int
    """How many are pre-trained: one per fold where each hears its train part only."""
    own_steps: int
    """Of the system's own loops, after the upstreams."""
    config: TrialConfig
    unfinished: Record
    """What its record will say if it fails."""


@dataclass(frozen=True, kw_only=True)
class PlannedContrast:
    """A comparison beside that of an arm with its twin: with a control arm, or one that the definition names."""

    kind: Literal["control", "contrast"]
    name: str
    arm_key: str
    against_key: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A definition, the trials it means in the order they are to run, and what is compared besides twins."""

    definition: SweepDefinition
    trials: tuple[PlannedTrial, ...]
    contrasts: tuple[PlannedContrast, ...] = ()

    def open_trials(self, workspace: Workspace) -> tuple[PlannedTrial, ...]:
        """The trials that have not ended: without a record, or stopped early by a rule the sweep no longer has."""

        def is_open(trial: PlannedTrial) -> bool:
            record = read_record(workspace.trial(trial.trial_key))
            return record is None or (record.status == "pruned" and self.definition.stop is None)

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
                "control": trial.control,
                "upstream": trial.upstream,
            }
            for trial in self.trials
        ]
        content = {
            "schema_version": PLAN_SCHEMA,
            "sweep": self.definition.name,
            "definition": self.definition.model_dump(mode="json", by_alias=True),
            "trials": trials,
            "contrasts": [asdict(contrast) for contrast in self.contrasts],
        }
        write_atomically(path, json.dumps(content, indent=1).encode())
        return path


class Planner:
    """Makes plans of a definition: of all its points, or of those that a search or a race has come to.

    Args:
        compute: settings that the command line fixes for all trials (`compute.device`, `compute.threads`).
        micro_batch: upstream → utterances per forward pass that fit into memory here. Of all its trials, so that the
            two sides of a pair never differ in it.
    """

    def __init__(
        self, definition: SweepDefinition, workspace: Workspace, *, compute: Mapping[str, Any],
        micro_batch: Mapping[UpstreamName, int] | None = None, progress: Progress = silent,
    ) -> None:  # fmt: skip
        self.definition = definition
        self.compute = dict(compute)
        self._workspace, self._progress = workspace, progress
        self._micro_batch = dict(micro_batch or {})
        self._corpora: dict[str, Corpora] = {}

    def whole(self) -> Plan:
        """Every point of the definition under every seed, and its contrasts. Not for a definition with ranges."""
        spread = points(self.definition, self.compute)
        seeds = self.definition.seeds
        return self.plan([(point, seeds) for point in spread], contrast_pairs(self.definition, spread))

    def plan(
        self, wanted: Iterable[tuple[Point, Sequence[int]]], named: Iterable[tuple[str, Point, Point]] = ()
    ) -> Plan:
        """The trials of some points under some seeds, with twins and controls; identical trials stand there once.

        A trial that two points share (a twin is shared by all temperatures) stands at its first place, directly after
        the first arm that needs it, so that pairs finish together. Raises BadInputError for settings that are refused,
        and CorpusError or LeakageError for corpora that are.
        """
        trials: dict[str, PlannedTrial] = {}
        contrasts: list[PlannedContrast] = []
        arm_keys: dict[int, str] = {}
        for point, seeds in wanted:
            for seed in seeds:
                members = self.members(point, seed)
                for planned in members.values():
                    trials.setdefault(planned.trial_key, planned)
                contrasts += _against_controls(members)
                arm_keys[id(point)] = members["arm"].arm_key
        for name, arm, against in named:
            contrasts.append(_contrast(self.definition, name, arm_keys[id(arm)], arm_keys[id(against)]))
        plan = Plan(
            definition=self.definition, trials=tuple(trials.values()), contrasts=tuple(dict.fromkeys(contrasts))
        )
        _check_names(plan)
        return plan

    def members(self, point: Point, seed: int) -> dict[Role, PlannedTrial]:
        """The arm at a point under one seed, its twin and its controls, each where it exists."""
        config = point.config.model_copy(update={"seed": seed})
        corpora = self._resolved(config)
        if point.earlier is not None:
            refuse_untrained(point.earlier, config, corpora, self._workspace)
        return {role: self._planned(member, role, corpora, point) for role, member in family(config, self.definition)}

    def _planned(self, config: TrialConfig, role: Role, corpora: Corpora, point: Point) -> PlannedTrial:
        upstreams = len(heard_parts(config, corpora.heard, corpora.folds))
        return _planned(
            self._with_looks(self._fitting(config), role, upstreams),
            corpora,
            point,
            upstreams=upstreams,
            twins=self.definition.twins,
        )

    def _fitting(self, config: TrialConfig) -> TrialConfig:
        most = self._micro_batch.get(config.upstream)
        if most is None or most >= (config.pretrain.micro_batch or config.pretrain.batch):
            return config
        return config.model_copy(update={"pretrain": config.pretrain.model_copy(update={"micro_batch": most})})

    def _with_looks(self, config: TrialConfig, role: Role, upstreams: int) -> TrialConfig:
        stop = self.definition.stop
        if stop is None or role not in ("arm", "twin"):
            return config
        at = rungs(stop, config.pretrain.steps * upstreams)
        return config.model_copy(update={"interim": InterimConfig(at=at, probe_steps=stop.probe_steps)})

    def _resolved(self, config: TrialConfig) -> Corpora:
        """The corpora of a config; most points of a grid share them."""
        key = corpora_key(config)
        if key not in self._corpora:
            self._corpora[key] = resolve(config, self._workspace, progress=self._progress)
        return self._corpora[key]


def make_plan(
    definition: SweepDefinition, workspace: Workspace, *, compute: dict[str, Any], progress: Progress = silent
) -> Plan:
    """The plan of all points of a definition: `Planner.whole`."""
    return Planner(definition, workspace, compute=compute, progress=progress).whole()


def _planned(config: TrialConfig, corpora: Corpora, point: Point, *, upstreams: int, twins: bool) -> PlannedTrial:
    axes = _axes(config, point)
    extra = [f"{key}={value}" for key, value in axes.items() if key not in NAMED]
    extra += [f"from {point.earlier}"] if point.earlier is not None else []
    identity = identify(config, corpora, arm=" ".join([arm_name(config), *extra]))
    return PlannedTrial(
        trial_key=identity.trial_key,
        arm=identity.arm,
        arm_key=identity.arm_key,
        twin_key=identity.twin_key if twins else None,
        seed=config.seed,
        axes=axes,
        control=config.intensity.control,
        upstream=config.upstream,
        settings=key_content(config, corpora),
        upstreams=upstreams,
        own_steps=own_steps(config, corpora.folds),
        config=config,
        unfinished=unfinished_record(config, corpora, identity, now()),
    )


def _axes(config: TrialConfig, point: Point) -> dict[str, Any]:
    content, unused = config.model_dump(mode="json"), unused_settings(config)
    if point.earlier is not None:
        content["upstream"] = point.earlier
    keys = [key for key in point.varied if not any(within(key, prefix) for prefix in unused)]
    if config.intensity.control != "none" and "intensity.control" not in keys:
        keys.append("intensity.control")
    return {key: get(content, key) for key in keys}


def _against_controls(members: dict[Role, PlannedTrial]) -> list[PlannedContrast]:
    return [
        PlannedContrast(kind="control", name=role, arm_key=members["arm"].arm_key, against_key=members[role].arm_key)
        for role in members
        if role not in ("arm", "twin")
    ]


def _contrast(definition: SweepDefinition, name: str, arm_key: str, against_key: str) -> PlannedContrast:
    if arm_key == against_key:
        contrast = definition.contrasts[name]
        raise BadInputError(
            f"sweep {definition.name}: contrast {name!r}: {contrast.arm!r} and {contrast.against!r} are the same trials"
        )
    return PlannedContrast(kind="contrast", name=name, arm_key=arm_key, against_key=against_key)


def _check_names(plan: Plan) -> None:
    arms: dict[str, str] = {}
    for trial in plan.trials:
        if arms.setdefault(trial.arm, trial.arm_key) != trial.arm_key:
            raise BadInputError(
                f"sweep {plan.definition.name}: two different arms are both called {trial.arm!r}; make what tells them "
                "apart an axis, or a part of named arms"
            )
