"""Several sweeps in one report: shared trials once, names told apart, looks counted with each of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_sweep import SyntheticArm, SyntheticSweep

from analysis.joined import PlanAt, join_plans, write_joined
from analysis.load import load_sweep, open_test
from analysis.openings import record_opening
from analysis.plan import Plan, read_plan
from core.errors import BadInputError

TWIN = SyntheticArm(key="random", name="random r0.15 s7")
ARM = SyntheticArm(key="ems", name="ems t1", twin_key="random", recall=0.7, temperature=1.0, axes={"masking.span": 7})


def write(root: Path, name: str, *arms: SyntheticArm, **changes: object) -> PlanAt:
    """A sweep called `name`; all of them share the trials of the workspace at `root`."""
    own = root / f"made-{name}"
    written = replace(SyntheticSweep(root=own, arms=arms, seeds=(0, 1)), **changes).write()  # type: ignore[arg-type]
    shutil.copytree(written.trials_root, root / "trials", dirs_exist_ok=True)
    plan = json.loads(written.plan_path.read_text()) | {"sweep": name, "definition": {"name": name}}
    path = root / "sweeps" / name / "plan.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(plan))
    return PlanAt(plan_path=path, log=path.with_name("openings.jsonl"))


def plans(*sources: PlanAt) -> list[Plan]:
    return [read_plan(source.plan_path) for source in sources]


def test_identical_trials_once_and_replicates_together(tmp_path: Path) -> None:
    a = write(tmp_path, "a", TWIN, ARM)
    b = write(tmp_path, "b", TWIN, ARM, replace(ARM, key="ems4", name="ems t4"), seeds=(1, 2))
    path = write_joined([a, b], folder=tmp_path / "joined" / "a+b", trials_root=tmp_path / "trials")
    sweep = load_sweep(plan_path=path, trials_root=tmp_path / "trials")
    assert sweep.plan.sweep == "a + b"
    assert {arm.name: arm.seeds for arm in sweep.arms.values()} == {
        TWIN.name: (0, 1, 2), ARM.name: (0, 1, 2), "ems t4": (1, 2)
    }  # fmt: skip
    assert len(open_test(sweep)) == 8
    assert {arm.twin_key for arm in sweep.arms.values()} == {None, "random"}


def test_arms_that_share_a_name_only_are_told_apart(tmp_path: Path) -> None:
    a = write(tmp_path, "a", TWIN, ARM)
    b = write(tmp_path, "b", replace(TWIN, key="random2"), replace(ARM, key="ems2", twin_key="random2"))
    joined = join_plans(plans(a, b))
    assert {trial.arm_key: trial.arm for trial in joined.trials} == {
        "random": f"{TWIN.name} (a)", "ems": "ems t1 (a)", "random2": f"{TWIN.name} (b)", "ems2": "ems t1 (b)"
    }  # fmt: skip


def test_contrasts_and_twins_of_all_are_kept(tmp_path: Path) -> None:
    shuffled = replace(ARM, key="shuf", name="shuffled", control="shuffled")
    a = write(tmp_path, "a", replace(ARM, twin_key=None), shuffled, TWIN, contrasts=(
        ("control", "shuffled", "ems", "shuf"),
    ))  # fmt: skip
    b = write(tmp_path, "b", TWIN, replace(ARM, name="other name", axes={"masking.ratio": 0.1}))
    joined = join_plans(plans(a, b))
    assert [(each.kind, each.arm_key, each.against_key) for each in joined.contrasts] == [("control", "ems", "shuf")]
    ems = next(trial for trial in joined.trials if trial.arm_key == "ems")
    assert (ems.arm, ems.twin_key, ems.axes) == ("ems t1", "random", {"masking.span": 7})


def test_what_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    a = write(tmp_path, "a", TWIN, ARM)
    with pytest.raises(BadInputError, match="sweeps to join: at least two, each once; got a, a"):
        join_plans(plans(a, a))
    c = write(tmp_path, "c", TWIN, replace(TWIN, key="plain", name="plain"), replace(ARM, twin_key="plain"))
    with pytest.raises(BadInputError, match="its twin is random in sweep 'a' and plain in sweep 'c'"):
        join_plans(plans(a, c))
    d = write(tmp_path, "d", replace(ARM, key="far", twin_key=None), corpus="ravdess")
    path = write_joined([a, d], folder=tmp_path / "joined" / "a+d", trials_root=tmp_path / "trials")
    with pytest.raises(BadInputError, match=r"one corpus; .*iemocap \(f00d\) and ravdess \(f00d\)"):
        load_sweep(plan_path=path, trials_root=tmp_path / "trials")


def test_a_look_counts_with_every_sweep_it_reads(tmp_path: Path) -> None:
    a = write(tmp_path, "a", TWIN, ARM)
    b = write(tmp_path, "b", replace(ARM, key="ems4", name="ems t4", twin_key=None), seeds=(0,))
    none = {("gone", 0): "failed"}
    c = write(tmp_path, "c", replace(ARM, key="gone", name="gone", twin_key=None), seeds=(0,), outcomes=none)
    assert record_opening(a.log, by="alone", trials=4).times == "1 time"
    path = write_joined([a, b, c], folder=tmp_path / "joined" / "abc", trials_root=tmp_path / "trials")
    found = record_opening(path.with_name("openings.jsonl"), by="together", trials=5)
    assert (found.number, found.sweeps, found.trials) == (2, {"a": 2, "b": 1}, 5)
    assert found.times == "2 times for a and 1 time for b"
    lines = [json.loads(line) for line in a.log.read_text().splitlines()]
    assert [(line["by"], line["trials"]) for line in lines] == [("alone", 4), ("together", 4)]
    assert json.loads(b.log.read_text())["trials"] == 1
    assert not c.log.exists()
