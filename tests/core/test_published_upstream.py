"""Trials over an upstream that comes trained: what they need, what they find, and what their keys know."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import core.systems.ems as ems
from core.audio import read_audio
from core.config import TRANSFORMERS, TrialConfig
from core.errors import BadInputError, MissingDependencyError
from core.frames import Frames, make_frames
from core.heard import heard_parts
from core.model_files import model_fingerprint, model_folder
from core.progress import discard, silent
from core.records import Record
from core.relevance import unused_settings
from core.resolve import corpora_key, key_content, resolve, trial_key, twin_of
from core.store import Workspace
from core.trial import arm_name, run_trial
from core.underway import Tally
from core.upstreams import prepare, pretrain_upstreams, upstream_keys
from tests.core.tiny_transformer import HIDDEN, LAYERS, published_trial, reference, save_transformer
from tests.core.tiny_trial import tiny_trial


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_transformer(tmp_path_factory.mktemp("models") / "tiny-hubert")


@pytest.fixture(scope="module")
def complete(corpus, model, tmp_path_factory) -> tuple[Workspace, Record]:
    workspace = Workspace.at(tmp_path_factory.mktemp("complete"))
    return workspace, run_trial(published_trial(corpus, model), workspace)


def stages(workspace: Workspace) -> set[str]:
    return {path.name for path in workspace.store.root.iterdir()}


def test_a_plain_probe_of_a_published_model(complete):
    workspace, record = complete
    assert (record.status, record.upstream, record.arm) == ("complete", "hubert", "hubert tiny-hubert")
    assert record.mask is None
    assert record.pretraining is None
    assert record.twin_key is None
    assert record.fit is None
    assert record.heard is None
    assert (record.protocol.pretraining_audio, record.protocol.transductive) == ("external", False)
    assert record.protocol.leaks == ()
    assert record.cost is not None
    assert (record.cost.steps, record.cost.parameters, record.cost.flops) == (0, 0, 0)
    assert record.metrics is not None
    assert 0 <= record.metrics.mean["test"]["ua"] <= 1
    # No features, no intensity, no weights: the corpus goes straight into the model.
    assert stages(workspace) == {"embed", "file-checks"}
    assert [name.split("/")[0] for name in record.artifacts] == ["embed"]


def test_the_probe_sees_the_means_of_transformers_own_states(corpus, model, complete, tmp_path):
    workspace, record = complete
    config = published_trial(corpus, model)
    means_ULH = np.load(workspace.store.root / record.artifacts[0] / "means.npy")
    utterances = resolve(config, workspace).evaluated.utterances
    assert means_ULH.shape == (len(utterances), LAYERS, HIDDEN)
    for place in (0, 11):
        samples_T = read_audio(utterances[place].path)
        heard_T = torch.from_numpy((samples_T - samples_T.mean()) / np.sqrt(samples_T.var() + 1e-7))
        with torch.no_grad():
            theirs = reference(model, "hubert")(heard_T[None], output_hidden_states=True).hidden_states
        for layer in range(LAYERS):
            np.testing.assert_allclose(means_ULH[place, layer], theirs[layer][0].mean(0), atol=1e-5)


def frames_of(config: TrialConfig, workspace: Workspace, **settings: Any) -> Frames:
    corpora = resolve(config, workspace)
    shared = prepare(config, corpora, workspace, progress=silent)
    run = pretrain_upstreams(
        config, corpora, workspace, shared=shared, tally=Tally(config=config, parameters=0, log=discard), log=discard
    )
    with pytest.raises(StopIteration) as end:
        next(run)
    (upstream,) = end.value.value.upstreams
    assert end.value.value.training is None
    assert (upstream.key,) == upstream_keys(config, corpora, workspace, shared=shared)
    return Frames.open(make_frames(config, workspace, shared, upstream, progress=silent, **settings).path)


@pytest.mark.parametrize("system", ["ems", "sap"])
def test_frame_states_lie_on_the_model_s_grid(corpus, model, tmp_path, system):
    workspace = Workspace.at(tmp_path)
    config = published_trial(corpus, model, {"system": system})
    frames = frames_of(config, workspace)
    utterances = resolve(config, workspace).evaluated.utterances
    assert frames.utterances == tuple(utterance.utterance for utterance in utterances)
    assert frames.packed_FLH.dtype == np.float16
    assert (frames.layers, frames.hop_s) == ((0, 1, 2), 0.02)
    # 0.6 s: 9,600 samples, of which the first position sees 400 and each further one 320 more.
    assert set(frames.lengths) == {1 + (9_600 - 400) // 320}
    with torch.no_grad():
        own = read_audio(utterances[5].path)
        heard_T = torch.from_numpy((own - own.mean()) / np.sqrt(own.var() + 1e-7))
        theirs = reference(model, "hubert")(heard_T[None], output_hidden_states=True).hidden_states
    np.testing.assert_allclose(frames.states(5)[:, 1], theirs[1][0], atol=2e-3)
    last = frames_of(config, workspace, layers=(-1,))
    np.testing.assert_array_equal(last.packed_FLH[:, 0], frames.packed_FLH[:, 2])


def test_the_upstream_s_own_layers_are_read_where_the_system_names_none(corpus, model, tmp_path):
    workspace = Workspace.at(tmp_path)
    two = {"transformer": {"model": str(model), "layers": [0, -1]}}
    assert frames_of(published_trial(corpus, model, two), workspace).layers == (0, 2)
    assert frames_of(published_trial(corpus, model, two | {"system": "sap"}), workspace).layers == (0, 1, 2)
    record = run_trial(published_trial(corpus, model, two), workspace)
    assert record.arm == "hubert tiny-hubert l0,-1"
    (made,) = record.artifacts
    assert np.load(workspace.store.root / made / "means.npy").shape[1] == 2


def test_the_key_knows_what_the_files_hold_and_not_where_they_lie(corpus, model, tmp_path):
    workspace = Workspace.at(tmp_path / "workspace")

    def key(folder: Path) -> str:
        config = published_trial(corpus, folder)
        return trial_key(config, resolve(config, workspace))

    moved = shutil.copytree(model, tmp_path / "moved")
    assert key(moved) == key(model)
    other = save_transformer(tmp_path / "other", layerdrop=0.2)
    assert model_fingerprint(str(other)) != model_fingerprint(str(model))
    assert key(other) != key(model)
    weights = moved / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert key(moved) != key(model)


def test_a_second_trial_shares_what_the_first_read(corpus, model, complete, monkeypatch):
    workspace, record = complete
    monkeypatch.setattr(ems, "AudioStates", None)
    other = run_trial(published_trial(corpus, model, {"seed": 5}), workspace)
    assert other.artifacts == record.artifacts
    assert other.arm_key == record.arm_key


UNUSED = {"mockingjay", "npc", "pretrain", "pretraining_audio", "score", "masking", "features", "intensity"}


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_nothing_of_pre_training_means_anything(corpus, model, kind):
    config = published_trial(corpus, model, {"upstream": kind})
    assert set(unused_settings(config)) == UNUSED | {
        "sap",
        "alignment",
        "teacher",
        "folds.k",
        "transformer.gradient_checkpointing",
    }
    assert heard_parts(config, None, None) == []  # type: ignore[arg-type]
    assert twin_of(config) is None
    other = published_trial(
        corpus,
        model,
        {"upstream": kind, "masking": {"policy": "random", "temperature": None}, "pretrain": {"steps": 9}},
    )
    assert corpora_key(other) == corpora_key(config)


def test_keys_of_trials_that_pretrain_know_nothing_of_published_models(corpus, model, tmp_path):
    workspace = Workspace.at(tmp_path)
    plain, named = tiny_trial(corpus), tiny_trial(corpus, {"transformer": {"model": str(model), "layers": [1]}})
    corpora = resolve(plain, workspace)
    assert trial_key(plain, corpora) == trial_key(named, corpora)
    assert "transformer" not in key_content(plain, corpora)
    assert corpora_key(plain) == corpora_key(named) != corpora_key(published_trial(corpus, model))


MASKED = {"policy": "ems", "ratio": 0.4, "span": 5, "temperature": 0.5}
TRACKED = {"features": {"n_mels": 8, "deltas": 0}, "masking": MASKED}


def test_masking_a_published_model_by_intensity_needs_a_track_and_random_masking_none(corpus, model, tmp_path):
    """`frame_alignment` hides positions of it: the one system in which masking means something there."""
    workspace = Workspace.at(tmp_path)
    scores = {"intensity": {"source": "external", "file": corpus / "scores.csv", "hop_ms": 10.0, "fit": None}}
    config = published_trial(corpus, model, {"system": "frame_alignment", **TRACKED, **scores})
    assert not {"masking", "features", "intensity"} & set(unused_settings(config))
    shared = prepare(config, resolve(config, workspace), workspace, progress=silent)
    assert shared.track is not None
    assert shared.track == shared.source
    assert shared.heard is not None
    assert stages(workspace) == {"features", "file-checks", "intensity"}
    at_random = published_trial(
        corpus, model, {"system": "frame_alignment", "masking": MASKED | {"policy": "random", "temperature": None}}
    )
    assert {"features", "intensity"} <= set(unused_settings(at_random))
    assert prepare(at_random, resolve(at_random, workspace), workspace, progress=silent).track is None
    assert arm_name(at_random).endswith("hubert tiny-hubert random r0.4 s5")
    with pytest.raises(ValueError, match="'all' would hide every frame from hubert"):
        published_trial(corpus, model, {"system": "frame_alignment", "masking": {"policy": "all", "temperature": None}})


def test_a_model_that_is_not_there_is_one_clear_error(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    workspace = Workspace.at(tmp_path / "workspace")
    for name in ("facebook/hubert-base-ls960", str(tmp_path / "gone")):
        with pytest.raises(BadInputError, match=r"transformer\.model: there is no folder .*") as refused:
            resolve(published_trial(corpus, Path(name)), workspace)
        assert "\n" not in str(refused.value)
    default = published_trial(corpus, tmp_path, {"transformer": {}})
    with pytest.raises(BadInputError, match=r"hub/models--facebook--hubert-base-ls960, .*config\.json"):
        resolve(default, workspace)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_folder_without_one_of_its_files_is_refused(model, tmp_path, name):
    copy = shutil.copytree(model, tmp_path / "copy")
    (copy / name).unlink()
    with pytest.raises(BadInputError, match=rf"folder .*copy has no ({name}|weights \({name})"):
        model_folder(str(copy))


def test_what_the_plan_can_see_of_a_broken_folder_is_refused_before_anything_runs(model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "copy")
    (copy / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(BadInputError, match=r"copy: model\.safetensors is a git-LFS pointer"):
        model_folder(str(copy))
    (copy / "config.json").write_text("{")
    with pytest.raises(BadInputError, match=r"^transformer\.model: .*copy: config\.json is not JSON"):
        model_folder(str(copy))


def test_without_the_hub_s_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"there is no folder .*pip install 'emsweep\[systems\]'"):
        model_folder(str(tmp_path / "gone"))
