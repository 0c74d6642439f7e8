"""CREMA-D: a tree of its shape with the published number of clips, and names that are not its."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_recordings import as_flac, write_recording

from core.config import CorpusConfig
from core.corpora.crema_d import list_crema_d
from core.corpora.loading import check_launchable, load_manifest
from core.errors import CorpusError
from core.store import Workspace

SENTENCES = ("DFA", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI")
CODES = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
NAMES = [
    *(f"{sentence}_{emotion}_XX" for sentence in SENTENCES for emotion in CODES),
    *(f"IEO_{emotion}_{level}" for emotion in CODES if emotion != "NEU" for level in ("LO", "MD", "HI")),
    "IEO_NEU_XX",
]
"""What each actor spoke: eleven sentences once in each emotion, one sentence at three levels."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """All 82 clips of two actors."""
    for number, (actor, name) in enumerate(product(("1001", "1091"), NAMES)):
        write_recording(tmp_path / "CREMA-D" / "AudioWAV" / f"{actor}_{name}.wav", number)
    return tmp_path / "CREMA-D"


def config_of(root: Path) -> CorpusConfig:
    return CorpusConfig(name="crema-d", root=root)


def test_what_a_name_says(root: Path, workspace: Workspace) -> None:
    manifest = load_manifest(config_of(root), workspace)
    assert manifest.classes == ("anger", "disgust", "fear", "happy", "neutral", "sad")
    assert Counter(item.label for item in manifest.utterances) == {
        "anger": 28, "disgust": 28, "fear": 28, "happy": 28, "neutral": 24, "sad": 28,
    }  # fmt: skip
    assert Counter(item.level for item in manifest.utterances) == {None: 134, "low": 10, "medium": 10, "high": 10}
    assert (manifest.ledger, manifest.incomplete) == ((), "164 of 7442 utterances")
    by_name = {item.utterance: item for item in manifest.utterances}
    item = by_name["1091_IEO_FEA_HI"]
    assert (item.label, item.level, item.speaker, item.session) == ("fear", "high", "1091", "1091")
    assert item.transcript == "It's eleven o'clock"
    assert by_name["1001_DFA_ANG_XX"].transcript == "Don't forget a jacket"
    assert len({item.transcript for item in manifest.utterances}) == 12


def test_the_published_count_is_complete(tmp_path: Path, workspace: Workspace) -> None:
    """91 actors would make 7,462 clips; 20 are not among the published ones."""
    recording = write_recording(tmp_path / "one.wav", 1)
    folder = tmp_path / "AudioWAV"
    folder.mkdir()
    names = [f"{actor}_{name}" for actor, name in product(range(1001, 1092), NAMES)][20:]
    for name in names:
        os.link(recording, folder / f"{'1040_ITH_SAD_X' if name == '1040_ITH_SAD_XX' else name}.wav")
    listing = list_crema_d(config_of(tmp_path), workspace)
    assert (len(listing.candidates), listing.incomplete) == (7442, None)
    assert len({candidate.speaker for candidate in listing.candidates}) == 91
    odd = next(candidate for candidate in listing.candidates if candidate.utterance == "1040_ITH_SAD_X")
    assert (odd.label, odd.level, odd.transcript) == ("sad", None, "I think I have a doctor's appointment")
    (folder / "1090_DFA_ANG_XX.wav").unlink()
    assert list_crema_d(config_of(tmp_path), workspace).incomplete == "7441 of 7442 utterances"


def test_the_published_silent_clip_is_known_and_others_block(root: Path, workspace: Workspace) -> None:
    config = config_of(root)
    silent = root / "AudioWAV" / "1076_MTI_SAD_XX.wav"
    soundfile.write(silent, np.zeros(32_000, dtype=np.int16), 16_000)
    manifest = load_manifest(config, workspace)
    assert [(entry.utterance, entry.reason, entry.known) for entry in manifest.ledger] == [
        ("1076_MTI_SAD_XX", "silent", True)
    ]
    check_launchable(manifest, config)
    silent.rename(root / "AudioWAV" / "1076_MTI_NEU_XX.wav")
    with pytest.raises(CorpusError, match=r"1 silent; first 1076_MTI_NEU_XX"):
        check_launchable(load_manifest(config, workspace), config)


def test_a_pointer_in_place_of_a_recording_is_in_the_ledger(root: Path, workspace: Workspace) -> None:
    path = root / "AudioWAV" / "1001_DFA_ANG_XX.wav"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (entry,) = load_manifest(config_of(root), workspace).ledger
    assert (entry.utterance, entry.reason, entry.known) == ("1001_DFA_ANG_XX", "unreadable", False)


def test_flac_and_another_place_are_the_same_corpus(root: Path, tmp_path: Path, workspace: Workspace) -> None:
    expected = load_manifest(config_of(root), workspace).fingerprint
    shutil.copytree(root, tmp_path / "elsewhere")
    as_flac(tmp_path / "elsewhere")
    assert load_manifest(config_of(tmp_path / "elsewhere"), workspace).fingerprint == expected


@pytest.mark.parametrize(
    "name",
    [
        "1001_DFA_ANG", "1000_DFA_ANG_XX", "1092_DFA_ANG_XX", "1001_ABC_ANG_XX", "1001_DFA_SUR_XX",
        "1001_DFA_ANG_UN", "1001_DFA_ANG_XX_2",
    ],
)  # fmt: skip
def test_a_name_of_another_shape_is_an_error(root: Path, workspace: Workspace, name: str) -> None:
    path = write_recording(root / "AudioWAV" / f"{name}.wav", 60_000)
    with pytest.raises(CorpusError) as caught:
        load_manifest(config_of(root), workspace)
    assert str(caught.value) == f"{path}: not actor, sentence, emotion and level of CREMA-D (1001_DFA_ANG_XX)"


def test_another_folder_names_the_expected_layout(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(CorpusError, match=r"no CREMA-D here; expected AudioWAV/1001_DFA_ANG_XX\.wav"):
        load_manifest(config_of(tmp_path), workspace)
