"""ESD: trees of its two shapes, the encodings of its transcripts, and each way it can be broken."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from tiny_recordings import as_flac, write_recording

from core.config import CorpusConfig, FoldsConfig
from core.corpora.esd import list_esd
from core.corpora.folds import make_folds
from core.corpora.loading import check_launchable, load_manifest
from core.errors import CorpusError
from core.store import Workspace

EMOTIONS = {"Neutral": 0, "Angry": 350, "Happy": 700, "Sad": 1050, "Surprise": 1400}
"""Folder → number before its first utterance."""
CHINESE = {"Neutral": "中立", "Angry": "生气", "Happy": "快乐", "Sad": "伤心", "Surprise": "惊喜"}


def write_esd(root: Path, *, parts: bool = True) -> Path:
    """Two speakers of each language, two utterances of each emotion."""
    for speaker in ("0003", "0010", "0011", "0020"):
        said = []
        for emotion, before in EMOTIONS.items():
            for number in (1, 2):
                name = f"{speaker}_{before + number:06d}"
                part = ("train", "test")[number - 1] if parts else ""
                write_recording(
                    root / speaker / emotion / part / f"{name}.wav", int(speaker) * 2000 % 65_536 + before + number
                )
                mandarin = int(speaker) <= 10
                words = f"打远一看，第{number}句。" if mandarin else f"The nine the eggs, I keep {number}."
                said.append(f"{name}\t{words}\t{CHINESE[emotion] if mandarin else emotion}")
        (root / speaker / f"{speaker}.txt").write_text("\n".join(said) + "\n", encoding="utf-8")
    (root / "ReadMe.txt").write_text("Emotional Speech Database")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_esd(tmp_path / "ESD")


def config_of(root: Path, subset: str | None = None) -> CorpusConfig:
    return CorpusConfig(name="esd", root=root, subset=subset)


def test_what_the_tree_says_is_read(root: Path, workspace: Workspace) -> None:
    manifest = load_manifest(config_of(root), workspace)
    assert manifest.classes == ("angry", "happy", "neutral", "sad", "surprise")
    assert Counter(item.label for item in manifest.utterances) == dict.fromkeys(manifest.classes, 8)
    assert (manifest.speakers, manifest.ledger) == (("0003", "0010", "0011", "0020"), ())
    by_name = {item.utterance: item for item in manifest.utterances}
    item = by_name["0011_000352"]
    assert (item.label, item.speaker, item.session) == ("angry", "0011", "0011")
    assert item.path == root / "0011" / "Angry" / "test" / "0011_000352.wav"
    assert item.transcript == "The nine the eggs, I keep 2."
    assert by_name["0010_001401"].transcript == "打远一看，第1句。"
    assert (item.level, item.activation) == (None, None)
    assert len(make_folds(manifest, FoldsConfig(scheme="leave-one-speaker-out")).folds) == 4


@pytest.mark.parametrize(("subset", "speakers"), [("english", ("0011", "0020")), ("mandarin", ("0003", "0010"))])
def test_subsets_are_languages(root: Path, workspace: Workspace, subset: str, speakers: tuple[str, ...]) -> None:
    part = load_manifest(config_of(root, subset), workspace)
    assert part.speakers == speakers
    assert len(part.utterances) == 20
    assert part.fingerprint != load_manifest(config_of(root), workspace).fingerprint
    assert part.incomplete is not None
    assert part.incomplete.startswith("20 of 17500 utterances (")


def test_an_incomplete_corpus_says_how(root: Path, workspace: Workspace) -> None:
    config = config_of(root)
    manifest = load_manifest(config, workspace)
    assert manifest.incomplete == (
        "40 of 35000 utterances (0001 angry 0 of 350; 0001 happy 0 of 350; 0001 neutral 0 of 350; and 97 more)"
    )
    check_launchable(manifest, config)


def test_the_published_counts_are_complete(tmp_path: Path, workspace: Workspace) -> None:
    recording = write_recording(tmp_path / "one.wav", 1)
    for speaker in (f"{number:04d}" for number in range(11, 21)):
        for emotion, before in EMOTIONS.items():
            folder = tmp_path / "ESD" / speaker / emotion
            folder.mkdir(parents=True)
            for number in range(before + 1, before + 351):
                os.link(recording, folder / f"{speaker}_{number:06d}.wav")
    config = config_of(tmp_path / "ESD", "english")
    assert list_esd(config, workspace).incomplete is None
    (tmp_path / "ESD" / "0015" / "Sad" / "0015_001100.wav").unlink()
    assert list_esd(config, workspace).incomplete == "17499 of 17500 utterances (0015 sad 349 of 350)"


def test_the_shape_without_parts_flac_and_another_place_are_the_same_corpus(
    root: Path, tmp_path: Path, workspace: Workspace
) -> None:
    expected = load_manifest(config_of(root), workspace).fingerprint
    plain = write_esd(tmp_path / "elsewhere" / "ESD", parts=False)
    assert load_manifest(config_of(plain), workspace).fingerprint == expected
    as_flac(root)
    assert load_manifest(config_of(root), workspace).fingerprint == expected


@pytest.mark.parametrize(
    ("speaker", "encoding"),
    [("0003", "gb2312"), ("0003", "utf-16"), ("0003", "utf-8-sig"), ("0020", "utf-16-le"), ("0020", "utf-16-be")],
)
def test_transcripts_are_read_in_every_encoding_of_the_published_files(
    root: Path, workspace: Workspace, speaker: str, encoding: str
) -> None:
    before = load_manifest(config_of(root), workspace)
    path = root / speaker / f"{speaker}.txt"
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    assert load_manifest(config_of(root), workspace).fingerprint == before.fingerprint


def test_english_transcripts_may_have_windows_quotes(root: Path, workspace: Workspace) -> None:
    path = root / "0020" / "0020.txt"
    path.write_bytes(path.read_bytes().replace(b"eggs,", b"egg\x92s,"))
    manifest = load_manifest(config_of(root, "english"), workspace)
    assert manifest.utterances[-1].transcript == "The nine the egg’s, I keep 2."


def test_lines_that_are_no_transcripts_belong_to_nobody(root: Path, workspace: Workspace) -> None:
    path = root / "0011" / "0011.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["", lines[0].replace("\t", " "), lines[1].rsplit("\t", 1)[0], *lines[2:]]))
    (root / "0020" / "0020.txt").unlink()
    manifest = load_manifest(config_of(root, "english"), workspace)
    said = {item.utterance: item.transcript for item in manifest.utterances}
    assert said["0011_000001"] is None
    assert said["0011_000002"] == "The nine the eggs, I keep 2."
    assert all(words is None for name, words in said.items() if name.startswith("0020"))


@pytest.mark.parametrize(
    ("speaker", "encodings"), [("0003", "UTF-8 or GB18030"), ("0011", "UTF-8 or CP1252"), ("0020", "UTF-16")]
)
def test_a_transcript_in_no_known_encoding_is_named(
    root: Path, workspace: Workspace, speaker: str, encodings: str
) -> None:
    path = root / speaker / f"{speaker}.txt"
    broken = {"0003": b"0003_000001\t\xff\xff\tNeutral\n", "0011": b"0011_000001\tA\x81\tNeutral\n"}
    path.write_bytes(broken.get(speaker, b"\xff\xfe0\x000"))
    with pytest.raises(CorpusError, match=rf"{speaker}\.txt: not {encodings} text \(byte \d+\)$"):
        load_manifest(config_of(root), workspace)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0011/Fearful/train/0011_000001.wav", "not in <Emotion>/ or <Emotion>/<part>/ of speaker 0011; emotions are "),
        ("0011/Angry/dev/0011_000351.wav", "parts train, evaluation, test"),
        ("0011/0011_000351.wav", "not in <Emotion>/ or <Emotion>/<part>/ of speaker 0011"),
        ("0011/Angry/train/more/0011_000351.wav", "not in <Emotion>/ or <Emotion>/<part>/ of speaker 0011"),
        ("0011/Angry/train/0012_000351.wav", "not 0011_ and six digits"),
        ("0011/Angry/train/0011_351.flac", "not 0011_ and six digits"),
    ],
)
def test_a_recording_of_another_place_or_name_is_an_error(
    root: Path, workspace: Workspace, name: str, message: str
) -> None:
    path = write_recording(root / name, 60_000)
    with pytest.raises(CorpusError) as caught:
        load_manifest(config_of(root), workspace)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_speaker_esd_does_not_have_is_an_error(root: Path, workspace: Workspace) -> None:
    shutil.copytree(root / "0011", root / "0021")
    with pytest.raises(CorpusError, match="speaker 0021 is none of ESD's 0001 to 0020"):
        load_manifest(config_of(root), workspace)


def test_the_same_utterance_in_both_shapes_is_an_error(root: Path, workspace: Workspace) -> None:
    shutil.copy(root / "0011/Sad/train/0011_001051.wav", root / "0011/Sad/0011_001051.wav")
    with pytest.raises(CorpusError, match="utterance '0011_001051' is listed twice"):
        load_manifest(config_of(root), workspace)


def test_another_folder_names_the_expected_layout(root: Path, tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(CorpusError, match=r"no ESD here; expected 0001/Angry/train/0001_000351\.wav"):
        load_manifest(config_of(tmp_path), workspace)
    for speaker in ("0011", "0020"):
        shutil.rmtree(root / speaker)
    with pytest.raises(CorpusError, match=r"no english ESD here; expected 0011/Angry/train/0011_000351\.wav"):
        load_manifest(config_of(root, "english"), workspace)
