from __future__ import annotations

import pytest

from core.corpora.recordings import find_recordings, recording_of
from core.errors import CorpusError


def test_the_flac_where_there_is_one_else_the_wav_there_or_not(tmp_path):
    assert recording_of(tmp_path / "a.b") == tmp_path / "a.b.wav"
    (tmp_path / "a.b.flac").touch()
    assert recording_of(tmp_path / "a.b") == tmp_path / "a.b.flac"


def test_two_recordings_of_one_name_are_refused(tmp_path):
    for ending in (".wav", ".flac"):
        (tmp_path / f"a{ending}").touch()
    with pytest.raises(CorpusError, match=r"a\.wav: its FLAC lies beside it"):
        recording_of(tmp_path / "a")


def test_hidden_files_and_other_endings_are_no_recordings(tmp_path):
    for name in ("._a.wav", "a.WAV", "b.flac", "c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_recordings(tmp_path, "*")] == ["a.WAV", "b.flac"]
