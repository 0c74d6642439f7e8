"""MSP-Podcast: a tree of its shape, its label sets and splits, and each way it can be broken."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from tiny_recordings import as_flac, write_recording

from core.config import CorpusConfig
from core.corpora.loading import check_launchable, load_manifest
from core.corpora.manifest import Manifest
from core.errors import CorpusError
from core.store import Workspace

HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"
LETTERS = "ACDFHNSUOX"
SPEAKERS = {"30": "Train", "39": "Development", "127": "Test1", "1041": "Train", "Unknown": "Train"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One utterance of each letter from each of four known speakers and from somebody."""
    root, rows = tmp_path / "MSP-PODCAST-Publish-1.12", [HEADER]
    for podcast, (speaker, split) in enumerate(SPEAKERS.items(), start=1):
        for number, letter in enumerate(LETTERS):
            name = f"MSP-PODCAST_{podcast:04d}_{number:04d}"
            write_recording(root / "Audios" / f"{name}.wav", 100 * podcast + number)
            rows.append(f"{name}.wav,{letter},{1 + number / 2},3.777778,{7 - number / 2},{speaker},Female,{split}")
            if number % 2 == 0:
                (root / "Transcripts").mkdir(exist_ok=True)
                (root / "Transcripts" / f"{name}.txt").write_text(f"So this is\nnumber {number}.\n")
    (root / "Labels").mkdir()
    (root / "Labels" / "labels_consensus.csv").write_text("\n".join(rows) + "\n")
    return root


def config_of(root: Path, **choices: str) -> CorpusConfig:
    return CorpusConfig.model_validate({"name": "msp-podcast", "root": root, **choices})


def labels_of(root: Path) -> Path:
    return root / "Labels" / "labels_consensus.csv"


def known_speakers(manifest: Manifest) -> tuple[str, ...]:
    return tuple(sorted(manifest.speakers, key=int))


def test_what_a_row_says_is_read(root: Path, workspace: Workspace) -> None:
    manifest = load_manifest(config_of(root), workspace)
    assert manifest.classes == ("anger", "happiness", "neutral", "sadness")
    assert Counter(item.label for item in manifest.utterances) == dict.fromkeys(manifest.classes, 4)
    assert known_speakers(manifest) == ("30", "39", "127", "1041")
    item = next(item for item in manifest.utterances if item.utterance == "MSP-PODCAST_0003_0004")
    assert (item.label, item.speaker, item.session) == ("happiness", "127", "127")
    assert (item.activation, item.valence, item.dominance) == (3.0, 3.777778, 5.0)
    assert item.transcript == "So this is number 4."
    assert item.path == root / "Audios" / "MSP-PODCAST_0003_0004.wav"
    assert next(item for item in manifest.utterances if item.utterance.endswith("_0005")).transcript is None
    assert manifest.incomplete is None


@pytest.mark.parametrize(
    ("labels", "per_speaker", "classes"),
    [
        ("plain-4", 4, ("anger", "happiness", "neutral", "sadness")),
        ("all", 8, ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")),
        ("dimensions", 10, ()),
    ],
)
def test_each_label_set_has_its_classes(
    root: Path, workspace: Workspace, labels: str, per_speaker: int, classes: tuple[str, ...]
) -> None:
    manifest = load_manifest(config_of(root, labels=labels), workspace)
    assert manifest.classes == classes
    assert Counter(item.speaker for item in manifest.utterances) == dict.fromkeys(
        ("30", "39", "127", "1041"), per_speaker
    )
    assert {item.label for item in manifest.utterances} == set(classes or [""])
    assert all(item.activation is not None for item in manifest.utterances)


def test_an_unknown_speaker_is_a_known_quirk(root: Path, workspace: Workspace) -> None:
    config = config_of(root)
    manifest = load_manifest(config, workspace)
    assert Counter((entry.reason, entry.known, entry.speaker) for entry in manifest.ledger) == {
        ("unknown-speaker", True, ""): 4
    }
    assert manifest.ledger[0].detail == "the corpus does not say who speaks"
    check_launchable(manifest, config)


def test_a_subset_is_a_split(root: Path, workspace: Workspace) -> None:
    part = load_manifest(config_of(root, subset="Train"), workspace)
    assert known_speakers(part) == ("30", "1041")
    with pytest.raises(CorpusError) as caught:
        load_manifest(config_of(root, subset="Test3"), workspace)
    assert str(caught.value) == "corpus msp-podcast: subset 'Test3' is none of Development, Test1, Train"


def test_each_label_set_and_subset_has_its_own_fingerprint(root: Path, workspace: Workspace) -> None:
    choices: list[dict[str, str]] = [{}, {"subset": "Train"}, {"labels": "all"}, {"labels": "dimensions"}]
    prints = {load_manifest(config_of(root, **each), workspace).fingerprint for each in choices}
    assert len(prints) == 4
    assert load_manifest(config_of(root, labels="plain-4"), workspace).fingerprint in prints


def test_early_releases_flac_and_another_place_are_the_same_corpus(
    root: Path, tmp_path: Path, workspace: Workspace
) -> None:
    expected = load_manifest(config_of(root), workspace).fingerprint
    other = tmp_path / "elsewhere"
    shutil.copytree(root, other)
    labels_of(other).rename(other / "Labels" / "labels_concensus.csv")
    (other / "Audios").rename(other / "Audio")
    as_flac(other)
    assert load_manifest(config_of(other), workspace).fingerprint == expected


def test_a_missing_recording_blocks(root: Path, workspace: Workspace) -> None:
    (root / "Audios" / "MSP-PODCAST_0001_0000.wav").unlink()
    config = config_of(root)
    with pytest.raises(CorpusError, match=r"1 missing; first MSP-PODCAST_0001_0000"):
        check_launchable(load_manifest(config, workspace), config)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",A,", ",Angry,", "EmoClass 'Angry' is none of A, C, D, F, H, N, S, U, O, X"),
        (",1.0,3.777778,", ",0.5,3.777778,", "EmoAct '0.5' is not a number from 1 to 7"),
        (",3.777778,", ",nan,", "EmoVal 'nan' is not a number from 1 to 7"),
        (",7.0,", ",high,", "EmoDom 'high' is not a number from 1 to 7"),
        (",30,", ",,", "SpkrID is empty"),
        (",Train", ",", "Split_Set is empty"),
        (",Female,", ",", "7 cells, the header has 8"),
        ("MSP-PODCAST_0001_0000.wav", "../one.wav", "FileName '../one.wav' is not the name of a WAV file"),
        ("MSP-PODCAST_0001_0000.wav", "one.mp3", "FileName 'one.mp3' is not the name of a WAV file"),
    ],
)
def test_each_broken_row_is_named(root: Path, workspace: Workspace, old: str, new: str, message: str) -> None:
    path = labels_of(root)
    lines = path.read_text().splitlines()
    assert old in lines[1]
    path.write_text("\n".join([lines[0], lines[1].replace(old, new, 1), *lines[2:]]))
    with pytest.raises(CorpusError) as caught:
        load_manifest(config_of(root), workspace)
    assert str(caught.value) == f"{path}:2: {message}"


def test_a_table_without_a_needed_column_or_any_row_is_named(root: Path, workspace: Workspace) -> None:
    path = labels_of(root)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0].replace("SpkrID", "Speaker"), *lines[1:]]))
    with pytest.raises(CorpusError, match=r"labels_consensus\.csv:1: missing column SpkrID; has FileName, EmoClass"):
        load_manifest(config_of(root), workspace)
    path.write_text(lines[0])
    with pytest.raises(CorpusError, match=r"labels_consensus\.csv: no utterance; expected a row per utterance"):
        load_manifest(config_of(root), workspace)
    path.write_bytes(b"FileName\xff")
    with pytest.raises(CorpusError, match=r"labels_consensus\.csv: not a CSV file in UTF-8"):
        load_manifest(config_of(root), workspace)


def test_an_utterance_listed_twice_is_an_error(root: Path, workspace: Workspace) -> None:
    path = labels_of(root)
    path.write_text(f"{path.read_text()}{path.read_text().splitlines()[1]}\n")
    with pytest.raises(CorpusError, match="utterance 'MSP-PODCAST_0001_0000' is listed twice"):
        load_manifest(config_of(root), workspace)


def test_a_split_without_the_label_set_is_an_error(root: Path, workspace: Workspace) -> None:
    path = labels_of(root)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if line == HEADER or ",X," in line or ",O," in line))
    with pytest.raises(CorpusError, match=r"none of the 10 rows is of plain-4 and Test1$"):
        load_manifest(config_of(root, subset="Test1"), workspace)


@pytest.mark.parametrize("gone", ["Labels", "Audios"])
def test_another_folder_names_the_expected_layout(root: Path, workspace: Workspace, gone: str) -> None:
    shutil.rmtree(root / gone)
    with pytest.raises(CorpusError, match=r"no MSP-Podcast here; expected Labels/labels_consensus\.csv and Audios/"):
        load_manifest(config_of(root), workspace)
