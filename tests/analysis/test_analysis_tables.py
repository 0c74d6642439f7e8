"""Rows of the report against means, differences and verdicts worked out here from the raw predictions."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score
from synthetic_sweep import SyntheticArm, SyntheticSweep, fold_scores

from analysis.arm_intervals import arm_interval
from analysis.banners import banners
from analysis.comparisons import comparisons_table
from analysis.load import Part, Sweep, load_sweep, open_test
from analysis.sentences import (
    METRIC_DEFINITIONS,
    arms_sentence,
    choose_arms,
    floor_sentences,
    key_result,
    tally_sentence,
)
from analysis.tables import as_rows, results_table
from core.errors import BadInputError
from core.metrics import ua

TWIN = SyntheticArm(key="random", name="random r0.15 s7", recall=0.5)
GOOD = SyntheticArm(key="good", name="ems r0.15 t1 s7", twin_key="random", recall=0.75, temperature=1.0)
SAME = SyntheticArm(key="same", name="ems r0.15 tinf s7", twin_key="random", recall=0.5, temperature="inf")


def make(root: Path, **changes: object) -> SyntheticSweep:
    return replace(SyntheticSweep(root=root, arms=(TWIN, GOOD, SAME)), **changes).write()  # type: ignore[arg-type]


def opened(written: SyntheticSweep) -> tuple[Sweep, dict[str, Part]]:
    sweep = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)
    return sweep, open_test(sweep)


def test_results_are_the_means_of_the_cells(tmp_path: Path) -> None:
    written = make(tmp_path)
    table = results_table(*opened(written)).set_index("arm_key")
    cells = pd.concat([fold_scores(written, f"good-{seed}") for seed in (0, 1, 2)])
    row = table.loc["good"]
    assert row["ua_mean"] == pytest.approx(cells["ua"].mean(), abs=1e-12)
    assert row["ua_sd"] == pytest.approx(np.std(cells["ua"], ddof=1), abs=1e-12)
    assert row["wa_mean"] == pytest.approx(cells["wa"].mean(), abs=1e-12)
    assert row["wa_sd"] == pytest.approx(np.std(cells["wa"], ddof=1), abs=1e-12)
    assert (row["n_trials"], row["n_expected"], row["status"], row["missing_seeds"]) == (3, 3, "complete", "")
    assert row["twin"] == "random r0.15 s7"
    assert row["trial_keys"] == "good-0 good-1 good-2"


def test_an_arm_s_own_interval_is_that_of_a_mean_over_speakers(tmp_path: Path) -> None:
    """Every speaker as many utterances of each class: UA is the plain mean of the speakers' scores."""
    rng = np.random.default_rng(0)
    counts_FSCC = np.zeros((4, 20, 2, 2), dtype=np.int64)
    for speaker in range(20):
        right_C = rng.binomial(50, 0.7, size=2)
        counts_FSCC[speaker % 4, speaker] = [[right_C[0], 50 - right_C[0]], [50 - right_C[1], right_C[1]]]
    sweep, tests = opened(make(tmp_path))
    part = replace(next(iter(tests.values())), counts=counts_FSCC)
    scores_S = np.diagonal(counts_FSCC.sum(axis=0), axis1=1, axis2=2).mean(axis=1) / 50
    found = arm_interval([part], metric="ua")
    assert found is not None
    # Whole folds as clusters may widen it; for normal scores it is close to that of t.
    half = stats.t.ppf(0.975, 19) * scores_S.std(ddof=1) / np.sqrt(20)
    assert found[0] < scores_S.mean() < found[1]
    assert 0.85 * 2 * half < found[1] - found[0] < 2 * 2 * half
    assert arm_interval([part, replace(part, identity="other")], metric="ua") is None
    assert arm_interval([], metric="ua") is None
    few = replace(part, counts=counts_FSCC[:, :4])
    assert arm_interval([few], metric="wa") is None
    table = results_table(sweep, tests)
    assert (table["ua_low"] < table["ua_mean"]).all()
    assert (table["ua_mean"] < table["ua_high"]).all()


def test_contract_columns_come_first(tmp_path: Path) -> None:
    sweep, tests = opened(make(tmp_path))
    names = ",".join(results_table(sweep, tests).columns)
    assert names.startswith("arm,twin,n_trials,n_expected,ua_mean,ua_sd,wa_mean,wa_sd,f1_mean,f1_sd,realised_ratio,")
    names = ",".join(comparisons_table(sweep, tests, resamples=200).columns)
    assert names.startswith("arm,twin,metric,n_pairs,difference,sd,ci_low,ci_high,p,p_corrected,")


def test_pooled_ua_is_that_of_all_folds_in_one_matrix(tmp_path: Path) -> None:
    written = make(tmp_path, seeds=(0,))
    sweep, tests = opened(written)
    frame = pd.read_parquet(written.trials_root / "good-0" / "predictions.parquet")
    frame = frame[frame["split"] == "test"]
    row = results_table(sweep, tests).set_index("arm_key").loc["good"]
    assert row["pooled_ua"] == pytest.approx(balanced_accuracy_score(frame["label"], frame["predicted"]), abs=1e-12)


def test_partial_and_missing_arms_are_marked_not_averaged_away(tmp_path: Path) -> None:
    outcomes = {("good", 1): "failed", **{("same", seed): "missing" for seed in (0, 1, 2)}}
    written = make(tmp_path, outcomes=outcomes)
    table = results_table(*opened(written)).set_index("arm_key")
    good, same = table.loc["good"], table.loc["same"]
    assert (good["status"], good["n_trials"], good["seeds"], good["missing_seeds"]) == ("partial", 2, "0 2", "1")
    two = pd.concat([fold_scores(written, f"good-{seed}") for seed in (0, 2)])
    assert good["ua_mean"] == pytest.approx(two["ua"].mean(), abs=1e-12)
    assert (same["status"], same["n_trials"], same["missing_seeds"]) == ("missing", 0, "0 1 2")
    assert math.isnan(same["ua_mean"])
    assert math.isnan(same["realised_ratio"])


def test_runs_are_weighted_by_their_counts(tmp_path: Path) -> None:
    row = results_table(*opened(make(tmp_path))).set_index("arm_key").loc["good"]
    # three runs of 7 frames and one of 14 in every trial
    assert (row["hidden_run_mean"], row["hidden_run_median"], row["hidden_run_max"]) == (35 / 4, 7, 14)


def test_comparison_pairs_the_cells(tmp_path: Path) -> None:
    written = make(tmp_path)
    table = comparisons_table(*opened(written), resamples=2000)
    good = table[table["arm_key"] == "good"].set_index("metric")
    pairs = [fold_scores(written, f"good-{seed}") - fold_scores(written, f"random-{seed}") for seed in (0, 1, 2)]
    cells = pd.concat(pairs)
    for metric in ("ua", "wa"):
        row = good.loc[metric]
        assert row["n_pairs"] == 15
        assert row["difference"] == pytest.approx(cells[metric].mean(), abs=1e-12)
        assert row["sd"] == pytest.approx(cells[metric].std(ddof=1), abs=1e-12)
        assert row["ci_low"] < row["difference"] < row["ci_high"]
        assert row["p_folds"] == row["p_folds_floor"] == 0.0625  # all five fold means are positive: the floor
        assert 2**-9 == row["p_floor"] <= row["p"] <= 2 * row["p_floor"]  # and so are all ten speakers
        assert row["n_speakers"] == 10


def test_planted_difference_is_recovered(tmp_path: Path) -> None:
    """+25 points of recall for one arm, none for the other; 2,400 utterances × 3 seeds: standard error .008."""
    table = comparisons_table(*opened(make(tmp_path, per_class=(60, 60, 60, 60))), resamples=4000)
    rows = table[table["metric"] == "ua"].set_index("arm_key")
    assert rows.loc["good", "difference"] == pytest.approx(0.25, abs=0.03)
    assert rows.loc["same", "difference"] == pytest.approx(0.0, abs=0.03)
    assert rows.loc["good", "ci_low"] > 0.2
    assert rows.loc["good", "ci_high"] < 0.3


def test_holm_is_over_the_comparisons_of_one_metric(tmp_path: Path) -> None:
    table = comparisons_table(*opened(make(tmp_path)), resamples=200)
    for metric in ("ua", "wa"):
        rows = table[table["metric"] == metric]
        low, high = sorted(rows["p"])
        assert sorted(rows["p_holm"]) == pytest.approx([min(1, 2 * low), min(1, max(2 * low, high))])


def test_only_common_seeds_are_paired(tmp_path: Path) -> None:
    written = make(tmp_path, outcomes={("good", 0): "missing", ("random", 2): "failed"})
    table = comparisons_table(*opened(written), resamples=200)
    row = table[(table["arm_key"] == "good") & (table["metric"] == "ua")].iloc[0]
    expected = (fold_scores(written, "good-1") - fold_scores(written, "random-1"))["ua"]
    assert (row["n_pairs"], row["n_seeds"], row["n_seeds_expected"]) == (5, 1, 3)
    assert row["difference"] == pytest.approx(expected.mean(), abs=1e-12)


def test_no_common_seed_leaves_an_empty_row(tmp_path: Path) -> None:
    written = make(tmp_path, seeds=(0, 1), outcomes={("good", 0): "missing", ("random", 1): "missing"})
    sweep, tests = opened(written)
    table = comparisons_table(sweep, tests, resamples=200)
    row = next(row for row in as_rows(table) if row["arm_key"] == "good")
    assert row["n_pairs"] == 0
    assert row["difference"] is row["p"] is row["p_corrected"] is None


def test_four_speakers_get_no_interval(tmp_path: Path) -> None:
    table = comparisons_table(*opened(make(tmp_path, sessions=2)), resamples=200)
    assert table["ci_low"].isna().all()
    assert (table["p"] >= 0.125).all()
    assert (table["p_folds"] >= 0.5).all()


def test_unequal_test_parts_are_refused(tmp_path: Path) -> None:
    written = make(tmp_path)
    path = written.trials_root / "good-0" / "predictions.parquet"
    frame = pd.read_parquet(path)
    frame["utterance"] = frame["utterance"].str.replace("neu_000", "neu_999")
    frame.to_parquet(path, index=False)
    with pytest.raises(BadInputError, match="not tested on the same utterances"):
        comparisons_table(*opened(written), resamples=200)


def test_seeds_share_the_bootstrap_and_give_the_same_table_twice(tmp_path: Path) -> None:
    sweep, tests = opened(make(tmp_path))
    first = comparisons_table(sweep, tests, resamples=500, seed=0)
    pd.testing.assert_frame_equal(first, comparisons_table(sweep, tests, resamples=500, seed=0))
    assert not first["ci_low"].equals(comparisons_table(sweep, tests, resamples=500, seed=1)["ci_low"])


def test_the_arm_is_chosen_by_validation_and_not_by_test(tmp_path: Path) -> None:
    """An arm that is right in test only must not be chosen."""
    written = make(tmp_path)
    sweep, tests = opened(written)
    results, comparisons = results_table(sweep, tests), comparisons_table(sweep, tests, resamples=200)
    assert choose_arms(results, comparisons) == {"mockingjay": "good"}
    swapped = results.copy()
    swapped["validation_ua"] = swapped["validation_ua"].to_numpy()[[0, 2, 1]]
    assert choose_arms(swapped, comparisons) == {"mockingjay": "same"}
    perfect = results.assign(ua_mean=np.where(results["arm_key"] == "same", 1.0, results["ua_mean"]))
    assert choose_arms(perfect, comparisons) == {"mockingjay": "good"}


def test_whole_arms_are_chosen_before_partial_ones(tmp_path: Path) -> None:
    sweep, tests = opened(make(tmp_path, outcomes={("good", 2): "missing"}))
    results, comparisons = results_table(sweep, tests), comparisons_table(sweep, tests, resamples=200)
    assert choose_arms(results, comparisons) == {"mockingjay": "same"}


@pytest.mark.parametrize(
    ("low", "high", "difference", "p", "verdict"),
    [
        (-0.01, 0.05, 0.02, 0.2, "does not show that the arm and its twin differ"),
        (0.01, 0.05, 0.03, 0.0625, "not proof"),
        (0.01, 0.05, 0.03, 0.01, "the arm is better than its twin on this corpus"),
        (-0.05, -0.01, -0.03, 0.01, "the arm is worse than its twin on this corpus"),
        (math.nan, math.nan, 0.03, 0.5, "which way the difference points in these data, and no more"),
    ],
)
def test_the_sentence_claims_no_more_than_the_interval(
    tmp_path: Path, low: float, high: float, difference: float, p: float, verdict: str
) -> None:
    sweep, tests = opened(make(tmp_path))
    results, comparisons = results_table(sweep, tests), comparisons_table(sweep, tests, resamples=200)
    comparisons.loc[:, ["ci_low", "ci_high", "difference", "p_corrected"]] = [low, high, difference, p]
    assert verdict in key_result("good", results, comparisons)


def test_floor_and_tally(tmp_path: Path) -> None:
    sweep, tests = opened(make(tmp_path))
    comparisons = comparisons_table(sweep, tests, resamples=200)
    assert floor_sentences(comparisons) == (
        "Arms against their twins: 10 speakers cannot go below p = .0020, however large the difference, alone or "
        "corrected by max-T over 2 comparisons. The exact test over folds × seeds, which is about these speakers "
        "alone: 5 folds × 3 seeds can go down to < .0001.",
    )
    assert tally_sentence(comparisons).startswith("Of 2 arms with a twin, ")
    assert tally_sentence(comparisons).endswith("and 1 of the corrected p values are below .05.")


def test_max_t_over_controls_is_said_to_be_more_than_is_needed() -> None:
    (said,) = [text for text in METRIC_DEFINITIONS if text.startswith("max-T")]
    assert "would need no correction for their number" in said
    assert said.endswith("max-T over the controls of all arms is stricter than that argument needs.")


def test_banners_name_every_leak_and_gap(tmp_path: Path) -> None:
    written = make(
        tmp_path,
        arms=(TWIN, replace(GOOD, realised=0.07)),
        transductive=True,
        leaks=("pre-training heard the test part's audio (without labels)",),
        incomplete="5,400 of 5,531 utterances",
        outcomes={("good", 1): "failed"},
    )
    sweep, tests = opened(written)
    found = [(banner.kind, banner.text) for banner in banners(sweep, results_table(sweep, tests))]
    assert found == [
        ("leak", "Known leak: pre-training heard the test part's audio (without labels)."),
        ("incomplete", "Incomplete corpus: 5,400 of 5,531 utterances"),
        ("incomplete", "Set aside, not in any number: 2 recordings (too short), 1 recording (unreadable)."),
        ("missing", "Not all is in: of 6 planned trials, 5 complete, 1 failed. Means over a part are marked."),
        (
            "pair",
            "Not a fair pair: ems r0.15 t1 s7 hides 7.0 % of the frames where its twin random r0.15 s7 hides 15.0 %, "
            "both nominally 15 %: the comparison mixes which frames with how many.",
        ),
    ]


@pytest.mark.parametrize(("changes", "word"), [({"transductive": True}, "audio"), ({"validation": "superb"}, "superb")])
def test_a_leak_the_record_forgot_to_name_is_named(tmp_path: Path, changes: dict[str, object], word: str) -> None:
    sweep, tests = opened(make(tmp_path, **changes))
    leaks = [banner.text for banner in banners(sweep, results_table(sweep, tests)) if banner.kind == "leak"]
    assert len(leaks) == 1
    assert word in leaks[0]


def test_nothing_to_warn_about_gives_no_banner(tmp_path: Path) -> None:
    sweep, tests = opened(make(tmp_path, quarantined={}))
    assert banners(sweep, results_table(sweep, tests)) == []


def test_hand_made_confusion_gives_the_known_ua() -> None:
    # recalls .5, 1, .25, 0 → UA .4375
    counts = np.array([[2, 2, 0, 0], [0, 3, 0, 0], [1, 1, 1, 1], [5, 0, 0, 0]])
    assert ua(counts) == 0.4375


def test_only_the_letters_that_names_have_are_explained() -> None:
    said = arms_sentence(["random r0.15 s7", "ems r0.15 s7 tinf"])
    assert [part in said for part in ("r, the share", "s, the span", "t, the temperature")] == [True] * 3
    assert "t, the temperature" not in arms_sentence(["random r0.15 s7", "test"])
    assert arms_sentence(["strength", "raw"]).endswith("masks at random.")
