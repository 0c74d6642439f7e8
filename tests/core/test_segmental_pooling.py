"""SAP as a system: whole trials on speech with known pauses, and on recordings in which nobody speaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from core.frames import Frames
from core.records import Record, read_predictions
from core.resolve import resolve
from core.store import Workspace
from core.trial import identify, run_trial, trial_steps
from tests.core.speech_trial import SPEAKERS, run_poolings, speech_trial, write_speech_corpus
from tests.core.tiny_trial import tiny_trial

POOLINGS = ("gap", "sap", "gap+sap", "gap+sap+attention", "attention")


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, demo_workspace) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    write_speech_corpus(folder, demo_workspace)
    return folder


@pytest.fixture(scope="module")
def ran(corpus, tmp_path_factory) -> tuple[Workspace, dict[str, Record]]:
    workspace = Workspace.at(tmp_path_factory.mktemp("ran"))
    return workspace, run_poolings(corpus, workspace, POOLINGS)


def scores(workspace: Workspace, record: Record, *, split="test", columns=("score_ang", "score_sad")) -> np.ndarray:
    return read_predictions(workspace.trial(record.trial_key), split=split)[list(columns)].to_numpy()


def test_all_poolings_of_a_seed_share_upstreams_states_and_speech(ran):
    workspace, records = ran
    for record in records.values():
        stages = [name.split("/")[0] for name in record.artifacts]
        assert (stages.count("pretrain"), stages.count("frames")) == (3, 3)
        assert all((workspace.store.root / name / "artifact.json").exists() for name in record.artifacts)
    made = {path.parent.parent.name: 0 for path in workspace.store.root.glob("*/*/artifact.json")}
    for path in workspace.store.root.glob("*/*/artifact.json"):
        made[path.parent.parent.name] += 1
    assert made == {"features": 1, "intensity": 1, "pretrain": 3, "frames": 3, "vad": 1, "pooled": 6}


def test_the_twin_of_every_pooling_is_gap(ran):
    _, records = ran
    assert records["gap"].twin_key is None
    assert {records[name].twin_key for name in POOLINGS[1:]} == {records["gap"].arm_key}
    assert records["gap+sap"].arm == "sap gap+sap v0.5 ems r0.3 s5 t0.5"


def test_pauses_are_left_out_where_a_pooling_looks_at_speech(ran):
    """The demo corpus is silent for about a quarter of its time: so is what SAP leaves out, and nobody is mute."""
    workspace, records = ran
    frames = Frames.open(workspace.store.root / next(name for name in records["sap"].artifacts if "frames/" in name))
    for name in ("sap", "gap+sap", "gap+sap+attention"):
        counts = records[name].counts
        assert counts["utterances without speech"] == 0
        assert 0.1 < counts["positions without speech"] / len(frames.packed_FLH) < 0.45
    assert records["gap"].counts == records["attention"].counts == {}


def test_gap_is_the_probe_of_ems(ran, corpus):
    """But for half precision of the states."""
    workspace, records = ran
    ems = run_trial(speech_trial(corpus, {}, {"system": "ems"}), workspace)
    np.testing.assert_allclose(scores(workspace, records["gap"]), scores(workspace, ems), atol=5e-3)
    assert np.abs(scores(workspace, records["sap"]) - scores(workspace, ems)).max() > 2e-2


def test_what_a_learnt_pooling_costs_is_in_the_record(ran):
    _, records = ran
    gap, learnt = records["gap"].cost, records["gap+sap+attention"].cost
    assert gap is not None
    assert learnt is not None
    # Updates of the upstreams only, as with the probe.
    assert (learnt.steps, learnt.frames) == (gap.steps, gap.frames)
    assert learnt.flops is not None
    assert gap.flops is not None
    assert learnt.flops > gap.flops


def test_in_a_corpus_without_speech_sap_is_gap_and_says_so(tmp_path):
    """Tones and noise."""
    workspace = Workspace.at(tmp_path / "workspace")
    gap, sap = (
        run_trial(tiny_trial(tmp_path, {"system": "sap", "sap": {"pooling": name}}), workspace)
        for name in ("gap", "sap")
    )
    assert sap.counts == {"utterances without speech": 24, "positions without speech": 0}
    columns = ("score_angry", "score_calm")
    assert np.array_equal(scores(workspace, gap, columns=columns), scores(workspace, sap, columns=columns))


def test_a_trial_stopped_while_a_pooling_is_learnt_ends_like_an_undisturbed_one(ran, corpus, tmp_path):
    expected_workspace, records = ran
    expected, workspace = records["attention"], Workspace.at(tmp_path)
    config = speech_trial(corpus, {"pooling": "attention"})
    run = trial_steps(config, workspace)
    while len(list(workspace.store.root.glob("pooled/*"))) == 0:
        next(run)
    next(run)
    run.close()  # type: ignore[attr-defined]
    assert list(workspace.store.root.glob("pooled/.*.scratch/checkpoint.pt"))
    record = run_trial(config, workspace)
    assert record.trial_key == expected.trial_key
    assert np.array_equal(scores(workspace, record), scores(expected_workspace, expected))
    assert record.metrics == expected.metrics
    assert record.cost is not None
    assert expected.cost is not None
    assert (record.cost.steps, record.cost.flops) == (expected.cost.steps, expected.cost.flops)


@pytest.mark.parametrize("pooling", ["gap+sap", "gap+sap+attention"])
def test_nothing_of_the_test_speaker_reaches_her_fold(ran, corpus, demo_workspace, tmp_path, pooling):
    """Other labels and other audio of the first speaker: her fold's model says the same of its validation part."""
    workspace, records = ran
    write_speech_corpus(tmp_path, demo_workspace)
    lines = (tmp_path / "corpus.csv").read_text().splitlines()
    swapped = {"ang": "sad", "sad": "ang"}
    for place, line in enumerate(lines):
        path, utterance, speaker, label = line.split(",")
        if speaker == SPEAKERS[0]:
            lines[place] = ",".join([path, utterance, speaker, swapped[label]])
            samples, rate = soundfile.read(tmp_path / path)
            soundfile.write(tmp_path / path, samples[::-1], rate, subtype="PCM_16")
    (tmp_path / "corpus.csv").write_text("\n".join(lines) + "\n")
    other_workspace = Workspace.at(tmp_path / "workspace")
    other = run_trial(speech_trial(tmp_path, {"pooling": pooling, "heads": 2}), other_workspace)
    before, after = (
        read_predictions(place.trial(record.trial_key), split="validation")
        for place, record in ((workspace, records[pooling]), (other_workspace, other))
    )
    own = before["fold"] == SPEAKERS[0]
    assert own.sum() == 8
    columns = ["score_ang", "score_sad"]
    np.testing.assert_allclose(before.loc[own, columns], after.loc[own, columns], atol=1e-5)
    assert np.abs(before.loc[~own, columns].to_numpy() - after.loc[~own, columns].to_numpy()).max() > 1e-2


def test_layers_and_threshold_change_the_trial_and_a_threshold_that_nobody_looks_at_does_not(corpus, tmp_path):
    workspace = Workspace.at(tmp_path)

    def key(**sap) -> str:
        config = speech_trial(corpus, sap)
        return identify(config, resolve(config, workspace)).trial_key

    assert len({key(), key(threshold=0.3), key(layers=(-1,)), key(pooling="sap")}) == 4
    assert key(pooling="gap") == key(pooling="gap", threshold=0.3, heads=2, steps=7)
    assert key(pooling="attention") == key(pooling="attention", threshold=0.3)
