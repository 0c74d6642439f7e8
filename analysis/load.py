"""Plan and records → the cells of the sweep, with every metric recomputed from the predictions it was made of.

Letters in names: F folds, S speakers, C classes.
"""

from __future__ import annotations

__all__ = ["AnyPart", "Arm", "Outcome", "Part", "Sweep", "load_sweep", "open_test", "read_any_part", "read_part"]

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd

from analysis.answers import Answers, answers_of
from analysis.dimension_parts import DimensionPart, read_dimension_part
from analysis.imported import EVERY_ARM, ImportedSystem, imported_folder, read_imports
from analysis.parts import Part, read_part, read_parts
from analysis.plan import Contrast, Control, Plan, PlannedTrial, read_plan
from core.errors import BadInputError
from core.records import Record, Split, read_record

Status = Literal["complete", "pruned", "failed", "missing"]
AnyPart = Part | DimensionPart
EMS = "ems"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A planned trial and what is on disk of it."""

    planned: PlannedTrial
    record: Record | None

    @property
    def status(self) -> Status:
        return self.record.status if self.record else "missing"

    @property
    def reason(self) -> str:
        if self.record is None:
            return "no record: not run, or still running"
        return self.record.reason or ""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """All replicates of one arm, in the order of the plan."""

    key: str
    name: str
    twin_key: str | None
    control: Control
    upstream: str
    axes: dict[str, object]
    outcomes: tuple[Outcome, ...]
    external: ImportedSystem | None = None
    """Of another's system: where it came from. It was not planned, and has test predictions only."""
    system: str = EMS
    """By its records; where it has none, as its definition or its twin says."""
    answers: Answers = "classes"
    """By its records; where it has none, like others of its system."""
    beside_others: bool = False
    """Whether the sweep has arms of other systems too."""

    @property
    def group(self) -> str:
        """Its upstream, beside other systems with its own before it: validation chooses one arm of each group."""
        return f"{self.system} {self.upstream}" if self.beside_others else self.upstream

    @cached_property
    def complete(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.status == "complete")

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """Records of the complete replicates."""
        return tuple(outcome.record for outcome in self.complete if outcome.record is not None)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the complete replicates."""
        return tuple(outcome.planned.seed for outcome in self.complete)

    @property
    def planned_seeds(self) -> tuple[int, ...]:
        return tuple(outcome.planned.seed for outcome in self.outcomes)

    @property
    def missing_seeds(self) -> tuple[int, ...]:
        return tuple(outcome.planned.seed for outcome in self.outcomes if outcome.status != "complete")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A plan with its records. `arms` is keyed by arm key, in the order of the plan; imported systems come last."""

    plan: Plan
    """With a contrast for every arm that is compared with an imported system."""
    trials_root: Path
    arms: dict[str, Arm]
    imports_root: Path

    @property
    def planned(self) -> tuple[Arm, ...]:
        """The arms of the plan, without imported systems."""
        return tuple(arm for arm in self.arms.values() if arm.external is None)

    @property
    def imported(self) -> tuple[ImportedSystem, ...]:
        return tuple(arm.external for arm in self.arms.values() if arm.external is not None)

    @property
    def upstreams(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(arm.upstream for arm in self.planned))

    @property
    def systems(self) -> tuple[str, ...]:
        """Of the planned arms."""
        return tuple(dict.fromkeys(arm.system for arm in self.planned))

    @property
    def groups(self) -> tuple[str, ...]:
        """Of the planned arms: upstreams, in a sweep of several systems each with its system."""
        return tuple(dict.fromkeys(arm.group for arm in self.planned))

    @property
    def answers(self) -> tuple[Answers, ...]:
        """What its arms answer with: classes before dimensions."""
        there = {arm.answers for arm in self.arms.values()}
        kinds: tuple[Answers, ...] = ("classes", "dimensions")
        return tuple(kind for kind in kinds if kind in there)

    def of(self, answers: Answers) -> Sweep:
        """Only the arms that answer so, with the contrasts between them."""
        if self.answers == (answers,):
            return self
        arms = {key: arm for key, arm in self.arms.items() if arm.answers == answers}
        contrasts = [one for one in self.plan.contrasts if {one.arm_key, one.against_key} <= arms.keys()]
        return replace(self, arms=arms, plan=self.plan.model_copy(update={"contrasts": tuple(contrasts)}))

    @cached_property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Of the planned trials."""
        return tuple(outcome for arm in self.planned for outcome in arm.outcomes)

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """All records of planned trials that there are, of whatever status."""
        return tuple(outcome.record for outcome in self.outcomes if outcome.record is not None)

    def folder(self, record: Record) -> Path:
        """Where the predictions of a record are."""
        system = self.arms[record.arm_key].external
        if system is None:
            return self.trials_root / record.trial_key
        return self.imports_root / system.name / system.run_folder(record.seed)

    def cells(self) -> pd.DataFrame:
        """One row per complete trial, split and fold: trial_key, arm_key, arm, seed, fold, split, n, ua, wa, macro_f1.

        Metrics are shares in [0, 1], as recorded; arms that answer with dimensions have no rows.
        """
        rows = [
            (
                *(record.trial_key, arm.key, arm.name, record.seed),
                *(entry.fold, entry.split, entry.n, entry.ua, entry.wa, entry.macro_f1),
            )
            for arm in self.arms.values()
            for record in arm.records
            for entry in (record.metrics.folds if record.metrics else ())
            if entry.ua is not None
        ]
        names = ["trial_key", "arm_key", "arm", "seed", "fold", "split", "n", "ua", "wa", "macro_f1"]
        return pd.DataFrame(rows, columns=names)


def load_sweep(*, plan_path: Path, trials_root: Path) -> Sweep:
    """Read the plan and the records of its trials; check the validation metrics. Test predictions stay sealed.

    A trial without a record is kept, with status `missing`. Raises BadInputError for a plan or record that cannot be
    read, a record that is not the planned trial's, two corpora in one sweep, or validation metrics that their
    predictions do not give.
    """
    plan = read_plan(plan_path)
    grouped: dict[str, list[Outcome]] = {}
    for planned in plan.trials:
        record = read_record(trials_root / planned.trial_key)
        _check_identity(planned, record)
        grouped.setdefault(planned.arm_key, []).append(Outcome(planned=planned, record=record))
    arms = _told_apart({key: _arm(outcomes) for key, outcomes in grouped.items()}, plan)
    imported = {key: _imported(system) for key, system in read_imports(plan_path).items()}
    sweep = Sweep(
        plan=_with_imported(plan, arms, imported),
        trials_root=trials_root,
        arms=arms | imported,
        imports_root=imported_folder(plan_path),
    )
    _check_one_corpus((*sweep.records, *(record for arm in imported.values() for record in arm.records)))
    _read(sweep, [record for arm in sweep.planned for record in arm.records], "validation")
    return sweep


def open_test(sweep: Sweep) -> dict[str, AnyPart]:
    """Trial key → test predictions (of classes counted), for every complete trial and every run of an imported system.

    Record the opening before calling this. Raises BadInputError when a trial left none, or when they do not give the
    metrics in its record.
    """
    return _read(sweep, [record for arm in sweep.arms.values() for record in arm.records], "test")


def read_any_part(folder: Path, *, record: Record, split: Split) -> AnyPart:
    """`read_part`, or `read_dimension_part` where the record is of dimensions. Raises BadInputError as they do."""
    read = read_dimension_part if answers_of(record) == "dimensions" else read_part
    return read(folder, record=record, split=split)


def _read(sweep: Sweep, records: list[Record], split: Split) -> dict[str, AnyPart]:
    of_classes = [record for record in records if answers_of(record) != "dimensions"]
    parts = read_parts([sweep.folder(record) for record in of_classes], records=of_classes, split=split)
    found: dict[str, AnyPart] = {record.trial_key: part for record, part in zip(of_classes, parts, strict=True)}
    for record in records:
        if record.trial_key not in found:
            found[record.trial_key] = read_dimension_part(sweep.folder(record), record=record, split=split)
    return found


def _told_apart(arms: Mapping[str, Arm], plan: Plan) -> dict[str, Arm]:
    """The same arms, each with its system, what it answers with, and its group."""
    system_of = {key: _system(arm, arms, plan) for key, arm in arms.items()}
    answers_by_system: dict[str, Answers] = {}
    for key, arm in arms.items():
        for record in arm.records:
            answers_by_system[system_of[key]] = answers_of(record) or "classes"
    several = len(set(system_of.values())) > 1
    return {
        key: replace(
            arm,
            system=system_of[key],
            answers=answers_by_system.get(system_of[key], "classes"),
            beside_others=several,
        )
        for key, arm in arms.items()
    }


def _system(arm: Arm, arms: Mapping[str, Arm], plan: Plan) -> str:
    recorded = next((outcome.record.system for outcome in arm.outcomes if outcome.record is not None), None)
    if recorded is not None:
        return recorded
    settings = plan.definition.get("settings")
    named = arm.axes.get("system") or (settings.get("system") if isinstance(settings, Mapping) else None)
    if named is not None:
        return str(named)
    relatives = [other for other in arms.values() if other.key == arm.twin_key or other.twin_key == arm.key]
    records = [outcome.record for other in relatives for outcome in other.outcomes if outcome.record is not None]
    return records[0].system if records else EMS


def _arm(outcomes: list[Outcome]) -> Arm:
    first = outcomes[0].planned
    return Arm(
        key=first.arm_key,
        name=first.arm,
        twin_key=first.twin_key,
        control=first.control,
        upstream=first.upstream,
        axes=dict(first.axes),
        outcomes=tuple(outcomes),
    )


def _imported(system: ImportedSystem) -> Arm:
    records = [system.record(seed) for seed in sorted(system.runs)]
    planned = [
        PlannedTrial(
            trial_key=record.trial_key,
            arm=record.arm,
            arm_key=record.arm_key,
            twin_key=None,
            seed=record.seed,
            axes={},
            upstream=record.upstream,
        )
        for record in records
    ]
    outcomes = [Outcome(planned=trial, record=record) for trial, record in zip(planned, records, strict=True)]
    record = records[0]
    return replace(_arm(outcomes), external=system, system=record.system)


def _with_imported(plan: Plan, arms: dict[str, Arm], imported: dict[str, Arm]) -> Plan:
    """The plan with a contrast for every arm that an imported system says it is to be compared with."""
    twins = {arm.twin_key for arm in arms.values()}
    contrasts = []
    for key, system in imported.items():
        asked = system.external.against if system.external else ()
        for arm in (arms | imported).values():
            every = EVERY_ARM in asked and arm.external is None and arm.control == "none" and arm.key not in twins
            if arm.answers == "classes" and (arm.key in asked or every):
                name = f"{arm.name} against {system.name}"
                contrasts.append(Contrast(kind="contrast", name=name, arm_key=arm.key, against_key=key))
    return plan.model_copy(update={"contrasts": (*plan.contrasts, *contrasts)})


def _check_identity(planned: PlannedTrial, record: Record | None) -> None:
    if record is None:
        return
    found = (record.trial_key, record.arm_key, record.seed, record.upstream)
    wanted = (planned.trial_key, planned.arm_key, planned.seed, planned.upstream)
    if found != wanted:
        raise BadInputError(
            f"trial {planned.trial_key}: its record is of trial, arm, seed, upstream {found}, planned {wanted}"
        )


def _check_one_corpus(records: tuple[Record, ...]) -> None:
    corpora = {(record.corpus.name, record.corpus.fingerprint, record.corpus.classes) for record in records}
    if len(corpora) > 1:
        names = " and ".join(f"{name} ({fingerprint})" for name, fingerprint, _ in sorted(corpora)[:2])
        raise BadInputError(f"a report compares arms on one corpus; this sweep's records hold {names}")
