"""Subsets and label sets a corpus does not have: one clear error, before any file is decoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config import CorpusConfig
from core.corpora.loading import load_manifest
from core.errors import CorpusError
from core.store import Workspace

ONLY_WHOLE = "cannot be chosen, this corpus has no such choice"


@pytest.mark.parametrize(
    ("corpus", "field", "value", "why"),
    [
        *((corpus, "subset", "improvised", ONLY_WHOLE) for corpus in ("demo", "ravdess", "emodb", "crema-d", "table")),
        *((corpus, "labels", "all", ONLY_WHOLE) for corpus in ("demo", "ravdess", "emodb", "esd", "crema-d", "table")),
        ("iemocap", "subset", "impro", "is none of improvised, scripted"),
        ("iemocap", "labels", "all", "is none of merged-4, plain-4, excited-5, frustrated-5, dimensions"),
        ("kemdy19", "subset", "impro", "is none of improvised, scripted"),
        ("kemdy19", "labels", "merged-4", "is none of plain-4, all, dimensions"),
        ("esd", "subset", "Mandarin", "is none of mandarin, english"),
    ],
)
def test_a_choice_the_corpus_does_not_have_is_refused_at_once(
    tmp_path: Path, workspace: Workspace, corpus: str, field: str, value: str, why: str
) -> None:
    root = None if corpus == "demo" else tmp_path / "nowhere"
    config = CorpusConfig.model_validate({"name": corpus, "root": root, field: value})
    with pytest.raises(CorpusError) as caught:
        load_manifest(config, workspace)
    assert str(caught.value) == f"corpus {corpus}: {field} {value!r} {why}"
    assert not any(path.is_file() for path in workspace.root.rglob("*"))


def test_what_is_read_from_the_corpus_is_refused_before_its_audio_is(tmp_path: Path, workspace: Workspace) -> None:
    broken = tmp_path / "LibriSpeech" / "dev-clean" / "84" / "208" / "84-208-0000.flac"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"not audio")
    config = CorpusConfig(name="librispeech", root=tmp_path / "LibriSpeech", labels="dimensions")
    with pytest.raises(CorpusError, match=f"^corpus librispeech: labels 'dimensions' {ONLY_WHOLE}$"):
        load_manifest(config, workspace)
    (tmp_path / "msp" / "Labels").mkdir(parents=True)
    (tmp_path / "msp" / "Audios").mkdir()
    (tmp_path / "msp" / "Labels" / "labels_consensus.csv").write_text(
        "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\nMSP-PODCAST_0001_0008.wav,N,2,4,2,30,Male,Test1\n"
    )
    config = CorpusConfig(name="msp-podcast", root=tmp_path / "msp", labels="merged-4")
    with pytest.raises(CorpusError) as caught:
        load_manifest(config, workspace)
    assert str(caught.value) == "corpus msp-podcast: labels 'merged-4' is none of plain-4, all, dimensions"
