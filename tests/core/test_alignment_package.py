"""Frame alignment as an exported model: the last fine-tuning's own predictions, from the audio alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.audio import read_audio
from core.errors import BadInputError
from core.exported import Answer, Package, load_package, package_files, predictor_of
from core.packaging import Choice, choose, package_choice
from core.records import Record
from core.replay import TOLERANCE
from core.store import Workspace
from core.trial import run_trial
from tests.core.tiny_alignment import tiny_alignment

ONE_UPSTREAM = {"pretraining_audio": {"source": "transductive"}}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("aligned")


def run(corpus: Path, **alignment: Any) -> tuple[Workspace, Record]:
    workspace = Workspace.at(corpus / "workspace")
    return workspace, run_trial(tiny_alignment(corpus, alignment, others=ONE_UPSTREAM), workspace)


def answer(package: Package, corpus: Path) -> Answer:
    return predictor_of(package).predict(read_audio(corpus / "ben-angry-2.wav"))


@pytest.fixture(scope="module")
def attended(corpus) -> tuple[Workspace, Record]:
    return run(corpus)


@pytest.fixture(scope="module")
def package(attended) -> Package:
    workspace, record = attended
    return package_choice(choose([record]), workspace).package


def test_predictions_of_every_fold_are_the_records(attended):
    workspace, record = attended
    for fold in ("anna", "cleo"):
        made = package_choice(Choice(record=record, fold=fold, metric="ua", mean=0.5, reached=0.5), workspace)
        assert made.tried == 16
        assert made.difference < 1e-5 < TOLERANCE


def test_attention_weighs_the_logits_of_single_positions(package, corpus):
    said = answer(package, corpus)
    assert package.config.hop_s == 0.02
    assert said.frame_values_PC.shape == (29, 2)
    assert said.weights_P.sum() == pytest.approx(1, abs=1e-6)
    # Weights that were all the same would be the mean's.
    assert np.ptp(said.weights_P) > 1e-6
    np.testing.assert_allclose(said.weights_P @ said.frame_values_PC, said.values_C, atol=1e-5)
    np.testing.assert_allclose(said.frame_scores.sum(axis=1), 1, atol=1e-6)


def test_a_package_comes_back_whole(package, corpus, tmp_path):
    files = package_files(package)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    back = load_package(tmp_path)
    assert package_files(back) == files
    assert np.array_equal(answer(back, corpus).values_C, answer(package, corpus).values_C)
    assert str(corpus).encode() not in files["config.json"]


def test_missing_parts_are_refused(attended, package, tmp_path):
    fewer = {name: values for name, values in package.tensors.items() if name != "head.classify.weight"}
    with pytest.raises(BadInputError, match=r"no tensor 'classify\.weight'"):
        predictor_of(Package(config=package.config, tensors=fewer))
    fewer = {name: values for name, values in package.tensors.items() if name != "head.pooling.score.weight"}
    with pytest.raises(BadInputError, match=r"exported model of trial .*pooling\.score\.weight"):
        predictor_of(Package(config=package.config, tensors=fewer))
    workspace, record = attended
    shutil.copytree(workspace.root, tmp_path / "workspace")
    shutil.rmtree(tmp_path / "workspace" / "store" / "tuning")
    with pytest.raises(BadInputError, match=r"its fine-tuned model of fold .* is no longer in"):
        package_choice(choose([record]), Workspace.at(tmp_path / "workspace"))


@pytest.mark.parametrize(
    "alignment",
    [{"pooling": "mean"}, {"aligned": False}, {"audio": "transductive"}, {"audio": "transductive", "pooling": "mean"}],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_every_variant_is_the_records_own(attended, corpus, alignment):
    """With pooling `mean` the first and the last fine-tuning differ in nothing but the weights that they begin at."""
    workspace, record = run(corpus, **alignment)
    made = package_choice(choose([record]), workspace)
    assert made.difference < 1e-5
    said = answer(made.package, corpus)
    assert (said.weights_P is None) == (alignment.get("pooling") == "mean")
    if said.weights_P is None:
        np.testing.assert_allclose(said.frame_values_PC.mean(axis=0), said.values_C, atol=1e-5)
