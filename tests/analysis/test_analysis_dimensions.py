"""Records of dimensions: read, checked, compared and shown; a sweep of classes knows nothing of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import audmetric
import numpy as np
import pandas as pd
import pytest
from four_systems import student_arms
from gathered_report import gathered, page_of
from synthetic_sweep import SyntheticSweep

from analysis.content import Report
from analysis.diff import Side, diff_sweeps
from analysis.diff_text import diff_text
from analysis.explain import explain_cell
from analysis.export import json_text
from analysis.latex import latex_text
from analysis.load import load_sweep, open_test
from analysis.markdown import tables_text
from analysis.numbers import numbers_of
from analysis.paragraphs import results_paragraph
from core.errors import BadInputError
from core.records import DIMENSIONS

Written = tuple[SyntheticSweep, Report]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    contrasts = (("contrast", "condition", "soft", "every"),)
    root = tmp_path_factory.mktemp("students")
    sweep = SyntheticSweep(root=root, arms=tuple(student_arms()), seeds=(0, 1), contrasts=contrasts).write()
    return sweep, gathered(sweep)


def cell_scores(sweep: SyntheticSweep, arm: str, split: str = "test") -> pd.DataFrame:
    """CCC by audmetric, one row per seed and fold."""
    rows = []
    for seed in sweep.seeds:
        frame = pd.read_parquet(sweep.trials_root / f"{arm}-{seed}" / "predictions.parquet")
        for _, own in frame[frame["split"] == split].groupby("fold"):
            found = [audmetric.concordance_cc(own[f"true_{name}"], own[f"predicted_{name}"]) for name in DIMENSIONS]
            rows.append([*found, np.mean(found)])
    return pd.DataFrame(rows, columns=[*DIMENSIONS, "mean"])


def test_results_hold_ccc_and_leave_ua_empty(written: Written) -> None:
    sweep, report = written
    row, own = report.results.set_index("arm_key").loc["soft"], cell_scores(sweep, "soft")
    assert row["ccc_mean"] == pytest.approx(own["mean"].mean())
    assert row["ccc_sd"] == pytest.approx(own["mean"].std())
    assert row["ccc_low"] < row["ccc_mean"] < row["ccc_high"] <= 1
    for name in DIMENSIONS:
        assert row[f"ccc_{name}_mean"] == pytest.approx(own[name].mean())
    assert row["validation_ccc"] == pytest.approx(cell_scores(sweep, "soft", "validation")["mean"].mean())
    assert 0.6 < row["pooled_ccc"] < 0.9
    assert report.results[["ua_mean", "wa_mean", "f1_mean", "pooled_ua", "validation_ua"]].isna().all(axis=None)


def test_comparisons_are_paired_as_those_of_ua(written: Written) -> None:
    sweep, report = written
    assert set(report.comparisons["metric"]) == {"ccc_mean", *(f"ccc_{name}" for name in DIMENSIONS)}
    rows = report.comparisons.set_index(["arm_key", "twin_key", "metric"])
    cells = cell_scores(sweep, "soft") - cell_scores(sweep, "alone")
    for metric, column in (("ccc_mean", "mean"), ("ccc_valence", "valence")):
        row = rows.loc["soft", "alone", metric]
        assert row["difference"] == pytest.approx(cells[column].mean())
        assert row["sd"] == pytest.approx(cells[column].std())
        assert row["ci_low"] < row["difference"] < row["ci_high"]
        assert (row["n_pairs"], row["n_speakers"], row["n_seeds"]) == (10, 10, 2)
    best = rows.loc["soft", "alone", "ccc_mean"]
    assert best["ci_low"] > 0
    assert best["p"] <= best["p_corrected"] <= best["p_holm"] < 0.05
    assert best["ci_low_all"] <= best["ci_low"]


def test_validation_chooses_by_ccc_and_sentences_are_in_its_units(written: Written) -> None:
    _, report = written
    assert report.chosen == {"mockingjay": "soft"}
    row = report.results.set_index("arm_key").loc["soft"]
    assert f"validation mean CCC, soft s0.5, reaches a test mean CCC of {row['ccc_mean']:.3f}," in report.key_results[0]
    assert "points" not in " ".join([*report.key_results, report.tally, *report.changes_said, *report.floor])
    assert report.changes_said[0].startswith("3 changes, in mean CCC. Shown to change mean CCC")
    assert numbers_of(report)["CCC", "soft s0.5"] == f"{row['ccc_mean']:.3f}"
    assert f"reached a mean CCC of {row['ccc_mean']:.3f} (activation " in results_paragraph(report)
    (one,) = report.picked
    assert (one.metric, one.candidates, one.rank) == ("ccc_mean", 2, 1)
    assert sorted(drawing.name for drawing in report.drawings) == ["changes-ccc", "differences-ccc"]


def test_page_and_tables_show_no_empty_columns(written: Written) -> None:
    _, report = written
    text, page = tables_text(report), page_of(report)
    assert "| CCC, mean" in text
    for absent in ("UA %", "realised ratio", "Nominal against realised"):
        assert absent not in text
    assert "masks" not in page.ids
    assert "An arm is one setting of a system" in page.text
    assert "infinitesimal jackknife" in page.text
    assert r"mean $\pm$ sd" in latex_text(report)
    assert "+0." in latex_text(report)


def test_explain_knows_the_columns(written: Written) -> None:
    sweep, report = written
    folder = sweep.plan_path.with_name("report")
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_text(json_text(report.as_json()), encoding="utf-8")
    row, roots = report.results.set_index("arm_key").loc["soft"], {"sweeps_root": folder.parents[1]}
    roots |= {"trials_root": sweep.trials_root}
    for column, value in (("", "ccc_mean"), (":ccc", "ccc_mean"), (":ccc_valence", "ccc_valence_mean")):
        found = explain_cell(
            f"synthetic:soft s0.5{column}", sweeps_root=folder.parents[1], trials_root=sweep.trials_root
        )
        assert found.value.startswith(f"{row[value]:.3f} ± 0.")
    found = explain_cell("synthetic:soft s0.5:difference", **roots)
    assert found.column == "ccc_mean-difference"
    assert found.value.startswith("+0.1")


def test_two_sweeps_are_held_against_each_other_in_ccc(written: Written, tmp_path: Path) -> None:
    sweep, _ = written
    later = SyntheticSweep(root=tmp_path, arms=tuple(student_arms()), seeds=(2, 3)).write()
    a, b = (Side(name="synthetic", root=each.root) for each in (sweep, later))
    found = diff_sweeps(a, b, resamples=200)
    assert {row.metric for row in found.arms} == {"ccc_mean", *(f"ccc_{name}" for name in DIMENSIONS)}
    assert "CCC of valence" in diff_text(found)


def refused(sweep: SyntheticSweep, folder: Path, change: str) -> str:
    """What is said of a sweep whose predictions of trial soft-0 were changed."""
    root = folder / "trials"
    shutil.copytree(sweep.trials_root, root)
    path = root / "soft-0" / "predictions.parquet"
    frame = pd.read_parquet(path)
    test = frame.index[frame["split"] == "test"]
    if change == "moved":
        frame.loc[test[0], "predicted_valence"] += 0.01
    elif change == "absent":
        frame = frame.drop(columns="true_dominance")
    elif change == "nan":
        frame.loc[test[0], "predicted_valence"] = np.nan
    elif change == "twice":
        frame = pd.concat([frame, frame.loc[test[:1]]])
    elif change == "fold":
        frame.loc[test, "fold"] = frame.loc[test, "fold"].replace("Ses01", "Ses09")
    frame.to_parquet(path, index=False)
    with pytest.raises(BadInputError) as found:
        open_test(load_sweep(plan_path=sweep.plan_path, trials_root=root))
    return str(found.value)


def test_predictions_that_do_not_fit_the_record_are_refused(written: Written, tmp_path: Path) -> None:
    sweep, _ = written
    expected = {
        "moved": "fold Ses01: the record says ccc_valence",
        "absent": "predictions have no column 'true_dominance'",
        "nan": "column 'predicted_valence' is empty or not finite in 1 rows",
        "twice": "is predicted twice in one fold",
        "fold": "predictions are of folds Ses02, Ses03, Ses04, Ses05, Ses09",
    }
    for change, said in expected.items():
        assert said in refused(sweep, tmp_path / change, change)


def test_arms_tested_on_other_true_values_are_not_compared(written: Written, tmp_path: Path) -> None:
    sweep, _ = written
    tests = open_test(load_sweep(plan_path=sweep.plan_path, trials_root=sweep.trials_root))
    assert len({part.identity for part in tests.values()}) == 1
    other = SyntheticSweep(root=tmp_path, arms=tuple(student_arms()), seeds=(0,), per_class=(12, 10, 8, 5)).write()
    foreign = open_test(load_sweep(plan_path=other.plan_path, trials_root=other.trials_root))
    assert foreign["soft-0"].identity != tests["soft-0"].identity
