"""What is compared with what, and over which comparisons p values are corrected."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_sweep import SyntheticSweep, fold_scores, grid, published_arms, published_contrasts

from analysis.comparisons import comparisons_table
from analysis.effects import effect_size
from analysis.intervals import METHOD
from analysis.load import load_sweep, open_test
from analysis.sentences import choose_arms, floor_sentences, key_results, tally_sentence
from analysis.sign_flips import sign_flip_p
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
            assert row["p_holm"] == pytest.approx(largest, abs=1e-12)
        sizes[kind, metric] = len(family)
    expected = {"twin": 2, "control-twin": 4, "control": 4, "contrast": 4}
    assert sizes == {(kind, metric): size for kind, size in expected.items() for metric in ("ua", "wa")}


def test_rows_by_hand(written: SyntheticSweep, both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Six folds of two equal speakers under two seeds: every statistic from scikit-learn's cells and from scipy."""
    rows = both[1].set_index(["kind", "name", "arm_key", "metric"])
    row = rows.loc[("twin", "twin", "npc-topk", "ua")]
    cells = np.array(
        [(fold_scores(written, f"npc-topk-{s}") - fold_scores(written, f"npc-random-{s}"))["ua"] for s in (0, 1)]
    )
    assert row["p_cells"] == sign_flip_p(cells.ravel().tolist())
    assert row["p_folds"] == sign_flip_p(cells.mean(axis=0).tolist())
    assert (row["p_cells_floor"], row["p_folds_floor"], row["p_floor"]) == (2.0**-11, 2.0**-5, 2.0**-11)
    # next-fold validation: one sixth tested, one sixth validated, four sixths trained on
    t = cells.mean() / np.sqrt((1 / 12 + 1 / 4) * cells.var(ddof=1))
    assert row["p_t_corrected"] == pytest.approx(2 * stats.t.sf(abs(t), 11))
    assert row["interval_method"] == METHOD
    assert row["ci_low_all"] <= row["ci_low"] < row["difference"] < row["ci_high"] <= row["ci_high_all"]
    assert row["effect_size"] == pytest.approx(
        effect_size(row["difference"], variance=row["se"] ** 2, n_speakers=12), abs=1e-12
    )
    assert row["p_floor"] <= row["p"] <= row["p_corrected"] <= row["p_holm"] + 1e-12
    assert row["seeds_for_80"] >= 1


def test_turned_round_a_comparison_is_mirrored(tmp_path: Path) -> None:
    contrasts = (("contrast", "there", "npc-topk", "npc-matched"), ("contrast", "back", "npc-matched", "npc-topk"))
    table = tables(write(tmp_path, contrasts=contrasts))[1]
    there, back = (table[(table["kind"] == "contrast") & (table["name"] == name)] for name in ("there", "back"))
    for low, high in (("ci_low", "ci_high"), ("ci_low_all", "ci_high_all")):
        assert back[low].to_numpy() == pytest.approx(-there[high].to_numpy(), abs=1e-12)
        assert back[high].to_numpy() == pytest.approx(-there[low].to_numpy(), abs=1e-12)
    for name in ("difference", "effect_size"):
        assert back[name].to_numpy() == pytest.approx(-there[name].to_numpy(), abs=1e-12)
    for name in ("sd", "se", "p", "p_corrected", "p_holm", "p_folds", "p_cells", "p_t_corrected", "seeds_for_80"):
        assert back[name].to_numpy() == pytest.approx(there[name].to_numpy(), abs=1e-12)


def test_one_arm_more_changes_what_is_corrected_and_nothing_else(tmp_path: Path) -> None:
    """The same arm twice: every other row keeps difference, interval and its own p."""
    few = SyntheticSweep(root=tmp_path / "few", arms=tuple(grid((0.15, 0.3), (0.5, 1.0), (7,))), seeds=(0,)).write()
    again = replace(few.arms[1], key="again", name="again")
    more = replace(few, root=tmp_path / "more", arms=(*few.arms, again)).write()
    source, copy = (more.trials_root / name / "predictions.parquet" for name in (f"{few.arms[1].key}-0", "again-0"))
    copy.write_bytes(source.read_bytes())
    shutil.copyfile(source.with_name("record.json"), copy.with_name("record.json"))
    record = copy.with_name("record.json")
    record.write_text(record.read_text().replace(few.arms[1].key, "again").replace(few.arms[1].name, "again"))
    one, two = tables(few)[1].set_index(["arm_key", "metric"]), tables(more)[1].set_index(["arm_key", "metric"])
    family = ["p_corrected", "p_holm", "ci_low_all", "ci_high_all", "shrunk"]
    pd.testing.assert_frame_equal(two.loc[one.index].drop(columns=family), one.drop(columns=family), atol=1e-12)
    twin = two.xs("again", level="arm_key")
    assert twin["ci_low"].to_numpy() == pytest.approx(one.xs(few.arms[1].key, level="arm_key")["ci_low"].to_numpy())
    assert (two.loc[one.index, "p_holm"] > one["p_holm"]).any()


def test_the_order_of_arms_changes_nothing(tmp_path: Path) -> None:
    written = SyntheticSweep(root=tmp_path / "a", arms=tuple(grid((0.15, 0.3), (0.5, 1.0), (7,))), seeds=(0, 1)).write()
    turned = replace(written, root=tmp_path / "b", arms=written.arms[::-1]).write()
    one, two = (tables(each)[1].set_index(["arm_key", "metric"]) for each in (written, turned))
    pd.testing.assert_frame_equal(two.loc[one.index], one, rtol=1e-9, atol=1e-12)


def test_little_data_leaves_cells_empty(tmp_path: Path) -> None:
    """Two folds of two speakers, one seed: no interval, no seeds to tell apart, nobody to shrink towards."""
    table = tables(write(tmp_path, seeds=(0,), sessions=2))[1]
    empty = ["ci_low", "ci_high", "ci_low_all", "ci_high_all", "interval_method", "seeds_for_80", "p_t_corrected"]
    assert table[empty].isna().all(axis=None)
    assert table.loc[table["kind"] == "twin", "shrunk"].isna().all()
    assert table[["p", "p_corrected", "p_holm", "p_folds", "p_cells", "se"]].notna().all(axis=None)
    assert (table["p"] >= 0.125).all()


def test_each_family_has_its_floor_and_the_tally_is_of_arms_against_twins(
    both: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    """Twelve speakers: p cannot go below 2/2¹²; six folds under two seeds are twelve cells; max-T keeps the floor."""
    comparisons = both[1]
    twelve = "12 speakers cannot go below p = .0005, however large the difference"
    cells = "The exact test over folds × seeds, which is about these speakers alone: "
    cells += "6 folds × 2 seeds can go down to .0005."
    assert floor_sentences(comparisons) == (
        f"Arms against their twins: {twelve}, alone or corrected by max-T over 2 comparisons. {cells}",
        f"Arms against their controls: {twelve}, alone or corrected by max-T over 4 comparisons. {cells}",
        f"Named changes: {twelve}, alone or corrected by max-T over 4 comparisons. {cells}",
    )
    alone = comparisons[(comparisons["kind"] != "twin") | (comparisons["arm_key"] == "npc-topk")]
    assert floor_sentences(alone)[0] == f"Arms against their twins: {twelve}. {cells}"
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
