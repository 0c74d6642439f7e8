"""`sweep predict` and the card for other systems than EMS: weights of frames, dimensions, and what is left out."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from core.exported import Package, PublishedUpstream, package_files
from core.models.summariser import Summariser
from core.packaging import Checked, choose, package_choice
from core.records import DIMENSIONS, Record
from core.store import Workspace
from core.teacher_config import TeacherConfig
from core.trial import run_trial
from sweeps.cli import SweepGroup
from sweeps.cli_export import predict
from sweeps.model_card import ReportedScores, card_text
from tests.core.tiny_trial import tiny_trial

COMMANDS = SweepGroup(commands={"predict": predict})


@dataclass(frozen=True, kw_only=True)
class Made:
    """An exported model, not written yet."""

    corpus: Path
    record: Record
    checked: Checked


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    corpus = tmp_path_factory.mktemp("corpus")
    workspace = Workspace.at(corpus / "workspace")
    record = run_trial(tiny_trial(corpus), workspace)
    return Made(corpus=corpus, record=record, checked=package_choice(choose([record]), workspace))


def done(code: int, *arguments: object) -> Result:
    result = CliRunner().invoke(COMMANDS, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def write_package(made: Made, out: Path, changes: dict[str, Any], tensors: dict[str, np.ndarray]) -> Path:
    """Another system's model over the exported one's upstream."""
    found = made.checked.package
    upstream = {name: values for name, values in found.tensors.items() if name.startswith("upstream.")}
    settings = found.config.settings | changes.pop("settings")
    config = found.config.model_copy(update={"settings": settings, **changes})
    out.mkdir()
    for name, content in package_files(Package(config=config, tensors=upstream | tensors)).items():
        (out / name).write_bytes(content)
    return out


def test_frames_of_a_model_that_attends_have_weights(made, tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        f"head.{name}": rng.normal(size=shape).astype(np.float32)
        for name, shape in (("classify.weight", (2, 16)), ("classify.bias", (2,)), ("pooling.score.weight", (1, 16)))
    }
    settings = {"system": "frame_alignment", "alignment": {"pooling": "attention"}}
    attending = write_package(made, tmp_path / "m", {"system": "frame_alignment", "settings": settings}, tensors)
    file = made.corpus / "anna-angry-0.wav"
    (whole,) = json.loads(done(0, "predict", attending, file, "--json").stdout)["rows"]
    rows = json.loads(done(0, "predict", attending, file, "--frames", "--json").stdout)["rows"]
    assert "weight" not in whole
    assert sum(row["weight"] for row in rows) == pytest.approx(1, abs=1e-6)
    assert max(row["weight"] for row in rows) > 1.1 * min(row["weight"] for row in rows)
    for name in ("value_angry", "value_calm"):
        assert sum(row["weight"] * row[name] for row in rows) == pytest.approx(whole[name], abs=1e-5)
    assert done(0, "predict", attending, file, "--frames").stdout.split()[:5] == [
        "file", "start_s", "end_s", "weight", "predicted"
    ]  # fmt: skip


def test_dimensions_are_shown_as_they_are(made, tmp_path):
    teacher = TeacherConfig(weighting="none", projection=4, hidden=4)
    student = Summariser(layers=1, width=16, text=None, config=teacher)
    centre_D, scale_D = np.array([3.0, 2.0, 4.0]), np.array([0.0, 0.0, 0.0])
    tensors = {f"head.{name}": value.numpy() for name, value in student.state_dict().items()}
    tensors |= {"scale.centre_D": centre_D, "scale.scale_D": scale_D}
    settings = {
        "system": "teacher_student",
        "teacher": teacher.model_dump(include={"weighting", "projection", "hidden"}),
    }
    changes = {"system": "teacher_student", "kind": "dimensions", "outputs": DIMENSIONS, "hop_s": None}
    dimensional = write_package(made, tmp_path / "m", {**changes, "settings": settings}, tensors)
    file = made.corpus / "anna-angry-0.wav"
    (row,) = json.loads(done(0, "predict", dimensional, file, "--json").stdout)["rows"]
    # Without a spread everything is the mean of the training labels.
    assert [row[name] for name in DIMENSIONS] == centre_D.tolist()
    table = done(0, "predict", dimensional, file).stdout.split()
    assert table[:5] == ["file", "duration_s", *DIMENSIONS]
    assert table[-3:] == ["3.000", "2.000", "4.000"]
    said = done(2, "predict", dimensional, file, "--frames").stderr
    assert said.endswith("(teacher_student) scores whole recordings only\n")


def card(made: Made, system: str, settings: dict[str, Any], published: PublishedUpstream | None = None) -> str:
    """The card of the exported model as that of another system's."""
    package = made.checked.package
    record = made.record.model_copy(update={"system": system, "config": made.record.config | settings})
    config = package.config.model_copy(update={"system": system, "published": published})
    checked = replace(made.checked, package=Package(config=config, tensors=package.tensors))
    scores = ReportedScores(sweep="s", arm="a", lines=[("UA", "50.0")], n_trials=1, n_expected=1, opening=None)
    return card_text(choose([record]), checked, scores, weights="0")


def test_the_card_says_what_is_left_out_and_whose_the_upstream_is(made):
    taught = card(made, "teacher_student", {"teacher": {"weighting": "hard"}})
    assert "| teacher | one that also read the transcripts." in taught
    assert "is not exported: this is its student, which only hears |" in taught
    alone = card(made, "teacher_student", {"teacher": {"weighting": "none"}})
    assert "| teacher | none |" in alone
    published = PublishedUpstream(model="facebook/hubert-base-ls960", architecture={}, normalises=True)
    tuned = card(made, "frame_alignment", {"alignment": {"audio": "transductive"}}, published=published)
    assert "| upstream and head fine-tuned on | 8 utterances of 1 speaker" in tuned
    assert "| upstream adapted on | all audio of the corpus, the test part's included, without labels |" in tuned
    assert "- **facebook/hubert-base-ls960** (upstream that came trained; its weights are in this folder" in tuned
    assert "fine-tuned). Terms: see the model's own licence." in tuned
    assert "own licence" not in alone


@pytest.mark.parametrize(
    ("audio", "validation", "left_out", "said"),
    [
        ("fold", "next-fold", 0, "the fold's train part; no labels"),
        ("fold", "next-fold", 7, "the fold's train part, without 7 utterances shorter than 90 frames (of the 3 "
         "upstreams together); no labels"),
        ("fold", "superb", 0, "the fold's train part, without 2 speakers held out; no labels"),
        ("transductive", "next-fold", 1, "the evaluated corpus, test part included, without 2 speakers held out and 1 "
         "utterance shorter than 90 frames; no labels"),
        ("external", "next-fold", 0, "another corpus, demo, without 2 speakers held out; no labels"),
    ],
)  # fmt: skip
def test_the_card_says_what_the_upstream_really_heard(made, audio, validation, left_out, said):
    record = made.record
    settings = {
        "pretraining_audio": {"held_out_speakers": 2},
        "folds": {"validation": validation},
        "pretrain": {"min_frames": 90},
    }
    heard = {"pretraining_audio": audio, "pretraining_corpus": "demo"}
    changes = {
        "protocol": record.protocol.model_copy(update=heard),
        "cost": record.cost.model_copy(update={"left_out": left_out}),
    }
    changed = replace(made, record=record.model_copy(update=changes))
    assert f"| upstream pre-trained on | {said} |" in card(changed, "ems", settings)
