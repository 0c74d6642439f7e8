"""A launched sweep on disk without the training: its plan, what its trials log, the records and files they leave."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy

from core.records import (
    MASK_EXAMPLE,
    RECONSTRUCTION,
    CorpusEntry,
    CostEntry,
    FoldMetrics,
    InterimEntry,
    MetricsEntry,
    ProtocolEntry,
    ProvenanceEntry,
    Record,
    write_record,
)
from core.store import Workspace
from sweeps.tracking.entries import Registration
from sweeps.tracking.tracker import Tracker

SWEEP = "grid"
KEYS = tuple(f"{n:016x}" for n in range(4))
LOGGED = ("pretrain/loss", "pretrain/grad_norm", "pretrain/lr", "pretrain/validation_loss", "pretrain/seconds")
AT_THE_END = {"validation/ua", "validation/wa", "validation/macro_f1", "interim/ua"} | {
    f"validation_by_fold/{name}" for name in ("ua", "wa", "macro_f1")
}
FILES = {"record.json", "predictions.parquet", "mask_example.npz", "confusion.png", "masks.png", "reconstruction.png"}


class FullDiskTracker(Tracker):
    """A tracker whose disk can be filled, as SQLite sees it."""

    def room(self, pages: int) -> None:
        self._opened()[0].query(f"PRAGMA max_page_count = {pages}")


def plan(workspace: Workspace) -> None:
    """Write the plan of a launched sweep, as far as tracking reads it."""
    path = workspace.sweep(SWEEP) / "plan.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"definition": {"name": SWEEP, "note": "x" * 9000}}))


def registration(key: str, *, to_run: bool = True) -> Registration:
    seed = str(int(key, 16))
    return Registration(
        trial_key=key, name=f"ems seed {seed}", params={"seed": seed}, tags={"arm": "ems"}, to_run=to_run
    )


def values(key: str, step: int) -> dict[str, float]:
    """What trial `key` logs at `step`."""
    return {name: math.exp(-step / 1000) + int(key, 16) + place for place, name in enumerate(LOGGED)}


def leave_record(workspace: Workspace, key: str, *, status: str = "complete") -> Record:
    """Write what a trial leaves: record, and if complete predictions and examples for its pictures."""
    complete = status == "complete"
    scores = {"ua": 0.5, "wa": 0.5, "macro_f1": 0.5}
    record = Record(
        trial_key=key,
        status=status,
        reason=None if complete else f"{status} at step 7",
        system="ems",
        upstream="mockingjay",
        arm="ems",
        arm_key="a" * 16,
        twin_key=None,
        seed=int(key, 16),
        corpus=CorpusEntry(
            name="demo", fingerprint="f", utterances=4, quarantined={}, classes=("ang", "sad"), incomplete=None
        ),
        protocol=ProtocolEntry(
            folds="leave-one-session-out", n_folds=1, validation="next-fold", pretraining_audio="fold",
            pretraining_corpus="demo", transductive=False, leaks=(),
        ),
        config={},
        metrics=MetricsEntry(
            folds=(FoldMetrics(fold="1", split="validation", n=4, ua=0.5, wa=0.5, macro_f1=0.5),),
            mean={"validation": scores, "test": scores},
            pooled={"validation": scores, "test": scores},
        ) if complete else None,
        interim=(InterimEntry(step=4, ua={"1": 0.4}),),
        cost=CostEntry(steps=10, frames=100, left_out=0, device_seconds=1.0),
        provenance=ProvenanceEntry(commit="c", dirty=False, packages={}, hardware="h", started="s", ended="e"),
    )  # fmt: skip
    folder = workspace.trial(key)
    folder.mkdir(parents=True, exist_ok=True)
    predictions = None
    if complete:
        mask_T, fbank_TM = np.arange(60) % 20 < 7, np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
        rest = {
            "intensity": np.linspace(0, 1, 60, dtype=np.float32), "mask": mask_T, "hop_ms": 10.0, "utterance": "u",
            "upstream": "mockingjay",
        }  # fmt: skip
        np.savez(folder / MASK_EXAMPLE, fbank=fbank_TM, **rest)
        np.savez(folder / RECONSTRUCTION, clean=fbank_TM, seen=fbank_TM * ~mask_T[:, None], rebuilt=fbank_TM, **rest)
        predictions = pd.DataFrame(
            {
                "utterance": ["u1", "u2", "u3", "u4"], "split": "validation", "label": ["ang", "ang", "sad", "sad"],
                "predicted": ["ang", "sad", "sad", "sad"], "score_ang": 0.5, "score_sad": 0.5,
            }
        )  # fmt: skip
    write_record(folder, record, predictions)
    return record


def check_exactly_once(backend: str, *, steps: int, artifacts: Path) -> None:
    """In MLflow's own tables: one run per trial, ended and whole, each point once, and no other.

    Args:
        backend: SQLAlchemy address of MLflow's tables.
        artifacts: where MLflow keeps the files.
    """
    engine = sqlalchemy.create_engine(backend)
    with engine.connect() as database:
        runs = database.execute(
            sqlalchemy.text(
                "SELECT t.value, r.run_uuid, r.status FROM runs r JOIN tags t ON r.run_uuid = t.run_uuid"
                " WHERE t.key IN ('emsweep.trial_key', 'emsweep.sweep') AND r.lifecycle_stage = 'active'"
            )
        ).fetchall()
        running = database.execute(sqlalchemy.text("SELECT count(*) FROM runs WHERE status = 'RUNNING'")).scalar()
        points = database.execute(sqlalchemy.text("SELECT run_uuid, key, step, value FROM metrics")).fetchall()
    engine.dispose()
    assert sorted(key for key, _, _ in runs) == sorted((*KEYS, SWEEP))
    assert {status for _, _, status in runs} == {"FINISHED"}
    assert running == 0
    keys = {run: key for key, run, _ in runs}
    doubled = [
        point for point, times in Counter((run, name, step) for run, name, step, _ in points).items() if times > 1
    ]
    assert doubled == []
    arrived = {(keys[run], name, step): value for run, name, step, value in points if name in LOGGED}
    assert arrived == {
        (key, name, step): value for key in KEYS for step in range(steps) for name, value in values(key, step).items()
    }
    for key, run, _ in runs:
        if key != SWEEP:
            assert {name for owner, name, _, _ in points if owner == run} - set(LOGGED) == AT_THE_END
            assert {path.name for path in artifacts.glob(f"**/{run}/artifacts/*")} == FILES
