"""RAVDESS and EmoDB: the published counts on the real recordings, and names that are not theirs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from core.config import CorpusConfig, FoldsConfig
from core.corpora.folds import make_folds
from core.corpora.loading import check_launchable, load_manifest, summarise
from core.corpora.manifest import Manifest
from core.errors import CorpusError
from core.store import Workspace


def write(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, 8000), 16_000, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def ravdess(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    config = CorpusConfig(name="ravdess", root=real_data / "ravdess")
    return load_manifest(config, Workspace.at(tmp_path_factory.mktemp("ravdess")))


@pytest.fixture(scope="module")
def emodb(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    config = CorpusConfig(name="emodb", root=real_data / "emodb")
    return load_manifest(config, Workspace.at(tmp_path_factory.mktemp("emodb")))


def test_the_whole_of_ravdess_less_its_duplicate(ravdess: Manifest, real_data: Path) -> None:
    assert len(ravdess.utterances) == 1439
    (entry,) = ravdess.ledger
    assert (entry.utterance, entry.reason, entry.known) == ("03-01-03-01-02-02-07", "duplicate", True)
    assert entry.detail == "same samples as 03-01-03-01-02-01-07"
    assert ravdess.incomplete is None
    check_launchable(ravdess, CorpusConfig(name="ravdess", root=real_data / "ravdess"))
    counts = Counter(item.label for item in ravdess.utterances)
    assert counts == {"neutral": 96, "happy": 191} | dict.fromkeys(
        ("calm", "sad", "angry", "fearful", "disgust", "surprised"), 192
    )
    assert Counter(item.level for item in ravdess.utterances) == {"normal": 767, "strong": 672}
    assert sum(item.duration_s for item in ravdess.utterances) / 3600 == pytest.approx(1.48, abs=0.01)


def test_what_a_ravdess_name_says(ravdess: Manifest) -> None:
    by_name = {item.utterance: item for item in ravdess.utterances}
    item = by_name["03-01-06-02-02-01-12"]
    assert (item.label, item.level, item.speaker, item.session) == ("fearful", "strong", "Actor_12", "Actor_12")
    assert item.transcript == "Dogs are sitting by the door"
    assert by_name["03-01-01-01-01-01-01"].transcript == "Kids are talking by the door"


def test_emobox_folds_test_each_actor_once(ravdess: Manifest, real_data: Path) -> None:
    config = FoldsConfig(scheme="file", file=real_data / "ravdess" / "emobox_folds.json")
    folds = make_folds(ravdess, config)
    assert [fold.name for fold in folds.folds] == [f"fold_{k}" for k in range(1, 7)]
    assert [len(fold.test) for fold in folds.folds] == [240, 240, 240, 239, 240, 240]
    tested = {item.speaker for item in ravdess.utterances if item.utterance in set(folds.folds[0].test)}
    assert tested == {"Actor_01", "Actor_11", "Actor_20", "Actor_21"}
    rows = summarise(ravdess, folds)["rows"]
    assert isinstance(rows, list)
    assert {"fold": "fold_4", "class": "happy", "used": 31, "quarantined": {"duplicate": 1}} in rows


def test_the_four_classes_of_emodb(emodb: Manifest) -> None:
    counts = Counter(item.label for item in emodb.utterances)
    assert counts == {"anger": 127, "neutral": 79, "happiness": 71, "sadness": 62}
    assert (emodb.ledger, emodb.incomplete) == ((), None)
    assert emodb.speakers == ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    assert len(make_folds(emodb, FoldsConfig(scheme="leave-one-speaker-out")).folds) == 10


def test_the_other_emotions_of_emodb_are_counted_but_do_not_block(tmp_path: Path, workspace: Workspace) -> None:
    for seed, name in enumerate(("03a01Wa", "03a01Fa", "08b02Nb", "08b02Td", "03a05La", "08a07Ac", "09b03Eb")):
        write(tmp_path / "wav" / f"{name}.wav", seed)
    config = CorpusConfig(name="emodb", root=tmp_path)
    manifest = load_manifest(config, workspace)
    assert [item.label for item in manifest.utterances] == ["happiness", "anger", "neutral", "sadness"]
    assert {(entry.label, entry.reason, entry.known) for entry in manifest.ledger} == {
        (label, "unlabelled", True) for label in ("boredom", "fear", "disgust")
    }
    assert manifest.incomplete == "4 of 339 utterances"
    check_launchable(manifest, config)


@pytest.mark.parametrize(
    ("corpus", "name", "message"),
    [
        ("ravdess", "Actor_03/03-01-09-01-01-01-03.wav", "not modality-channel-emotion-intensity-statement-"),
        ("ravdess", "Actor_03/03-01-05-01-01-01.wav", "not modality-channel-emotion-intensity-statement-"),
        ("ravdess", "Actor_03/03-01-05-01-01-01-04.wav", "names actor 04 but lies in Actor_03"),
        ("emodb", "wav/03a01Xa.wav", "not speaker, text code, emotion letter and take of EmoDB"),
    ],
)
def test_a_name_of_another_shape_is_an_error(
    tmp_path: Path, workspace: Workspace, corpus: str, name: str, message: str
) -> None:
    path = write(tmp_path / name)
    with pytest.raises(CorpusError) as caught:
        load_manifest(CorpusConfig.model_validate({"name": corpus, "root": tmp_path}), workspace)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_wav_and_flac_of_one_recording_are_not_two(tmp_path: Path, workspace: Workspace) -> None:
    write(tmp_path / "Actor_03" / "03-01-05-01-01-01-03.wav")
    write(tmp_path / "Actor_03" / "03-01-05-01-01-01-03.flac")
    with pytest.raises(CorpusError, match="utterance '03-01-05-01-01-01-03' is listed twice"):
        load_manifest(CorpusConfig(name="ravdess", root=tmp_path), workspace)


def test_songs_are_another_corpus_and_other_duplicates_block(tmp_path: Path, workspace: Workspace) -> None:
    write(tmp_path / "Actor_03" / "03-02-05-01-01-01-03.wav", 1)
    write(tmp_path / "Actor_03" / "03-01-05-01-01-01-03.wav", 2)
    write(tmp_path / "Actor_03" / "03-01-05-01-01-02-03.wav", 2)
    config = CorpusConfig(name="ravdess", root=tmp_path)
    manifest = load_manifest(config, workspace)
    assert [item.utterance for item in manifest.utterances] == ["03-01-05-01-01-01-03"]
    assert manifest.incomplete == "2 of 1440 utterances"
    with pytest.raises(CorpusError, match="1 duplicate"):
        check_launchable(manifest, config)


@pytest.mark.parametrize(("corpus", "layout"), [("ravdess", "Actor_01/03-01-"), ("emodb", "wav/03a01Wa")])
def test_another_folder_names_the_expected_layout(
    tmp_path: Path, workspace: Workspace, corpus: str, layout: str
) -> None:
    with pytest.raises(CorpusError, match=rf"expected {layout}"):
        load_manifest(CorpusConfig.model_validate({"name": corpus, "root": tmp_path}), workspace)
