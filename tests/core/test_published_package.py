"""An upstream that came trained in an exported model: its weights and architecture travel, its place does not."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.audio import read_audio
from core.errors import BadInputError, MissingDependencyError
from core.exported import Package, load_package, package_files, predictor_of
from core.packaging import Checked, choose, package_choice
from core.progress import discard, silent
from core.records import Record
from core.resolve import resolve
from core.store import Workspace
from core.systems import segmental_pooling
from core.trial import run_trial
from core.upstreams import prepare
from tests.core.test_teacher_student import TINY
from tests.core.test_teacher_student import write_corpus as write_dimensions
from tests.core.tiny_alignment import ALIGNMENT
from tests.core.tiny_transformer import LAYERS, published_trial, save_transformer
from tests.core.tiny_trial import tiny_trial

MASKING = {"policy": "random", "ratio": 0.4, "span": 4, "temperature": None}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_transformer(tmp_path_factory.mktemp("models") / "tiny-hubert")


def run(corpus: Path, model: Path, **changes: Any) -> tuple[Workspace, Record]:
    workspace = Workspace.at(corpus / "workspace")
    return workspace, run_trial(published_trial(corpus, model, changes), workspace)


@pytest.fixture(scope="module")
def probed(corpus, model) -> tuple[Workspace, Record]:
    return run(corpus, model)


@pytest.fixture(scope="module")
def package(probed) -> Package:
    workspace, record = probed
    return package_choice(choose([record]), workspace).package


def comes_back(made: Checked, corpus: Path, folder: Path, recording: str = "anna-calm-1") -> Package:
    """The package as it is read from its folder, without the model's: it says the same."""
    assert made.tried > 0
    assert made.difference < 1e-5
    for name, content in package_files(made.package).items():
        (folder / name).write_bytes(content)
    back, samples_N = load_package(folder), read_audio(corpus / f"{recording}.wav")
    before, after = (predictor_of(each).predict(samples_N) for each in (made.package, back))
    assert np.array_equal(before.values_C, after.values_C)
    return back


def test_a_probe_needs_its_folder_alone(probed, corpus, model, tmp_path):
    workspace, record = probed
    made = package_choice(choose([record]), workspace)
    away = model.with_name("away")
    model.rename(away)
    try:
        back = comes_back(made, corpus, tmp_path)
        with pytest.raises(BadInputError, match=r"transformer\.model: there is no folder"):
            package_choice(choose([record]), workspace)
    finally:
        away.rename(model)
    published = back.config.published
    assert published is not None
    assert (published.model, published.normalises, back.config.hop_s) == ("tiny-hubert", True, 0.02)
    assert set(back.config.packages) == {"transformers"}
    assert str(model.parent).encode() not in (tmp_path / "config.json").read_bytes()


def test_only_the_layers_that_were_read_are_weighed_and_frames_add_up(probed, corpus, model, tmp_path):
    workspace, record = run(corpus, model, transformer={"model": str(model), "layers": [0, -1]})
    back = comes_back(package_choice(choose([record]), workspace), corpus, tmp_path)
    assert len(back.tensors["head.layer_weights_L"]) == 2 < LAYERS
    said = predictor_of(back).predict(read_audio(corpus / "anna-calm-1.wav"))
    # 1 + (9600 − 400) / 320
    assert said.frame_values_PC.shape == (29, 2)
    np.testing.assert_allclose(said.frame_values_PC.mean(axis=0), said.values_C, atol=1e-5)


def test_without_its_embeddings_they_are_made_again(probed, package, tmp_path):
    workspace, record = probed
    shutil.copytree(workspace.root, tmp_path / "workspace")
    shutil.rmtree(tmp_path / "workspace" / "store" / "embed")
    again = package_choice(choose([record]), Workspace.at(tmp_path / "workspace")).package
    assert package_files(again) == package_files(package)


def test_other_files_than_those_that_were_read_are_refused(probed, corpus, model, tmp_path):
    workspace, record = probed
    other = save_transformer(tmp_path / "other", num_attention_heads=4)
    moved = record.config | {"transformer": record.config["transformer"] | {"model": str(other)}}
    with pytest.raises(BadInputError, match=r"the files of its upstream .*other are not those that it read then"):
        package_choice(choose([record.model_copy(update={"config": moved})]), workspace)
    # The same files elsewhere are the same upstream.
    copy = shutil.copytree(model, tmp_path / "copy")
    moved = record.config | {"transformer": record.config["transformer"] | {"model": str(copy)}}
    package_choice(choose([record.model_copy(update={"config": moved})]), workspace)


def test_short_audio_and_silence(package):
    with pytest.raises(BadInputError, match=r"399 samples \(0\.0249 s\) are too short for one position"):
        predictor_of(package).predict(np.zeros(399, dtype=np.float32))
    assert np.isfinite(predictor_of(package).predict(np.zeros(16_000, dtype=np.float32)).values_C).all()


def test_what_fits_no_such_model_is_refused(package):
    config = package.config
    assert config.published is not None

    def changed(**architecture: Any) -> Package:
        published = config.published.model_copy(update={"architecture": config.published.architecture | architecture})
        return Package(config=config.model_copy(update={"published": published}), tensors=package.tensors)

    for damaged, said in (
        (changed(model_type="bert"), "are called a model of type 'bert'"),
        (changed(hidden_size=32), "weights of upstream 'hubert': .*size mismatch"),
        (changed(num_attention_heads=5), "its architecture is no such model's"),
        (changed(hidden_act="nothing"), "its architecture is no such model's"),
        (Package(config=config.model_copy(update={"published": None}), tensors=package.tensors), "no 'published'"),
    ):
        with pytest.raises(BadInputError, match=said) as refused:
            predictor_of(damaged)
        assert "\n" not in str(refused.value)
    other = Package(config=config.model_copy(update={"packages": {"transformers": "1.0"}}), tensors=package.tensors)
    with pytest.raises(BadInputError, match=r"was made with transformers 1\.0, here is "):
        predictor_of(other)


def test_a_predictor_leaves_torchs_generator_alone(package):
    before = torch.get_rng_state()
    predictor_of(package)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wavlm", "wav2vec2", "data2vec"])
def test_the_whole_family(kind, corpus, tmp_path):
    model = save_transformer(tmp_path / kind, kind, large=kind == "wav2vec2")
    workspace, record = run(corpus, model, upstream=kind)
    (tmp_path / "model").mkdir()
    comes_back(package_choice(choose([record]), workspace), corpus, tmp_path / "model")


def test_the_version_on_record_is_kept_and_a_package_that_is_gone_is_one_line(probed, monkeypatch):
    workspace, record = probed
    assert record.provenance.packages["transformers"] == version("transformers")

    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("core.kept_upstream.version", absent)
    assert package_choice(choose([record]), workspace).package.config.packages == {
        "transformers": version("transformers")
    }
    earlier = {name: value for name, value in record.provenance.packages.items() if name != "transformers"}
    early = record.model_copy(update={"provenance": record.provenance.model_copy(update={"packages": earlier})})
    with pytest.raises(MissingDependencyError, match=r"needs transformers \(pip install 'emsweep\[systems\]'\)"):
        package_choice(choose([early]), workspace)


@pytest.mark.parametrize(
    ("sap", "said"),
    [
        ({"pooling": "gap", "layers": [9]}, r"^sap\.layers: layer 9: the upstream has 3, from 0 to 2"),
        ({"pooling": "gap", "layers": [2, -1]}, r"^sap\.layers: layer 2: is named 2 times \(2, -1\)"),
        ({"pooling": "gap+sap+attention", "heads": 3}, r"^sap\.heads: 3 does not divide .* width 16"),
    ],
)
def test_what_the_upstream_cannot_serve_is_refused_before_anything_is_made(corpus, model, tmp_path, sap, said):
    workspace = Workspace.at(tmp_path)
    for changes in ({}, {"mockingjay": {"hidden": 16, "layers": 2, "heads": 2, "ffn": 32}, "upstream": "mockingjay"}):
        config = (
            tiny_trial(corpus, {**changes, "system": "sap", "sap": sap})
            if changes
            else published_trial(corpus, model, {"system": "sap", "sap": sap})
        )
        corpora = resolve(config, workspace)
        with pytest.raises(BadInputError, match=said):
            list(
                segmental_pooling.run(
                    config,
                    corpora,
                    workspace,
                    shared=prepare(config, corpora, workspace, progress=silent),
                    log=discard,
                    progress=silent,
                )
            )
    assert not {"pretrain", "frames"} & {path.name for path in (tmp_path / "store").iterdir()}


@pytest.mark.slow
def test_poolings_of_sap(corpus, model, tmp_path):
    for name in ("gap", "attention", "gap+sap+attention"):
        sap = {"pooling": name, "layers": [1, -1], "threshold": 0.02}
        sap |= {"heads": 2} if name == "gap+sap+attention" else {}
        workspace, record = run(corpus, model, system="sap", sap=sap)
        (tmp_path / name).mkdir()
        back = comes_back(package_choice(choose([record]), workspace), corpus, tmp_path / name)
        assert back.config.hop_s == (0.02 if name == "gap" else None)
    assert back.config.packages["silero-vad"] == record.provenance.packages["silero-vad"] == version("silero-vad")
    assert record.counts["positions without speech"] > 0
    # Shorter than the 512 samples that silero-vad wants, long enough for a position.
    assert np.isfinite(predictor_of(back).predict(read_audio(corpus / "anna-calm-1.wav")[:450]).values_C).all()


@pytest.mark.slow
def test_frame_alignment_keeps_the_tuned_weights(corpus, model, package, tmp_path):
    alignment = ALIGNMENT | {"audio": "transductive", "layer": 1}
    workspace, record = run(corpus, model, system="frame_alignment", masking=MASKING, alignment=alignment)
    back = comes_back(package_choice(choose([record]), workspace), corpus, tmp_path)
    same = {name: np.array_equal(back.tensors[name], values) for name, values in package.tensors.items()
            if name.startswith("upstream.")}  # fmt: skip
    # The convolutions are frozen, the Transformer is not.
    assert all(equal for name, equal in same.items() if ".cnn." in name)
    assert not same["upstream.model.encoder.layers.0.attention.q_proj.weight"]
    # The tuned weights are in the store, what they are the weights of only among the model's files.
    assert back.config.published == package.config.published


@pytest.mark.slow
@pytest.mark.parametrize("weighting", ["none", "soft"])
def test_a_student(model, tmp_path, weighting):
    write_dimensions(tmp_path)
    workspace, record = run(
        tmp_path, model, system="teacher_student", teacher={**TINY, "weighting": weighting},
        transformer={"model": str(model), "layers": [-1]},
    )  # fmt: skip
    (tmp_path / "model").mkdir()
    back = comes_back(package_choice(choose([record]), workspace), tmp_path, tmp_path / "model", "anna-1")
    assert resolve(published_trial(tmp_path, model, record.config), workspace).evaluated.classes == ()
    assert back.tensors["head.layer_logits_L"].shape == (1,)
