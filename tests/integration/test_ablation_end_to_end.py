"""`ems_ablation` on the demo corpus through real Ray: what each arm hides, and the same numbers twice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.runs import TINY, command, overrides, records, sweep

LAUNCH = ["launch", "ems_ablation", "--yes", "--no-estimate", *overrides("seeds=[0]", *TINY)]
NPC = "npc "


@pytest.fixture(scope="module")
def finished(fresh, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    workspace = fresh(tmp_path_factory.mktemp("ablation") / "workspace")
    return workspace, sweep(workspace, *LAUNCH)


@pytest.mark.slow
def test_every_arm_hides_what_its_rule_says(finished):
    workspace, result = finished
    assert result.returncode == 0, result.stdout + result.stderr
    arms = {record["arm"]: record for record in records(workspace).values()}
    assert len(arms) == 18
    for upstream in ("", NPC):
        topk, as_topk, nominal, matched, random = (
            arms[f"{upstream}{name}"]["mask"]
            for name in (
                "ems_topk r0.15 s7",
                "random_as_topk r0.15 s7",
                "random_nominal r0.15 s7",
                "ems r0.15 s7 t0.25",
                "random r0.15 s7",
            )
        )
        assert as_topk["hidden_frames"] == topk["hidden_frames"]
        assert topk["realised_ratio"] < 0.65 * nominal["realised_ratio"]
        assert matched["hidden_frames"] == random["hidden_frames"]
        assert topk["intensity_z"] > 1 > 0.1 > abs(as_topk["intensity_z"])
    # Both upstreams hear the same utterances under the same seed: the same frames are chosen.
    assert arms["ems_topk r0.15 s7"]["mask"] == arms["npc ems_topk r0.15 s7"]["mask"]
    for switched in ("random_nominal+input r0.15 s7", "random_nominal+head r0.15 s7"):
        assert arms[switched]["mask"] == arms["random_nominal r0.15 s7"]["mask"]
        assert arms[switched]["metrics"] != arms["random_nominal r0.15 s7"]["metrics"]
    assert arms["npc all"]["mask"]["realised_ratio"] == 1.0
    assert all(len(record["pretraining"]["validation_by_quartile"]) == 4 for record in arms.values())


@pytest.mark.slow
def test_interrupted_elsewhere_and_launched_again_gives_the_same_numbers_to_the_last_digit(finished, tmp_path):
    """Half of it again, from nothing in another workspace, stopped on its way: records and predictions are equal."""
    first, _ = finished
    workspace = tmp_path / "workspace"
    launch = [*LAUNCH, *overrides("axes.upstream=[npc]")]
    process = subprocess.Popen(
        command(workspace, *launch), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 400
    while len(list(workspace.glob("trials/*/record.json"))) < 3:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no three trials in 400 s"
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 4, output
    again = sweep(workspace, *launch)
    assert again.returncode == 0, again.stdout + again.stderr
    expected = {key: record for key, record in records(first).items() if record["upstream"] == "npc"}
    assert len(expected) == 10
    assert records(workspace) == expected
    for key in expected:
        one, two = (pd.read_parquet(root / "trials" / key / "predictions.parquet") for root in (first, workspace))
        pd.testing.assert_frame_equal(one, two, check_exact=True)


@pytest.mark.slow
def test_the_report_says_what_each_change_does(finished):
    workspace, _ = finished
    report = sweep(workspace, "report", "ems_ablation", "--json")
    assert report.returncode == 0, report.stderr
    comparisons = pd.read_csv(workspace / "sweeps" / "ems_ablation" / "report" / "comparisons.csv")
    contrasts = comparisons[(comparisons["kind"] == "contrast") & (comparisons["metric"] == "ua")]
    assert sorted(contrasts["name"]) == sorted(
        ["which frames"] * 2 + ["how many frames"] * 2 + ["mask size", "all frames", "as released"]
    )
