"""A sweep that is killed, drained, stopped and continued ends with the records of one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.runs import command, overrides, records, sweep

pytestmark = pytest.mark.slow

SETTINGS = overrides(
    "axes.masking.ratio=[0.2,0.3]", "axes.masking.temperature=[0.3]", "axes.masking.span=[7]", "seeds=[0,1]",
    "folds.scheme=speaker-folds", "folds.k=3",
    "pretrain.steps=16", "pretrain.report_every=4", "pretrain.checkpoint_every=4", "probe.steps=60",
    "probe.evaluate_every=20", "intensity.strengthnet.max_epochs=1",
)  # fmt: skip
LAUNCH = ["launch", "ems_grid", "--yes", "--no-estimate", *SETTINGS]
TRIALS = 8
KILLS = 20


@pytest.fixture(scope="module")
def undisturbed(fresh, tmp_path_factory) -> Path:
    workspace = fresh(tmp_path_factory.mktemp("undisturbed") / "workspace")
    result = sweep(workspace, *LAUNCH)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(records(workspace)) == TRIALS
    return workspace


def start(workspace: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(workspace, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=workspace.parent, start_new_session=True,
    )  # fmt: skip


def wait_for(condition, process: subprocess.Popen[str], *, patience_s: float = 240) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"nothing in {patience_s} s"
        time.sleep(0.05)


def stamps(workspace: Path) -> dict[Path, tuple[int, int]]:
    """What is finished, and which very file it is."""
    finished = [*workspace.glob("trials/*/record.json"), *workspace.glob("store/pretrain/*/pretraining.json")]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in finished}


@pytest.mark.timeout(3000)
def test_a_driver_killed_twenty_times_leaves_the_same_records_and_repeats_nothing(fresh, undisturbed, tmp_path):
    """Twenty kills in all: a sweep that comes through between two of them is checked, and the next one begins."""
    moments = random.Random(4)
    workspace, finished = fresh(tmp_path / "first"), {}
    killed = 0
    while killed < KILLS:
        process = start(workspace, *LAUNCH)
        # From before Ray is up to well within the trials.
        deadline = time.monotonic() + moments.uniform(1.0, 12.0)
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        killed += process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        finished = unchanged(workspace, finished)
        if len(records(workspace)) == TRIALS:
            check_whole(workspace, undisturbed, finished)
            workspace, finished = fresh(tmp_path / f"after-{killed}"), {}
    check_whole(workspace, undisturbed, finished)


def unchanged(workspace: Path, finished: dict[Path, tuple[int, int]]) -> dict[Path, tuple[int, int]]:
    """What is finished now, after a check that nothing which was finished before has been made again."""
    now = stamps(workspace)
    assert {path: now[path] for path in finished} == finished
    return now


def check_whole(workspace: Path, undisturbed: Path, finished: dict[Path, tuple[int, int]]) -> None:
    last = sweep(workspace, *LAUNCH)
    assert last.returncode == 0, last.stdout + last.stderr
    unchanged(workspace, finished)
    assert records(workspace) == records(undisturbed)
    assert runs_in_mlflow(workspace) == dict.fromkeys(records(workspace), "FINISHED")


def runs_in_mlflow(workspace: Path) -> dict[str, str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ems_grid")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    keys = [run.data.tags["emsweep.trial_key"] for run in runs if "emsweep.trial_key" in run.data.tags]
    assert len(keys) == len(set(keys)), "two runs of one trial"
    return {run.data.tags["emsweep.trial_key"]: run.info.status for run in runs if "emsweep.trial_key" in run.data.tags}


def test_a_signal_drains_with_checkpoints_and_resume_needs_no_settings(fresh, undisturbed, tmp_path):
    workspace = fresh(tmp_path / "workspace")
    # No checkpoint but the one that draining leaves.
    first = [*LAUNCH, "-o", "pretrain.checkpoint_every=100000", "-o", "pretrain.report_every=1"]
    resume = ["resume", "ems_grid", "--yes", "--no-estimate"]
    done = 0
    for arguments, number in ((first, signal.SIGINT), (resume, signal.SIGTERM)):
        process = start(workspace, *arguments)
        more = done + 2
        wait_for(lambda more=more: len(records(workspace)) >= more, process)
        process.send_signal(number)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 4, output
        assert "draining" in output
        assert "sweep resume ems_grid" in output
        assert list(workspace.glob("store/pretrain/.*.scratch/checkpoint.pt"))
        done = len(records(workspace))
        assert more <= done < TRIALS
    again = sweep(workspace, *resume)
    assert again.returncode == 0, again.stdout + again.stderr
    found = records(workspace)
    for record in [*found.values(), *(expected := records(undisturbed)).values()]:
        for name in ("checkpoint_every", "report_every"):
            del record["config"]["pretrain"][name]
    assert found == expected


def test_two_signals_stop_at_once(fresh, undisturbed, tmp_path):
    workspace = fresh(tmp_path / "workspace")
    # The next report is far away.
    settings = ["-o", "pretrain.steps=100000", "-o", "pretrain.report_every=100000"]
    process = start(workspace, *LAUNCH, *settings)
    wait_for(lambda: list(workspace.glob("store/pretrain/.*.scratch")), process)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None, "one signal waits for the report"
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 4, output
    assert records(workspace) == {}
