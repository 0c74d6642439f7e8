"""A finished sweep of any number of trials on IEMOCAP's sizes, with no audio behind it: for measuring reports.

Five sessions of two speakers, four classes of 1,103 / 1,636 / 1,708 / 1,084 utterances (Busso et al. 2008; happy and
excited merged), every utterance in the test part of its session's fold and in the validation part of the next one's.
Answers are drawn. Records and predictions have the layout that `core.records` writes, so `sweep report` reads them.
Letters in names: N utterances, C classes.
"""

from __future__ import annotations

__all__ = ["CLASSES", "SWEEP", "write_many_trials"]

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.metrics import macro_f1, ua, wa
from core.records import (
    CorpusEntry,
    CostEntry,
    FoldMetrics,
    MaskEntry,
    MetricsEntry,
    ProtocolEntry,
    ProvenanceEntry,
    Record,
    Split,
)

SWEEP = "many"
CLASSES = ("ang", "hap", "neu", "sad")
PER_CLASS = (1103, 1636, 1708, 1084)
SESSIONS = 5
GROUP = 10
"""Arms in a row of which the first is the others' twin."""


@dataclass(frozen=True, kw_only=True)
class _Questions:
    """What every trial is asked, both parts: validation first."""

    table: pa.Table
    """Columns as `core.records` writes them, `predicted` and scores empty."""
    label_N: NDArray[np.intp]
    fold_N: NDArray[np.intp]
    validation_N: NDArray[np.bool_]
    speaker_N: NDArray[np.intp]


def write_many_trials(
    root: Path, *, arms: int, seeds: int, per_class: tuple[int, ...] = PER_CLASS, name: str = SWEEP, seed: int = 0
) -> Path:
    """Write `trials/` and `sweeps/<name>/plan.json` below `root`; returns the path of the plan.

    `arms` × `seeds` trials; of every ten arms one is the random twin of the others.
    """
    questions = _questions(per_class)
    trials = []
    for arm in range(arms):
        twin = arm - arm % GROUP
        for replicate in range(seeds):
            planned = _planned(arm, twin, replicate)
            rng = np.random.default_rng([seed, arm, replicate])
            _write_trial(root / "trials" / str(planned["trial_key"]), planned, questions, rng)
            trials.append(planned)
    plan = {"schema_version": 2, "sweep": name, "definition": {"name": name}, "trials": trials}
    path = root / "sweeps" / name / "plan.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plan))
    return path


def _planned(arm: int, twin: int, replicate: int) -> dict[str, Any]:
    ratio, temperature = round(0.05 + 0.01 * (arm // GROUP), 2), float(arm % GROUP)
    name = f"ems r{ratio} s7 t{temperature:g}" if arm != twin else f"random r{ratio} s7"
    axes = {"masking.ratio": ratio, "masking.span": 7}
    return {
        "trial_key": f"{arm:08x}-{replicate}",
        "arm": name,
        "arm_key": f"{arm:08x}",
        "twin_key": None if arm == twin else f"{twin:08x}",
        "seed": replicate,
        "axes": axes if arm == twin else axes | {"masking.temperature": temperature},
    }


def _questions(per_class: tuple[int, ...]) -> _Questions:
    """In the order of a real file: validation of every fold, then test of every fold."""
    label_N = np.repeat(np.arange(len(CLASSES)), per_class)
    speaker_N = np.concatenate([np.arange(count) % (2 * SESSIONS) for count in per_class])
    number_N = np.concatenate([np.arange(count) for count in per_class])
    order_N = np.argsort(speaker_N, kind="stable")
    label_N, speaker_N, number_N = label_N[order_N], speaker_N[order_N], number_N[order_N]
    speakers = [f"Ses0{1 + speaker // 2}{'FM'[speaker % 2]}" for speaker in range(2 * SESSIONS)]
    names = [
        f"{speakers[speaker]}_{CLASSES[label]}_{number:04d}"
        for speaker, label, number in zip(speaker_N, label_N, number_N, strict=True)
    ]
    session_N = speaker_N // 2
    fold_N = np.concatenate([(session_N - 1) % SESSIONS, session_N])
    twice_N = np.tile(np.arange(len(names)), 2)
    split_N = np.repeat(["validation", "test"], len(names))
    frame = pd.DataFrame(
        {
            "utterance": [names[place] for place in twice_N],
            "speaker": [speakers[speaker_N[place]] for place in twice_N],
            "session": [f"Ses0{1 + session_N[place]}" for place in twice_N],
            "fold": [f"Ses0{1 + fold}" for fold in fold_N],
            "split": split_N,
            "label": [CLASSES[label_N[place]] for place in twice_N],
            "predicted": "",
        }
        | {f"score_{name}": np.zeros(len(twice_N), np.float32) for name in CLASSES}
    )
    return _Questions(
        table=pa.Table.from_pandas(frame, preserve_index=False),
        label_N=label_N[twice_N],
        fold_N=fold_N,
        validation_N=split_N == "validation",
        speaker_N=speaker_N[twice_N],
    )


def _write_trial(folder: Path, planned: dict[str, Any], asked: _Questions, rng: np.random.Generator) -> None:
    offset_N = 0.05 * np.sin(3 * asked.speaker_N)
    right = 0.62 if planned["twin_key"] else 0.6
    scores_NC = rng.random((len(asked.label_N), len(CLASSES)), dtype=np.float32)
    known_N = rng.random(len(asked.label_N)) < right + offset_N
    scores_NC[known_N, asked.label_N[known_N]] += 1
    scores_NC /= scores_NC.sum(axis=1, keepdims=True)
    predicted_N = scores_NC.argmax(axis=1)
    table, schema = asked.table, asked.table.schema
    chosen = pa.array(np.array(CLASSES, dtype=object)[predicted_N], schema.field("predicted").type)
    table = table.set_column(schema.get_field_index("predicted"), "predicted", chosen)
    for place, name in enumerate(CLASSES):
        column = f"score_{name}"
        table = table.set_column(schema.get_field_index(column), column, pa.array(scores_NC[:, place]))
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "predictions.parquet")
    record = _record(planned, asked, predicted_N)
    (folder / "record.json").write_text(record.model_dump_json(indent=1))


def _metrics(asked: _Questions, predicted_N: NDArray[np.intp]) -> MetricsEntry:
    shape = (2, SESSIONS, len(CLASSES), len(CLASSES))
    codes = (asked.validation_N.astype(np.intp), asked.fold_N, asked.label_N, predicted_N)
    counts = np.bincount(np.ravel_multi_index(codes, shape), minlength=int(np.prod(shape))).reshape(shape)
    metrics = {"ua": ua, "wa": wa, "macro_f1": macro_f1}
    splits: tuple[Split, Split] = ("test", "validation")
    folds = tuple(
        FoldMetrics(
            fold=f"Ses0{1 + fold}",
            split=split,
            n=int(counts[place, fold].sum()),
            **{name: metric(counts[place, fold]) for name, metric in metrics.items()},
        )
        for place, split in enumerate(splits)
        for fold in range(SESSIONS)
    )
    mean = {
        split: {name: float(np.mean([getattr(f, name) for f in folds if f.split == split])) for name in metrics}
        for split in splits
    }
    pooled = {
        split: {name: metric(counts[place].sum(axis=0)) for name, metric in metrics.items()}
        for place, split in enumerate(splits)
    }
    return MetricsEntry(folds=folds, mean=mean, pooled=pooled)


def _record(planned: dict[str, Any], asked: _Questions, predicted_N: NDArray[np.intp]) -> Record:
    ratio = planned["axes"]["masking.ratio"]
    temperature = planned["axes"].get("masking.temperature")
    utterances = int((~asked.validation_N).sum())
    content = {name: planned[name] for name in ("trial_key", "arm", "arm_key", "twin_key", "seed")}
    return Record(
        **content,
        status="complete",
        system="ems",
        upstream="mockingjay",
        corpus=CorpusEntry(
            name="iemocap", fingerprint="drawn", utterances=utterances, quarantined={}, classes=CLASSES, incomplete=None
        ),
        protocol=ProtocolEntry(
            folds="leave-one-session-out", n_folds=SESSIONS, validation="next-fold", pretraining_audio="fold",
            pretraining_corpus="iemocap", transductive=False, leaks=(),
        ),
        # About as long as a real one.
        config={"seed": planned["seed"], "masking": {"ratio": ratio, "span": 7}, "note": ["drawn"] * 500},
        mask=MaskEntry(
            policy="random" if temperature is None else "ems", nominal_ratio=ratio, realised_ratio=ratio, span=7,
            temperature=temperature, intensity_share=ratio, intensity_z=0.0, runs={"7": 3, "14": 1},
            hidden_frames=35, valid_frames=round(35 / ratio),
        ),
        metrics=_metrics(asked, predicted_N),
        cost=CostEntry(steps=1000, frames=250_000, left_out=0, device_seconds=12.5),
        provenance=ProvenanceEntry(
            commit="0" * 40, dirty=False, packages={"numpy": np.__version__}, hardware="none",
            started="2026-01-01T00:00:00Z", ended="2026-01-01T00:01:00Z",
        ),
    )  # fmt: skip
