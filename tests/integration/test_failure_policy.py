"""Failures of each kind through real Ray: told apart, the same on both sides of a pair, and repeated on demand."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.runs import TINY, command, overrides, records, sweep

pytestmark = pytest.mark.slow

FAULTS = Path(__file__).parent / "faults"
LAUNCH = [
    "launch", "ems_grid", "--yes", "--no-estimate",
    *overrides("axes.masking.ratio=[0.2]", "axes.masking.temperature=[0.3]", "axes.masking.span=[7]"),
    *overrides("seeds=[0,1]", *TINY),
]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(fresh, tmp_path_factory) -> Path:
    workspace = fresh(tmp_path_factory.mktemp("undisturbed") / "workspace")
    result = sweep(workspace, *LAUNCH)
    assert result.returncode == 0, result.stdout + result.stderr
    return workspace


def fault(name: str, file: Path | None = None) -> dict[str, str]:
    paths = [str(FAULTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    found = {"EMSWEEP_TEST_FAULT": name, "PYTHONPATH": os.pathsep.join(paths)}
    return found | ({"EMSWEEP_TEST_FAULT_FILE": str(file)} if file else {})


def arms(workspace: Path) -> dict[tuple[str, int], dict]:
    return {(record["arm"], record["seed"]): record for record in records(workspace).values()}


def test_out_of_memory_lowers_the_micro_batch_of_both_sides(workspace):
    result = sweep(workspace, *LAUNCH, environment=fault("memory"))
    assert result.returncode == 0, result.stdout + result.stderr
    found = records(workspace).values()
    complete = [record for record in found if record["status"] == "complete"]
    # The batch of 8 did not fit, nor did 4; with 2 both arms and both seeds went through.
    assert [record["config"]["pretrain"]["micro_batch"] for record in complete] == [2] * 4
    assert {record["config"]["pretrain"]["batch"] for record in complete} == {8}
    assert Counter(record["arm"] for record in complete) == {"ems r0.2 s7 t0.3": 2, "random r0.2 s7": 2}
    by_arm_key = {record["arm_key"] for record in complete}
    assert {record["twin_key"] for record in complete if record["twin_key"]} <= by_arm_key
    assert {record["failure"] for record in found if record["status"] == "failed"} == {"memory"}
    assert "out of memory with 8 utterances per forward pass of mockingjay" in result.stderr
    plan = json.loads((workspace / "sweeps/ems_grid/plan.json").read_text())
    assert {trial["trial_key"] for trial in plan["trials"]} == {record["trial_key"] for record in complete}
    # What was learnt is kept: nothing is tried with 8 again.
    assert sweep(workspace, *LAUNCH).returncode == 0


def test_out_of_memory_after_pre_training_fails_the_trial_and_says_what_helps(workspace):
    """No micro-batch is read there: the sweep neither drains nor goes on with a smaller one."""
    result = sweep(workspace, *LAUNCH, *overrides("seeds=[0]"), environment=fault("memory later"))
    assert result.returncode == 1, result.stdout + result.stderr
    found = arms(workspace).values()
    assert [record["failure"] for record in found] == ["memory"] * 2
    assert all(record["reason"].endswith("less memory with a smaller probe.batch") for record in found)
    assert all(record["config"]["pretrain"]["micro_batch"] is None for record in found)
    assert "draining" not in result.stderr
    assert "utterances per forward pass" not in result.stderr


def test_a_hanging_trial_is_ended_and_its_twin_is_not(workspace):
    result = sweep(workspace, *LAUNCH, *overrides("seeds=[0]", "limits.trial_minutes=1"), environment=fault("hang"))
    assert result.returncode == 3, result.stdout + result.stderr
    found = arms(workspace)
    assert {record["failure"] for (arm, _), record in found.items() if arm.startswith("ems")} == {"time-out"}
    assert {record["status"] for (arm, _), record in found.items() if arm.startswith("random")} == {"complete"}
    status = json.loads(sweep(workspace, "status", "ems_grid", "--json").stdout)
    assert {failure["kind"] for failure in status["failures"]} == {"time-out"}


def test_a_worker_lost_once_is_replaced_and_the_records_are_the_same(workspace, undisturbed, tmp_path):
    result = sweep(workspace, *LAUNCH, environment=fault("kill once", tmp_path / "killed"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "killed").exists()
    assert records(workspace) == records(undisturbed)


def test_a_worker_lost_again_and_again_fails_and_is_retried_by_reason(workspace, undisturbed):
    result = sweep(workspace, *LAUNCH, environment=fault("kill", workspace / "killed"))
    assert result.returncode == 3, result.stdout + result.stderr
    found = arms(workspace)
    assert {record["failure"] for (arm, _), record in found.items() if arm.startswith("ems")} == {"lost-worker"}
    assert "sweep retry ems_grid" in result.stderr
    again = sweep(workspace, *LAUNCH)
    assert again.returncode == 3, "what failed stays failed until somebody asks"
    refused = sweep(workspace, "retry", "ems_grid", "--reason", "memory", "--yes", "--no-estimate")
    assert (refused.returncode, refused.stderr) == (2, "error: sweep 'ems_grid': no trial has failed for memory\n")
    retried = sweep(workspace, "retry", "ems_grid", "--reason", "lost-worker", "--yes", "--no-estimate")
    assert retried.returncode == 0, retried.stdout + retried.stderr
    assert records(workspace) == records(undisturbed)
    history = (workspace / "sweeps/ems_grid/retried.jsonl").read_text().splitlines()
    assert [json.loads(line)["failure"] for line in history] == ["lost-worker"] * 2


def test_a_full_disk_pauses_the_sweep_until_there_is_room(workspace, undisturbed, tmp_path):
    full = tmp_path / "full"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RAY_"))}
    process = subprocess.Popen(
        command(workspace, *LAUNCH, "-o", "pretrain.steps=12"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, cwd=workspace.parent, env=clean | fault("full disk", full),
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not list(workspace.glob("store/pretrain/.*.scratch")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    full.touch()
    deadline = time.monotonic() + 120
    while '"waiting for disk"' not in (workspace / "sweeps/ems_grid/heartbeat.json").read_text():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no word of the full disk"
        time.sleep(0.2)
    full.unlink()
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert records(workspace) == records(undisturbed)


def test_equal_failures_end_the_sweep_where_the_limit_is(workspace):
    arguments = ["-o", "axes.pretrain.lr=[1e30]", "-o", "seeds=[0,1,2,3]", "-o", "limits.failures=2"]
    result = sweep(workspace, *LAUNCH, *arguments)
    assert result.returncode == 4, result.stdout + result.stderr
    assert "2 failures of kind non-finite" in result.stderr
    found = records(workspace).values()
    assert {record["failure"] for record in found} == {"non-finite"}
    assert 2 <= len(found) < 8
