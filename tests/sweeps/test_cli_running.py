"""`sweep status` and `sweep stop` as commands, from another process than the sweep's."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from written_sweep import NAME, by_key, complete, driving, put, written_plan

from core.store import Workspace
from sweeps.driver import is_driven

COMMAND = (
    "from sweeps.cli import SweepGroup; from sweeps.cli_running import status, stop, watch;"
    "SweepGroup(name='sweep', commands=[status, stop, watch])()"
)


def sweep(workspace: Workspace, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", COMMAND, *arguments, "--workspace", str(workspace.root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_status_as_text_and_as_json(workspace):
    trials = by_key(written_plan())
    written_plan().write(workspace)
    put(workspace, complete(trials["random-0"], 0.5), complete(trials["ems-r0.15-s7-t1-0"], 0.53))
    result = sweep(workspace, "status", NAME)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("written: Written by a test\nnobody runs it\n")
    assert f"next    sweep resume written --workspace {workspace.root}\n" in result.stdout
    content = json.loads(sweep(workspace, "status", NAME, "--json").stdout)
    assert content["counts"]["complete"] == 2
    assert content["next"] == ["sweep resume written", "sweep report written"]


@pytest.mark.parametrize("command", ["status", "watch", "stop"])
def test_an_unknown_sweep_is_one_line_and_code_2(workspace, command):
    written_plan().write(workspace)
    result = sweep(workspace, command, "wirtten")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: sweep 'wirtten': not launched in {workspace.root} (there: written)\n"


def test_stop_of_a_sweep_that_nobody_runs(workspace):
    written_plan().write(workspace)
    result = sweep(workspace, "stop", NAME)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: sweep 'written': nobody runs it in {workspace.root}\n"
    assert not (workspace.sweep(NAME) / "stop.request").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("options", "asked"), [([], "drain"), (["--now"], "now")])
def test_stop_waits_until_the_driver_is_gone(workspace, options, asked):
    written_plan().write(workspace)
    with driving(workspace) as driver:
        driver.tell("lane", "random-0", 0.4)
        driver.tell("end-when-asked")
        result = sweep(workspace, "stop", NAME, *options)
        assert result.returncode == 0
        assert not is_driven(workspace.sweep(NAME))
        assert driver.process.wait(timeout=10) == 0
    assert (workspace.root / "asked").read_text() == asked
    assert not (workspace.sweep(NAME) / "stop.request").exists()
    assert result.stdout == (
        "stopped: 0/9 complete, 1 interrupted\n"
        f"to continue: sweep resume written --workspace {workspace.root}\n"
    )  # fmt: skip


@pytest.mark.slow
def test_stop_without_waiting(workspace):
    written_plan().write(workspace)
    with driving(workspace) as driver:
        result = sweep(workspace, "stop", NAME, "--no-wait")
        assert result.returncode == 0
        assert result.stdout.startswith("asked to stop; look: sweep watch written")
        assert (workspace.sweep(NAME) / "stop.request").read_text() == "drain"
        assert is_driven(workspace.sweep(NAME))
        driver.end()
    assert not (workspace.sweep(NAME) / "stop.request").exists()


def test_looking_at_a_sweep_loads_nothing_heavy(workspace):
    written_plan().write(workspace)
    heavy = {"torch", "torchaudio", "ray", "mlflow", "pandas", "matplotlib", "soundfile", "optuna"}
    code = (
        "import sys, click.testing, sweeps.cli_running as running\n"
        f"arguments = ['{NAME}', '--workspace', {str(workspace.root)!r}]\n"
        "shown = click.testing.CliRunner().invoke(running.status, arguments)\n"
        f"print(shown.exit_code, sorted({heavy} & set(sys.modules)))"
    )
    before = os.times()
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "0 []"
    after = os.times()
    # Processor time: the wall clock of a shared machine says nothing.
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1.5
