"""`sweep diff`, `sweep prune` and `sweep replay` as their users call them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from core.records import read_record
from core.store import Workspace
from core.trial import run_trial
from sweeps.cli import SweepGroup
from sweeps.cli_upkeep import diff, prune, replay
from tests.analysis.synthetic_sweep import SyntheticArm, SyntheticSweep
from tests.core.tiny_trial import tiny_trial

COMMANDS = SweepGroup(commands={"diff": diff, "prune": prune, "replay": replay})
ARM = SyntheticArm(key="ems", name="ems r0.15 s7 t1", axes={"masking.ratio": 0.15})


def sweep(*arguments: object, said: str | None = None) -> Result:
    result = CliRunner().invoke(COMMANDS, list(map(str, arguments)), input=said)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_diff_across_workspaces(tmp_path):
    SyntheticSweep(root=tmp_path / "a", arms=(ARM,), seeds=(0,)).write()
    SyntheticSweep(root=tmp_path / "b", arms=(replace(ARM, key="ems2", recall=0.9),), seeds=(0,)).write()
    arguments = ("diff", "synthetic", f"{tmp_path / 'b'}:synthetic", "--workspace", tmp_path / "a")
    shown = sweep(*arguments)
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0] == f"A  synthetic: 1 complete  ({tmp_path / 'a'})"
    assert "definition: no difference" in lines
    assert "environment: no difference" in lines
    found = json.loads(sweep(*arguments, "--json").stdout)
    row = found["arms"][0]
    assert 0.1 < row["difference"] < 0.5
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    text = next(line for line in lines if line.lstrip().startswith(ARM.name))
    assert f"{100 * row['difference']:+.1f}" in text
    never = sweep("diff", "synthetic", "never", "--workspace", tmp_path / "a")
    assert never.exit_code == 2
    assert never.stderr.startswith("error: sweep 'never': not launched in workspace")


@pytest.fixture
def littered(workspace: Workspace) -> tuple[Workspace, Path]:
    """A workspace with one artifact, which nothing refers to, and a trial in no plan."""
    with workspace.store.claim("pretrain", settings={}, inputs=[], modules=("core.units",)) as claim:
        (claim.out / "weights.pt").write_bytes(b"x" * 20_000)
    SyntheticSweep(root=workspace.root, arms=(ARM,), seeds=(0,)).write()
    shutil.rmtree(workspace.sweep("synthetic"))
    return workspace, claim.artifact.path


def test_prune_shows_asks_and_removes(littered):
    workspace, artifact = littered
    declined = sweep("prune", "--workspace", workspace.root, said="n\n")
    assert declined.exit_code == 1
    assert f"pretrain/{artifact.name}  no trial refers to it" in declined.stdout
    assert "results of trials in no plan (kept; --trials removes them): 1" in declined.stdout
    assert artifact.exists()
    agreed = sweep("prune", "--workspace", workspace.root, said="y\n")
    assert agreed.exit_code == 0
    assert not artifact.exists()
    assert read_record(workspace.trial("ems-0")) is not None
    assert sweep("prune", "--trials", "--yes", "--workspace", workspace.root).exit_code == 0
    assert not workspace.trial("ems-0").exists()
    nothing = sweep("prune", "--workspace", workspace.root)
    assert (nothing.exit_code, nothing.stdout) == (0, "nothing to remove\n")


def test_prune_with_json_only_lists_until_told_to_remove(littered):
    workspace, artifact = littered
    listed = json.loads(sweep("prune", "--json", "--workspace", workspace.root).stdout)
    assert listed["pruned"] is None
    assert {row["kind"]: row["why"] for row in listed["candidates"]} == {
        "artifact": "no trial refers to it", "lock": "lock of something finished",
        "trial": "in no plan: ems r0.15 s7 t1, seed 0, complete",
    }  # fmt: skip
    assert artifact.exists()
    done = json.loads(sweep("prune", "--json", "--yes", "--workspace", workspace.root).stdout)
    assert done["pruned"]["freed"] == sum(row["bytes"] for row in listed["candidates"] if row["kind"] != "trial")
    assert not artifact.exists()


@pytest.mark.slow
def test_replay_says_how_it_came_out_by_text_json_and_exit_code(tmp_path):
    workspace = Workspace.at(tmp_path / "workspace")
    record = run_trial(tiny_trial(tmp_path), workspace)
    equal = sweep("replay", record.trial_key[:6], "--workspace", workspace.root)
    assert equal.exit_code == 0
    lines = equal.stdout.splitlines()
    began = record.provenance.started
    assert lines[0] == f"trial {record.trial_key} ({record.arm}, seed 4), run {began}: bit-equal"
    assert "nothing recorded of it has changed" in lines
    path = workspace.trial(record.trial_key) / "record.json"
    path.write_text(path.read_text().replace('"steps": 12', '"steps": 11'))
    changed = sweep("replay", record.trial_key, "--json", "--workspace", workspace.root)
    assert changed.exit_code == 1
    found = json.loads(changed.stdout)
    assert found["verdict"] == "different"
    assert [change["what"] for change in found["changes"]] == ["trial key"]
    unknown = sweep("replay", "one:arm:0", "--workspace", workspace.root)
    assert unknown.exit_code == 2
    assert unknown.stderr.startswith("error: trial 'one:arm:0': sweep 'one' was not launched")
