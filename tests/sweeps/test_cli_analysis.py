"""`sweep report` and `sweep import` as their users call them: one sweep, several, and from MLflow alone."""

from __future__ import annotations

import json
import math
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from core.records import read_record
from core.store import Workspace
from sweeps.cli import SweepGroup
from sweeps.cli_analysis import _sources, import_command, report
from sweeps.tracking.curves import fetch_curves, read_curves
from sweeps.tracking.entries import Registration
from sweeps.tracking.experiment import prepare_database
from sweeps.tracking.filling import finish, uploader_for
from sweeps.tracking.journal import Journal
from sweeps.tracking.links import run_pages, shown_by
from sweeps.tracking.retrieval import retrieve_sweep
from tests.analysis.synthetic_sweep import SyntheticArm, SyntheticSweep
from tests.sweeps.tracking.servers import MlflowServer

COMMANDS = SweepGroup(commands={"report": report, "import": import_command})
TWIN = SyntheticArm(key="random", name="random r0.15 s7")
ARM = SyntheticArm(key="ems", name="ems r0.15 s7 t1", twin_key="random", recall=0.7, temperature=1.0)
SWEEP = "synthetic"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: the migrations take seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    prepare_database(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def sweep(*arguments: object) -> Result:
    result = CliRunner().invoke(COMMANDS, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def done(*arguments: object) -> dict[str, object]:
    result = sweep(*arguments, "--json")
    assert result.exit_code == 0, result.output
    content: dict[str, object] = json.loads(result.stdout)
    return content


def written(root: Path) -> SyntheticSweep:
    """Two arms of three seeds; one trial failed, one has no record."""
    outcomes = {("ems", 1): "failed", ("random", 2): "missing"}
    return SyntheticSweep(root=root, arms=(TWIN, ARM), outcomes=outcomes).write()


def other_system(made: SyntheticSweep, path: Path) -> Path:
    rows = made.predictions(SyntheticArm(key="other", name="other"), 0)
    rows[rows["split"] == "test"].drop(columns=["split", "session"]).to_csv(path, index=False)
    return path


CURVES = ("pretrain/loss", "pretrain/validation_loss")
LOSSES = (0.1 + 0.2, 1 / 3, math.nan, math.inf, -math.inf)
"""What a trial may log, and what is hard to carry bit for bit."""


def upload(root: Path, tables: Path | None) -> Workspace:
    """Everything the sweep's tracker would have sent, curves too; `tables` are the workspace's, None: a server's."""
    workspace = Workspace.at(root)
    if tables is not None:
        shutil.copy(tables, root / "mlflow.db")
    journal = Journal(workspace.sweep(SWEEP) / "journal.db")
    for trial in json.loads((workspace.sweep(SWEEP) / "plan.json").read_text())["trials"]:
        key = trial["trial_key"]
        journal.register(Registration(trial_key=key, name=key, params={}, tags={}))
        if (record := read_record(workspace.trial(key))) is not None:
            for place, loss in enumerate(LOSSES):
                values = {"pretrain/loss": loss, "pretrain/validation_loss": record.seed + place / 7, "probe/loss": 1.0}
                journal.log(key, values, step=50 * (place + 1))
            finish(journal, workspace, record)
    backlog = uploader_for(SWEEP, workspace).sync_once()
    assert (backlog.artifacts, backlog.metrics) == (0, 0)
    journal.close()
    return workspace


def files(folder: Path, content: dict[str, object]) -> dict[str, bytes]:
    """The report folder; what an opening says of itself blanked out."""
    opening = content["opening"]
    assert isinstance(opening, dict)
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        text = path.read_bytes().replace(opening["at"].encode(), b"AT")
        found[path.relative_to(folder).as_posix()] = text.replace(opening["by"].encode(), b"BY")
    return found


@pytest.mark.slow
def test_import_and_report(tmp_path):
    made = written(tmp_path / "w")
    csv = other_system(made, tmp_path / "wav2vec2.csv")
    arguments = ("import", csv, "--name", "wav2vec2", "--workspace", made.root)
    said = sweep(*arguments, "--against", "all")
    assert said.exit_code == 0, said.output
    assert said.stdout.startswith("wav2vec2: 360 utterances in 5 folds, as sweep synthetic was tested\nnext: ")
    shown = sweep("report", SWEEP, "--workspace", made.root)
    assert shown.exit_code == 0
    assert "wav2vec2" in shown.stdout
    again = sweep(*arguments)
    assert (again.exit_code, again.stderr.count("\n")) == (2, 1)
    found = done(*arguments, "--replace", "--sweep", SWEEP)
    assert found == {
        "name": "wav2vec2", "sweep": SWEEP, "runs": None, "utterances": 360, "folds": 5, "against": []
    }  # fmt: skip


def test_import_asks_for_the_sweep_where_there_are_several(tmp_path):
    made = written(tmp_path / "w")
    csv = other_system(made, tmp_path / "other.csv")
    shutil.copytree(made.plan_path.parent, made.root / "sweeps" / "second")
    refused = sweep("import", csv, "--name", "x", "--workspace", made.root)
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: --sweep: needed, ")
    assert refused.stderr.endswith("holds second, synthetic\n")


@pytest.mark.slow
def test_two_sweeps_in_one_report(tmp_path):
    made = written(tmp_path / "w")
    plan = json.loads(made.plan_path.read_text())
    second = made.root / "sweeps" / "second"
    second.mkdir()
    kept = [trial for trial in plan["trials"] if trial["arm_key"] == "random"]
    (second / "plan.json").write_text(json.dumps(plan | {"sweep": "second", "trials": kept}))
    csv = other_system(made, tmp_path / "other.csv")
    assert sweep("import", csv, "--name", "other", "--sweep", "second", "--workspace", made.root).exit_code == 0
    alone = done("report", SWEEP, "--workspace", made.root)
    both = done("report", SWEEP, "second", "--workspace", made.root)
    assert Path(str(both["out"])) == made.root / "joined" / "synthetic+second" / "report"
    names = [row["arm"] for row in both["results"]]  # type: ignore[attr-defined]
    assert names == [TWIN.name, ARM.name, "other"]
    assert both["comparisons"] == alone["comparisons"]
    opening = both["opening"]
    assert isinstance(opening, dict)
    assert (opening["number"], opening["sweeps"], opening["by"]) == (
        2, {"synthetic": 2, "second": 1}, "sweep report synthetic second"
    )  # fmt: skip
    assert not (made.root / "sweeps" / "synthetic+second").exists()
    page = (made.root / "joined" / "synthetic+second" / "report" / "index.html").read_text(encoding="utf-8")
    assert "Test read 2 times for synthetic and 1 time for second." in page
    assert "Readings of the test part so far: 2 (synthetic), 1 (second)." in page


@pytest.mark.slow
def test_what_comes_back_from_mlflow_is_what_the_workspace_had(tmp_path, tables):
    made = written(tmp_path / "w")
    csv = other_system(made, tmp_path / "other.csv")
    assert sweep("import", csv, "--name", "other", "--workspace", made.root).exit_code == 0
    upload(made.root, tables)
    found = retrieve_sweep(SWEEP, tmp_path / "back", uri=f"sqlite:///{made.root / 'mlflow.db'}")
    assert set(found.runs) == {"random-0", "random-1", "ems-0", "ems-1", "ems-2"}, "that of the failed one too"
    assert found.plan_path == tmp_path / "back" / "sweeps" / SWEEP / "plan.json"
    had = {path: content for path, content in tree(made.root).items() if "journal" not in path and "/." not in path}
    back = tree(tmp_path / "back")
    assert back == {path: had[path] for path in had if path.startswith(("sweeps/", "trials/"))}
    assert sum(path.endswith("predictions.parquet") for path in back) == 5
    curves = fetch_curves(f"sqlite:///{made.root / 'mlflow.db'}", CURVES, runs=found.runs)
    here = read_curves(made.root / "sweeps" / SWEEP / "journal.db", CURVES, trials=found.runs)
    assert len(here) == len(CURVES) * len(LOSSES) * len(found.runs)
    pd.testing.assert_frame_equal(curves, here, check_exact=True)


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_from_mlflow_the_same_report_byte_for_byte(tmp_path, tables, monkeypatch):
    made = written(tmp_path / "w")
    csv = other_system(made, tmp_path / "other.csv")
    assert sweep("import", csv, "--name", "other", "--against", "all", "--workspace", made.root).exit_code == 0
    upload(made.root, tables)
    first = done("report", SWEEP, "--workspace", made.root, "--out", tmp_path / "first")
    shutil.rmtree(made.root / "trials")
    shutil.rmtree(made.root / "sweeps")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{made.root / 'mlflow.db'}")
    elsewhere = tmp_path / "elsewhere"
    arguments = ("report", SWEEP, "--from", "mlflow", "--workspace", elsewhere, "--out", tmp_path / "second")
    second = done(*arguments)
    assert files(tmp_path / "first", first) == files(tmp_path / "second", second)
    check_links(second, tmp_path / "second", address="http://127.0.0.1:5000")
    log = elsewhere / "sweeps" / SWEEP / "openings.jsonl"
    assert [json.loads(line)["by"] for line in log.read_text().splitlines()] == ["sweep report --from mlflow"]
    assert done(*arguments)["opening"]["number"] == 2  # type: ignore[index]
    check_counted(2)


def check_links(content: dict[str, object], folder: Path, *, address: str) -> None:
    """Each trial that MLflow has leads to its run there, on the page and in `report.json`; the curves came too."""
    from mlflow import MlflowClient

    client = MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name(SWEEP).experiment_id])
    tagged = {run.data.tags.get("emsweep.trial_key"): run.info.run_id for run in runs}
    trials = [trial for row in content["results"] for trial in row["trials"]]  # type: ignore[attr-defined]
    planned = {trial["trial_key"]: trial["run"] for trial in trials if not trial["trial_key"].startswith("import")}
    sent = {key: f"{address}/#/runs/{run}" for key, run in tagged.items() if key}
    assert planned == {"random-2": None} | sent
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'<code>([^<]+)</code> · <a href="([^"]+)">MLflow run</a>', page)) == set(sent.items())
    assert ("<code>sweep ui synthetic</code> is running" in page) is (address == "http://127.0.0.1:5000")
    learning = pd.read_csv(folder / "figures" / "learning.csv")
    assert set(learning["curve"]) == set(CURVES)
    assert set(learning["trial_key"]) == {"ems-0", "ems-2", "random-0", "random-1"}


def check_counted(times: int) -> None:
    """On the server too, whoever looked from wherever."""
    from mlflow import MlflowClient

    client = MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name(SWEEP).experiment_id], "tags.`emsweep.sweep` != ''")
    assert [run.data.tags["emsweep.openings_from_mlflow"] for run in runs] == [str(times)]


def test_from_mlflow_without_the_sweep_or_its_plan(tmp_path, tables):
    made = written(tmp_path / "w")
    upload(made.root, tables)
    arguments = ("--from", "mlflow", "--workspace", made.root)
    absent = sweep("report", "never", *arguments)
    assert absent.exit_code == 2
    assert "error: sweep 'never': MLflow at sqlite:" in absent.stderr
    next(made.root.glob("mlartifacts/**/plan.json")).unlink()
    old = sweep("report", SWEEP, *arguments)
    assert old.exit_code == 2
    assert old.stderr.endswith("has not got its plan; send it from its workspace: sweep sync synthetic\n")
    assert not (made.root / "sweeps" / SWEEP / "openings.jsonl").exists()


@pytest.mark.slow
def test_from_an_mlflow_server_over_http(tmp_path, monkeypatch):
    made = written(tmp_path / "w")
    server = MlflowServer(tmp_path)
    server.start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        upload(made.root, None)
        first = done("report", SWEEP, "--workspace", made.root, "--out", tmp_path / "first")
        shutil.rmtree(made.root)
        arguments = ("--from", "mlflow", "--workspace", tmp_path / "elsewhere", "--out", tmp_path / "second")
        second = done("report", SWEEP, *arguments)
        assert files(tmp_path / "first", first) == files(tmp_path / "second", second)
        check_links(second, tmp_path / "second", address=server.uri)
        check_counted(1)
    finally:
        server.close()
    gone = sweep("report", SWEEP, *arguments)
    assert gone.exit_code == 2
    assert gone.stderr.startswith("error: MLflow, looking for sweep 'synthetic': ")


def test_the_plan_reaches_mlflow_again_when_it_has_changed(tmp_path, tables):
    made = written(tmp_path / "w")
    workspace = upload(made.root, tables)
    sent = next(made.root.glob("mlartifacts/**/plan.json"))
    plan = json.loads(made.plan_path.read_text())
    made.plan_path.write_text(json.dumps(plan | {"definition": {"name": SWEEP, "description": "edited"}}))
    assert uploader_for(SWEEP, workspace).sync_once().artifacts == 0
    assert sent.read_bytes() == made.plan_path.read_bytes()
    before = pd.Timestamp(sent.stat().st_mtime_ns)
    uploader_for(SWEEP, workspace).sync_once()
    assert pd.Timestamp(sent.stat().st_mtime_ns) == before


def test_of_one_trial_in_two_sweeps_run_and_curve_count_once(tmp_path, tables):
    made = written(tmp_path / "w")
    workspace = upload(made.root, tables)
    shutil.copytree(workspace.sweep(SWEEP), workspace.sweep("second"))
    plan = json.loads((workspace.sweep("second") / "plan.json").read_text()) | {"sweep": "second"}
    (workspace.sweep("second") / "plan.json").write_text(json.dumps(plan))
    with _sources([SWEEP], Workspace.at(made.root), from_mlflow=False) as one:
        alone = one.logged
    with _sources([SWEEP, "second"], Workspace.at(made.root), from_mlflow=False) as both:
        assert both.logged.pages == alone.pages
        assert (alone.shown_by, both.logged.shown_by) == ("sweep ui synthetic", "sweep ui")
        assert alone.curves is not None
        assert both.logged.curves is not None
        wanted = ({"ems-0", "random-0"}, CURVES)
        pd.testing.assert_frame_equal(both.logged.curves(*wanted), alone.curves(*wanted))


@pytest.mark.parametrize(
    ("uri", "page", "command"),
    [
        ("https://user:secret@host/mlflow/", "https://host/mlflow/#/runs/abc", ""),
        ("sqlite:////w/mlflow.db", "http://127.0.0.1:5000/#/runs/abc", "sweep ui"),
        ("postgresql://me:secret@host/mlflow", "http://127.0.0.1:5000/#/runs/abc", "sweep ui"),
        ("databricks://profile", None, ""),
    ],
)
def test_the_address_of_a_run(uri, page, command):
    assert run_pages({"a": "abc"}, uri=uri) == ({"a": page} if page else {})
    assert shown_by(uri) == command
