"""Every pooling of SAP as an exported model: the trial's own predictions, from the audio alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from core.audio import read_audio
from core.errors import BadInputError
from core.exported import Package, load_package, package_files, predictor_of
from core.packaging import choose, package_choice
from core.records import Record
from core.replay import TOLERANCE
from core.resolve import resolve
from core.store import Workspace
from tests.core.speech_trial import run_poolings, speech_trial, write_speech_corpus

# One trial of each way: a linear pooling over all positions, one over speech, and one that is learnt over both.
POOLINGS = ("gap", "gap+sap", "gap+sap+attention")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, demo_workspace) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    write_speech_corpus(folder, demo_workspace)
    return folder


@pytest.fixture(scope="module")
def ran(corpus, tmp_path_factory) -> tuple[Workspace, dict[str, Record]]:
    workspace = Workspace.at(tmp_path_factory.mktemp("ran"))
    return workspace, run_poolings(corpus, workspace, POOLINGS)


def recording(ran: tuple[Workspace, dict[str, Record]], corpus: Path) -> np.ndarray:
    workspace, _ = ran
    manifest = resolve(speech_trial(corpus, {"pooling": "gap"}), workspace).evaluated
    return read_audio(manifest.utterances[0].path)


@pytest.mark.slow
def test_predictions_of_every_pooling_are_the_records(ran, corpus, tmp_path):
    workspace, records = ran
    samples_N = recording(ran, corpus)
    for name, record in records.items():
        made = package_choice(choose([record]), workspace)
        assert made.tried > 0
        assert made.difference < TOLERANCE
        folder = tmp_path / name
        folder.mkdir()
        for file, content in package_files(made.package).items():
            (folder / file).write_bytes(content)
        answer = predictor_of(load_package(folder)).predict(samples_N)
        assert np.array_equal(answer.values_C, predictor_of(made.package).predict(samples_N).values_C)
        # Only the mean over all positions is the mean of what each says.
        assert (answer.frame_values_PC is None) == (name != "gap") == (made.package.config.hop_s is None)
        if answer.frame_values_PC is not None:
            np.testing.assert_allclose(answer.frame_values_PC.mean(axis=0), answer.values_C, atol=1e-4)
        assert set(made.package.config.packages) == (set() if name == "gap" else {"silero-vad"})


@pytest.mark.slow
def test_another_silero_vad_and_missing_parts_are_refused(ran, tmp_path):
    workspace, records = ran
    package = package_choice(choose([records["gap+sap"]]), workspace).package
    other = package.config.model_copy(update={"packages": {"silero-vad": "1.0"}})
    with pytest.raises(BadInputError, match=r"was made with silero-vad 1\.0, here is "):
        predictor_of(Package(config=other, tensors=package.tensors))
    fewer = {name: values for name, values in package.tensors.items() if name != "head.project.weight"}
    with pytest.raises(BadInputError, match=r"no tensor 'project\.weight'"):
        predictor_of(Package(config=package.config, tensors=fewer))
    shutil.copytree(workspace.root, tmp_path / "workspace")
    copied = Workspace.at(tmp_path / "workspace")
    shutil.rmtree(copied.store.root / "pooled")
    with pytest.raises(BadInputError, match=r"its head of fold .* is no longer in"):
        package_choice(choose([records["gap+sap+attention"]]), copied)
    shutil.rmtree(copied.store.root / "frames")
    with pytest.raises(BadInputError, match=r"the states of its upstream .* are no longer in"):
        package_choice(choose([records["gap"]]), copied)
