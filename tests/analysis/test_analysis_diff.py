"""Two sweeps side by side: only what differs, pairs on validation, shared trials no evidence, the test part sealed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from synthetic_sweep import SyntheticArm, SyntheticSweep

from analysis.diff import Side, SweepDiff, diff_sweeps
from analysis.diff_text import diff_text
from core.errors import BadInputError
from core.records import read_record

RATIO, STEPS = "masking.ratio", "pretrain.steps"
TWIN = SyntheticArm(key="random-a", name="random r0.15 s7", axes={"masking.policy": "random", RATIO: 0.15}, recall=0.5)
ARM = SyntheticArm(
    key="ems-a", name="ems r0.15 s7 t1", twin_key="random-a", axes={"masking.policy": "ems", RATIO: 0.15}
)


def launched(root: Path, arms: list[SyntheticArm], name: str = "synthetic", **changes: object) -> Side:
    written = replace(SyntheticSweep(root=root, arms=tuple(arms), seeds=(0, 1)), **changes).write()  # type: ignore[arg-type]
    if name != "synthetic":
        written.plan_path.parent.rename(root / "sweeps" / name)
    return Side(name=name, root=root)


def renamed(arm: SyntheticArm, **changes: object) -> SyntheticArm:
    return replace(arm, key=arm.key.replace("-a", "-b"), twin_key=arm.twin_key and "random-b", **changes)  # type: ignore[arg-type]


def two_sweeps(root: Path) -> SweepDiff:
    a = launched(root / "a", [TWIN, ARM])
    b = launched(root / "b", [renamed(TWIN), renamed(ARM, recall=0.8)])
    return diff_sweeps(a, b, resamples=2000)


def edit_json(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(("metric", "oracle"), [("ua", balanced_accuracy_score), ("wa", accuracy_score)])
def test_the_difference_is_the_mean_of_paired_validation_cells(tmp_path, metric, oracle):
    diff = two_sweeps(tmp_path)
    cells = []
    for seed in (0, 1):
        frames = [
            pd.read_parquet(tmp_path / side / "trials" / f"ems-{side}-{seed}" / "predictions.parquet") for side in "ab"
        ]
        a, b = (frame[frame["split"] == "validation"] for frame in frames)
        for fold in a["fold"].unique():
            scores = [oracle(p["label"], p["predicted"]) for p in (a[a["fold"] == fold], b[b["fold"] == fold])]
            cells.append(scores[1] - scores[0])
    row = next(row for row in diff.arms if (row.a, row.metric) == (ARM.name, metric))
    assert row.difference == pytest.approx(np.mean(cells))
    assert row.b_mean - row.a_mean == pytest.approx(row.difference)
    assert 0 < row.ci_low < row.difference < row.ci_high
    assert (row.matched_by, row.n_seeds, row.n_shared, row.n_folds, row.n_speakers) == ("axes", 2, 0, 5, 10)


def test_the_very_same_trials_differ_by_nothing_and_are_no_evidence(tmp_path):
    a = launched(tmp_path, [TWIN, ARM], "first")
    other = SyntheticArm(key="ems-c", name="ems r0.3 s7 t1", twin_key="random-a", axes={RATIO: 0.3})
    b = launched(tmp_path, [TWIN, other], "second")
    diff = diff_sweeps(a, b, resamples=100)
    assert [(row.a, row.matched_by) for row in diff.arms] == [(TWIN.name, "key")] * 2
    for row in diff.arms:
        assert (row.difference, row.ci_low, row.ci_high, row.n_seeds, row.n_shared) == (0.0, None, None, 0, 2)
        assert row.note == "the very same trials"
    assert (diff.only_a, diff.only_b, diff.unequal) == ((ARM.name,), (other.name,), ())


def test_a_seed_that_is_shared_is_left_out_of_the_interval(tmp_path):
    a = launched(tmp_path, [TWIN, ARM], "first")
    b = launched(tmp_path, [renamed(TWIN), renamed(ARM, recall=0.8)], "second")
    alone = diff_sweeps(a, b, resamples=2000)

    def share(plan: dict) -> None:
        # Seed 7 of B's arm is A's trial of seed 7.
        plan["trials"] += [
            {**entry, "seed": 7, "trial_key": "common"} for entry in plan["trials"] if "ems" in entry["arm"]
        ][:1]

    common = tmp_path / "trials" / "common"
    common.mkdir()
    for name in ("record.json", "predictions.parquet"):
        (common / name).write_bytes((tmp_path / "trials" / "ems-a-0" / name).read_bytes())
    for side in (a, b):
        edit_json(tmp_path / "sweeps" / side.name / "plan.json", share)
    # One record serves both plans only where the arm's key is the same.
    edit_json(common / "record.json", lambda record: record.update(trial_key="common", seed=7, arm_key="ems-a"))
    plan_b = tmp_path / "sweeps" / "second" / "plan.json"
    plan_b.write_text(plan_b.read_text().replace('ems-b"', 'ems-a"'))
    for seed in (0, 1):
        record = tmp_path / "trials" / f"ems-b-{seed}" / "record.json"
        edit_json(record, lambda content: content.update(arm_key="ems-a"))
    row = next(row for row in diff_sweeps(a, b, resamples=2000).arms if row.a == ARM.name)
    before = next(row for row in alone.arms if row.a == ARM.name)
    assert (row.n_seeds, row.n_shared) == (2, 1)
    assert (row.difference, row.ci_low, row.ci_high) == (before.difference, before.ci_low, before.ci_high)


def test_arms_are_matched_by_axes_before_names_and_never_twice(tmp_path):
    one = [
        SyntheticArm(key="k1", name="same name", axes={RATIO: 0.1}),
        SyntheticArm(key="k2", name="moved", axes={RATIO: 0.2}),
        SyntheticArm(key="k3", name="named only", axes={RATIO: 0.4}),
        SyntheticArm(key="k4", name="gone", axes={RATIO: 0.5}),
    ]
    two = [
        SyntheticArm(key="l1", name="same name", axes={RATIO: 0.2, STEPS: 5}),
        SyntheticArm(key="l2", name="other", axes={RATIO: 0.1, STEPS: 5}),
        SyntheticArm(key="l3", name="named only", axes={RATIO: 0.6, STEPS: 5}),
    ]
    diff = diff_sweeps(launched(tmp_path / "a", one), launched(tmp_path / "b", two), resamples=100)
    found = [(row.a, row.b, row.matched_by) for row in diff.arms if row.metric == "ua"]
    assert found == [
        ("same name", "other", "axes"), ("moved", "same name", "axes"), ("named only", "named only", "name"),
    ]  # fmt: skip
    assert (diff.only_a, diff.only_b) == (("gone",), ())


def test_definition_and_environment_show_only_what_differs(tmp_path):
    two_sweeps(tmp_path)
    sides = [Side(name="synthetic", root=tmp_path / side) for side in "ab"]
    definitions = (
        {"name": "s", "settings": {"pretrain": {"steps": 10, "lr": 0.1}}, "seeds": [0, 1]},
        {"name": "s", "settings": {"pretrain": {"steps": 20, "lr": 0.1}}, "seeds": [0, 1], "twins": False},
    )
    for side, definition in zip(sides, definitions, strict=True):
        edit_json(
            side.root / "sweeps" / "synthetic" / "plan.json", lambda plan, d=definition: plan.update(definition=d)
        )

    def elsewhere(record: dict) -> None:
        record["provenance"]["packages"]["torch"] = "2.14.0"
        record["corpus"]["fingerprint"] = "beef"

    for path in (tmp_path / "b").glob("trials/*/record.json"):
        edit_json(path, elsewhere)
    edit_json(
        tmp_path / "b" / "trials" / "ems-b-0" / "record.json",
        lambda record: record["provenance"].update(hardware="GPU"),
    )
    diff = diff_sweeps(*sides, resamples=100)
    assert diff.definition == {"settings.pretrain.steps": (10, 20), "twins": (None, False)}
    assert diff.environment == {
        "hardware": (("2 × CPU",), ("2 × CPU", "GPU")),
        "packages.torch": (("2.13.0",), ("2.14.0",)),
        "corpus": (("iemocap f00d",), ("iemocap beef",)),
    }
    text = diff_text(diff)
    assert "  settings.pretrain.steps  10  20\n  twins                    –   False" in text
    assert "numpy" not in text
    assert json.loads(json.dumps(diff.as_json()))["environment"]["hardware"] == [["2 × CPU"], ["2 × CPU", "GPU"]]


def test_the_test_part_stays_sealed(tmp_path):
    expected = two_sweeps(tmp_path)
    for path in tmp_path.glob("*/trials/*/predictions.parquet"):
        frame = pd.read_parquet(path)
        frame.loc[frame["split"] == "test", "predicted"] = "whoever reads this is told"
        frame.to_parquet(path, index=False)
    sides = [Side(name="synthetic", root=tmp_path / side) for side in "ab"]
    assert diff_sweeps(*sides, resamples=2000) == expected
    assert not list(tmp_path.glob("*/sweeps/*/openings.jsonl"))


def test_what_cannot_be_paired_keeps_its_row_and_says_why(tmp_path):
    a = launched(tmp_path / "a", [TWIN, ARM])
    fewer = launched(tmp_path / "b", [renamed(TWIN), renamed(ARM)], per_class=(12, 10, 8, 5))
    row = diff_sweeps(a, fewer, resamples=100).arms[0]
    assert (row.difference, row.note) == (None, "not validated on the same utterances and folds")
    none = launched(tmp_path / "c", [TWIN, ARM], outcomes={("ems-a", 0): "failed", ("ems-a", 1): "missing"})
    rows = [row for row in diff_sweeps(a, none, resamples=100).arms if row.a == ARM.name]
    assert {(row.difference, row.note) for row in rows} == {(None, "no seed is complete in both")}
    assert "no seed is complete in both" in diff_text(diff_sweeps(a, none, resamples=100))


def test_one_trial_with_two_results_is_named(tmp_path):
    a = launched(tmp_path / "a", [TWIN, ARM])
    b = launched(tmp_path / "b", [TWIN, ARM])
    assert diff_sweeps(a, b, resamples=100).unequal == ()
    launched(tmp_path / "c", [TWIN, replace(ARM, recall=0.7)])
    for name in ("record.json", "predictions.parquet"):
        changed = (tmp_path / "c" / "trials" / "ems-a-1" / name).read_bytes()
        (b.root / "trials" / "ems-a-1" / name).write_bytes(changed)
    assert read_record(b.root / "trials" / "ems-a-1") is not None
    diff = diff_sweeps(a, b, resamples=100)
    assert diff.unequal == ("ems-a-1",)
    assert "sweep replay ems-a-1" in diff_text(diff)


def test_a_sweep_that_was_never_launched_is_named(tmp_path):
    a = launched(tmp_path, [TWIN, ARM])
    with pytest.raises(BadInputError, match=r"sweep 'never': not launched in workspace"):
        diff_sweeps(a, Side(name="never", root=tmp_path))
