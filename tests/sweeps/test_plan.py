"""Plans on the demo corpus: twins added, identical trials once, keys that cover results and nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from core.errors import BadInputError, LeakageError
from core.resolve import arm_key, resolve, trial_key, twin_of
from core.store import Workspace
from sweeps.cluster import Resources
from sweeps.definition import SweepDefinition, definition_names, load_definition, trial_config
from sweeps.plan import make_plan
from sweeps.runner import LaunchResult

CPU = Resources().compute_settings()


def plan_of(workspace: Workspace, *overrides: str, name: str = "ems_grid"):
    return make_plan(load_definition(name, overrides), workspace, compute=CPU)


def config_of(*overrides: str, **point):
    axes = {"masking.ratio": 0.15, "masking.temperature": 1.0, "masking.span": 7}
    return trial_config(load_definition("ems_grid", overrides), axes | point)


def test_the_grid_of_the_user_with_one_twin_per_ratio_and_span(demo_workspace):
    plan = plan_of(demo_workspace)
    arms = {trial.arm: trial for trial in plan.trials}
    assert len(plan.trials) == 24
    assert len([name for name in arms if name.startswith("ems")]) == 8
    assert len([name for name in arms if name.startswith("random")]) == 4
    assert len({trial.trial_key for trial in plan.trials}) == 24
    by_arm_key = {trial.arm_key: trial for trial in plan.trials}
    for trial in plan.trials:
        if trial.twin_key is None:
            continue
        arm, twin = trial.config, by_arm_key[trial.twin_key].config
        assert twin.masking == arm.masking.model_copy(update={"policy": "random", "temperature": None})
        assert twin.model_copy(update={"masking": arm.masking, "seed": arm.seed}) == arm


def test_a_pair_stands_together(demo_workspace):
    trials = plan_of(demo_workspace).trials
    place = {(trial.arm_key, trial.seed): i for i, trial in enumerate(trials)}
    for trial in trials:
        if trial.twin_key:
            assert place[trial.twin_key, trial.seed] <= place[trial.arm_key, trial.seed] + 1


def test_repeated_values_are_one_trial(demo_workspace):
    assert len(plan_of(demo_workspace, "axes.masking.span=[7,7]", "seeds=[0,0]").trials) == 6


def test_without_twins_no_arm_waits_for_one(demo_workspace):
    trials = plan_of(demo_workspace, "twins=false", "seeds=[0]").trials
    assert len(trials) == 8
    assert {trial.twin_key for trial in trials} == {None}


def test_an_axis_beyond_masking_shows_in_the_name(demo_workspace):
    trials = plan_of(demo_workspace, "axes.mockingjay.layers=[1,2]", "seeds=[0]", "axes.masking.ratio=[0.2]").trials
    assert any(trial.arm == "ems r0.2 s7 t1 mockingjay.layers=2" for trial in trials)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [("ems_grid", []), ("ems_ablation", []), ("ems_controls", ["axes.upstream=[mockingjay,npc]"])],
)
def test_the_written_plan_is_what_the_report_reads(demo_workspace, tmp_path, name, overrides):
    from analysis.plan import read_plan

    plan = plan_of(demo_workspace, *overrides, name=name)
    read = read_plan(plan.write(Workspace.at(tmp_path)))
    assert read.schema_version == 2
    for mine, theirs in zip(plan.trials, read.trials, strict=True):
        assert theirs.model_dump() == {field: getattr(mine, field) for field in theirs.model_fields_set}
    assert [contrast.model_dump() for contrast in read.contrasts] == [asdict(contrast) for contrast in plan.contrasts]
    definition = json.loads((tmp_path / f"sweeps/{name}/plan.json").read_text())["definition"]
    assert SweepDefinition.model_validate(definition) == plan.definition
    assert "twins" in definition


def arms_of(plan) -> dict[str, list]:
    arms: dict[str, list] = {}
    for trial in plan.trials:
        arms.setdefault(trial.arm, []).append(trial)
    return arms


def twins_of(plan) -> dict[str, str | None]:
    names = {trial.arm_key: trial.arm for trial in plan.trials}
    return {trial.arm: names.get(trial.twin_key) for trial in plan.trials}


def contrasts_of(plan) -> list[tuple[str, str, str, str]]:
    names = {trial.arm_key: trial.arm for trial in plan.trials}
    return [(each.kind, each.name, names[each.arm_key], names[each.against_key]) for each in plan.contrasts]


def test_ems_published_against_the_usual_rules(demo_workspace):
    plan = plan_of(demo_workspace, name="ems_published")
    nominal, hole = "random_nominal r0.15 s7", "npc.mask_size=7"
    assert twins_of(plan) == {
        "ems_topk+input+head r0.15 s7": nominal, "ems_topk r0.15 s7": nominal, nominal: None,
        f"npc all+head {hole}": f"npc all {hole}", f"npc all {hole}": None,
    }  # fmt: skip
    assert len(plan.trials) == 5 * 2
    assert {trial.config.npc.kernel for trial in plan.trials if trial.upstream == "npc"} == {17}


def test_ems_ablation_one_change_at_a_time(demo_workspace):
    """Mockingjay: 7 arms and the twin of `matched`. NPC: 8 arms and the twins of `matched` and `published`."""
    plan = plan_of(demo_workspace, name="ems_ablation")
    at = "r0.15 s7"
    mockingjay = {
        f"random_nominal {at}": None, f"ems_topk {at}": f"random_nominal {at}", f"random_as_topk {at}": None,
        f"random_nominal+input {at}": f"random_nominal {at}", f"random_nominal+head {at}": f"random_nominal {at}",
        f"ems_topk+input+head {at}": f"random_nominal {at}", f"ems {at} t0.25": f"random {at}", f"random {at}": None,
    }  # fmt: skip
    npc = {
        f"npc random_nominal {at}": None, f"npc ems_topk {at}": f"npc random_nominal {at}",
        f"npc random_as_topk {at}": None, f"npc random_nominal+head {at}": f"npc random_nominal {at}",
        f"npc ems {at} t0.25": f"npc random {at}", f"npc random {at}": None,
        f"npc random_nominal {at} npc.mask_size=7": None, "npc all": None,
        "npc all+head npc.mask_size=7": "npc all npc.mask_size=7", "npc all npc.mask_size=7": None,
    }  # fmt: skip
    assert twins_of(plan) == mockingjay | npc
    assert len(plan.trials) == (8 + 10) * 2
    expected = [
        ("which frames", f"ems_topk {at}", f"random_as_topk {at}"),
        ("which frames", f"npc ems_topk {at}", f"npc random_as_topk {at}"),
        ("how many frames", f"random_as_topk {at}", f"random_nominal {at}"),
        ("how many frames", f"npc random_as_topk {at}", f"npc random_nominal {at}"),
        ("mask size", f"npc random_nominal {at} npc.mask_size=7", f"npc random_nominal {at}"),
        ("all frames", "npc all", f"npc random_nominal {at}"),
        ("as released", "npc all+head npc.mask_size=7", "npc all"),
    ]
    assert contrasts_of(plan) == [("contrast", *each) for each in expected]


@pytest.mark.slow
def test_no_shipped_contrast_repeats_what_an_arm_and_its_twin_say(demo_workspace):
    # A search has no named contrasts, and no plan before it has begun.
    for name in [each for each in definition_names() if load_definition(each).search is None]:
        plan = plan_of(demo_workspace, name=name)
        twins = {(trial.arm_key, trial.twin_key) for trial in plan.trials}
        assert not {(each.arm_key, each.against_key) for each in plan.contrasts} & twins


def test_ems_controls_share_the_twin_and_are_each_compared(demo_workspace):
    plan = plan_of(demo_workspace, name="ems_controls")
    arm, twin = "ems r0.15 s7 t0.25", "random r0.15 s7"
    controls = {name: f"ems {name} r0.15 s7 t0.25" for name in ("loudness", "shuffled", "rolled", "inverse")}
    assert twins_of(plan) == {arm: twin, twin: None} | dict.fromkeys(controls.values(), twin)
    assert len(plan.trials) == 6 * 3
    assert contrasts_of(plan) == [("control", name, arm, control) for name, control in controls.items()]
    assert [trial.control for trial in plan.trials[:6]] == ["none", "none", *controls]
    # An arm, its twin and its controls finish together, seed after seed.
    assert [trial.seed for trial in plan.trials] == [0] * 6 + [1] * 6 + [2] * 6


def test_controls_in_a_grid_share_one_twin_per_ratio_and_span(demo_workspace):
    plan = plan_of(demo_workspace, "controls=[inverse]", "seeds=[0]", "axes.masking.ratio=[0.2]")
    assert len(plan.trials) == 4 + 4 + 2
    inverse = [trial for trial in plan.trials if trial.control == "inverse"]
    assert {trial.axes["intensity.control"] for trial in inverse} == {"inverse"}
    assert len({trial.twin_key for trial in inverse}) == 2
    assert [each.kind for each in plan.contrasts] == ["control"] * 4


def test_axes_hold_what_means_something_for_the_trial(demo_workspace):
    arms = arms_of(plan_of(demo_workspace, "seeds=[0]", name="ems_ablation"))
    assert arms["ems r0.15 s7 t0.25"][0].axes == {
        "upstream": "mockingjay", "masking.policy": "ems", "masking.temperature": 0.25,
    }  # fmt: skip
    assert arms["random r0.15 s7"][0].axes == {"upstream": "mockingjay", "masking.policy": "random"}
    assert arms["npc all npc.mask_size=7"][0].axes == {
        "upstream": "npc", "masking.policy": "all", "score.head": False, "npc.mask_size": 7,
    }  # fmt: skip


def test_a_contrast_of_one_arm_under_two_names_is_refused(demo_workspace):
    arms = "arms={a: {score.head: false}, b: {score.added_to_input: false}}"
    with pytest.raises(BadInputError, match="contrast 'x': 'a' and 'b' are the same trials"):
        plan_of(demo_workspace, arms, "contrasts={x: {arm: a, against: b}}")


def test_different_arms_of_one_name_are_refused(demo_workspace):
    when = "when=[{if: {masking.temperature: 0.25}, settings: {pretrain: {steps: 5}}}]"
    with pytest.raises(BadInputError, match=r"two different arms are both called 'random r0.15 s7'; make what tells"):
        plan_of(demo_workspace, when)


@pytest.mark.parametrize(
    "changed",
    ["pretrain.steps=61", "mockingjay.layers=3", "probe.lr=0.5", "features.deltas=1", "intensity.seed=1",
     "folds.validation=superb", "pretraining_audio.source=transductive", "masking.zero=0.7"],
)  # fmt: skip
def test_what_can_change_a_result_changes_the_key(demo_workspace, changed):
    before, after = config_of(), config_of(changed)
    corpora = resolve(before, demo_workspace)
    assert trial_key(before, corpora) != trial_key(after, resolve(after, demo_workspace))


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        ([], ["npc.hidden=64", "npc.mask_size=3", "folds.k=7", "pretraining_audio.held_out_speakers=3"]),
        (["upstream=npc"], ["mockingjay.hidden=96", "masking.zero=0.5", "masking.replace=0.15"]),
        (["upstream=npc", "masking.policy=all"], ["masking.ratio=0.4", "masking.span=3"]),
    ],
)
def test_a_setting_that_means_nothing_does_not_change_the_key(demo_workspace, overrides, changed):
    def key(*settings: str) -> str:
        temperature = {} if "masking.policy=all" in overrides else {"masking.temperature": 1.0}
        config = trial_config(load_definition("ems_grid", [*overrides, *settings]), temperature)
        return trial_key(config, corpora)

    corpora = resolve(config_of(), demo_workspace)
    assert [setting for setting in changed if key(setting) != key()] == []
    assert key("pretrain.steps=3") != key()


@pytest.mark.parametrize(
    "changed", ["pretrain.report_every=7", "pretrain.checkpoint_every=7", "corpus.allow_quarantined=true"]
)
def test_what_cannot_change_a_result_does_not_change_the_key(demo_workspace, changed):
    before, after = config_of(), config_of(changed)
    corpora = resolve(before, demo_workspace)
    assert trial_key(before, corpora) == trial_key(after, resolve(after, demo_workspace))


def test_replicates_share_the_arm_key_only(demo_workspace):
    first, second = config_of(seed=0), config_of(seed=1)
    corpora = resolve(first, demo_workspace)
    assert arm_key(first, corpora) == arm_key(second, corpora)
    assert trial_key(first, corpora) != trial_key(second, corpora)
    assert twin_of(twin_of(first)) is None


def test_an_intensity_model_of_the_evaluated_speakers_is_refused(demo_workspace):
    with pytest.raises(LeakageError, match="learns the labels of all 10 speakers of the evaluated corpus demo"):
        plan_of(demo_workspace, "intensity.fit.name=demo", "intensity.fit.part=main")


def test_external_audio_that_is_the_evaluated_corpus_is_refused(demo_workspace):
    with pytest.raises(BadInputError, match="is the evaluated corpus; say source 'transductive' or 'fold'"):
        plan_of(demo_workspace, "pretraining_audio.source=external", "pretraining_audio.corpus.name=demo")


def test_external_audio_that_holds_a_test_recording_is_refused(demo_workspace, tmp_path):
    """The same recordings under other names, as a table: the fingerprint differs, the samples do not."""
    corpora = resolve(config_of(), demo_workspace)
    rows = [f"{u.path},other-{i},stranger{i % 3},{u.label}" for i, u in enumerate(corpora.evaluated.utterances[::5])]
    table = tmp_path / "other.csv"
    table.write_text("\n".join(["path,utterance,speaker,label", *rows]))
    audio = ["pretraining_audio.source=external", "pretraining_audio.corpus.name=table"]
    with pytest.raises(LeakageError, match=r"pretraining_audio: its corpus table .main. holds recording"):
        plan_of(demo_workspace, *audio, f"pretraining_audio.corpus.root={table}")


def test_a_twin_is_one_trial_for_all_controls(demo_workspace):
    controls = "axes.intensity.control=[none,loudness,shuffled,inverse]"
    trials = plan_of(demo_workspace, controls, "seeds=[0]", "axes.masking.ratio=[0.2]", "axes.masking.span=[7]").trials
    arms = [trial.arm for trial in trials if trial.arm.startswith("random")]
    assert len(arms) == 1
    assert len({trial.twin_key for trial in trials if trial.twin_key}) == 1


def test_resources_fix_device_and_threads():
    assert Resources(cpus=0.5).compute_settings() == {"compute.device": "cpu", "compute.threads": 1}
    assert Resources(cpus=4, gpus=0.25).compute_settings() == {"compute.device": "cuda", "compute.threads": 4}


@pytest.mark.parametrize(
    ("complete", "failed", "still_open", "code"), [(6, 0, 0, 0), (0, 6, 0, 1), (5, 1, 0, 3), (3, 0, 3, 4), (0, 1, 5, 4)]
)
def test_exit_codes(complete, failed, still_open, code):
    failures = {f"key{i}": "loss is nan" for i in range(failed)}
    assert LaunchResult(total=9, complete=complete, pruned=0, failed=failures, open=still_open).exit_code == code
