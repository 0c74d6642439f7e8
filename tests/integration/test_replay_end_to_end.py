"""A real sweep on the demo corpus, looked back at: replayed in another process, pruned, compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.runs import TINY, overrides, records, sweep

SETTINGS = overrides(
    "axes.masking.ratio=[0.2]", "axes.masking.temperature=[0.5]", "axes.masking.span=[7]", "seeds=[0]", *TINY
)


@pytest.fixture(scope="module")
def finished(fresh, tmp_path_factory) -> Path:
    workspace = fresh(tmp_path_factory.mktemp("upkeep") / "workspace")
    result = sweep(workspace, "launch", "ems_grid", "--yes", "--no-estimate", *SETTINGS)
    assert result.returncode == 0, result.stdout + result.stderr
    return workspace


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--from-scratch",)])
def test_a_trial_that_ran_under_ray_is_bit_equal_in_a_process_of_its_own(finished, options):
    result = sweep(finished, "replay", "ems_grid:ems r0.2 s7 t0.5:0", "--json", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(result.stdout)
    assert (found["verdict"], found["comparison"]["score"], found["changes"]) == ("bit-equal", 0.0, [])
    assert ("strengthnet" in found["shared"]) == (not options)


@pytest.mark.slow
def test_prune_takes_nothing_that_the_sweep_needs(finished):
    before = records(finished)
    listed = json.loads(sweep(finished, "prune", "--json").stdout)
    assert {row["kind"] for row in listed["candidates"]} <= {"lock"}, listed
    assert sweep(finished, "prune", "--yes").returncode == 0
    assert not list(finished.glob("store/*/.*.lock"))
    again = sweep(finished, "launch", "ems_grid", "--yes", "--no-estimate", *SETTINGS)
    assert "2 trials, 0 to run" in again.stdout
    assert records(finished) == before
    assert sweep(finished, "replay", "ems_grid:random r0.2 s7:0").returncode == 0


@pytest.mark.slow
def test_a_sweep_against_itself_elsewhere_is_the_very_same(finished):
    result = sweep(finished, "diff", "ems_grid", f"{finished}:ems_grid", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["definition"], found["environment"], found["unequal"]) == ({}, {}, [])
    assert {(row["difference"], row["n_shared"], row["n_seeds"]) for row in found["arms"]} == {(0.0, 1, 0)}
