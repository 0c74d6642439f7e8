"""Plans on the demo corpus: twins added, identical trials once, keys that cover results and nothing else."""

from __future__ import annotations

import json

import pytest

from core.errors import BadInputError, LeakageError
from core.resolve import arm_key, resolve, trial_key, twin_of
from core.store import Workspace
from sweeps.definition import load_definition, trial_config
from sweeps.plan import make_plan
from sweeps.runner import LaunchResult, Resources

CPU = Resources().compute_settings()


def plan_of(workspace: Workspace, *overrides: str):
    return make_plan(load_definition("ems_grid", overrides), workspace, compute=CPU)


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


def test_the_written_plan_is_what_the_report_reads(demo_workspace, tmp_path):
    from analysis.plan import read_plan

    plan = plan_of(demo_workspace)
    read = read_plan(plan.write(Workspace.at(tmp_path)))
    assert [trial.trial_key for trial in read.trials] == [trial.trial_key for trial in plan.trials]
    assert json.loads((tmp_path / "sweeps/ems_grid/plan.json").read_text())["definition"]["preset"] == "smoke"


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
    assert LaunchResult(complete=complete, failed=failures, open=still_open).exit_code == code
