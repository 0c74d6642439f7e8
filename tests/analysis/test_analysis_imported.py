"""Another system's predictions: a row like any other, compared like any other, and never passed off as a trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score
from synthetic_sweep import CLASSES, SyntheticArm, SyntheticSweep

from analysis.comparisons import comparisons_table, planned_pairs
from analysis.diff import Side, diff_sweeps
from analysis.imported import ImportedSystem, imported_sentence
from analysis.importing import import_predictions
from analysis.load import Sweep, load_sweep, open_test
from analysis.report import write_report
from analysis.tables import results_table
from core.errors import BadInputError

TWIN = SyntheticArm(key="random", name="random r0.15 s7")
ARM = SyntheticArm(key="ems", name="ems r0.15 t1 s7", twin_key="random", recall=0.7, temperature=1.0)
OTHER = SyntheticArm(key="other", name="other", recall=0.65)
Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture
def written(tmp_path: Path) -> SyntheticSweep:
    return SyntheticSweep(root=tmp_path, arms=(TWIN, ARM), seeds=(0, 1)).write()


def answers(written: SyntheticSweep, *, seed: int = 0, scores: bool = False) -> pd.DataFrame:
    """The file of another system that was tested as the sweep's trials were."""
    rows = written.predictions(OTHER, seed)
    rows = rows[rows["split"] == "test"].drop(columns=["split", "session"])
    if scores:
        for name in CLASSES:
            rows[f"score_{name}"] = np.where(rows["predicted"] == name, 0.7, 0.1)
        rows = rows.drop(columns="predicted")
    return rows.sample(frac=1, random_state=seed)


def bring(written: SyntheticSweep, rows: pd.DataFrame, **options: object) -> ImportedSystem:
    path = written.root / "other.csv"
    rows.to_csv(path, index=False)
    settings = {"name": "other", "plan_path": written.plan_path, "trials_root": written.trials_root} | options
    return import_predictions(path, **settings)  # type: ignore[arg-type]


def load(written: SyntheticSweep) -> Sweep:
    return load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)


def test_a_row_whose_ua_is_scikit_learns_and_no_trial(written: SyntheticSweep) -> None:
    rows = answers(written)
    bring(written, rows)
    sweep = load(written)
    assert [arm.name for arm in sweep.planned] == [TWIN.name, ARM.name]
    assert len(sweep.outcomes) == len(sweep.records) == 4
    assert sweep.upstreams == ("mockingjay",)
    assert [system.name for system in sweep.imported] == ["other"]
    row = results_table(sweep, open_test(sweep)).set_index("arm").loc["other"]
    folds = [balanced_accuracy_score(part["label"], part["predicted"]) for _, part in rows.groupby("fold")]
    assert row["ua_mean"] == pytest.approx(np.mean(folds), abs=1e-12)
    assert np.isnan(row["validation_ua"])
    assert (row["n_trials"], row["n_expected"]) == (1, 1)
    assert "could not be chosen by validation" in imported_sentence(sweep.imported[0])


def test_scores_answer_with_the_highest_and_names_may_differ(written: SyntheticSweep) -> None:
    bring(written, answers(written))
    plain = load(written).arms["import-other"].records[0].metrics
    scored = answers(written, scores=True).rename(
        columns={"utterance": " Utt_ID", "speaker": "SPK", "label": "Emotion"} | {f"score_{c}": c for c in CLASSES}
    )
    bring(written, scored, replace=True)
    assert load(written).arms["import-other"].records[0].metrics == plain


def test_the_arm_against_it_is_compared_seed_by_seed(written: SyntheticSweep) -> None:
    runs = pd.concat([answers(written, seed=seed).assign(seed=seed) for seed in (0, 1)])
    bring(written, runs, against=("ems r0.15 t1 s7",))
    sweep = load(written)
    tests = open_test(sweep)
    rows = comparisons_table(sweep, tests, resamples=200)
    row = rows[(rows["kind"] == "contrast") & (rows["metric"] == "ua")].iloc[0]
    assert (row["arm"], row["twin"], row["n_seeds"]) == (ARM.name, "other", 2)
    means = results_table(sweep, tests).set_index("arm")["ua_mean"]
    assert row["difference"] == pytest.approx(means[ARM.name] - means["other"], abs=1e-12)
    own = rows[(rows["kind"] == "twin") & (rows["metric"] == "ua")].iloc[0]
    alone = SyntheticSweep(root=written.root / "alone", arms=(TWIN, ARM), seeds=(0, 1)).write()
    before = comparisons_table(load(alone), open_test(load(alone)), resamples=200)
    unchanged = before[(before["kind"] == "twin") & (before["metric"] == "ua")].iloc[0]
    assert (own["ci_low"], own["ci_high"], own["p"]) == (unchanged["ci_low"], unchanged["ci_high"], unchanged["p"])


def test_all_means_every_arm_that_is_no_twin_and_no_control(tmp_path: Path) -> None:
    control = replace(ARM, key="loud", name="loudness", control="loudness")
    written = SyntheticSweep(root=tmp_path, arms=(TWIN, ARM, control, replace(ARM, key="b", name="b")), seeds=(0,))
    bring(written.write(), answers(written), against=("all",))
    against = [pair.arm.name for pair in planned_pairs(load(written)) if pair.against.name == "other"]
    assert against == [ARM.name, "b"]


def test_an_imported_system_against_another(written: SyntheticSweep) -> None:
    bring(written, answers(written))
    better = answers(written).assign(predicted=lambda rows: rows["label"])
    bring(written, better, name="better")
    bring(written, answers(written), against=("better",), replace=True)
    sweep = load(written)
    row = (
        comparisons_table(sweep, open_test(sweep), resamples=200).query("kind == 'contrast' and metric == 'wa'").iloc[0]
    )
    assert (row["arm"], row["twin"], row["n_pairs"]) == ("better", "other", 5)
    assert 0 < row["ci_low"] < row["difference"] < 1


def test_sweep_diff_leaves_it_out(written: SyntheticSweep) -> None:
    bring(written, answers(written))
    side = Side(name="synthetic", root=written.root)
    found = diff_sweeps(side, side, resamples=50)
    assert {row.a for row in found.arms} == {TWIN.name, ARM.name}
    assert (found.only_a, found.only_b) == ((), ())


@pytest.mark.slow
def test_the_report_has_it_and_does_not_choose_it(written: SyntheticSweep) -> None:
    bring(written, answers(written).assign(predicted=lambda rows: rows["label"]), against=("all",))
    options = {"plan_path": written.plan_path, "trials_root": written.trials_root, "opened_by": "a test"}
    summary = write_report(out=written.root / "report", **options)  # type: ignore[arg-type]
    assert summary.n_expected == summary.n_complete == 4
    assert list(summary.content["chosen_arm_keys"].values()) == ["ems"]
    row = next(row for row in summary.content["results"] if row["arm"] == "other")
    assert row["ua_mean"] == 1.0
    assert "other" in (written.root / "report" / "index.html").read_text(encoding="utf-8")


def no(column: str) -> Change:
    return lambda rows: rows.drop(columns=column)


def put(column: str, place: int, value: object) -> Change:
    def change(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.sort_values("utterance").reset_index(drop=True).astype(object)
        rows.loc[place, column] = value
        return rows

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no("fold"), r"other\.csv: no column for the fold \(named 'fold'\)"),
        (no("predicted"), "neither a column 'predicted' nor a score of class 'neu'"),
        (lambda rows: rows.assign(emotion="sad"), "columns 'label' and 'emotion' both are the label"),
        (put("label", 3, ""), "label is empty in 1 rows, first in line 5"),
        (put("predicted", 3, "fru"), r"predicted class 'fru' \(1 rows\) is none of neu, hap, ang, sad"),
        (lambda rows: rows.assign(score_neu=0.1), "not a score of class 'hap'"),
        (lambda rows: pd.concat([rows, rows.iloc[:1]]), "is there twice in one fold"),
        (lambda rows: rows[rows["speaker"] != "Ses02F"], "36 of 360 utterances are absent, first 'Ses02F_ang_000'"),
        (put("utterance", 0, "foreign"), "1 of 360 utterances are absent, first 'Ses01F_ang_000'"),
        (
            lambda rows: pd.concat([rows, rows.iloc[:2].assign(utterance=["x", "y"])]),
            "2 are not in the test part, first 'x'",
        ),
        (put("fold", 0, "Ses05"), r"'Ses01F_ang_000' has fold 'Ses05', in .* 'Ses01' \(1 utterances differ\)"),
        (put("speaker", 0, "Ses01M"), r"has speaker 'Ses01M', in the sweep's test part 'Ses01F' \(1 utt"),
        (put("label", 0, "sad"), r"has label 'sad', in the sweep's test part 'ang' \(1 utterances differ\)"),
        (lambda rows: rows.assign(seed="first"), "seed 'first' is not a whole number"),
        (lambda rows: rows.iloc[:0], "has no rows"),
    ],
)
def test_what_is_not_the_sweeps_test_part_is_one_clear_line(
    written: SyntheticSweep, change: Change, message: str
) -> None:
    with pytest.raises(BadInputError, match=message) as error:
        bring(written, change(answers(written)))
    assert "\n" not in str(error.value)
    assert not (written.plan_path.parent / "imports" / "other").exists()


@pytest.mark.parametrize("value", ["nan", "", "inf", "high"])
def test_a_score_that_is_no_number_is_refused(written: SyntheticSweep, value: str) -> None:
    rows = put("score_hap", 7, value)(answers(written, scores=True))
    with pytest.raises(BadInputError, match="score of class 'hap' is no finite number in 1 rows, first of utterance"):
        bring(written, rows)


def test_names_and_arms_are_checked(written: SyntheticSweep) -> None:
    rows = answers(written)
    with pytest.raises(BadInputError, match=r"name '\.\./other': must be"):
        bring(written, rows, name="../other")
    with pytest.raises(BadInputError, match=r"against 'emms': no arm of sweep 'synthetic' \(random r0\.15 s7, ems"):
        bring(written, rows, against=("emms",))
    bring(written, rows)
    with pytest.raises(BadInputError, match="imported before into sweep 'synthetic'; --replace"):
        bring(written, rows)
    taken = SyntheticSweep(root=written.root / "taken", arms=(replace(TWIN, name="other"),), seeds=(0,)).write()
    with pytest.raises(BadInputError, match="an arm of sweep 'synthetic' is called so"):
        bring(taken, rows)


def test_a_sweep_without_a_complete_trial_has_nothing_to_check_against(tmp_path: Path) -> None:
    written = SyntheticSweep(root=tmp_path, arms=(TWIN,), seeds=(0,), outcomes={("random", 0): "failed"}).write()
    with pytest.raises(BadInputError, match="no trial is complete yet"):
        bring(written, answers(written))


def test_importing_reads_no_answer_of_a_trial(written: SyntheticSweep) -> None:
    """Predictions that contradict the record would be noticed if they were read."""
    path = written.trials_root / "random-0" / "predictions.parquet"
    frame = pd.read_parquet(path)
    frame.loc[frame["split"] == "test", "predicted"] = "neu"
    frame.to_parquet(path, index=False)
    bring(written, answers(written))
    assert not (written.plan_path.parent / "openings.jsonl").exists()


def test_predictions_changed_after_the_import_are_noticed(written: SyntheticSweep) -> None:
    bring(written, answers(written))
    path = written.plan_path.parent / "imports" / "other" / "run" / "predictions.parquet"
    pd.read_parquet(path).assign(predicted="neu").to_parquet(path, index=False)
    with pytest.raises(BadInputError, match=r"trial import-other-0, test, fold Ses01: the record says ua"):
        open_test(load(written))
