"""Sweeps whose trials follow from results, through real Ray and Optuna: searched, stopped early, raced, edited."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import optuna
import pandas as pd
import pytest

from tests.integration.runs import TINY, command, overrides, records, sweep

pytestmark = pytest.mark.slow

SHARED = overrides(*TINY)
FIXED = overrides("axes.masking.ratio=[0.2]", "axes.masking.span=[7]")
RUN = ["--yes", "--no-estimate"]
SEARCH = ["launch", "ems_tpe", *RUN, *SHARED, *FIXED, *overrides("search.points=5", "search.batch=2")]


@pytest.fixture(scope="module")
def searched(fresh, tmp_path_factory) -> Path:
    workspace = fresh(tmp_path_factory.mktemp("search") / "workspace")
    result = sweep(workspace, *SEARCH)
    assert result.returncode == 0, result.stdout + result.stderr
    return workspace


def studied(workspace: Path, name: str) -> list[tuple[dict, str, float | None]]:
    """Parameters, state and value of each point, in the order in which they were suggested."""
    storage = f"sqlite:///{workspace}/sweeps/{name}/optuna.db"
    (study,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=study, storage=storage).trials
    return [(trial.params, trial.state.name, trial.value) for trial in trials]


def by_arm(workspace: Path) -> dict[str, dict[int, dict]]:
    found: dict[str, dict[int, dict]] = {}
    for record in records(workspace).values():
        found.setdefault(record["arm"], {})[record["seed"]] = record
    return found


def validation_ua(record: dict) -> float:
    folds = [fold["ua"] for fold in record["metrics"]["folds"] if fold["split"] == "validation"]
    return sum(folds) / len(folds)


def test_a_search_maximises_the_difference_on_validation_and_runs_each_twin_once(searched):
    points = studied(searched, "ems_tpe")
    assert len({params["masking.temperature"] for params, _, _ in points}) == 5
    arms = by_arm(searched)
    assert set(map(len, arms.values())) == {1}
    (twin,) = (seeds[0] for arm, seeds in arms.items() if arm.startswith("random"))
    differences = {
        seeds[0]["config"]["masking"]["temperature"]: validation_ua(seeds[0]) - validation_ua(twin)
        for arm, seeds in arms.items()
        if arm.startswith("ems")
    }
    assert {params["masking.temperature"]: value for params, _, value in points} == pytest.approx(differences)
    assert {state for _, state, _ in points} == {"COMPLETE"}


def test_a_search_whose_driver_is_killed_tries_the_same_points(searched, workspace):
    process = subprocess.Popen(
        command(workspace, *SEARCH), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=workspace.parent
    )
    deadline = time.monotonic() + 240
    # In its second batch.
    while len(records(workspace)) < 4:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    again = sweep(workspace, "resume", "ems_tpe", *RUN)
    assert again.returncode == 0, again.stdout + again.stderr
    assert studied(workspace, "ems_tpe") == studied(searched, "ems_tpe")
    assert records(workspace) == records(searched)


def test_early_stopping_spares_steps_and_accounts_for_both_sides_of_a_pair(workspace):
    settings = [*overrides("search.points=6", "search.batch=6"), *overrides("stop.first=8", "stop.factor=2")]
    result = sweep(
        workspace, "launch", "ems_asha", *RUN, *SHARED, *FIXED, *settings, *overrides("stop.probe_steps=40")
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    found = records(workspace).values()
    pruned = [record for record in found if record["status"] == "pruned"]
    (twin,) = (record for record in found if record["arm"].startswith("random"))
    # Of six arms, half at most go on at each look; which ones is the races' to say.
    assert 2 <= len(pruned) <= 5
    assert {record["status"] for record in found} == {"complete", "pruned"}
    assert (twin["status"], [look["step"] for look in twin["interim"]]) == ("complete", [8, 16, 32])
    for record in pruned:
        assert record["twin_key"] == twin["arm_key"]
        assert record["reason"].startswith("asha: difference ")
        assert record["interim"][-1]["step"] == record["cost"]["steps"] < twin["cost"]["steps"] == 36
    states = [state for _, state, _ in studied(workspace, "ems_asha")]
    assert sorted(states) == ["COMPLETE"] * (6 - len(pruned)) + ["PRUNED"] * len(pruned)
    status = json.loads(sweep(workspace, "status", "ems_asha", "--json").stdout)
    assert (status["counts"]["pruned"], status["counts"]["complete"]) == (len(pruned), 7 - len(pruned))
    again = sweep(workspace, "launch", "ems_asha", *RUN, *SHARED, *FIXED, *settings, *overrides("stop.probe_steps=40"))
    assert "7 trials so far, 0 to run" in again.stdout
    report = sweep(workspace, "report", "ems_asha")
    assert report.returncode == 0, report.stderr
    assert "asha: difference" in (workspace / "sweeps/ems_asha/report/index.html").read_text()


def test_a_race_gives_seeds_to_both_sides_until_it_is_decided(workspace):
    settings = overrides("axes.masking.temperature=[0.3]", "seeds=[0,1]", "racing.start=1")
    result = sweep(workspace, "launch", "ems_race", *RUN, *SHARED, "-o", "masking.ratio=0.2", *settings)
    assert result.returncode == 0, result.stdout + result.stderr
    arms = by_arm(workspace)
    (arm,) = (seeds for name, seeds in arms.items() if name.startswith("ems"))
    (twin,) = (seeds for name, seeds in arms.items() if name.startswith("random"))
    assert sorted(arm) == sorted(twin) == list(range(len(arm)))
    plan = json.loads((workspace / "sweeps/ems_race/plan.json").read_text())
    assert {trial["trial_key"] for trial in plan["trials"]} == set(records(workspace))


def test_an_edited_definition_extends_and_shrinks_the_sweep_in_place(workspace):
    def launched(temperatures: str, *more: str, seeds: str = "[0]"):
        axes = overrides(f"axes.masking.temperature={temperatures}", f"seeds={seeds}")
        return sweep(workspace, "launch", "ems_grid", *RUN, *SHARED, *FIXED, *axes, *more)

    def stamps() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in workspace.glob("trials/*/record.json")}

    def rows() -> dict[str, int]:
        report = sweep(workspace, "report", "ems_grid")
        assert report.returncode == 0, report.stderr
        table = pd.read_csv(workspace / "sweeps/ems_grid/report/results.csv")
        return dict(zip(table["arm"], table["n_trials"], strict=True))

    assert launched("[0.3]").returncode == 0
    first = stamps()
    assert len(first) == 2
    longer = launched("[0.3,1.0]", seeds="[0,1]")
    assert longer.returncode == 0, longer.stderr
    assert "6 trials, 4 to run" in longer.stdout
    assert rows() == {"ems r0.2 s7 t0.3": 2, "ems r0.2 s7 t1": 2, "random r0.2 s7": 2}
    everything = stamps()
    assert first.items() <= everything.items()
    shorter = launched("[1.0]", seeds="[0,1]")
    assert "4 trials, 0 to run" in shorter.stdout
    assert rows() == {"ems r0.2 s7 t1": 2, "random r0.2 s7": 2}
    # What was taken out stays in the store, and comes back for nothing.
    assert stamps() == everything
    assert "6 trials, 0 to run" in launched("[0.3,1.0]", "--dry-run", seeds="[0,1]").stdout


def test_what_costs_more_than_the_budget_is_refused_before_anything_is_written(workspace):
    arguments = ["launch", "ems_grid", "--yes", *SHARED, *FIXED, "--budget", "1m", "-o", "pretrain.steps=100000"]
    result = sweep(workspace, *arguments)
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].endswith("CPU-hours are over the --budget of 0.017")
    assert not (workspace / "sweeps").exists()
    assert not (workspace / "trials").exists()
