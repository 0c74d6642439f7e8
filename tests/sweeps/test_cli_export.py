"""`sweep export` and `sweep predict` as their users call them."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile
from click.testing import CliRunner, Result

from core.exported import load_package
from core.packaging import choose
from core.store import Workspace
from sweeps.cli import SweepGroup
from sweeps.cli_export import export, predict
from sweeps.tracking.experiment import prepare_database
from tests.sweeps.tiny_sweep import ARM, SWEEP, TWIN, records_of, run_tiny_sweep, upload
from tests.sweeps.tracking.servers import MlflowServer

COMMANDS = SweepGroup(commands={"export": export, "predict": predict})
CELL = f"{SWEEP}:{ARM}"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return run_tiny_sweep(tmp_path_factory.mktemp("tiny-sweep"))


@pytest.fixture(scope="module")
def model(original: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder that tests only read."""
    out = tmp_path_factory.mktemp("exported") / "model"
    done(0, "export", CELL, "--out", out, "--no-register", "--workspace", original.root)
    return out


@pytest.fixture
def workspace(original: Workspace, tmp_path: Path) -> Workspace:
    """A copy that a test may change; the corpus stays where it is."""
    shutil.copytree(original.root, tmp_path / "workspace")
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def sweep(*arguments: object) -> Result:
    result = CliRunner().invoke(COMMANDS, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def done(code: int, *arguments: object) -> Result:
    result = sweep(*arguments)
    assert result.exit_code == code, result.output
    return result


def refused(*arguments: object) -> str:
    """The one line of the error, after what was said of the progress."""
    said = done(2, *arguments).stderr.splitlines(keepends=True)
    assert [line for line in said if line.startswith("error: ")] == said[-1:]
    return said[-1].removeprefix("error: ")


def corpus(workspace: Workspace) -> Path:
    return Path(str(next(iter(records_of(workspace).values())).config["corpus"]["root"])).parent


def test_the_exported_model_says_what_the_record_says(original, model, tmp_path):
    config = load_package(model).config
    best = choose([record for record in records_of(original).values() if record.arm == ARM])
    assert (config.trial_key, config.seed, config.fold) == (best.record.trial_key, best.record.seed, best.fold)
    rows = pd.read_parquet(original.trial(config.trial_key) / "predictions.parquet")
    rows = rows[(rows["fold"] == config.fold) & (rows["split"] == "test")].sort_values("utterance")
    files = [corpus(original) / f"{name}.wav" for name in rows["utterance"]]
    shown = json.loads(done(0, "predict", model, *files, "--json").stdout)
    assert [row["predicted"] for row in shown["rows"]] == rows["predicted"].tolist()
    for name in config.outputs:
        assert [row[f"score_{name}"] for row in shown["rows"]] == pytest.approx(
            rows[f"score_{name}"].tolist(), abs=1e-6
        )


def test_the_card_has_the_reports_numbers(original, model):
    card = (model / "README.md").read_text()
    results = pd.read_csv(original.sweep(SWEEP) / "report" / "results.csv").set_index("arm").loc[ARM]
    for column, name in (("ua", "UA"), ("wa", "WA"), ("f1", "macro F1")):
        mean, sd = 100 * results[f"{column}_mean"], 100 * results[f"{column}_sd"]
        assert f"| {name} | {mean:.1f} ± {sd:.1f} % |" in card
    compared = pd.read_csv(original.sweep(SWEEP) / "report" / "comparisons.csv")
    row = compared[(compared["arm"] == ARM) & (compared["metric"] == "ua")].iloc[0]
    # Three speakers are too few for an interval, and the card says so as the report does.
    points = f"{100 * row['difference']:+.1f}".replace("-", "−")
    assert f"| UA − `{TWIN}` | {points} points, 95 % interval – (3 pairs, p = " in card
    record = records_of(original)[load_package(model).config.trial_key]
    for fact in (record.trial_key, record.corpus.fingerprint, "leave-one-speaker-out", "8 utterances of 1 speaker: "):
        assert fact in card
    assert "imported intensity scores: what their model was trained on cannot be checked" in card
    assert "this program knows nothing of its terms" in card
    assert str(original.root) not in card


def test_export_says_what_it_chose_and_refuses_a_folder_that_is_there(original, tmp_path):
    out = tmp_path / "deep" / "model"
    arguments = ("export", CELL, "--out", out, "--no-register", "--workspace", original.root)
    said = json.loads(done(0, *arguments, "--json").stdout)
    assert (said["out"], said["registered"], said["model"]["arm"]) == (str(out), None, ARM)
    assert said["checked"]["utterances"] == 16
    assert said["checked"]["largest_difference"] < 1e-6
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(before) == {"README.md", "config.json", "model.safetensors"}
    assert refused(*arguments) == f"--out {out}: is there already; name a folder that is not\n"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    # The same bytes, wherever and whenever.
    done(0, "export", CELL, "--out", tmp_path / "again", "--no-register", "--workspace", original.root)
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == before


def test_what_cannot_be_exported_leaves_nothing(workspace, tmp_path):
    out = tmp_path / "out" / "model"
    tail = ("--out", out, "--workspace", workspace.root)
    assert "write it first: sweep report never" in refused("export", "never:x", *tail)
    assert f"with ARM one of {ARM}, {TWIN}" in refused("export", f"{SWEEP}:x", *tail)
    assert "SWEEP:ARM is wanted, without a column" in refused("export", f"{CELL}:wa", *tail)
    # Asked before the work begins.
    assert "has no run in the MLflow at sqlite:" in refused("export", CELL, *tail)
    assert not (workspace.root / "mlflow.db").exists()
    (tmp_path / "file").touch()
    assert "cannot be written" in refused("export", CELL, *tail[2:], "--no-register", "--out", tmp_path / "file" / "m")
    key = choose([record for record in records_of(workspace).values() if record.arm == ARM]).record.trial_key
    predictions = workspace.trial(key) / "predictions.parquet"
    rows = pd.read_parquet(predictions)
    rows["score_calm"] += 0.01
    rows.to_parquet(predictions, index=False)
    assert "gives other scores than its predictions.parquet" in refused("export", CELL, *tail, "--no-register")
    assert not out.parent.exists()


def test_frames_as_csv_json_and_table(model, original, tmp_path):
    files = [corpus(original) / f"{name}.wav" for name in ("anna-angry-0", "ben-calm-1")]
    out = tmp_path / "frames.csv"
    done(0, "predict", model, *files, "--frames", "--csv", out)
    with out.open(newline="") as text:
        written: list[dict[str, Any]] = list(csv.DictReader(text))
    shown = json.loads(done(0, "predict", model, *files, "--frames", "--json").stdout)["rows"]
    assert [{name: str(value) for name, value in row.items()} for row in shown] == written
    whole = json.loads(done(0, "predict", model, *files, "--json").stdout)["rows"]
    for file, row in zip(files, whole, strict=True):
        own = [each for each in shown if each["file"] == str(file)]
        assert [each["start_s"] for each in own[:3]] == [0.0, 0.02, 0.04]
        assert all(a["end_s"] == b["start_s"] for a, b in pairwise(own))
        assert own[-1]["end_s"] <= row["duration_s"] == 0.6
        for name in ("angry", "calm"):
            mean = sum(each[f"value_{name}"] for each in own) / len(own)
            assert mean == pytest.approx(row[f"value_{name}"], abs=1e-5)
    table = done(0, "predict", model, *files).stdout.splitlines()
    assert table[0].split() == ["file", "duration_s", "predicted", "angry", "calm"]
    assert [line.split()[2] for line in table[1:]] == [row["predicted"] for row in whole]


def test_a_model_of_whole_recordings_has_no_frames(model, original, tmp_path):
    whole = tmp_path / "whole"
    shutil.copytree(model, whole)
    content = json.loads((whole / "config.json").read_text())
    (whole / "config.json").write_text(json.dumps(content | {"hop_s": None}))
    good = corpus(original) / "anna-angry-0.wav"
    assert refused("predict", whole, good, "--frames").endswith("(ems) scores whole recordings only\n")
    done(0, "predict", whole, good)


def test_bad_files_and_exit_codes(model, original, tmp_path):
    good = corpus(original) / "anna-angry-0.wav"
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    mixed = done(3, "predict", model, bad, good, tmp_path / "absent.wav")
    assert mixed.stdout.count("\n") == 2
    assert mixed.stderr.splitlines()[1] == f"error: {tmp_path / 'absent.wav'}: no such file"
    assert mixed.stderr.splitlines()[0].startswith(f"error: {bad}: cannot be decoded (")
    listed = json.loads(done(3, "predict", model, bad, good, "--json").stdout)
    assert [row["file"] for row in listed["rows"]] == [str(good)]
    assert [row["file"] for row in listed["unusable"]] == [str(bad)]
    assert done(1, "predict", model, bad).stdout == ""
    assert "no exported model" in refused("predict", tmp_path, good)
    assert "cannot be written" in refused("predict", model, good, "--csv", bad / "out.csv")
    assert done(2, "predict", model, good, "--json", "--csv", tmp_path / "x.csv").stdout == ""
    done(2, "predict", model)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.wav"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: the migrations take seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    prepare_database(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def check_registry(workspace: Workspace, uri: str, tmp_path: Path) -> None:
    """One version that belongs to the trial's run, with the files of the folder; the same weights make no second."""
    from mlflow import MlflowClient, artifacts

    tail = ("--workspace", workspace.root, "--json")
    said = json.loads(done(0, "export", CELL, "--out", tmp_path / "one", *tail).stdout)
    again = json.loads(done(0, "export", CELL, "--out", tmp_path / "two", *tail).stdout)
    assert (said["registered"]["made"], again["registered"]["made"]) == (True, False)
    client = MlflowClient(uri)
    (version,) = client.search_model_versions(f"name = '{SWEEP} {ARM}'")
    assert (str(version.version), version.status) == ("1", "READY")
    run = client.get_run(version.run_id)
    assert run.data.tags["emsweep.trial_key"] == said["model"]["trial_key"]
    assert version.tags["emsweep.weights"] == said["weights_sha256"]
    assert version.tags["emsweep.fold"] == said["model"]["fold"]
    assert version.description == (tmp_path / "one" / "README.md").read_text()[:5000]
    fetched = Path(artifacts.download_artifacts(f"models:/{version.name}/1", dst_path=str(tmp_path)))
    had = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert {path.name: path.read_bytes() for path in fetched.iterdir() if path.name in had} == had
    soundfile.write(tmp_path / "a.wav", [0.1, -0.1] * 4000, 16_000)
    assert (
        done(0, "predict", fetched, tmp_path / "a.wav").stdout
        == done(0, "predict", tmp_path / "one", tmp_path / "a.wav").stdout
    )
    # Another model of the same arm is its next version.
    json_path = workspace.sweep(SWEEP) / "report" / "report.json"
    report = json.loads(json_path.read_text())
    (row,) = (row for row in report["results"] if row["arm"] == ARM)
    row["trials"] = [trial for trial in row["trials"] if trial["trial_key"] != said["model"]["trial_key"]]
    json_path.write_text(json.dumps(report))
    other = json.loads(done(0, "export", CELL, "--out", tmp_path / "three", *tail).stdout)
    assert (other["registered"]["version"], other["registered"]["made"]) == ("2", True)
    assert other["model"]["trial_key"] != said["model"]["trial_key"]


@pytest.mark.slow
def test_the_registry_of_a_database(workspace, tables, tmp_path, monkeypatch):
    upload(workspace, tables)
    uri = f"sqlite:///{workspace.root / 'mlflow.db'}"
    # For MLflow's own download, which asks the environment; `sweep` finds the workspace's.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    check_registry(workspace, uri, tmp_path)


@pytest.mark.slow
def test_the_registry_of_a_server_and_nothing_without_it(workspace, tmp_path, monkeypatch):
    server = MlflowServer(tmp_path)
    server.start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        upload(workspace, None)
        check_registry(workspace, server.uri, tmp_path)
    finally:
        server.close()
    said = refused("export", CELL, "--out", tmp_path / "four", "--workspace", workspace.root)
    assert said.startswith("MLflow, looking for the run of trial ")
    assert not (tmp_path / "four").exists()
