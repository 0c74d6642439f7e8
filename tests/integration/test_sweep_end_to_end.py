"""The main job on the demo corpus through real Ray, MLflow and SQLite: launch, again, report."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.runs import TINY, overrides, records, sweep

LAUNCH = [
    "launch", "ems_grid", "--yes", "--no-estimate",
    *overrides("axes.masking.ratio=[0.2]", "axes.masking.temperature=[0.3,1.0]", "axes.masking.span=[7]"),
    *overrides("seeds=[0,1]", *TINY),
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    workspace = tmp_path_factory.mktemp("sweep") / "workspace"
    return workspace, sweep(workspace, *LAUNCH)


@pytest.mark.slow
def test_a_grid_runs_with_its_twins(finished):
    workspace, result = finished
    assert result.returncode == 0, result.stdout + result.stderr
    found = records(workspace)
    arms = {}
    for record in found.values():
        arms.setdefault(record["arm"], []).append(record["seed"])
    # Two temperatures share one twin: 2 arms + 1 twin, two seeds each.
    assert {arm: sorted(seeds) for arm, seeds in arms.items()} == {
        "ems r0.2 s7 t0.3": [0, 1], "ems r0.2 s7 t1": [0, 1], "random r0.2 s7": [0, 1],
    }  # fmt: skip
    by_arm = {(record["arm"], record["seed"]): record for record in found.values()}
    twin = by_arm["random r0.2 s7", 0]
    for temperature in ("0.3", "1"):
        arm = by_arm[f"ems r0.2 s7 t{temperature}", 0]
        assert arm["twin_key"] == twin["arm_key"]
        assert arm["mask"]["hidden_frames"] == twin["mask"]["hidden_frames"]
        assert arm["mask"]["intensity_z"] > twin["mask"]["intensity_z"] + 0.1
        assert arm["cost"] == twin["cost"]
    assert twin["mask"]["realised_ratio"] == pytest.approx(0.2, abs=0.02)


@pytest.mark.slow
def test_every_trial_has_its_predictions_and_metrics(finished):
    workspace, _ = finished
    for key, record in records(workspace).items():
        predictions = pd.read_parquet(workspace / "trials" / key / "predictions.parquet")
        test = predictions[predictions["split"] == "test"]
        assert len(test) == test["utterance"].nunique() == record["corpus"]["utterances"]
        assert len(record["metrics"]["folds"]) == 2 * record["protocol"]["n_folds"] == 6
        assert record["protocol"]["leaks"] == []
        accuracy = (test["label"] == test["predicted"]).mean()
        assert record["metrics"]["pooled"]["test"]["wa"] == pytest.approx(accuracy)


@pytest.mark.slow
def test_mlflow_has_one_finished_run_per_trial(finished):
    workspace, _ = finished
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ems_grid")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert len(runs) == 7
    assert {run.info.status for run in runs} == {"FINISHED"}
    keys = [run.data.tags.get("emsweep.trial_key") for run in runs]
    assert sorted(key for key in keys if key) == sorted(records(workspace))
    for run in runs:
        if run.data.tags.get("emsweep.trial_key"):
            record = records(workspace)[run.data.tags["emsweep.trial_key"]]
            assert run.data.metrics["held_out/loss"] == record["pretraining"]["validation_loss"]
            assert run.data.metrics["held_out/loss_q4"] == record["pretraining"]["validation_by_quartile"][3]
            curve = client.get_metric_history(run.info.run_id, "pretrain/loss/fold1")
            assert [point.step for point in curve] == [4, 8, 12]
            names = {item.path for item in client.list_artifacts(run.info.run_id)}
            assert {"record.json", "predictions.parquet", "confusion.png", "masks.png", "reconstruction.png"} <= names
            quarters = [
                client.get_metric_history(run.info.run_id, f"pretrain/validation_loss_q{q}/fold1") for q in (1, 4)
            ]
            assert [[point.step for point in history] for history in quarters] == [[4, 8, 12]] * 2


@pytest.mark.slow
def test_launching_again_runs_nothing_and_the_report_has_every_cell(finished):
    workspace, _ = finished
    stamps = {path: path.stat().st_mtime_ns for path in workspace.glob("trials/*/record.json")}
    again = sweep(workspace, *LAUNCH)
    assert again.returncode == 0
    assert "6 trials, 0 to run" in again.stdout
    assert stamps == {path: path.stat().st_mtime_ns for path in workspace.glob("trials/*/record.json")}
    report = sweep(workspace, "report", "ems_grid", "--json")
    assert report.returncode == 0, report.stderr
    results = pd.read_csv(workspace / "sweeps" / "ems_grid" / "report" / "results.csv")
    assert (results["n_trials"] == 2).all()
    assert len(results) == 3
    assert (workspace / "sweeps" / "ems_grid" / "report" / "index.html").stat().st_size > 10_000


@pytest.mark.slow
def test_a_dead_mlflow_changes_nothing_and_is_said(finished):
    workspace, _ = finished
    before = records(workspace)
    dead = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    result = sweep(workspace, *LAUNCH, environment=dead)
    assert result.returncode == 0
    assert "later: sweep sync ems_grid" in result.stderr
    assert records(workspace) == before
    unsent = sweep(workspace, "sync", "ems_grid", environment=dead)
    assert unsent.returncode == 2
    assert "127.0.0.1:9" in unsent.stderr


@pytest.mark.slow
def test_a_diverging_arm_fails_with_its_reason_and_the_others_go_on(finished):
    workspace, _ = finished
    arguments = [
        *LAUNCH,
        "-o",
        "axes.masking.temperature=[0.3]",
        "-o",
        "seeds=[0]",
        "-o",
        "axes.pretrain.lr=[0.002,1e30]",
    ]
    result = sweep(workspace, *arguments)
    assert result.returncode == 3, result.stdout + result.stderr
    found = {record["arm"]: record for record in records(workspace).values() if record["status"] == "failed"}
    assert set(found) == {"ems r0.2 s7 t0.3 pretrain.lr=1e+30", "random r0.2 s7 pretrain.lr=1e+30"}
    for record in found.values():
        assert record["reason"].startswith("NonFiniteLossError: pretrain: loss is")
    report = sweep(workspace, "report", "ems_grid")
    assert "NonFiniteLossError" in (workspace / "sweeps" / "ems_grid" / "report" / "index.html").read_text()
    assert "0/1" in report.stdout
    assert sweep(workspace, "sync", "ems_grid").returncode == 0, "an edited definition must not block the upload"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["launch", "ems_gird"], "no sweep 'ems_gird'"),
        (["launch", "ems_grid", "-o", "masking.rato=1"], "the nearest is 'masking.ratio'"),
        (["launch", "ems_grid", "-o", "axes.masking.ratio=[1.2]"], "should be less than 1 (got 1.2)"),
        (["report", "never"], "never"),
        (["sync", "never"], "sweep 'never': not launched"),
        (["corpus", "check", "iemocap", "--root", "nowhere"], "no IEMOCAP here"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, arguments, message):
    result = sweep(tmp_path / "workspace", *arguments)
    assert result.returncode == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]


@pytest.mark.slow
def test_what_no_node_can_give_is_refused_before_anything_is_written(tmp_path):
    workspace = tmp_path / "workspace"
    result = sweep(workspace, "launch", "ems_grid", "--yes", "--address", "127.0.0.1:9")
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: --address 127.0.0.1:9: nothing answers there")
    assert not (workspace / "sweeps").exists()
