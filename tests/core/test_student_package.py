"""A student as an exported model: the trial's own dimensions from the audio alone, no words and no teacher."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from core.audio import read_audio
from core.errors import BadInputError
from core.exported import Package, load_package, package_files, predictor_of
from core.packaging import Choice, choose, package_choice
from core.records import DIMENSIONS, Record, read_predictions
from core.replay import TOLERANCE
from core.store import Workspace
from core.trial import run_trial
from tests.core.test_teacher_student import trial

ONE_UPSTREAM = {"pretraining_audio": {"source": "transductive"}}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("student")


@pytest.fixture(scope="module")
def finished(corpus) -> tuple[Workspace, Record]:
    """A trial without teacher; 29 positions of an utterance become 9 threes and a two."""
    workspace = Workspace.at(corpus / "workspace")
    return workspace, run_trial(trial(corpus, ONE_UPSTREAM, weighting="none", reduce=3), workspace)


@pytest.fixture(scope="module")
def package(finished) -> Package:
    workspace, record = finished
    return package_choice(choose([record]), workspace).package


def test_predictions_of_every_fold_are_the_records(finished):
    workspace, record = finished
    for fold in ("anna", "dora"):
        made = package_choice(Choice(record=record, fold=fold, metric="ccc_mean", mean=0.1, reached=0.1), workspace)
        assert made.tried == 12
        assert made.difference < 1e-5 < TOLERANCE
    assert choose([record]).rule.startswith("seed with the highest mean validation CCC over folds")


def test_the_folder_is_enough_and_says_nothing_of_words_or_places(finished, package, corpus, tmp_path):
    files = package_files(package)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    workspace, record = finished
    rows = read_predictions(workspace.trial(record.trial_key), split="test")
    row = rows[rows["fold"] == package.config.fold].iloc[1]
    answer = predictor_of(load_package(tmp_path)).predict(read_audio(corpus / f"{row['utterance']}.wav"))
    expected = [row[f"predicted_{name}"] for name in DIMENSIONS]
    np.testing.assert_allclose(answer.scores, expected, atol=1e-5)
    assert answer.frame_scores is None
    assert (package.config.outputs, package.config.hop_s) == (DIMENSIONS, None)
    assert package.config.settings["teacher"].keys() == {"weighting", "projection", "hidden", "reduce", "dropout"}
    for left_out in (b"text_model", b"transcripts", str(corpus).encode()):
        assert left_out not in files["config.json"]


def test_missing_parts_and_another_models_are_refused(finished, package, tmp_path):
    for name in ("scale.centre_D", "head.project.weight"):
        fewer = {each: values for each, values in package.tensors.items() if each != name}
        with pytest.raises(BadInputError, match=f"no tensor '{name.partition('.')[2]}'"):
            predictor_of(Package(config=package.config, tensors=fewer))
    fewer = {each: values for each, values in package.tensors.items() if each != "head.heads.0.bias"}
    with pytest.raises(BadInputError, match=r"exported model of trial .*heads\.0\.bias"):
        predictor_of(Package(config=package.config, tensors=fewer))
    workspace, record = finished
    shutil.copytree(workspace.root, tmp_path / "workspace")
    shutil.rmtree(tmp_path / "workspace" / "store" / "student")
    with pytest.raises(BadInputError, match=r"its student of fold .* is no longer in"):
        package_choice(choose([record]), Workspace.at(tmp_path / "workspace"))


@pytest.mark.slow
def test_a_taught_student_is_exported_and_its_teacher_is_not(finished, corpus):
    workspace, _ = finished
    taught = run_trial(trial(corpus, ONE_UPSTREAM, weighting="soft", outputs="in-sample"), workspace)
    made = package_choice(choose([taught]), workspace)
    assert made.difference < 1e-5
    # The teacher's words would be read there.
    assert not any("read" in name for name in made.package.tensors)
    teacher = run_trial(trial(corpus, ONE_UPSTREAM, weighting="teacher"), workspace)
    with pytest.raises(BadInputError, match=r"tests the teacher, which needs the words .*students can be exported"):
        package_choice(choose([teacher]), workspace)
