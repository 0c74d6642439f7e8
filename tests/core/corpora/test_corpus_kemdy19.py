"""KEMDy19: a tree of the shape its readers agree on, its label sets and subsets, and each way it can be broken."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from tiny_recordings import as_flac, write_recording

from core.config import CorpusConfig, FoldsConfig
from core.corpora.folds import make_folds
from core.corpora.loading import check_launchable, load_manifest, summarise
from core.errors import CorpusError
from core.store import Workspace

ABOVE = "Numb,Wav,,ECG,,E4-EDA,,E4-TEMP,,Segment ID,Total Evaluation,,,Eval01F,,,Eval02M,,"
BELOW = ",start,end,start,end,start,end,start,end,,Emotion,Valence,Arousal" + ",Emotion,Valence,Arousal" * 2
LABELS = ("angry", "happy", "neutral", "sad", "fear", "surprise", "disqust", "neutral;sad", "angry;disgust;fear")
WORDS = "지금 사람 친 거야? b/"
SPEAKERS = ("Sess01F", "Sess01M", "Sess02F", "Sess02M")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two sessions; of each speaker, one segment of each label improvised and one scripted. Both files of a session
    list the segments of both speakers.
    """
    root = tmp_path / "KEMDy19_v1_3"
    (root / "annotation").mkdir(parents=True)
    for session in (1, 2):
        rows: list[str] = []
        for dialog in ("impro01", "script06"):
            for gender in "FM":
                for number, label in enumerate(LABELS, start=1):
                    segment = f"Sess{session:02d}_{dialog}_{gender}{number:03d}"
                    stem = root / "wav" / f"Session{session:02d}" / f"Sess{session:02d}_{dialog}" / segment
                    write_recording(stem.with_name(f"{segment}.wav"), 36 * session + len(rows))
                    if number != 2:
                        stem.with_name(f"{segment}.txt").write_bytes(
                            f"{WORDS}\n".encode("CP949" if number == 3 else "UTF-8")
                        )
                    means = f"{1 + number / 4},{5 - number / 4}"
                    rows.append(f"{len(rows) + 1},0.5,1.5,,,1,2,1,2,{segment},{label},{means},happy,4,3,sad,2,2")
        for gender in "FM":
            file = root / "annotation" / f"Session{session:02d}_{gender}_res.csv"
            file.write_text("\n".join([ABOVE, BELOW, *rows, "," * 18]) + "\n", encoding="utf-8-sig")
    return root


def config_of(root: Path, **choices: str) -> CorpusConfig:
    return CorpusConfig.model_validate({"name": "kemdy19", "root": root, **choices})


def labels_of(root: Path) -> Path:
    return root / "annotation" / "Session01_F_res.csv"


def replace_in(path: Path, line: int, old: str, new: str) -> None:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")


def test_what_a_row_says_is_read(root: Path, workspace: Workspace) -> None:
    manifest = load_manifest(config_of(root), workspace)
    assert manifest.classes == ("angry", "happy", "neutral", "sad")
    assert manifest.speakers == SPEAKERS
    assert Counter((item.speaker, item.label) for item in manifest.utterances) == {
        (speaker, label): 2 for speaker in SPEAKERS for label in manifest.classes
    }
    item = next(item for item in manifest.utterances if item.utterance == "Sess02_script06_M001")
    assert (item.label, item.speaker, item.session) == ("angry", "Sess02M", "Session02")
    assert (item.valence, item.activation, item.dominance) == (1.25, 4.75, None)
    assert item.path == root / "wav" / "Session02" / "Sess02_script06" / "Sess02_script06_M001.wav"
    assert manifest.incomplete == "4 of 40 speakers"


def test_recordings_that_no_row_names_are_counted(root: Path, workspace: Workspace) -> None:
    folder = root / "wav" / "Session02" / "Sess02_script06"
    shutil.copy(folder / "Sess02_script06_M001.wav", folder / "Sess02_script06_M010.wav")
    found = load_manifest(config_of(root), workspace).incomplete
    assert found == "4 of 40 speakers; 1 recordings without a row of labels (Sess02_script06_M010 first)"


def test_transcripts_are_read_in_either_encoding_and_may_be_missing(root: Path, workspace: Workspace) -> None:
    said = {item.utterance[-3:]: item.transcript for item in load_manifest(config_of(root), workspace).utterances}
    assert said == {"001": WORDS, "002": None, "003": WORDS, "004": WORDS}


def test_draws_and_other_emotions_are_counted_in_the_ledger(root: Path, workspace: Workspace) -> None:
    config = config_of(root)
    manifest = load_manifest(config, workspace)
    assert Counter(entry.label for entry in manifest.ledger) == dict.fromkeys(
        ("fear", "surprise", "disgust", "neutral;sad", "angry;disgust;fear"), 8
    )
    assert {(entry.reason, entry.known) for entry in manifest.ledger} == {("unlabelled", True)}
    check_launchable(manifest, config)
    rows = summarise(manifest)["rows"]
    assert isinstance(rows, list)
    assert {"fold": None, "class": "neutral;sad", "used": 0, "quarantined": {"unlabelled": 8}} in rows


@pytest.mark.parametrize(
    ("labels", "per_speaker", "aside", "classes"),
    [
        ("plain-4", 8, 40, ("angry", "happy", "neutral", "sad")),
        ("all", 14, 16, ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")),
        ("dimensions", 18, 0, ()),
    ],
)
def test_each_label_set_has_its_classes(
    root: Path, workspace: Workspace, labels: str, per_speaker: int, aside: int, classes: tuple[str, ...]
) -> None:
    manifest = load_manifest(config_of(root, labels=labels), workspace)
    assert manifest.classes == classes
    assert Counter(item.speaker for item in manifest.utterances) == dict.fromkeys(SPEAKERS, per_speaker)
    assert {item.label for item in manifest.utterances} == set(classes or [""])
    assert len(manifest.ledger) == aside


def test_a_subset_is_a_kind_of_dialog(root: Path, workspace: Workspace) -> None:
    part = load_manifest(config_of(root, subset="scripted"), workspace)
    assert {item.utterance.split("_")[1] for item in part.utterances} == {"script06"}
    assert {entry.utterance.split("_")[1] for entry in part.ledger} == {"script06"}
    assert len(part.utterances) == 16


def test_speakers_and_sessions_can_be_left_out(root: Path, workspace: Workspace) -> None:
    manifest = load_manifest(config_of(root), workspace)
    folds = make_folds(manifest, FoldsConfig(scheme="leave-one-speaker-out"), seed_for_superb=0)
    assert [fold.name for fold in folds.folds] == list(SPEAKERS)
    assert all({name[:6] for name in fold.test} == {fold.name[:6]} for fold in folds.folds)
    assert all({name.split("_")[2][0] for name in fold.test} == {fold.name[-1]} for fold in folds.folds)


def test_labels_come_from_the_speakers_own_file(root: Path, workspace: Workspace) -> None:
    before = load_manifest(config_of(root), workspace)
    replace_in(labels_of(root), 12, "Sess01_impro01_M001,angry", "Sess01_impro01_M001,sad")
    assert load_manifest(config_of(root), workspace).fingerprint == before.fingerprint
    replace_in(labels_of(root), 3, "Sess01_impro01_F001,angry", "Sess01_impro01_F001,sad")
    assert load_manifest(config_of(root), workspace).fingerprint != before.fingerprint


def test_flac_and_another_place_are_the_same_corpus(root: Path, tmp_path: Path, workspace: Workspace) -> None:
    expected = load_manifest(config_of(root), workspace).fingerprint
    other = tmp_path / "elsewhere"
    shutil.copytree(root, other)
    as_flac(other)
    assert load_manifest(config_of(other), workspace).fingerprint == expected


def test_a_missing_recording_blocks(root: Path, workspace: Workspace) -> None:
    (root / "wav" / "Session01" / "Sess01_impro01" / "Sess01_impro01_F001.wav").unlink()
    config = config_of(root)
    with pytest.raises(CorpusError, match=r"1 missing; first Sess01_impro01_F001"):
        check_launchable(load_manifest(config, workspace), config)


@pytest.mark.parametrize(
    ("line", "old", "new", "message"),
    [
        (1, "Segment ID", "Segment", "1: 0 columns 'Segment ID', not one; has Numb, Wav,"),
        (1, "Eval01F", "Total Evaluation", "1: 2 columns 'Total Evaluation', not one; has"),
        (
            2,
            "Emotion,Valence",
            "Valence,Emotion",
            "2: below Total Evaluation stands Valence, Emotion, Arousal; expected",
        ),
        (3, ",angry,", ",rage,", "3: Emotion 'rage': 'rage' is none of angry, disgust, fear, happy, neutral, sad,"),
        (3, ",angry,", ",angry;,", "3: Emotion 'angry;': '' is none of angry,"),
        (3, ",1.25,", ",0.5,", "3: Valence '0.5' is not a number from 1 to 5"),
        (3, ",4.75,", ",nan,", "3: Arousal 'nan' is not a number from 1 to 5"),
        (3, "impro01_F001", "impro01_f001", "3: 'Sess01_impro01_f001' is not a segment of Session01"),
        (3, "Sess01_", "Sess02_", "3: 'Sess02_impro01_F001' is not a segment of Session01"),
        (3, "Sess01_impro01_F001", "", "3: '' is not a segment of Session01"),
        (3, ",angry,1.25,4.75,happy,4,3,sad,2,2", ",angry,1.25", "3: 12 cells, Total Evaluation ends at 13"),
    ],
)
def test_each_broken_line_is_named(
    root: Path, workspace: Workspace, line: int, old: str, new: str, message: str
) -> None:
    replace_in(labels_of(root), line, old, new)
    with pytest.raises(CorpusError) as caught:
        load_manifest(config_of(root), workspace)
    assert str(caught.value).startswith(f"{labels_of(root)}:{message}")


def test_a_file_that_is_nobodys_and_one_without_its_speaker_are_named(root: Path, workspace: Workspace) -> None:
    file = labels_of(root)
    content = file.read_text(encoding="utf-8-sig")
    file.write_text("\n".join(line for line in content.splitlines() if "_F0" not in line))
    with pytest.raises(CorpusError, match=r"Session01_F_res\.csv: no segment of its speaker Sess01F$"):
        load_manifest(config_of(root), workspace)
    file.rename(file.with_name("Session01_F.csv"))
    with pytest.raises(CorpusError, match=r"Session01_F\.csv: not the name of KEMDy19's labels of a speaker"):
        load_manifest(config_of(root), workspace)


def test_a_segment_listed_twice_is_an_error(root: Path, workspace: Workspace) -> None:
    replace_in(labels_of(root), 4, "Sess01_impro01_F002", "Sess01_impro01_F001")
    with pytest.raises(CorpusError, match="utterance 'Sess01_impro01_F001' is listed twice"):
        load_manifest(config_of(root), workspace)


@pytest.mark.parametrize("gone", ["annotation", "wav"])
def test_another_folder_names_the_expected_layout(root: Path, workspace: Workspace, gone: str) -> None:
    shutil.rmtree(root / gone)
    with pytest.raises(CorpusError, match=r"no KEMDy19 here; expected annotation/Session01_F_res\.csv and wav/"):
        load_manifest(config_of(root), workspace)


def test_a_subset_that_is_not_there_is_an_error(root: Path, workspace: Workspace) -> None:
    for file in (root / "annotation").iterdir():
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        file.write_text("\n".join(line for line in lines if "impro" not in line))
    with pytest.raises(CorpusError, match=r"none of its segments is improvised$"):
        load_manifest(config_of(root, subset="improvised"), workspace)
