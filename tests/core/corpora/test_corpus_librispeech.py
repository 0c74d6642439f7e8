"""LibriSpeech: a tree of its shape, a corpus without classes, and each way it can be broken."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_recordings import write_recording

from core.config import CorpusConfig, FoldsConfig
from core.corpora.folds import make_folds
from core.corpora.librispeech import list_librispeech
from core.corpora.loading import check_launchable, load_manifest, summarise
from core.errors import CorpusError
from core.store import Workspace

FOLDERS = {"dev-clean": ("84", "174"), "train-clean-360": ("14", "16", "20")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two folders; two chapters of each speaker, two utterances in each."""
    root, number = tmp_path / "LibriSpeech", 0
    for folder, speakers in FOLDERS.items():
        for speaker in speakers:
            for chapter in ("208", "121123"):
                place = root / folder / speaker / chapter
                said = []
                for index in range(2):
                    name = f"{speaker}-{chapter}-{index:04d}"
                    write_recording(place / f"{name}.flac", number)
                    said.append(f"{name} CHAPTER {number} IT'S TOLD")
                    number += 1
                (place / f"{speaker}-{chapter}.trans.txt").write_text("\n".join(said) + "\n")
    for name in ("BOOKS.TXT", "SPEAKERS.TXT", "README.TXT"):
        (root / name).write_text("about the corpus\n")
    return root


def config_of(root: Path, subset: str | None = None) -> CorpusConfig:
    return CorpusConfig(name="librispeech", root=root, subset=subset)


def test_a_corpus_without_classes_is_read(root: Path, workspace: Workspace) -> None:
    config = config_of(root)
    manifest = load_manifest(config, workspace)
    assert (manifest.classes, manifest.ledger, len(manifest.utterances)) == ((), (), 20)
    assert {item.label for item in manifest.utterances} == {""}
    assert manifest.speakers == ("14", "16", "174", "20", "84")
    item = next(item for item in manifest.utterances if item.utterance == "174-208-0001")
    assert (item.speaker, item.session, item.transcript) == ("174", "174", "CHAPTER 5 IT'S TOLD")
    assert item.path == root / "dev-clean" / "174" / "208" / "174-208-0001.flac"
    assert manifest.incomplete == "dev-clean 8 of 2703 utterances; train-clean-360 12 of 104014 utterances"
    check_launchable(manifest, config)
    assert [len(fold.test) for fold in make_folds(manifest, FoldsConfig()).folds] == [4] * 5


def test_its_summary_has_one_row_without_a_class(root: Path, workspace: Workspace) -> None:
    (root / "dev-clean" / "84" / "208" / "84-208-0001.flac").unlink()
    manifest = load_manifest(config_of(root, "dev-clean"), workspace)
    summary = summarise(manifest)
    assert summary["classes"] == []
    assert summary["rows"] == [{"fold": None, "class": "", "used": 7, "quarantined": {"missing": 1}}]


def test_a_subset_is_a_folder(root: Path, workspace: Workspace) -> None:
    part = load_manifest(config_of(root, "train-clean-360"), workspace)
    assert part.speakers == ("14", "16", "20")
    assert part.incomplete == "train-clean-360 12 of 104014 utterances"
    assert part.fingerprint != load_manifest(config_of(root), workspace).fingerprint
    with pytest.raises(CorpusError) as caught:
        load_manifest(config_of(root, "train-clean-100"), workspace)
    message = "corpus librispeech: subset 'train-clean-100' is none of dev-clean, train-clean-360"
    assert str(caught.value) == message


def test_the_published_count_is_complete_and_other_folders_have_none(tmp_path: Path, workspace: Workspace) -> None:
    recording = write_recording(tmp_path / "one.flac", 1)
    for folder, count in (("dev-clean", 2703), ("my-reading", 3)):
        place = tmp_path / "LibriSpeech" / folder / "84" / "208"
        place.mkdir(parents=True)
        for number in range(count):
            os.link(recording, place / f"84-208-{number:04d}.flac")
    assert list_librispeech(config_of(tmp_path / "LibriSpeech"), workspace).incomplete is None
    (tmp_path / "LibriSpeech/dev-clean/84/208/84-208-0007.flac").unlink()
    short = list_librispeech(config_of(tmp_path / "LibriSpeech"), workspace).incomplete
    assert short == "dev-clean 2702 of 2703 utterances"


def test_a_recording_only_the_transcripts_know_is_missed(root: Path, workspace: Workspace) -> None:
    gone = root / "dev-clean" / "84" / "208" / "84-208-0001.flac"
    gone.unlink()
    config = config_of(root, "dev-clean")
    manifest = load_manifest(config, workspace)
    (entry,) = manifest.ledger
    assert (entry.utterance, entry.reason, entry.path, entry.known) == ("84-208-0001", "missing", gone, False)
    with pytest.raises(CorpusError, match=r"1 missing; first 84-208-0001"):
        check_launchable(manifest, config)


def test_a_chapter_without_transcripts_is_heard_all_the_same(root: Path, workspace: Workspace) -> None:
    (root / "dev-clean" / "84" / "208" / "84-208.trans.txt").unlink()
    manifest = load_manifest(config_of(root, "dev-clean"), workspace)
    silent = {item.utterance for item in manifest.utterances if item.transcript is None}
    assert silent == {"84-208-0000", "84-208-0001"}
    assert manifest.ledger == ()


def test_wav_and_another_place_are_the_same_corpus(root: Path, tmp_path: Path, workspace: Workspace) -> None:
    expected = load_manifest(config_of(root), workspace).fingerprint
    shutil.copytree(root, tmp_path / "elsewhere")
    for path in sorted((tmp_path / "elsewhere").rglob("*.flac")):
        samples, rate = soundfile.read(path, dtype="int16")
        soundfile.write(path.with_suffix(".wav"), np.asarray(samples), rate)
        path.unlink()
    assert load_manifest(config_of(tmp_path / "elsewhere"), workspace).fingerprint == expected


@pytest.mark.parametrize("name", ["84-209-0000", "85-208-0000", "84-208", "84-208-one"])
def test_a_recording_of_another_name_is_an_error(root: Path, workspace: Workspace, name: str) -> None:
    path = write_recording(root / "dev-clean" / "84" / "208" / f"{name}.flac", 60_000)
    with pytest.raises(CorpusError) as caught:
        load_manifest(config_of(root), workspace)
    assert str(caught.value) == f"{path}: {name!r} is not 84-208- and a number"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("84-208-0007", "not an utterance and its words: '84-208-0007'"),
        ("84-209-0007 NOT OF THIS CHAPTER", "'84-209-0007' is not 84-208- and a number"),
    ],
)
def test_a_line_that_is_no_transcript_is_named(root: Path, workspace: Workspace, line: str, message: str) -> None:
    path = root / "dev-clean" / "84" / "208" / "84-208.trans.txt"
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(CorpusError) as caught:
        load_manifest(config_of(root), workspace)
    assert str(caught.value) == f"{path}:3: {message}"


def test_one_utterance_in_two_folders_is_an_error(root: Path, workspace: Workspace) -> None:
    shutil.copytree(root / "dev-clean" / "84", root / "train-clean-360" / "84")
    with pytest.raises(CorpusError, match="utterance '84-121123-0000' is listed twice"):
        load_manifest(config_of(root), workspace)


def test_another_folder_names_the_expected_layout(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "something" / "else").mkdir(parents=True)
    with pytest.raises(CorpusError, match=r"no LibriSpeech here; expected <folder>/<speaker>/<chapter>/"):
        load_manifest(config_of(tmp_path), workspace)
