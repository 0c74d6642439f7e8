"""A sweep of records and predictions with known truth, written through `core.records` itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from core.metrics import confusion, macro_f1, ua, wa
from core.records import (
    CorpusEntry,
    CostEntry,
    FoldMetrics,
    MaskEntry,
    MetricsEntry,
    PretrainingEntry,
    ProtocolEntry,
    ProvenanceEntry,
    Record,
    write_record,
)
from tests.analysis.synthetic_dimensions import dimension_metrics, dimension_predictions

CLASSES = ("neu", "hap", "ang", "sad")


@dataclass(frozen=True, kw_only=True)
class SyntheticArm:
    key: str
    name: str
    twin_key: str | None = None
    recall: float = 0.6
    """Probability of a right answer, before the speaker's own offset."""
    ratio: float = 0.15
    realised: float | None = None
    span: int = 7
    temperature: float | str | None = None
    axes: dict[str, object] = field(default_factory=dict)
    control: str = "none"
    upstream: str = "mockingjay"
    policy: str | None = None
    """None: `ems` with a temperature, `random` without."""
    losses: tuple[float, ...] | None = None
    """Training, validation, and validation by quartile under seed 0; each further seed adds .01 to all."""
    system: str = "ems"
    """Of `teacher_student` the records are of dimensions, and `recall` is what is heard of the true values."""
    masked: bool = True
    """Whether there is an audit of masks."""
    counts: dict[str, int] = field(default_factory=dict)
    heard_by: str | None = None
    """Beginning of the keys of its upstreams; arms that have it in common share them."""


@dataclass(frozen=True, kw_only=True)
class SyntheticSweep:
    root: Path
    arms: tuple[SyntheticArm, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    sessions: int = 5
    per_class: tuple[int, ...] = (12, 10, 8, 6)
    """Utterances per speaker and class."""
    outcomes: dict[tuple[str, int], str] = field(default_factory=dict)
    """(arm key, seed) → missing, failed or pruned; all others are complete."""
    incomplete: str | None = None
    transductive: bool = False
    validation: str = "next-fold"
    leaks: tuple[str, ...] = ()
    corpus: str = "iemocap"
    quarantined: dict[str, int] = field(default_factory=lambda: {"too short": 2, "unreadable": 1})
    intensity: str = "strengthnet"
    heard: CorpusEntry | None = None
    fit: CorpusEntry | None = None
    contrasts: tuple[tuple[str, str, str, str], ...] = ()
    """(kind, name, arm key, against key)."""
    schema: int = 2

    @property
    def plan_path(self) -> Path:
        return self.root / "sweeps" / "synthetic" / "plan.json"

    @property
    def trials_root(self) -> Path:
        return self.root / "trials"

    def write(self) -> SyntheticSweep:
        trials = []
        for arm in self.arms:
            for seed in self.seeds:
                planned = {"trial_key": f"{arm.key}-{seed}", "arm": arm.name, "arm_key": arm.key}
                planned |= {"twin_key": arm.twin_key, "seed": seed, "axes": arm.axes}
                if self.schema > 1:
                    planned |= {"control": arm.control, "upstream": arm.upstream}
                trials.append(planned)
                self._write_trial(arm, seed)
        plan: dict[str, object] = {"schema_version": self.schema, "sweep": "synthetic", "trials": trials}
        plan["definition"] = {"name": "synthetic"}
        if self.schema > 1:
            names = ("kind", "name", "arm_key", "against_key")
            plan["contrasts"] = [dict(zip(names, contrast, strict=True)) for contrast in self.contrasts]
        self.plan_path.parent.mkdir(parents=True, exist_ok=True)
        self.plan_path.write_text(json.dumps(plan))
        return self

    def speakers(self) -> list[tuple[str, str]]:
        """(session, speaker) pairs."""
        return [(f"Ses0{s + 1}", f"Ses0{s + 1}{g}") for s in range(self.sessions) for g in "FM"]

    def predictions(self, arm: SyntheticArm, seed: int) -> pd.DataFrame:
        """Test: every utterance once, in its session's fold. Validation: the utterances of the next session."""
        if arm.system == "teacher_student":
            return dimension_predictions(arm.key, arm.recall, seed, tuple(self.speakers()), sum(self.per_class)).copy()
        return _predictions(arm.key, arm.recall, seed, tuple(self.speakers()), self.per_class).copy()

    def _write_trial(self, arm: SyntheticArm, seed: int) -> None:
        outcome = self.outcomes.get((arm.key, seed), "complete")
        if outcome == "missing":
            return
        predictions = self.predictions(arm, seed) if outcome == "complete" else None
        record = self.record(arm, seed, predictions)
        if outcome != "complete":
            reason = {"failed": "pretrain: loss is nan at step 17", "pruned": "ASHA at step 400"}[outcome]
            record = record.model_copy(update={"status": outcome, "reason": reason})
        write_record(self.trials_root / f"{arm.key}-{seed}", record, predictions)

    def record(self, arm: SyntheticArm, seed: int, predictions: pd.DataFrame | None) -> Record:
        realised = arm.ratio if arm.realised is None else arm.realised
        return Record(
            schema_version=self.schema,
            trial_key=f"{arm.key}-{seed}",
            status="complete",
            system=arm.system,
            upstream=arm.upstream,
            arm=arm.name,
            arm_key=arm.key,
            twin_key=arm.twin_key,
            seed=seed,
            corpus=CorpusEntry(
                name=self.corpus,
                fingerprint="f00d",
                utterances=len(self.speakers()) * sum(self.per_class),
                quarantined=self.quarantined,
                classes=CLASSES,
                incomplete=self.incomplete,
            ),
            protocol=ProtocolEntry(
                folds="leave-one-session-out",
                n_folds=self.sessions,
                validation=self.validation,
                pretraining_audio="external" if self.heard else "transductive" if self.transductive else "fold",
                pretraining_corpus=self.heard.name if self.heard else self.corpus,
                transductive=self.transductive,
                leaks=self.leaks,
            ),
            config={
                "seed": seed,
                "masking": {"ratio": arm.ratio, "span": arm.span},
                "intensity": {"source": self.intensity},
            },
            heard=self.heard,
            fit=self.fit,
            mask=None
            if not arm.masked
            else MaskEntry(
                policy=arm.policy or ("ems" if arm.temperature is not None else "random"),
                nominal_ratio=None if arm.policy == "all" else arm.ratio,
                realised_ratio=realised,
                span=None if arm.policy == "all" else arm.span,
                temperature=arm.temperature,
                intensity_share=realised * (1.4 if arm.temperature is not None else 1.0),
                intensity_z=0.5 if arm.temperature is not None else 0.0,
                runs={str(arm.span): 3, str(2 * arm.span): 1},
                hidden_frames=5 * arm.span,
                valid_frames=round(5 * arm.span / realised),
            ),
            pretraining=None if arm.losses is None else pretraining_of(arm.losses, seed),
            metrics=None if predictions is None else metrics_of(predictions),
            counts=arm.counts,
            artifacts=() if arm.heard_by is None else (f"pretrain/{arm.heard_by}-{seed}", f"probe/{arm.key}-{seed}"),
            cost=CostEntry(steps=1000, frames=250_000, left_out=3, device_seconds=12.5),
            provenance=ProvenanceEntry(
                commit="0123456789abcdef0123456789abcdef01234567",
                dirty=False,
                packages={"torch": "2.13.0", "numpy": "2.4.6"},
                hardware="2 × CPU",
                started="2026-11-21T05:00:00Z",
                ended="2026-11-21T05:01:00Z",
            ),
        )


# The same arms are written by many tests.
@lru_cache(maxsize=256)
def _predictions(
    key: str, recall: float, seed: int, speakers: tuple[tuple[str, str], ...], per_class: tuple[int, ...]
) -> pd.DataFrame:
    rng = np.random.default_rng([seed, *key.encode()])
    sessions, rows = len(speakers) // 2, []
    for index, (session, speaker) in enumerate(speakers):
        chance = min(max(recall + 0.15 * float(np.sin(3 * index)), 0.0), 1.0)
        for label, count in zip(CLASSES, per_class, strict=True):
            for number in range(count):
                utterance = f"{speaker}_{label}_{number:03d}"
                for split, fold in (("test", index // 2), ("validation", (index // 2 - 1) % sessions)):
                    right = rng.random() < chance
                    predicted = label if right else CLASSES[(CLASSES.index(label) + rng.integers(1, 4)) % 4]
                    rows.append((utterance, speaker, session, f"Ses0{fold + 1}", split, label, predicted))
    return pd.DataFrame(rows, columns=["utterance", "speaker", "session", "fold", "split", "label", "predicted"])


def pretraining_of(losses: tuple[float, ...], seed: int) -> PretrainingEntry:
    train, validation, *quartiles = (loss + 0.01 * seed for loss in losses)
    return PretrainingEntry(
        train_loss=train,
        validation_loss=validation,
        validation_by_quartile=tuple(quartiles),
        speakers=10,
        utterances=320,
        frames=64_000 + seed,
    )


def metrics_of(predictions: pd.DataFrame) -> MetricsEntry:
    if "label" not in predictions:
        return dimension_metrics(predictions)
    columns = [predictions[name].tolist() for name in ("split", "fold", "label", "predicted")]
    answers: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for split, fold, label, predicted in zip(*columns, strict=True):
        answers.setdefault((split, fold), []).append((label, predicted))
    folds = [
        FoldMetrics(fold=fold, split=split, n=len(own), **_scores(own))
        for (split, fold), own in sorted(answers.items())
    ]
    mean = {
        split: {
            name: float(np.mean([getattr(f, name) for f in folds if f.split == split]))
            for name in ("ua", "wa", "macro_f1")
        }
        for split in ("validation", "test")
    }
    pooled = {
        split: _scores([answer for (other, _), own in answers.items() for answer in own if other == split])
        for split in ("validation", "test")
    }
    return MetricsEntry(folds=tuple(folds), mean=mean, pooled=pooled)


def fold_scores(written: SyntheticSweep, trial: str) -> pd.DataFrame:
    """Test UA and WA by fold, by scikit-learn, from the file."""
    frame = pd.read_parquet(written.trials_root / trial / "predictions.parquet")
    rows = {
        fold: (balanced_accuracy_score(p["label"], p["predicted"]), accuracy_score(p["label"], p["predicted"]))
        for fold, p in frame[frame["split"] == "test"].groupby("fold")
    }
    return pd.DataFrame(rows, index=["ua", "wa"]).T


def _scores(answers: list[tuple[str, str]]) -> dict[str, float]:
    counts = confusion(*map(list, zip(*answers, strict=True)), CLASSES)
    return {"ua": ua(counts), "wa": wa(counts), "macro_f1": macro_f1(counts)}


def grid(
    ratios: tuple[float, ...], temperatures: tuple[float | str, ...], spans: tuple[int, ...]
) -> list[SyntheticArm]:
    """EMS arms on a grid, best at ratio .15 and temperature 1, each ratio × span with its random twin."""
    arms = []
    for span in spans:
        for ratio in ratios:
            twin = SyntheticArm(
                key=f"random{ratio}s{span}",
                name=f"random r{ratio} s{span}",
                recall=0.55,
                ratio=ratio,
                realised=ratio - 0.001,
                span=span,
                axes={"masking.policy": "random", "masking.ratio": ratio, "masking.span": span},
            )
            arms.append(twin)
            for temperature in temperatures:
                gain = 0.08 if (ratio, temperature) == (0.15, 1.0) else 0.02
                axes = {"masking.policy": "ems", "masking.ratio": ratio, "masking.temperature": temperature}
                arms.append(
                    SyntheticArm(
                        key=f"ems{ratio}t{temperature}s{span}",
                        name=f"ems r{ratio} t{temperature} s{span}",
                        twin_key=twin.key,
                        recall=0.55 + gain,
                        ratio=ratio,
                        span=span,
                        temperature=temperature,
                        axes={**axes, "masking.span": span},
                    )
                )
    return arms


LOSSES = (0.62, 0.65, 0.60, 0.63, 0.67, 0.71)
"""Training, validation, quartiles: intense frames are harder."""


def published_arms(upstream: str, *, gain: float = 0.1) -> list[SyntheticArm]:
    """The published rule beside its nominal twin, its two controls, and the rule at the same number of frames."""
    mark = "" if upstream == "mockingjay" else f"{upstream} "

    def arm(key: str, policy: str, realised: float, **changes: Any) -> SyntheticArm:
        control = changes.get("control", "none")
        named = policy if control == "none" else f"{policy} {control}"
        return SyntheticArm(
            key=f"{upstream}-{key}",
            name=f"{mark}{named} r0.15 s7",
            upstream=upstream,
            policy=policy,
            realised=realised,
            losses=tuple(loss + (0.1 if upstream == "npc" else 0) for loss in LOSSES),
            **changes,
        )

    twin = f"{upstream}-random"
    return [
        arm("random", "random_nominal", 0.14, recall=0.5),
        arm("topk", "ems_topk", 0.071, recall=0.5 + gain, twin_key=twin),
        arm("loudness", "ems_topk", 0.072, recall=0.5 + gain / 2, twin_key=twin, control="loudness"),
        arm("shuffled", "ems_topk", 0.138, recall=0.5, twin_key=twin, control="shuffled"),
        arm("matched", "random_as_topk", 0.071, recall=0.5 + gain / 3),
    ]


def published_contrasts(upstream: str) -> list[tuple[str, str, str, str]]:
    own = f"{upstream}-topk"
    return [
        ("control", "loudness", own, f"{upstream}-loudness"),
        ("control", "shuffled", own, f"{upstream}-shuffled"),
        ("contrast", "which frames", own, f"{upstream}-matched"),
        ("contrast", "how many frames", f"{upstream}-matched", f"{upstream}-random"),
    ]
