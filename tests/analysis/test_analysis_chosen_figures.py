"""Figures of the chosen arm and its twin, against scikit-learn and pandas from the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, recall_score
from synthetic_sweep import CLASSES, SyntheticSweep, grid

from analysis.confusion import draw_confusions
from analysis.figures import DOUBLE, SINGLE
from analysis.load import Arm, Part, load_sweep, open_test
from analysis.reliability import BINS, draw_reliability, reliability_table
from analysis.speakers import draw_speakers

Loaded = tuple[SyntheticSweep, list[tuple[Arm, Arm]], Mapping[str, Part]]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """The twin has lost seed 1, and one speaker has no utterance of one class."""
    arms = tuple(grid((0.15,), (1.0,), (7,)))
    outcomes = {(arms[0].key, 1): "failed"}
    written = SyntheticSweep(root=tmp_path_factory.mktemp("sweep"), arms=arms, outcomes=outcomes, sessions=3).write()
    for folder in written.trials_root.iterdir():
        if (folder / "predictions.parquet").exists():
            _add_scores(folder / "predictions.parquet")
    sweep = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)
    arm, twin = sweep.arms[arms[1].key], sweep.arms[arms[0].key]
    return written, [(arm, twin)], open_test(sweep)


def _add_scores(path: Path) -> None:
    """Scores that sum to one, the answer's the largest."""
    frame = pd.read_parquet(path)
    rng = np.random.default_rng(len(frame))
    scores_NC = rng.dirichlet(np.ones(len(CLASSES)), size=len(frame))
    scores_NC.sort(axis=1)
    for row, answer in enumerate(frame["predicted"]):
        place = CLASSES.index(answer)
        scores_NC[row, [place, -1]] = scores_NC[row, [-1, place]]
    for place, name in enumerate(CLASSES):
        frame[f"score_{name}"] = scores_NC[:, place]
    frame.to_parquet(path, index=False)


def answers(written: SyntheticSweep, arm: Arm, seeds: tuple[int, ...] = (0, 2)) -> pd.DataFrame:
    """Test answers of an arm from the files, of the seeds that both have."""
    frames = [
        pd.read_parquet(written.trials_root / f"{arm.key}-{seed}" / "predictions.parquet").assign(seed=seed)
        for seed in seeds
    ]
    frame = pd.concat(frames)
    return frame[frame["split"] == "test"]


def test_confusions_and_their_difference_are_scikit_learns(loaded: Loaded) -> None:
    written, pairs, tests = loaded
    drawing = draw_confusions(pairs, tests)
    shares = {}
    for arm in pairs[0]:
        frame = answers(written, arm)
        counts = confusion_matrix(frame["label"], frame["predicted"], labels=CLASSES)
        own = drawing.data[drawing.data["arm"] == arm.name]
        assert own["n"].to_list() == counts.ravel().tolist()
        shares[arm.name] = counts / counts.sum(axis=1, keepdims=True)
        assert own["share"].to_numpy() == pytest.approx(shares[arm.name].ravel())
    gain = shares[pairs[0][0].name] - shares[pairs[0][1].name]
    difference = drawing.data["difference"].to_numpy()
    assert difference[: gain.size] == pytest.approx(gain.ravel())
    assert np.isnan(difference[gain.size :]).all()
    texts = [text.get_text() for text in drawing.figure.axes[2].texts]
    assert [float(text.replace("−", "-")) for text in texts] == pytest.approx(100 * gain.ravel(), abs=0.0501)
    assert all(text[0] in "+−" or text == "0.0" for text in texts), "the sign is there without the colour"


def test_speakers_differences_are_recalls_from_the_file(loaded: Loaded) -> None:
    written, pairs, tests = loaded
    drawing = draw_speakers(pairs, tests)
    assert sorted(set(drawing.data["seed"])) == [0, 2]
    scores = {}
    for arm in pairs[0]:
        for (seed, speaker), own in answers(written, arm).groupby(["seed", "speaker"]):
            labels = sorted(set(own["label"]))
            scores[arm.name, seed, speaker] = recall_score(
                own["label"], own["predicted"], labels=labels, average="macro"
            )
    arm, twin = (each.name for each in pairs[0])
    for row in drawing.data.to_dict("records"):
        place = (row["seed"], row["speaker"])
        assert row["ua"] == pytest.approx(scores[arm, *place])
        assert row["difference"] == pytest.approx(scores[arm, *place] - scores[twin, *place])
        assert row["n"] == sum(written.per_class)
    means = drawing.data.groupby("speaker")["difference"].mean().sort_values(ascending=False, kind="stable")
    shown = [label.get_text().split(" (")[0] for label in drawing.figure.axes[0].get_yticklabels()]
    assert shown == list(means.index), "from the largest gain down"
    assert drawing.figure.get_size_inches()[0] == SINGLE
    assert draw_speakers([*pairs, pairs[0]], tests).figure.get_size_inches()[0] == DOUBLE


def test_a_class_that_a_speaker_lacks_is_left_out_of_the_speakers_mean(loaded: Loaded) -> None:
    _, pairs, tests = loaded
    arm, twin = pairs[0]
    counts = np.zeros((1, 1, 4, 4), dtype=np.int64)
    counts[0, 0, 0, 0], counts[0, 0, 1, 2] = 3, 1
    part = replace(tests[arm.records[0].trial_key], folds=("f",), speakers=("s",), counts=counts)
    both = {record.trial_key: part for each in (arm, twin) for record in each.records}
    assert draw_speakers([(arm, twin)], both).data["ua"].to_list() == [0.5, 0.5]


def test_reliability_is_scikit_learns_calibration_curve(loaded: Loaded) -> None:
    written, pairs, _ = loaded
    drawing = draw_reliability(pairs, trials_root=written.trials_root)
    assert drawing is not None
    for arm in pairs[0]:
        frame = answers(written, arm)
        confidence = frame[[f"score_{name}" for name in CLASSES]].max(axis=1)
        right = (frame["label"] == frame["predicted"]).astype(int)
        accuracy, mean = calibration_curve(right, confidence, n_bins=BINS)
        own = drawing.data[drawing.data["arm"] == arm.name]
        there = own[own["n"] > 0]
        assert there["accuracy"].to_numpy() == pytest.approx(accuracy)
        assert there["confidence"].to_numpy() == pytest.approx(mean)
        assert own["n"].sum() == len(frame)
    upper = {str(line.get_label()): line for line in drawing.figure.axes[0].lines}
    looks = {(line.get_marker(), line.get_linestyle()) for name, line in upper.items() if not name.startswith("_")}
    assert len(looks) == 2, "told apart without colour"


def test_a_bin_holds_its_upper_edge_and_an_empty_one_no_mean() -> None:
    table = reliability_table(np.array([0.0, 0.5, 0.500001, 1.0]), np.array([False, True, False, True]), bins=2)
    assert table["n"].to_list() == [2, 2]
    assert table["accuracy"].to_list() == [0.5, 0.5]
    assert table["confidence"].to_list() == pytest.approx([0.25, 0.7500005])
    alone = reliability_table(np.array([0.9]), np.array([True]), bins=2)
    assert alone["n"].to_list() == [0, 1]
    assert np.isnan(alone["accuracy"][0])


def test_predictions_without_scores_have_no_reliability(tmp_path: Path) -> None:
    arms = tuple(grid((0.15,), (1.0,), (7,)))
    written = SyntheticSweep(root=tmp_path, arms=arms, sessions=2, seeds=(0,)).write()
    sweep = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)
    pair = (sweep.arms[arms[1].key], sweep.arms[arms[0].key])
    assert draw_reliability([pair], trials_root=written.trials_root) is None
