"""A launched sweep of two tiny arms that really ran, with its report: what `sweep export` starts from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from analysis.content import gather
from analysis.export import csv_text, json_text
from analysis.load import load_sweep, open_test
from analysis.openings import record_opening
from core.records import Record, read_record
from core.store import Workspace
from core.trial import run_trial
from sweeps.tracking.entries import Registration
from sweeps.tracking.filling import finish, uploader_for
from sweeps.tracking.journal import Journal
from tests.core.tiny_trial import tiny_trial

SWEEP = "tiny"
ARM, TWIN = "ems r0.3 s5 t0.5", "random r0.3 s5"


def run_tiny_sweep(folder: Path) -> Workspace:
    """The arm under two seeds, its twin under one; the corpus lies in `folder`, the workspace below it."""
    workspace = Workspace.at(folder / "workspace")
    random = {"masking": {"policy": "random", "temperature": None}}
    settings = ({"seed": 4}, {"seed": 5}, {"seed": 4, **random})
    records = [run_trial(tiny_trial(folder, each), workspace) for each in settings]
    trials = [
        {
            "trial_key": record.trial_key, "arm": record.arm, "arm_key": record.arm_key, "twin_key": record.twin_key,
            "seed": record.seed, "axes": {}, "control": "none", "upstream": record.upstream,
        }
        for record in records
    ]  # fmt: skip
    plan = {"schema_version": 2, "sweep": SWEEP, "trials": trials, "definition": {"name": SWEEP}, "contrasts": []}
    path = workspace.sweep(SWEEP) / "plan.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(plan))
    _report(workspace, path)
    return workspace


def _report(workspace: Workspace, plan_path: Path) -> None:
    """What `sweep report` writes for programs; without the pages and figures, which take most of its time."""
    sweep = load_sweep(plan_path=plan_path, trials_root=workspace.root / "trials")
    opening = record_opening(plan_path.with_name("openings.jsonl"), by="a test", trials=3)
    report = gather(sweep, open_test(sweep), opening=opening)
    folder = plan_path.with_name("report")
    folder.mkdir()
    (folder / "report.json").write_text(json_text(report.as_json()), encoding="utf-8")
    (folder / "results.csv").write_text(csv_text(report.results), encoding="utf-8")
    (folder / "comparisons.csv").write_text(csv_text(report.comparisons), encoding="utf-8")


def records_of(workspace: Workspace) -> dict[str, Record]:
    found = [read_record(path) for path in sorted((workspace.root / "trials").iterdir())]
    return {record.trial_key: record for record in found if record is not None}


def upload(workspace: Workspace, tables: Path | None) -> None:
    """Everything the sweep's tracker would have sent; `tables` are the workspace's, None: a server has them."""
    if tables is not None:
        shutil.copy(tables, workspace.root / "mlflow.db")
    journal = Journal(workspace.sweep(SWEEP) / "journal.db")
    for key, record in records_of(workspace).items():
        journal.register(Registration(trial_key=key, name=key, params={}, tags={}))
        finish(journal, workspace, record)
    assert uploader_for(SWEEP, workspace).sync_once().artifacts == 0
    journal.close()
