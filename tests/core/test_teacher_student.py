"""The whole chain: what reaches which model, what is shared, what the record says, and what words are worth."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from core.config import TrialConfig
from core.corpora.loading import load_manifest
from core.errors import BadInputError, CorpusError
from core.lessons import lessons_of
from core.records import DIMENSION_METRICS, Record, read_predictions
from core.relevance import unused_settings
from core.resolve import arm_key, resolve, twin_of
from core.store import Workspace
from core.trial import arm_name, identify, run_trial, unfinished_record
from tests.core.tiny_trial import RATE, SECONDS, tiny_trial

SPEAKERS = ("anna", "ben", "cleo", "dora")
SAID = ("a wonderful day", "an awful day", "the usual letter", "a lovely song", "a hopeless week", "that grey house")
RATED = (5.0, 1.0, 3.0, 4.5, 1.5, 3.0)
TINY = {"projection": 4, "hidden": 4, "steps": 6, "batch": 4, "lr": 1e-2, "evaluate_every": 3, "inner_folds": 2}


def write_corpus(folder: Path, *, relabelled: str = "", resounding: str = "", silent: bool = False) -> None:
    """Six recordings of each speaker with dimensions and, unless `silent`, words.

    `relabelled`, `resounding`: whose labels, or recordings, are others.
    """
    rng = np.random.default_rng(0)
    scores = [["file_path", "score"]]
    rows = [["path", "utterance", "speaker", "label", "transcript", "activation", "valence", "dominance"]]
    for speaker in SPEAKERS:
        for place, (words, rated) in enumerate(zip(SAID, RATED, strict=True)):
            name = f"{speaker}-{place}"
            samples_N = 0.1 * rng.normal(size=int(RATE * SECONDS))
            samples_N = np.cumsum(samples_N[::-1]) / 100 if speaker == resounding else samples_N
            soundfile.write(folder / f"{name}.wav", samples_N, RATE)
            scores.append([f"{name}.wav", " ".join(map(str, rng.uniform(size=60).round(4)))])
            labels_D = (rng.uniform(1, 5, size=3) + np.array([0.0, rated, 0.0])).round(1)
            labels_D = 6 - labels_D if speaker == relabelled else labels_D
            rows.append([f"{name}.wav", name, speaker, "", "" if silent else words, *map(str, labels_D)])
    for file, content in (("corpus.csv", rows), ("scores.csv", scores)):
        with (folder / file).open("w", newline="") as lines:
            csv.writer(lines).writerows(content)


def trial(folder: Path, changes: dict[str, Any] | None = None, **teacher: Any) -> TrialConfig:
    if not (folder / "corpus.csv").exists():
        write_corpus(folder)
    masking = {"policy": "random", "ratio": 0.3, "span": 5}
    settings = tiny_trial(folder).model_dump() | {"masking": masking}
    own = {"system": "teacher_student", "teacher": {**TINY, **teacher}, **(changes or {})}
    return TrialConfig.model_validate(settings | own)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "workspace")


def test_students_have_one_twin_and_unused_settings_do_not_matter(tmp_path, workspace):
    arms = [trial(tmp_path, weighting="soft", sigma=sigma) for sigma in (0.5, 2.0, "inf")]
    arms += [trial(tmp_path, weighting="hard", tau=0.3), trial(tmp_path, sigma=0.5, modality="speech")]
    corpora = resolve(arms[0], workspace)
    identities = [identify(arm, corpora) for arm in arms]
    assert len({identity.arm_key for identity in identities}) == len(arms)
    plain = trial(tmp_path, weighting="none", sigma=9, tau=9, text_model="/nowhere", transcripts="/nowhere.csv")
    assert {identity.twin_key for identity in identities} == {arm_key(plain, corpora)}
    # A teacher who is tested knows the words at test: it is no student's equal, and has no twin.
    assert twin_of(plain) is None is twin_of(trial(tmp_path, weighting="teacher"))
    assert arm_name(arms[0]) == "teacher_student soft sigma0.5 weight1 random r0.3 s5"
    assert arm_name(plain) == "teacher_student no-teacher random r0.3 s5"
    assert {"probe", "teacher.tau"} <= set(unused_settings(arms[0]))


def test_a_corpus_without_classes_is_for_this_system_only(tmp_path, workspace):
    assert resolve(trial(tmp_path), workspace).evaluated.classes == ()
    with pytest.raises(BadInputError, match="has no emotion classes") as refused:
        resolve(trial(tmp_path, {"system": "ems", "teacher": {}}), workspace)
    assert "\n" not in str(refused.value)


def test_lacking_words_are_an_error_where_they_are_needed(tmp_path, workspace):
    write_corpus(tmp_path, silent=True)
    corpora = resolve(trial(tmp_path), workspace)
    identify(trial(tmp_path, weighting="none"), corpora)
    with pytest.raises(CorpusError, match="24 of 24 utterances have no transcript"):
        identify(trial(tmp_path), corpora)


def test_a_teacher_that_saw_the_labels_is_told_of(tmp_path, workspace):
    def leaks(config: TrialConfig) -> tuple[str, ...]:
        corpora = resolve(config, workspace)
        return unfinished_record(config, corpora, identify(config, corpora), "now").protocol.leaks

    seen, unseen = trial(tmp_path, outputs="in-sample"), trial(tmp_path)
    assert set(leaks(seen)) - set(leaks(unseen)) == {
        "the teacher was trained on the labels of the utterances it teaches (in-sample)"
    }
    assert "in-sample" in arm_name(seen)


def fitted(record: Record, workspace: Workspace, stage: str) -> dict[str, Path]:
    """Name of each model that the trial fitted or found → its folder."""
    found = {}
    for artifact in record.artifacts:
        folder = workspace.store.root / artifact
        if artifact.startswith(f"{stage}/"):
            found[json.loads((folder / "artifact.json").read_text())["settings"]["name"]] = folder
    return found


def test_without_teacher_the_record_is_of_dimensions_and_no_text_is_read(tmp_path, workspace):
    record = run_trial(trial(tmp_path, weighting="none"), workspace)
    assert record.status == "complete"
    assert record.metrics is not None
    assert list(record.metrics.mean["test"]) == list(DIMENSION_METRICS)
    assert {entry.split for entry in record.metrics.folds} == {"validation", "test"}
    assert len(fitted(record, workspace, "student")) == 4
    assert not any(name.startswith(("text/", "teacher/")) for name in record.artifacts)
    # 4 upstreams of 12 steps, 4 students of 6.
    assert record.cost is not None
    assert record.cost.steps == 4 * 12 + 4 * 6
    rows = read_predictions(workspace.trial(record.trial_key), split="test")
    assert len(rows) == 24
    assert np.isfinite(rows[["predicted_activation", "predicted_valence", "predicted_dominance"]].to_numpy()).all()


@pytest.mark.slow
def test_a_teacher_who_only_hears_reads_nothing_and_teaches_all_the_same(tmp_path, workspace):
    write_corpus(tmp_path, silent=True)
    config = trial(tmp_path, modality="speech")
    record = run_trial(config, workspace)
    assert len(fitted(record, workspace, "teacher")) == 4 * 2
    assert not any(name.startswith("text/") for name in record.artifacts)
    assert record.counts == {}
    assert arm_name(config) == "teacher_student soft sigma1 weight1 speech-teacher random r0.3 s5"
    alone = run_trial(trial(tmp_path, weighting="none"), workspace)
    tests = [read_predictions(workspace.trial(each.trial_key), split="test") for each in (record, alone)]
    assert not np.allclose(*(rows["predicted_valence"].to_numpy() for rows in tests))


@pytest.mark.slow
def test_labels_and_audio_reach_only_the_models_that_may_know_them(tmp_path):
    """Other labels of one speaker: whoever tests that speaker, or teaches them out of fold, comes out the same. Other
    recordings too: whoever tests that speaker."""
    outcomes = []
    for changes in ({}, {"relabelled": "ben"}, {"resounding": "ben"}):
        folder = tmp_path / "-".join(["corpus", *changes])
        folder.mkdir()
        write_corpus(folder, **changes)
        workspace = Workspace.at(folder / "workspace")
        outcomes.append((workspace, run_trial(trial(folder, weighting="soft"), workspace)))
    config = trial(tmp_path / "corpus")
    manifest = load_manifest(config.corpus, outcomes[0][0])
    folds = resolve(config, outcomes[0][0]).folds.folds
    same = {"unaware": 0, "trained": 0}
    for place, fold in enumerate(folds, start=1):
        lessons = lessons_of(config.teacher, fold, manifest, place=place)
        assert lessons.student is not None
        for lesson in (*lessons.teachers, lessons.student):
            before, after, resounding = (
                (fitted(record, workspace, lesson.role)[lesson.name] / "weights.pt").read_bytes()
                for workspace, record in outcomes
            )
            if any(name.startswith("ben") for name in lesson.train):
                assert before != after, lesson.name
                same["trained"] += 1
            # Who only validates on ben may still come to choose the same step.
            elif not any(name.startswith("ben") for name in lesson.validation):
                assert before == after, lesson.name
                same["unaware"] += 1
            # In the folds that train on ben the upstream hears him.
            if fold.name in ("ben", "cleo", "dora"):
                assert (before == resounding) is (fold.name == "ben"), lesson.name
    # The fold that tests ben: three models. Each of two folds that train on ben: the teacher that leaves him out.
    assert same == {"unaware": 3 + 2, "trained": 4}


@pytest.mark.slow
def test_arms_share_upstreams_and_teachers_and_a_second_run_trains_nothing(tmp_path, workspace):
    logged: list[dict[str, float]] = []
    soft = run_trial(trial(tmp_path, weighting="soft"), workspace)
    made = {path for stage in ("teacher", "text") for path in (workspace.store.root / stage).glob("[0-9a-f]*")}
    hard = run_trial(trial(tmp_path, weighting="hard"), workspace, log=lambda values, step: logged.append(dict(values)))
    again = {path for stage in ("teacher", "text") for path in (workspace.store.root / stage).glob("[0-9a-f]*")}
    assert made == again
    assert len([path for path in made if path.parent.name == "teacher"]) == 4 * 2
    assert soft.cost is not None
    assert hard.cost is not None
    # Found teachers cost what they cost when they were made, and their curves come again.
    assert soft.cost.flops == hard.cost.flops
    assert sum("teacher/fold1.1/validation_ccc" in values for values in logged) == 2
    assert fitted(soft, workspace, "student").keys() == fitted(hard, workspace, "student").keys()
    assert soft.metrics != hard.metrics
