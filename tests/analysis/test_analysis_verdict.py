"""Every metric against scikit-learn and by hand; intervals by brute-force jackknife; fronts by definition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, recall_score
from synthetic_sweep import CLASSES, SyntheticArm, SyntheticSweep, grid

from analysis import arm_scores
from analysis.arm_scores import Scores
from analysis.calibration_error import BINS, calibration_errors, read_answers
from analysis.comparisons import comparisons_table
from analysis.intervals import spread
from analysis.load import Sweep, load_sweep, open_test
from analysis.pareto import front_sentences, front_table, non_dominated
from analysis.speaker_scores import by_speaker, class_recalls, macro_f1s, without_each
from analysis.verdict import verdict_sentences, verdict_table
from core.errors import BadInputError

ARMS = (
    SyntheticArm(key="random", name="random", recall=0.5),
    SyntheticArm(key="ems", name="ems", twin_key="random", recall=0.75, temperature=1.0),
)


def scored(written: SyntheticSweep, *, sureness: float = 0.7) -> Sweep:
    """With class scores: the class that is answered has `sureness`, ± .1."""
    rng = np.random.default_rng(0)
    for path in sorted(written.trials_root.glob("*/predictions.parquet")):
        frame = pd.read_parquet(path)
        sure = sureness + rng.uniform(-0.1, 0.1, len(frame))
        for name in CLASSES:
            frame[f"score_{name}"] = np.where(frame["predicted"] == name, sure, (1 - sure) / 3)
        frame.to_parquet(path, index=False)
    return load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return scored(SyntheticSweep(root=tmp_path_factory.mktemp("sweep"), arms=ARMS, seeds=(0, 1)).write())


def table_of(sweep: Sweep) -> tuple[pd.DataFrame, pd.DataFrame]:
    tests = open_test(sweep)
    compared = comparisons_table(sweep, tests, resamples=500)
    return verdict_table(sweep, Scores(sweep, tests), compared, resamples=500), compared


def answers_of(sweep: Sweep, trial: str) -> pd.DataFrame:
    frame = pd.read_parquet(sweep.trials_root / trial / "predictions.parquet")
    return frame[frame["split"] == "test"]


def without(frame: pd.DataFrame, metric: str) -> list[float]:
    """A score by scikit-learn with all speakers, and without each, mean over the folds that are left."""

    def value(part: pd.DataFrame) -> float:
        folds = [own for _, own in part.groupby("fold")]
        if metric == "macro_f1":
            return float(np.mean([f1_score(own["label"], own["predicted"], average="macro") for own in folds]))
        recalls = [recall_score(own["label"], own["predicted"], labels=CLASSES, average=None) for own in folds]
        return float(np.mean(recalls, axis=0).min())

    return [value(frame), *(value(frame[frame["speaker"] != name]) for name in sorted(frame["speaker"].unique()))]


@pytest.mark.parametrize("metric", ["macro_f1", "worst_recall"])
def test_scores_of_counts_with_and_without_each_speaker(sweep: Sweep, metric: str) -> None:
    scores = Scores(sweep, open_test(sweep))
    record = sweep.arms["ems"].records[1]
    assert scores.of(record)[metric] == pytest.approx(without(answers_of(sweep, "ems-1"), metric))


def test_rows_hold_what_records_and_comparisons_say(sweep: Sweep) -> None:
    table, compared = table_of(sweep)
    assert table["metric"].tolist() == [
        *("ua", "wa", "macro_f1", "worst_recall", "calibration_error", "calibration_error_debiased", "device_seconds"),
    ], "flops are not in these records"
    rows, known = table.set_index("metric"), compared.set_index("metric")
    for metric in ("ua", "wa"):
        names = ["difference", "ci_low", "ci_high"]
        assert rows.loc[metric, names].tolist() == known.loc[metric, names].tolist()
        assert rows.loc[metric, "value"] - rows.loc[metric, "twin_value"] == pytest.approx(
            rows.loc[metric, "difference"]
        )
    recorded = np.mean(
        [record.metrics.mean["test"]["macro_f1"] for record in sweep.arms["ems"].records if record.metrics]
    )
    assert rows.loc["macro_f1", "value"] == pytest.approx(recorded)
    assert rows.loc["macro_f1", "ci_low"] < rows.loc["macro_f1", "difference"] < rows.loc["macro_f1", "ci_high"]
    assert np.isnan(rows.loc["calibration_error_debiased", "ci_low"])
    assert rows.loc["device_seconds", "ratio"] == 1


def test_the_spread_is_the_jackknifes() -> None:
    """Σ (θ₍₋ᵢ₎ − mean)² · (S − 1)/S, under one seed (Efron & Tibshirani 1993, eq. 11.5)."""
    values = np.random.default_rng(1).normal(0, 0.01, (1, 11))
    parts = by_speaker(values)
    assert parts.difference == pytest.approx(values[0, 0])
    left = values[0, 1:]
    assert spread(parts).speakers == pytest.approx(0.9 * ((left - left.mean()) ** 2).sum())


def test_swapping_arm_and_twin_flips_every_sign(tmp_path: Path) -> None:
    arms = [SyntheticArm(**(vars(arm) | {"twin_key": {"random": "ems"}.get(arm.key)})) for arm in ARMS]
    plain = SyntheticSweep(root=tmp_path / "a", arms=ARMS, seeds=(0, 1)).write()
    swapped = SyntheticSweep(root=tmp_path / "b", arms=tuple(arms), seeds=(0, 1)).write()
    tables = [
        table_of(load_sweep(plan_path=each.plan_path, trials_root=each.trials_root))[0].set_index("metric")
        for each in (plain, swapped)
    ]
    assert tables[0].index.tolist() == ["ua", "wa", "macro_f1", "worst_recall", "device_seconds"], "no class scores"
    for metric in ("macro_f1", "worst_recall"):
        one, other = (table.loc[metric] for table in tables)
        assert other["difference"] == pytest.approx(-one["difference"])
        assert (other["ci_low"], other["ci_high"]) == pytest.approx((-one["ci_high"], -one["ci_low"]))


def test_calibration_errors_by_hand() -> None:
    n, confidence, right = (np.array([row]) for row in ([10.0, 10.0], [9.0, 6.0], [7.0, 8.0]))
    plain, debiased = calibration_errors(n, confidence, right)
    assert plain[0] == pytest.approx((0.2 + 0.2) / 2)
    assert debiased[0] ** 2 == pytest.approx((0.04 - 0.21 / 9 + 0.04 - 0.16 / 9) / 2)
    assert calibration_errors(n, right, right) == (pytest.approx([0.0]), pytest.approx([0.0]))


def test_a_calibrated_probe_has_a_plain_error_and_hardly_a_debiased_one() -> None:
    rng = np.random.default_rng(2)
    plain, debiased = [], []
    for _ in range(200):
        sure = np.sort(rng.uniform(0.3, 1, 300)).reshape(BINS, -1)
        right = rng.random(sure.shape) < sure
        one, other = calibration_errors(np.full(BINS, 20.0)[None], sure.sum(axis=1)[None], right.sum(axis=1)[None])
        plain.append(one[0])
        debiased.append(other[0] ** 2)
    assert np.mean(plain) > 0.05, "chance alone"
    assert np.sqrt(np.mean(debiased)) < 0.5 * np.mean(plain)


def test_answers_are_counted_in_bins_of_equal_mass(sweep: Sweep) -> None:
    record = sweep.arms["ems"].records[0]
    frame = answers_of(sweep, "ems-0")
    speakers = tuple(sorted(frame["speaker"].unique()))
    found = read_answers(sweep.folder(record), record=record, split="test", speakers=speakers)
    assert found is not None
    assert found.n_SB.sum(axis=1).tolist() == frame.groupby("speaker").size().tolist()
    assert np.ptp(found.n_SB.sum(axis=0)) <= 1
    right = frame["label"] == frame["predicted"]
    assert found.right_SB.sum(axis=1).tolist() == right.groupby(frame["speaker"]).sum().tolist()
    sure = frame[[f"score_{name}" for name in CLASSES]].max(axis=1)
    assert found.confidence_SB.sum(axis=1) == pytest.approx(sure.groupby(frame["speaker"]).sum().to_numpy())
    bins = pd.qcut(sure.rank(method="first"), BINS, labels=False)
    gaps = (right.groupby(bins).mean() - sure.groupby(bins).mean()).abs() * right.groupby(bins).size() / len(frame)
    error = Scores(sweep, open_test(sweep)).of(record)["calibration_error"][0]
    assert error == pytest.approx(gaps.sum())


def test_scores_that_are_none_are_refused(tmp_path: Path) -> None:
    sweep = scored(SyntheticSweep(root=tmp_path, arms=ARMS, seeds=(0,), sessions=2).write(), sureness=1.5)
    with pytest.raises(BadInputError, match=r"class scores from 1\.4\d* to 1\.\d*, must lie in \[0, 1\]"):
        Scores(sweep, open_test(sweep)).of(sweep.arms["ems"].records[0])


def test_large_sweeps_read_the_class_scores_of_named_arms_alone(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm_scores, "MOST_READ", 100)
    scores = Scores(sweep, open_test(sweep), always=("ems",))
    assert not scores.complete
    assert "calibration_error" in scores.of(sweep.arms["ems"].records[0])
    assert "calibration_error" not in scores.of(sweep.arms["random"].records[0])


def test_sentences_say_no_more_than_the_intervals() -> None:
    def row(metric: str, difference: float, low: float | None, high: float | None, ratio: float | None = None) -> Any:
        start = {"arm": "ems", "arm_key": "e", "metric": metric, "difference": difference}
        return start | {"ci_low": low, "ci_high": high, "ratio": ratio}

    rows = [
        row("ua", 0.03, 0.01, 0.05),
        row("worst_recall", -0.08, -0.12, -0.02),
        row("calibration_error", -0.02, -0.03, -0.01),
        row("macro_f1", 0.01, -0.01, 0.03),
        row("wa", 0.02, None, None),
        row("calibration_error_debiased", 0.02, None, None),
        row("device_seconds", 1.0, None, None, 1.3),
        row("flops", 0.0, None, None, 1.0),
    ]
    (said,) = verdict_sentences(pd.DataFrame(rows), {"mockingjay": "e"})
    assert said == (
        "Beside its twin, ems is better in UA (+3.0 points, +1.0 to +5.0) and calibration error (−2.0 points, −3.0 to "
        "−1.0); worse in worst-class recall (−8.0 points, −12.0 to −2.0); not shown to differ in macro-F1; without an "
        "interval in WA (+2.0); at a higher cost (device-seconds × 1.30 and training operations (6·N·D) × 1.00). The "
        "intervals hold each by itself, uncorrected for 4 metrics."
    )
    assert verdict_sentences(pd.DataFrame(rows), {"npc": "absent"}) == ()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8))
def test_fronts_hold_whom_nobody_beats(values: list[tuple[int, int, int]]) -> None:
    found = non_dominated(np.array(values, dtype=float))
    for own, on in zip(values, found, strict=True):
        beaten = any(all(a >= b for a, b in zip(other, own, strict=True)) and other != own for other in values)
        assert on == (not beaten)


def test_front_of_ua_and_cost_and_of_all_metrics(tmp_path: Path) -> None:
    arms = [*grid((0.15,), (0.5, 1.0), (7,)), SyntheticArm(key="c", name="c", recall=0.9, control="loudness")]
    written = SyntheticSweep(root=tmp_path, arms=tuple(arms), seeds=(0,)).write()
    flops = {"random0.15s7": 1e9, "ems0.15t0.5s7": 3e9, "ems0.15t1.0s7": 2e9}
    for path in written.trials_root.glob("*/record.json"):
        record = json.loads(path.read_bytes())
        record["cost"]["flops"] = flops.get(record["arm_key"])
        path.write_text(json.dumps(record))
    sweep = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)
    table = front_table(sweep, Scores(sweep, open_test(sweep))).set_index("arm_key")
    assert set(table.index) == set(flops), "a control does not compete"
    assert set(table["cost"]) == {"flops"}
    assert table["calibration_error"].isna().all()
    ua, cost = table["ua"].to_dict(), flops
    for key in flops:
        beaten = any(ua[other] > ua[key] and cost[other] <= cost[key] for other in flops)
        assert table.loc[key, "front_ua_cost"] == (not beaten)
    assert (table["front_all"] >= table["front_ua_cost"]).all()
    (said,) = front_sentences(table.reset_index())
    assert said.startswith("In test UA against training operations (6·N·D), no other mockingjay arm beats ")


def test_recalls_average_to_ua_and_classes_may_be_absent(sweep: Sweep) -> None:
    part = open_test(sweep)["ems-0"]
    record = sweep.arms["ems"].records[0]
    assert record.metrics is not None
    recalls = class_recalls(without_each(part.counts))
    assert recalls[0].mean() == pytest.approx(record.metrics.mean["test"]["ua"])
    lone = np.zeros((2, 1, 2, 2), dtype=np.int64)
    lone[0, 0], lone[1, 0] = [[3, 1], [0, 0]], [[0, 0], [1, 1]]
    assert class_recalls(without_each(lone))[0].tolist() == [0.75, 0.5]
    assert np.isnan(class_recalls(without_each(lone))[1]).all()
    assert macro_f1s(without_each(lone))[1] == 0
