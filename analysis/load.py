"""Plan and records → the cells of the sweep, with every metric recomputed from the predictions it was made of.

Letters in names: F folds, S speakers, C classes.
"""

from __future__ import annotations

__all__ = ["Arm", "Outcome", "Part", "Sweep", "load_sweep", "open_test", "read_part"]

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.plan import Control, Plan, PlannedTrial, read_plan
from core.errors import BadInputError
from core.metrics import macro_f1, ua, wa
from core.records import FoldMetrics, Record, Split, read_predictions, read_record

COLUMNS = ("utterance", "speaker", "fold", "label", "predicted")
TOLERANCE = 1e-9
"""Largest difference between a recorded metric and the one recomputed here: rounding only."""

Status = Literal["complete", "pruned", "failed", "missing"]


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

    @property
    def complete(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.status == "complete")

    @property
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
class Part:
    """One split of one trial's predictions, counted."""

    folds: tuple[str, ...]
    speakers: tuple[str, ...]
    counts: NDArray[np.int64]
    """Utterances by fold, speaker, true class and predicted class: shape (F, S, C, C)."""
    identity: str
    """Hash of (fold, utterance, speaker, label): equal when two trials were asked the same."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A plan with its records. `arms` is keyed by arm key, in the order of the plan."""

    plan: Plan
    trials_root: Path
    arms: dict[str, Arm]

    @property
    def upstreams(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(arm.upstream for arm in self.arms.values()))

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        return tuple(outcome for arm in self.arms.values() for outcome in arm.outcomes)

    @property
    def records(self) -> tuple[Record, ...]:
        """All records there are, of whatever status."""
        return tuple(outcome.record for outcome in self.outcomes if outcome.record is not None)

    def cells(self) -> pd.DataFrame:
        """One row per complete trial, split and fold: trial_key, arm_key, arm, seed, fold, split, n, ua, wa, macro_f1.

        Metrics are shares in [0, 1], as recorded.
        """
        rows = [
            {
                "trial_key": record.trial_key,
                "arm_key": arm.key,
                "arm": arm.name,
                "seed": record.seed,
                **entry.model_dump(),
            }
            for arm in self.arms.values()
            for record in arm.records
            for entry in (record.metrics.folds if record.metrics else ())
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
    arms = {key: _arm(outcomes) for key, outcomes in grouped.items()}
    sweep = Sweep(plan=plan, trials_root=trials_root, arms=arms)
    _check_one_corpus(sweep.records)
    for arm in arms.values():
        for record in arm.records:
            read_part(trials_root / record.trial_key, record=record, split="validation")
    return sweep


def open_test(sweep: Sweep) -> dict[str, Part]:
    """Trial key → counted test predictions, for every complete trial. Record the opening before calling this.

    Raises BadInputError when a trial left none, or when they do not give the metrics in its record.
    """
    return {
        record.trial_key: read_part(sweep.trials_root / record.trial_key, record=record, split="test")
        for arm in sweep.arms.values()
        for record in arm.records
    }


def read_part(folder: Path, *, record: Record, split: Split) -> Part:
    """Count the predictions of one split and hold them against the metrics in the record.

    Raises BadInputError for a column that is absent, an utterance predicted twice in a fold, a fold or class that the
    record does not know, or UA, WA or macro-F1 that differ from the record's.
    """
    where = f"trial {record.trial_key}, {split}"
    metrics = [entry for entry in (record.metrics.folds if record.metrics else ()) if entry.split == split]
    if len(metrics) != record.protocol.n_folds:
        raise BadInputError(f"{where}: metrics of {len(metrics)} folds in the record, {record.protocol.n_folds} needed")
    frame = read_predictions(folder, split=split)
    absent = [name for name in COLUMNS if name not in frame.columns]
    if absent:
        raise BadInputError(f"{where}: predictions have no column {absent[0]!r}")
    frame = frame[list(COLUMNS)].astype(str)
    if frame.duplicated(["fold", "utterance"]).any():
        twice = frame.loc[frame.duplicated(["fold", "utterance"]), "utterance"].iloc[0]
        raise BadInputError(f"{where}: utterance {twice!r} is predicted twice in one fold")
    part = _count(frame, folds=[entry.fold for entry in metrics], classes=record.corpus.classes, where=where)
    for counts_SCC, entry in zip(part.counts, metrics, strict=True):
        _check_metrics(counts_SCC.sum(axis=0), entry, where)
    return part


def _count(frame: pd.DataFrame, *, folds: list[str], classes: tuple[str, ...], where: str) -> Part:
    speakers = sorted(frame["speaker"].unique())
    codes = (
        _codes(frame["fold"], folds, f"{where}: fold"),
        _codes(frame["speaker"], speakers, f"{where}: speaker"),
        _codes(frame["label"], list(classes), f"{where}: label"),
        _codes(frame["predicted"], list(classes), f"{where}: predicted class"),
    )
    shape = (len(folds), len(speakers), len(classes), len(classes))
    flat = np.bincount(np.ravel_multi_index(codes, shape), minlength=int(np.prod(shape)))
    columns = (frame[name].tolist() for name in ("fold", "utterance", "speaker", "label"))  # lists: far faster to walk
    rows = sorted(zip(*columns, strict=True))
    identity = hashlib.sha256("\n".join(map("\t".join, rows)).encode()).hexdigest()
    return Part(
        folds=tuple(folds),
        speakers=tuple(speakers),
        counts=flat.reshape(shape).astype(np.int64),
        identity=identity,
    )


def _codes(values: pd.Series[str], known: list[str], what: str) -> NDArray[np.intp]:
    codes = pd.Index(known).get_indexer(pd.Index(values))
    if (codes < 0).any():
        foreign = values.iloc[int(np.argmax(codes < 0))]
        raise BadInputError(f"{what} {foreign!r} is not in the record ({', '.join(known)})")
    return codes


def _check_metrics(counts_CC: NDArray[np.int64], entry: FoldMetrics, where: str) -> None:
    try:
        again = {"n": int(counts_CC.sum()), "ua": ua(counts_CC), "wa": wa(counts_CC), "macro_f1": macro_f1(counts_CC)}
    except BadInputError as error:
        raise BadInputError(f"{where}, fold {entry.fold}: {error}") from error
    for name, value in again.items():
        recorded = getattr(entry, name)
        if not abs(recorded - value) <= TOLERANCE:
            raise BadInputError(
                f"{where}, fold {entry.fold}: the record says {name} {recorded}, its predictions give {value}"
            )


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
