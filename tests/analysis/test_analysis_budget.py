"""Matched budgets by hand-made costs; the best of n against every draw there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_sweep import SyntheticArm, SyntheticSweep, grid, published_arms

from analysis.best_of import MOST_POINTS, best_of_table, draw_best_of, expected_best
from analysis.budget import BUDGETS, budget_sentences, budget_table
from analysis.comparisons import comparisons_table
from analysis.load import Sweep, load_sweep, open_test
from core.errors import BadInputError


def rewritten(written: SyntheticSweep, change: Callable[[dict[str, Any]], None]) -> Sweep:
    for path in written.trials_root.glob("*/record.json"):
        record = json.loads(path.read_bytes())
        change(record)
        path.write_text(json.dumps(record))
    return load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)


def table_of(sweep: Sweep) -> pd.DataFrame:
    tests = open_test(sweep)
    return budget_table(sweep, tests, comparisons_table(sweep, tests, resamples=200), resamples=200)


def row_of(table: pd.DataFrame, arm: str, budget: str) -> Any:
    (row,) = [row for row in table.to_dict("records") if (row["arm"], row["budget"]) == (arm, budget)]
    return row


@pytest.fixture
def published(tmp_path: Path) -> SyntheticSweep:
    return SyntheticSweep(root=tmp_path, arms=tuple(published_arms("mockingjay")), seeds=(0, 1)).write()


def test_pairs_with_equal_costs_are_matched_and_keep_their_comparison(tmp_path: Path) -> None:
    written = SyntheticSweep(root=tmp_path, arms=tuple(grid((0.15, 0.3), (1.0,), (7,))), seeds=(0, 1)).write()
    sweep = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)
    tests = open_test(sweep)
    compared = comparisons_table(sweep, tests, resamples=200)
    table = budget_table(sweep, tests, compared, resamples=200)
    assert len(table) == 2 * len(BUDGETS)
    assert table["matched"].all()
    assert (table["nearest"] == table["twin"]).all()
    assert (table["ratio"] == 1).all()
    ua = compared[compared["metric"] == "ua"].set_index("arm")["difference"]
    assert np.array_equal(table["difference"], ua[table["arm"]])
    assert budget_sentences(table)[0] == "Updates: 2 of 2 arms spent what the twin did, within 1 % (1.00 of it)."


def test_an_arm_that_hides_less_is_held_against_the_random_arm_that_hides_as_much(published: SyntheticSweep) -> None:
    hidden = {"random": 1400, "ems_topk": 710, "random_as_topk": 710, "random_nominal": 1400}

    def change(record: dict[str, Any]) -> None:
        record["mask"]["hidden_frames"] = hidden[record["mask"]["policy"]]
        record["config"]["masking"]["policy"] = record["mask"]["policy"]

    sweep = rewritten(published, change)
    table = table_of(sweep)
    row = row_of(table, "ems_topk r0.15 s7", "hidden frames")
    assert (row["twin"], row["nearest"]) == ("random_nominal r0.15 s7", "random_as_topk r0.15 s7")
    assert row["ratio"] == pytest.approx(710 / 1400)
    assert (row["nearest_ratio"], bool(row["matched"]), row["n_seeds"]) == (1.0, True, 2)
    cells = sweep.cells()
    means = cells[cells["split"] == "test"].groupby("arm")["ua"].mean()
    assert row["difference"] == pytest.approx(means["ems_topk r0.15 s7"] - means["random_as_topk r0.15 s7"])
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    assert row_of(table, "ems_topk r0.15 s7", "updates")["nearest"] == "random_nominal r0.15 s7"
    assert "control" not in " ".join(table["arm"]), "controls are no arms under test"
    said = budget_sentences(table)[1]
    assert said.startswith("Hidden frames: 0 of 1 arm spent what the twin did, within 1 %; 1 did not (0.51): for 1,")
    assert said.endswith("a random arm of this sweep has spent as much and stands in the twin's place.")


def test_without_an_arm_at_that_budget_the_ratio_is_said(published: SyntheticSweep) -> None:
    """Another span, or another seed's settings, is no twin at another budget."""

    def change(record: dict[str, Any]) -> None:
        record["mask"]["hidden_frames"] = {"ems_topk": 700}.get(record["mask"]["policy"], 1400)
        if record["mask"]["policy"] == "random_as_topk":
            record["mask"]["hidden_frames"] = 700
            record["config"]["masking"]["span"] = 9
        record["cost"]["device_seconds"] = 12.0 if record["arm_key"].endswith("topk") else 10.0

    table = table_of(rewritten(published, change))
    row = row_of(table, "ems_topk r0.15 s7", "hidden frames")
    assert (row["nearest"], row["nearest_ratio"], bool(row["matched"])) == ("random_nominal r0.15 s7", 0.5, False)
    seconds = row_of(table, "ems_topk r0.15 s7", "device-seconds")
    assert (seconds["ratio"], bool(seconds["matched"])) == (pytest.approx(1.2), False)
    assert budget_sentences(table)[1].endswith("for 1, the sweep holds none that is nearer than the twin.")


def test_twice_the_steps_are_found_by_updates(tmp_path: Path) -> None:
    arms = (
        SyntheticArm(key="short", name="random short"),
        SyntheticArm(key="long", name="random long"),
        SyntheticArm(key="ems", name="ems", twin_key="short", temperature=1.0),
    )
    written = SyntheticSweep(root=tmp_path, arms=arms, seeds=(0,)).write()

    def change(record: dict[str, Any]) -> None:
        record["config"]["pretrain"] = {"steps": 1000 if record["arm_key"] == "short" else 1990}
        record["cost"]["steps"] = {"short": 1000, "long": 1990, "ems": 2000}[record["arm_key"]]
        record["cost"]["device_seconds"] = {"short": 100.0, "long": 103.0, "ems": 103.0}[record["arm_key"]]

    table = table_of(rewritten(written, change))
    row = row_of(table, "ems", "updates")
    assert (row["ratio"], row["nearest"], bool(row["matched"])) == (2.0, "random long", True)
    seconds = row_of(table, "ems", "device-seconds")
    assert (seconds["nearest"], bool(seconds["matched"])) == ("random short", True), "a clock's 3 % displace no twin"


def test_budgets_that_records_do_not_know_have_no_row(published: SyntheticSweep) -> None:
    def change(record: dict[str, Any]) -> None:
        record["cost"] = None

    table = table_of(rewritten(published, change))
    assert set(table["budget"]) == {"hidden frames"}
    assert budget_sentences(table.iloc[:0]) == ()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 100), st.floats(0, 1)), min_size=1, max_size=6),
    st.integers(0, 3),
    st.data(),
)
def test_best_of_n_is_the_mean_over_every_draw(
    scores: list[tuple[int, float]], unscored: int, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(scores) + unscored))
    validation, test = (np.array(column, dtype=float) for column in zip(*scores, strict=True))
    order = np.argsort(validation, kind="stable")
    ranked = [None] * unscored + order.tolist()
    picked = [draw[-1] for draw in combinations(ranked, n) if draw[-1] is not None]
    assert comb(len(ranked), n) - len(picked) == comb(unscored, n)
    found = expected_best(validation, test, unscored=unscored, n=n)
    assert found == pytest.approx((np.mean(validation[picked]), np.mean(test[picked])))


def test_it_is_unbiased_where_drawing_with_replacement_is_not() -> None:
    """Expected best of 5 of 8 standard normal scores, against the tabled mean of the largest of 5 (1.16296)."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(4000, 8))
    without = np.array([expected_best(row, row, unscored=0, n=5)[0] for row in drawn])
    shares = (np.arange(1, 9) / 8) ** 5 - (np.arange(8) / 8) ** 5
    replaced = np.sort(drawn, axis=1) @ shares
    assert without.mean() == pytest.approx(1.16296, abs=4 * without.std() / 4000**0.5)
    assert replaced.mean() < 1.16296 - 4 * replaced.std() / 4000**0.5


@pytest.mark.parametrize(("scored", "n"), [(0, 1), (2, 0), (2, 4)])
def test_a_draw_that_cannot_be_made_is_refused(scored: int, n: int) -> None:
    with pytest.raises(BadInputError, match=rf"best of n: n must be in 1 … {scored + 1} .* got {n}"):
        expected_best(np.zeros(scored), np.zeros(scored), unscored=1, n=n)


def test_pruned_and_failed_trials_are_paid_for(tmp_path: Path) -> None:
    arms = tuple(grid((0.15, 0.3), (0.5, 1.0), (7,)))
    outcomes = {
        ("ems0.15t0.5s7", 0): "pruned",
        ("ems0.15t0.5s7", 1): "pruned",
        ("ems0.3t1.0s7", 1): "failed",
        ("ems0.3t0.5s7", 0): "missing",
        ("ems0.3t0.5s7", 1): "missing",
    }
    written = SyntheticSweep(root=tmp_path, arms=arms, seeds=(0, 1), outcomes=outcomes).write()
    broken = written.trials_root / "ems0.3t1.0s7-1" / "record.json"
    broken.write_text(json.dumps(json.loads(broken.read_bytes()) | {"cost": None}))
    sweep = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)
    table = best_of_table(sweep)
    own, twins = table[table["pool"] == "arms"], table[table["pool"] == "twins"]
    assert own["n"].tolist() == [1, 2, 3], "an arm that has not begun is not drawn"
    assert own["scored"].unique().tolist() == [2]
    assert own["unknown_costs"].unique().tolist() == [1]
    # Two trials of the best, two pruned, one whole and one without a cost.
    assert own["device_seconds"].tolist() == pytest.approx([12.5 * 5 / 3 * n for n in (1, 2, 3)])
    assert twins["device_seconds"].tolist() == pytest.approx([25.0, 50.0])
    cells = sweep.cells()
    means = cells[cells["split"] == "validation"].groupby("arm")["ua"].mean()
    assert own["validation_ua"].iloc[-1] == pytest.approx(means[["ems r0.15 t1.0 s7", "ems r0.3 t1.0 s7"]].max())
    assert twins["validation_ua"].iloc[0] == pytest.approx(means[["random r0.15 s7", "random r0.3 s7"]].mean())
    drawing = draw_best_of(table)
    assert drawing is not None
    assert drawing.data is table
    assert draw_best_of(table[table["n"] == 1]) is None


def test_many_arms_have_few_points() -> None:
    from analysis.best_of import _numbers

    found = _numbers(5000)
    assert (found[0], found[-1]) == (1, 5000)
    assert len(found) <= MOST_POINTS
    assert _numbers(7) == list(range(1, 8))
