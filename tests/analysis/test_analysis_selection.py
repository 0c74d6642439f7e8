"""Shrinking by closed form and by known truth; the picked arm's row."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_sweep import SyntheticSweep, grid

from analysis.comparisons import comparisons_table
from analysis.load import load_sweep, open_test
from analysis.picked import picked_arms, worth_lines
from analysis.selection import picked_arm, shrunk
from analysis.tables import as_rows
from analysis.wording import interval, points
from core.errors import BadInputError


def test_with_equal_errors_it_is_the_closed_form() -> None:
    """τ² = variance − se²: each keeps the share 1 − se² / variance of its distance from the mean."""
    values, error = np.array([0.01, 0.05, -0.02, 0.06]), 0.02
    kept = 1 - error**2 / values.var(ddof=1)
    assert shrunk(values.tolist(), [error] * 4) == pytest.approx(
        values.mean() + kept * (values - values.mean()), abs=1e-6
    )


def test_differences_no_larger_than_their_errors_shrink_to_one() -> None:
    found = shrunk([0.01, 0.012, 0.008], [0.02, 0.02, 0.02])
    assert found == pytest.approx([0.01] * 3)


def test_where_nothing_can_be_shrunk() -> None:
    assert all(map(math.isnan, shrunk([0.01, 0.02], [0.01, 0.01])))
    assert all(map(math.isnan, shrunk([0.01, 0.02, 0.03], [0.01, math.nan, 0.01])))
    assert all(map(math.isnan, shrunk([0.01, 0.02, 0.03], [0.01, 0.0, 0.01])))
    assert shrunk([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]) == [0.0, 0.0, 0.0]


def test_the_best_of_many_is_too_good_and_shrinking_takes_that_away() -> None:
    """27 arms, true differences of sd .01 measured with error .02: the largest against its truth, plain and shrunk."""
    rng = np.random.default_rng(0)
    plain, drawn = [], []
    for _ in range(300):
        truth = rng.normal(0.01, 0.01, 27)
        measured = truth + rng.normal(0, 0.02, 27)
        best = int(measured.argmax())
        plain.append(measured[best] - truth[best])
        drawn.append(shrunk(measured.tolist(), [0.02] * 27)[best] - truth[best])
    assert np.mean(plain) > 0.03
    assert abs(np.mean(drawn)) < 0.004


def test_swapping_and_shuffling() -> None:
    values, errors = [0.01, 0.05, -0.02, 0.03], [0.01, 0.02, 0.015, 0.01]
    found = shrunk(values, errors)
    assert shrunk([-value for value in values], errors) == pytest.approx([-value for value in found])
    assert shrunk(values[::-1], errors[::-1]) == pytest.approx(found[::-1])


def test_the_picked_arm_is_a_row_of_the_table(tmp_path: Path) -> None:
    sweep = SyntheticSweep(root=tmp_path, arms=tuple(grid((0.15, 0.3), (0.5, 1.0), (7,))), seeds=(0, 1)).write()
    loaded = load_sweep(plan_path=sweep.plan_path, trials_root=sweep.trials_root)
    table = comparisons_table(loaded, open_test(loaded), resamples=300)
    own = table[table["metric"] == "ua"].set_index("arm_key").loc["ems0.15t1.0s7"]
    found = picked_arm(table, "ems0.15t1.0s7")
    assert (found.candidates, found.difference, found.shrunk) == (4, own["difference"], own["shrunk"])
    assert found.rank == 1 + (table[table["metric"] == "ua"]["difference"] > own["difference"]).sum()
    assert (found.ci_low_all, found.ci_high_all) == (own["ci_low_all"], own["ci_high_all"])
    assert found.ci_low_all is not None
    assert found.ci_low is not None
    assert found.ci_low_all < found.ci_low
    assert (found.seeds_for_80, found.n_seeds) == (as_rows(own.to_frame().T)[0]["seeds_for_80"], 2)
    (tested, together, drawn, seeds) = worth_lines(picked_arms(table, {"mockingjay": "ems0.15t1.0s7"}))
    assert (tested.value, tested.interval) == (points(found.difference), interval(found.ci_low, found.ci_high))
    assert "of the 4 arms" in tested.meaning
    assert (together.value, together.interval) == (tested.value, interval(found.ci_low_all, found.ci_high_all))
    assert (drawn.value, drawn.interval) == (points(found.shrunk), "")
    assert "this sweep has 2" in seeds.meaning
    with pytest.raises(BadInputError, match="in no comparison with a twin"):
        picked_arm(table, "random0.15s7")


def test_a_picked_arm_without_an_interval(tmp_path: Path) -> None:
    sweep = SyntheticSweep(root=tmp_path, arms=tuple(grid((0.15,), (1.0,), (7,))), seeds=(0,), sessions=2).write()
    loaded = load_sweep(plan_path=sweep.plan_path, trials_root=sweep.trials_root)
    found = picked_arm(comparisons_table(loaded, open_test(loaded), resamples=100), "ems0.15t1.0s7", metric="wa")
    assert (found.candidates, found.rank, found.ci_low, found.ci_high_all, found.shrunk) == (1, 1, None, None, None)
    assert found.p_corrected is not None
    tested, seeds = worth_lines([found])
    assert (tested.interval, seeds.value) == ("–", "–")
    assert "of the" not in tested.meaning, "one arm has no rank"
    assert seeds.meaning.startswith("One seed cannot tell")
    assert worth_lines([replace(found, seeds_for_80=7.0)])[1].value == "7"
    never = worth_lines([replace(found, seeds_for_80="inf")])[1]
    assert never.value == "over 100"
    assert "Not even 100 seeds" in never.meaning
