"""Plans and records in: what is missing is kept as missing, what contradicts itself is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from synthetic_sweep import CLASSES, SyntheticArm, SyntheticSweep

from analysis.load import load_sweep, open_test
from analysis.plan import read_plan
from core.errors import BadInputError

TWIN = SyntheticArm(key="random", name="random r0.15 s7")
ARM = SyntheticArm(key="ems", name="ems r0.15 t1 s7", twin_key="random", recall=0.7, temperature=1.0)


def make(root: Path, **changes: object) -> SyntheticSweep:
    return replace(SyntheticSweep(root=root, arms=(TWIN, ARM), seeds=(0, 1)), **changes).write()  # type: ignore[arg-type]


def load(sweep: SyntheticSweep):
    return load_sweep(plan_path=sweep.plan_path, trials_root=sweep.trials_root)


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_predictions(sweep: SyntheticSweep, trial: str, change) -> None:
    path = sweep.trials_root / trial / "predictions.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def test_missing_failed_and_pruned_trials_are_kept_with_their_reason(tmp_path: Path) -> None:
    outcomes = {("random", 1): "missing", ("ems", 0): "failed", ("ems", 1): "pruned"}
    sweep = load(make(tmp_path, outcomes=outcomes))
    found = {(o.planned.arm_key, o.planned.seed): (o.status, o.reason) for o in sweep.outcomes}
    assert found[("random", 0)] == ("complete", "")
    assert found[("random", 1)] == ("missing", "no record: not run, or still running")
    assert found[("ems", 0)] == ("failed", "pretrain: loss is nan at step 17")
    assert found[("ems", 1)] == ("pruned", "ASHA at step 400")
    assert sweep.arms["random"].missing_seeds == (1,)
    assert set(sweep.cells()["arm_key"]) == {"random"}


def test_counts_and_cells_equal_scikit_learn(tmp_path: Path) -> None:
    written = make(tmp_path)
    sweep = load(written)
    cells = sweep.cells().set_index(["trial_key", "split", "fold"])
    assert len(cells) == 2 * 2 * 2 * 5
    for trial in ("random-0", "ems-1"):
        frame = pd.read_parquet(written.trials_root / trial / "predictions.parquet")
        for (split, fold), part in frame.groupby(["split", "fold"]):
            row = cells.loc[(trial, split, fold)]
            assert row["ua"] == pytest.approx(balanced_accuracy_score(part["label"], part["predicted"]), abs=1e-12)
            assert row["wa"] == pytest.approx(accuracy_score(part["label"], part["predicted"]), abs=1e-12)
            f1 = f1_score(part["label"], part["predicted"], average="macro")
            assert row["macro_f1"] == pytest.approx(f1, abs=1e-12)


def test_test_counts_keep_fold_and_speaker(tmp_path: Path) -> None:
    written = make(tmp_path)
    tests = open_test(load(written))
    part = tests["ems-0"]
    assert part.folds == tuple(f"Ses0{k}" for k in range(1, 6))
    assert part.counts.shape == (5, 10, 4, 4)
    per_class = np.array(written.per_class)
    for fold in range(5):
        for speaker in range(10):
            expected = per_class if speaker // 2 == fold else 0 * per_class
            assert (part.counts[fold, speaker].sum(axis=1) == expected).all()
    frame = pd.read_parquet(written.trials_root / "ems-0" / "predictions.parquet")
    one = frame[(frame["split"] == "test") & (frame["speaker"] == "Ses02M")]
    table = pd.crosstab(one["label"], one["predicted"]).reindex(index=CLASSES, columns=CLASSES, fill_value=0)
    assert (part.counts[1, 3] == table.to_numpy()).all()


def test_the_same_questions_have_the_same_identity(tmp_path: Path) -> None:
    written = make(tmp_path)
    assert len({part.identity for part in open_test(load(written)).values()}) == 1
    edit_predictions(written, "ems-0", lambda frame: frame.iloc[::-1])
    assert len({part.identity for part in open_test(load(written)).values()}) == 1


def test_validation_is_read_and_test_stays_sealed_until_opened(tmp_path: Path) -> None:
    """Test predictions that contradict the record are not noticed before they are opened."""
    written = make(tmp_path)

    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        test = frame["split"] == "test"
        return frame.assign(predicted=frame["predicted"].where(~test, "neu"))

    edit_predictions(written, "ems-1", spoil)
    sweep = load(written)
    with pytest.raises(
        BadInputError, match=r"trial ems-1, test, fold Ses01: the record says ua 0\.\d+, its predictions"
    ):
        open_test(sweep)


def test_validation_metrics_that_their_predictions_do_not_give_are_refused(tmp_path: Path) -> None:
    written = make(tmp_path)
    path = written.trials_root / "ems-0" / "record.json"
    record = json.loads(path.read_text())
    fold = next(entry for entry in record["metrics"]["folds"] if entry["split"] == "validation")
    fold["wa"] += 0.001
    path.write_text(json.dumps(record))
    with pytest.raises(BadInputError, match=r"trial ems-0, validation, fold \w+: the record says wa"):
        load(written)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="label"), "predictions have no column 'label'"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "is predicted twice in one fold"),
        (lambda f: f.replace({"predicted": {"sad": "fru"}}), "predicted class 'fru' is not in the record"),
        (lambda f: f.replace({"fold": {"Ses03": "Ses09"}}), "fold 'Ses09' is not in the record"),
        (lambda f: f[(f["label"] != "ang") | (f["fold"] != "Ses02")], "fold Ses02: UA is undefined"),
    ],
)
def test_predictions_that_cannot_be_counted_are_named(tmp_path: Path, change, message: str) -> None:
    written = make(tmp_path)
    edit_predictions(written, "random-1", change)
    with pytest.raises(BadInputError, match=message) as error:
        open_test(load(written))
    assert "trial random-1" in str(error.value)


def test_a_complete_record_without_predictions_is_refused(tmp_path: Path) -> None:
    written = make(tmp_path)
    (written.trials_root / "ems-0" / "predictions.parquet").unlink()
    with pytest.raises(BadInputError, match="no predictions"):
        load(written)


def test_a_record_of_another_trial_is_refused(tmp_path: Path) -> None:
    written = make(tmp_path)
    edit_json(written.trials_root / "ems-0" / "record.json", seed=7)
    with pytest.raises(BadInputError, match="trial ems-0: its record is of trial, arm, seed"):
        load(written)


def test_a_record_of_another_upstream_is_refused(tmp_path: Path) -> None:
    written = make(tmp_path)
    edit_json(written.trials_root / "ems-0" / "record.json", upstream="npc")
    with pytest.raises(BadInputError, match=r"trial ems-0: its record is of .*'npc'\), planned .*'mockingjay'\)"):
        load(written)


def test_two_corpora_in_one_sweep_are_refused(tmp_path: Path) -> None:
    written = make(tmp_path)
    path = written.trials_root / "ems-0" / "record.json"
    corpus = json.loads(path.read_text())["corpus"] | {"fingerprint": "beef"}
    edit_json(path, corpus=corpus)
    with pytest.raises(BadInputError, match=r"iemocap \(beef\) and iemocap \(f00d\)"):
        load(written)


def planned(**changes: object) -> dict[str, object]:
    return {"trial_key": "a0", "arm": "a", "arm_key": "a", "twin_key": None, "seed": 0, "axes": {}} | changes


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ([], "trials: "),
        ([planned(), planned()], "planned twice"),
        ([planned(), planned(trial_key="a1")], "arm 'a', seed 0: planned twice"),
        ([planned(twin_key="b")], "its twin b is no other arm of the plan"),
        ([planned(twin_key="a")], "its twin a is no other arm"),
        ([planned(), planned(trial_key="a1", seed=1, arm="A")], "has two names or twins"),
        ([planned(trial_key="../a")], "trials.0.trial_key"),
        ([planned(), planned(trial_key="a1", seed=1, control="inverse")], "arm 'a' has two controls or upstreams"),
        ([planned(), planned(trial_key="a1", seed=1, upstream="npc")], "arm 'a' has two controls or upstreams"),
        ([planned(control="silence")], "trials.0.control"),
        ([planned(colour="blue")], "trials.0.colour"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(tmp_path: Path, trials: list[object], message: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"schema_version": 1, "sweep": "s", "definition": {}, "trials": trials}))
    with pytest.raises(BadInputError, match=message) as error:
        read_plan(path)
    assert "plan.json" in str(error.value)
    assert "\n" not in str(error.value)


def contrast(**changes: object) -> dict[str, object]:
    return {"kind": "contrast", "name": "which frames", "arm_key": "a", "against_key": "b"} | changes


@pytest.mark.parametrize(
    ("contrasts", "message"),
    [
        ([contrast(against_key="c")], "contrast 'which frames': a and c are not two arms of the plan"),
        ([contrast(against_key="a")], "a and a are not two arms"),
        ([contrast(), contrast()], "contrasts: one of them stands there twice"),
        ([contrast(name="")], r"contrasts\.0\.name"),
        ([contrast(kind="twin")], r"contrasts\.0\.kind"),
        ([contrast(kind="control", name="shuffled")], "control 'shuffled': .* got 'none' and 'loudness'"),
        ([contrast(kind="control", name="none", arm_key="b", against_key="a")], "got 'loudness' and 'none'"),
    ],
)
def test_a_contrast_that_names_nothing_is_refused(tmp_path: Path, contrasts: list[object], message: str) -> None:
    path = tmp_path / "plan.json"
    trials = [planned(), planned(trial_key="b0", arm="b", arm_key="b", control="loudness")]
    plan = {"schema_version": 2, "sweep": "s", "definition": {}, "trials": trials}
    path.write_text(json.dumps(plan | {"contrasts": contrasts}))
    with pytest.raises(BadInputError, match=message):
        read_plan(path)
    good = [contrast(), contrast(kind="control", name="loudness")]
    path.write_text(json.dumps(plan | {"contrasts": good}))
    assert [entry.model_dump() for entry in read_plan(path).contrasts] == good


def test_no_plan_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"plan\.json: no plan to report on \(No such file or directory\)"):
        read_plan(tmp_path / "plan.json")
