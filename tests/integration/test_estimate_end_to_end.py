"""An estimate against what then really happens, as far as no clock is needed; times are held against each other in
`benchmarks/bench_estimate.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bench_estimate import GRID, SETTINGS, estimated, launched

WITHIN = 0.20


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("estimate") / "workspace"


@pytest.mark.slow
def test_the_disk_that_a_sweep_takes_is_within_a_fifth_of_the_estimate(workspace):
    settings = [*GRID, *SETTINGS["npc"]]
    before = estimated(workspace, settings)
    happened = launched(workspace, settings)
    assert before.trials == len(list(workspace.glob("trials/*/record.json"))) == 6
    assert before.disk_bytes == pytest.approx(happened.bytes, rel=WITHIN)


@pytest.mark.slow
def test_what_is_done_costs_nothing_and_what_is_shared_is_counted_once(workspace):
    settings = [*GRID, *SETTINGS["npc"]]
    assert estimated(workspace, settings).as_text() == "estimate: nothing to run"
    probed = estimated(workspace, [*settings, "probe.steps=601"])
    assert (probed.trials, probed.upstreams) == (6, 0)
    assert not {"pretrain", "embed"} & set(probed.stages)
    assert probed.shared_seconds == probed.shared_disk_bytes == 0
    assert probed.stages["probe"] > 0
    # Two probes on each upstream: it is trained for the first of them only.
    twice = [*settings, "pretrain.steps=71", "axes.probe.projection=[64,65]"]
    once = [*settings, "pretrain.steps=71"]
    both, one = estimated(workspace, twice), estimated(workspace, once)
    assert (both.trials, one.trials) == (12, 6)
    assert both.upstreams == one.upstreams == 6 * 5
