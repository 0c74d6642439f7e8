"""IEMOCAP: a tree of its shape with the published number of utterances, and each way it can be broken."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from iemocap_tree import PER_SESSION
from tiny_recordings import as_flac

from core.config import CorpusConfig, FoldsConfig
from core.corpora.folds import make_folds
from core.corpora.loading import check_launchable, load_manifest
from core.corpora.manifest import Manifest
from core.errors import CorpusError
from core.store import Workspace


def load_small(root: Path, workspace: Workspace) -> Manifest:
    return load_manifest(CorpusConfig(name="iemocap", root=root, allow_incomplete=True), workspace)


def label_file(root: Path) -> Path:
    return root / "Session1" / "dialog" / "EmoEvaluation" / "Ses01M_impro01.txt"


@pytest.mark.slow
def test_published_counts_and_folds(published: Path, kept: Workspace) -> None:
    manifest = load_manifest(CorpusConfig(name="iemocap", root=published), kept)
    assert (len(manifest.utterances), manifest.ledger, manifest.incomplete) == (5531, (), None)
    assert manifest.classes == ("ang", "hap", "neu", "sad")
    assert Counter(item.label for item in manifest.utterances) == {"neu": 1708, "hap": 1636, "ang": 1103, "sad": 1084}
    assert len(manifest.speakers) == 10
    folds = make_folds(manifest, FoldsConfig())
    assert [fold.name for fold in folds.folds] == [f"Session{k}" for k in range(1, 6)]
    assert [len(fold.test) for fold in folds.folds] == [1085, 1023, 1151, 1031, 1241]
    assert [len(fold.validation) for fold in folds.folds] == [1023, 1151, 1031, 1241, 1085]
    assert [len(fold.train) for fold in folds.folds] == [3423, 3357, 3349, 3259, 3205]
    for session, fold in enumerate(folds.folds, start=1):
        chosen = [item for item in manifest.utterances if item.utterance in set(fold.test)]
        assert Counter(item.label for item in chosen) == PER_SESSION[session]
    speakers = make_folds(manifest, FoldsConfig(scheme="leave-one-speaker-out"))
    assert [fold.name for fold in speakers.folds] == [f"Ses{k:02d}{gender}" for k in range(1, 6) for gender in "FM"]


@pytest.mark.slow
def test_what_a_line_says_is_read(published: Path, kept: Workspace) -> None:
    manifest = load_manifest(CorpusConfig(name="iemocap", root=published), kept)
    item = next(item for item in manifest.utterances if item.utterance.startswith("Ses03M_script02_2_F"))
    assert (item.speaker, item.session) == ("Ses03F", "Session3")  # the turn's gender, not the dialog's
    assert (item.valence, item.activation, item.dominance) == (2.5, 3.0, 3.5)
    assert item.transcript == f"What {item.utterance} said."
    assert item.path == published / "Session3/sentences/wav/Ses03M_script02_2" / f"{item.utterance}.wav"


@pytest.mark.slow
def test_one_utterance_less_is_refused_with_a_comparison(small: Path, published: Path, workspace: Workspace) -> None:
    copy = small.parent / "copy"
    shutil.copytree(published, copy, ignore=shutil.ignore_patterns("*.wav"))
    path = label_file(copy)
    lines = path.read_text().splitlines()
    dropped = next(index for index, line in enumerate(lines) if "\tang\t" in line)
    path.write_text("\n".join(lines[:dropped] + lines[dropped + 1 :]))
    with pytest.raises(CorpusError) as caught:
        load_manifest(CorpusConfig(name="iemocap", root=copy), workspace)
    head, columns, *rows = str(caught.value).splitlines()
    assert head == f"{copy}: 5530 utterances, not IEMOCAP's 5531; --allow-incomplete accepts that"
    assert columns.split() == ["found/published", "ang", "hap", "neu", "sad", "all"]
    assert rows[0].split() == ["Session1", "228/229", "278/278", "384/384", "194/194", "1084/1085"]
    assert rows[4].split() == ["Session5", "170/170", "442/442", "384/384", "245/245", "1241/1241"]
    manifest = load_manifest(CorpusConfig(name="iemocap", root=copy, allow_incomplete=True), workspace)
    assert manifest.incomplete == "5530 of 5531 utterances (Session1 ang 228 of 229)"


def test_an_incomplete_corpus_says_how(small: Path, workspace: Workspace) -> None:
    manifest = load_small(small, workspace)
    assert len(manifest.utterances) == 55
    assert manifest.incomplete is not None
    assert manifest.incomplete.startswith("55 of 5531 utterances (Session1 ang 2 of 229; Session1 hap 3 of 278; ")


def test_a_missing_wav_is_in_the_ledger_and_blocks(small: Path, workspace: Workspace) -> None:
    gone = next(small.glob("Session2/sentences/wav/*/*.wav"))
    gone.unlink()
    config = CorpusConfig(name="iemocap", root=small, allow_incomplete=True)
    manifest = load_manifest(config, workspace)
    (entry,) = manifest.ledger
    assert (entry.utterance, entry.reason, entry.session, entry.known) == (gone.stem, "missing", "Session2", False)
    with pytest.raises(
        CorpusError, match=rf"1 of 55 utterances cannot be used \(1 missing; first {gone.stem}: .*no such file"
    ):
        check_launchable(manifest, config)


def test_flac_is_taken_where_there_is_no_wav(small: Path, workspace: Workspace) -> None:
    before = load_small(small, workspace)
    as_flac(small)
    assert load_small(small, workspace).fingerprint == before.fingerprint


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\tang\t", "\tangry\t", "label 'angry' is none of ang, dis, exc, fea, fru, hap, neu, oth, sad, sur, xxx"),
        ("\tang\t", " ang ", "not '[start - end] TAB turn TAB label TAB [v, a, d]'"),
        ("[2.5000, 3.0000, 3.5000]", "[2.5000, 3.0000]", "not '[start - end] TAB turn TAB label TAB [v, a, d]'"),
        ("\tSes01M_", "\tSes02M_", "is not the name of a turn of Session1"),
        ("\tSes01M_impro", "\tSes01M_debate", "is not the name of a turn of Session1"),
        ("_F000\t", "_000\t", "is not the name of a turn of Session1"),
    ],
)
def test_each_broken_label_line_is_named(small: Path, workspace: Workspace, old: str, new: str, message: str) -> None:
    path = label_file(small)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    number = next(
        index
        for index, (before, after) in enumerate(zip(text.splitlines(), path.read_text().splitlines(), strict=True), 1)
        if before != after
    )
    with pytest.raises(CorpusError) as caught:
        load_small(small, workspace)
    assert str(caught.value).startswith(f"{path}:{number}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_label_file_that_is_not_text_is_named(small: Path, workspace: Workspace) -> None:
    path = label_file(small)
    path.write_bytes(path.read_bytes().replace(b"\tang\t", b"\t\xe4ng\t"))
    with pytest.raises(CorpusError, match=rf"{path.name}: not UTF-8 text \(byte \d+\)$"):
        load_small(small, workspace)


def test_a_turn_listed_twice_is_an_error(small: Path, workspace: Workspace) -> None:
    path = label_file(small)
    line = next(line for line in path.read_text().splitlines() if "\tang\t" in line)
    path.write_text(f"{path.read_text()}\n{line}\n")
    with pytest.raises(CorpusError, match=rf"utterance '{line.split()[3]}' is listed twice"):
        load_small(small, workspace)


def test_another_folder_names_the_expected_layout(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(CorpusError, match=r"no IEMOCAP here; expected Session1/dialog/EmoEvaluation"):
        load_manifest(CorpusConfig(name="iemocap", root=tmp_path), workspace)


def test_the_fingerprint_does_not_depend_on_the_place(small: Path, tmp_path: Path, workspace: Workspace) -> None:
    before = load_small(small, workspace)
    moved = small.rename(tmp_path / "elsewhere")
    assert load_small(moved, workspace).fingerprint == before.fingerprint
