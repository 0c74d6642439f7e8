"""What is compared with what, and over which comparisons p values are corrected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from synthetic_sweep import SyntheticSweep, fold_scores, grid, published_arms, published_contrasts

from analysis.comparisons import comparisons_table
from analysis.load import load_sweep, open_test
from analysis.sentences import choose_arms, floor_sentences, key_results, tally_sentence
from analysis.tables import results_table


def write(root: Path, **changes: object) -> SyntheticSweep:
    arms = tuple(arm for upstream in ("mockingjay", "npc") for arm in published_arms(upstream))
    contrasts = tuple(each for upstream in ("mockingjay", "npc") for each in published_contrasts(upstream))
    sweep = SyntheticSweep(root=root, arms=arms, contrasts=contrasts, seeds=(0, 1), sessions=6)
    return replace(sweep, **changes).write()  # type: ignore[arg-type]


def tables(written: SyntheticSweep) -> tuple[pd.DataFrame, pd.DataFrame]:
    sweep = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)
    tests = open_test(sweep)
    return results_table(sweep, tests), comparisons_table(sweep, tests, resamples=300)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SyntheticSweep:
    return write(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def both(written: SyntheticSweep) -> tuple[pd.DataFrame, pd.DataFrame]:
    return tables(written)


def test_every_pair_of_the_plan_has_its_kind_and_name(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = both[1]
    ua = table[table["metric"] == "ua"]
    found = list(ua[["kind", "name", "arm_key", "twin_key"]].itertuples(index=False, name=None))
    assert found == [
        ("twin", "twin", "mockingjay-topk", "mockingjay-random"),
        ("twin", "twin", "npc-topk", "npc-random"),
        ("control-twin", "loudness", "mockingjay-loudness", "mockingjay-random"),
        ("control-twin", "shuffled", "mockingjay-shuffled", "mockingjay-random"),
        ("control-twin", "loudness", "npc-loudness", "npc-random"),
        ("control-twin", "shuffled", "npc-shuffled", "npc-random"),
        ("control", "loudness", "mockingjay-topk", "mockingjay-loudness"),
        ("control", "shuffled", "mockingjay-topk", "mockingjay-shuffled"),
        ("control", "loudness", "npc-topk", "npc-loudness"),
        ("control", "shuffled", "npc-topk", "npc-shuffled"),
        ("contrast", "which frames", "mockingjay-topk", "mockingjay-matched"),
        ("contrast", "how many frames", "mockingjay-matched", "mockingjay-random"),
        ("contrast", "which frames", "npc-topk", "npc-matched"),
        ("contrast", "how many frames", "npc-matched", "npc-random"),
    ]
    assert list(table["metric"]) == ["ua", "wa"] * 14


def test_a_contrast_is_paired_like_any_other(written: SyntheticSweep, both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = both[1]
    for kind, name, arm, against in written.contrasts:
        row = table[(table["kind"] == kind) & (table["name"] == name) & (table["arm_key"] == arm)].set_index("metric")
        pairs = pd.concat([fold_scores(written, f"{arm}-{s}") - fold_scores(written, f"{against}-{s}") for s in (0, 1)])
        for metric in ("ua", "wa"):
            assert row.loc[metric, "n_pairs"] == 12
            assert row.loc[metric, "difference"] == pytest.approx(pairs[metric].mean(), abs=1e-12)
            assert row.loc[metric, "sd"] == pytest.approx(pairs[metric].std(ddof=1), abs=1e-12)


def test_holm_is_within_metric_and_kind(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Step-down by hand: the k-th smallest of n is multiplied by n − k + 1, and never falls below the one before."""
    table = both[1]
    sizes = {}
    for (kind, metric), family in table.groupby(["kind", "metric"]):
        ordered = family.sort_values("p", kind="stable")
        largest = 0.0
        for rank, (_, row) in enumerate(ordered.iterrows()):
            largest = max(largest, min(1.0, (len(ordered) - rank) * row["p"]))
            assert row["p_corrected"] == pytest.approx(largest, abs=1e-12)
        sizes[kind, metric] = len(family)
    expected = {"twin": 2, "control-twin": 4, "control": 4, "contrast": 4}
    assert sizes == {(kind, metric): size for kind, size in expected.items() for metric in ("ua", "wa")}


def test_each_family_has_its_floor_and_the_tally_is_of_arms_against_twins(
    both: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    """Six folds: p cannot go below 2/2⁶ = 1/32; Holm multiplies it by the size of the family."""
    comparisons = both[1]
    six = "6 folds cannot go below p = .0312, however large the difference"
    assert floor_sentences(comparisons) == (
        f"Arms against their twins: {six}, nor below .0625 when corrected by Holm over 2 comparisons; no arm of this "
        "sweep can reach a corrected p < .05.",
        f"Arms against their controls: {six}, nor below .1250 when corrected by Holm over 4 comparisons; `gain, "
        "specific` is a sign at most, not proof.",
        f"Named changes: {six}, nor below .1250 when corrected by Holm over 4 comparisons; none of them can reach a "
        "corrected p < .05.",
    )
    alone = comparisons[(comparisons["kind"] != "control") | (comparisons["arm_key"] == "npc-topk")]
    alone = alone[(alone["kind"] != "twin") | (alone["arm_key"] == "npc-topk")]
    twin, controls, _ = floor_sentences(alone)
    assert twin == f"Arms against their twins: {six}."
    assert controls.endswith(
        "nor below .0625 when corrected by Holm over 2 comparisons; `gain, specific` is a sign at most, not proof."
    )
    assert floor_sentences(comparisons[comparisons["kind"] == "control-twin"]) == ()
    assert tally_sentence(comparisons).startswith("Of 2 arms with a twin, 2 score above it in UA and 0 below; ")


def test_one_arm_is_chosen_per_upstream_and_no_control_competes(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    results, comparisons = both
    loud = results.assign(validation_ua=results["validation_ua"].where(results["control"] == "none", 0.999))
    chosen = choose_arms(loud, comparisons)
    assert chosen == {"mockingjay": "mockingjay-topk", "npc": "npc-topk"}
    said = key_results(chosen, results, comparisons)
    assert said[0].startswith("Of the mockingjay arms with a twin, the best by validation UA, ems_topk r0.15 s7, ")
    assert said[1].startswith("Of the npc arms with a twin, the best by validation UA, npc ems_topk r0.15 s7, ")
    own = comparisons.set_index(["kind", "arm_key", "metric"]).loc[("twin", "npc-topk", "ua")]
    assert f"the difference is {100 * own['difference']:+.1f} points" in said[1]


def test_an_upstream_without_a_comparable_arm_is_passed_over(tmp_path: Path) -> None:
    outcomes = {("npc-topk", seed): "missing" for seed in (0, 1)}
    results, comparisons = tables(write(tmp_path, outcomes=outcomes))
    assert choose_arms(results, comparisons) == {"mockingjay": "mockingjay-topk"}


def test_a_schema_1_sweep_still_reads(tmp_path: Path) -> None:
    """Plans and records of schema 1 know neither controls nor upstreams nor losses."""
    old = SyntheticSweep(root=tmp_path / "old", arms=tuple(grid((0.15,), (1.0,), (7,))), seeds=(0,), schema=1).write()
    new = replace(old, root=tmp_path / "new", schema=2).write()
    assert "control" not in old.plan_path.read_text()
    for one, other in zip(tables(old), tables(new), strict=True):
        pd.testing.assert_frame_equal(one, other)
    results = tables(old)[0]
    assert set(results["upstream"]) == {"mockingjay"}
    assert set(results["control"]) == {"none"}
    assert results[["pretrain_loss", "validation_loss", "validation_loss_q4"]].isna().all(axis=None)
