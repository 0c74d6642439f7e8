"""Any corpus from a CSV: what is read, and one line for each thing that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from core.config import CorpusConfig
from core.corpora.loading import check_launchable, load_manifest
from core.errors import CorpusError
from core.store import Workspace

HEADER = "path,utterance,speaker,label"


def table(folder: Path, *lines: str) -> CorpusConfig:
    for seed, name in enumerate(("a.wav", "b.flac")):
        signal = np.random.default_rng(seed).uniform(-0.5, 0.5, 16_000)
        soundfile.write(folder / name, signal, 16_000, subtype="PCM_16")
    (folder / "corpus.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return CorpusConfig(name="table", root=folder / "corpus.csv")


def test_all_columns_are_read(tmp_path: Path, workspace: Workspace) -> None:
    config = table(
        tmp_path,
        "utterance,path,label,speaker,session,transcript,valence,activation,dominance,start,end",
        'u2,b.flac,happy,anna,one,"Oh, good",4.5,3,2.5,0.25,0.75',
        "u1,a.wav,angry,ben,two,,,,,,",
    )
    manifest = load_manifest(config, workspace)
    assert manifest.classes == ("angry", "happy")
    first, second = manifest.utterances
    assert (first.utterance, first.speaker, first.session, first.transcript) == ("u1", "ben", "two", None)
    assert (first.duration_s, first.start, first.valence) == (1.0, None, None)
    assert (second.transcript, second.valence, second.activation, second.dominance) == ("Oh, good", 4.5, 3.0, 2.5)
    assert (second.path, second.start, second.end, second.duration_s) == (tmp_path / "b.flac", 0.25, 0.75, 0.5)


def test_without_sessions_each_speaker_is_one(tmp_path: Path, workspace: Workspace) -> None:
    config = table(tmp_path, HEADER, "a.wav,u1,anna,happy", "b.flac,u2,ben,sad")
    assert [item.session for item in load_manifest(config, workspace).utterances] == ["anna", "ben"]


def test_an_empty_label_goes_into_the_ledger(tmp_path: Path, workspace: Workspace) -> None:
    manifest = load_manifest(table(tmp_path, HEADER, "a.wav,u1,anna,happy", "b.flac,u2,ben,"), workspace)
    assert [(entry.utterance, entry.reason, entry.known) for entry in manifest.ledger] == [("u2", "unlabelled", False)]


def test_a_table_without_any_label_is_unlabelled_too(tmp_path: Path, workspace: Workspace) -> None:
    config = table(tmp_path, HEADER, "a.wav,u1,anna,", "b.flac,u2,ben,")
    manifest = load_manifest(config, workspace)
    assert [entry.reason for entry in manifest.ledger] == ["unlabelled", "unlabelled"]
    with pytest.raises(CorpusError, match=r"none of its 2 utterances can be used \(first: no label\)"):
        check_launchable(manifest, config)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER + ",mood", "a.wav,u1,anna,happy,good"], "corpus.csv:1: unknown column 'mood'; allowed: path, "),
        (["path,utterance,label", "a.wav,u1,happy"], "corpus.csv:1: missing column speaker; allowed: path, "),
        ([HEADER + ",path", "a.wav,u1,anna,happy,a.wav"], "corpus.csv:1: column 'path' is there twice"),
        ([HEADER, "a.wav,u1,anna"], "corpus.csv:2: 3 cells, the header has 4"),
        ([HEADER, "a.wav,u1,anna,happy", "b.flac,,ben,sad"], "corpus.csv:3: utterance is empty"),
        ([HEADER, "a.wav,u1,anna,happy", "", "b.flac,u1,ben,sad"], "corpus.csv:4: utterance 'u1' is already on line 2"),
        ([HEADER + ",valence", "a.wav,u1,anna,happy,high"], "corpus.csv:2: valence 'high' is not a finite number"),
        ([HEADER + ",start", "a.wav,u1,anna,happy,nan"], "corpus.csv:2: start 'nan' is not a finite number"),
        (
            [HEADER + ",start,end", "a.wav,u1,anna,happy,2,1"],
            "corpus.csv:2: start 2.0 s must be at least 0 and before end",
        ),
        ([HEADER], "corpus.csv: no utterance; expected a row per utterance below the header"),
    ],
)
def test_each_kind_of_broken_table_gives_its_line(
    tmp_path: Path, workspace: Workspace, lines: list[str], message: str
) -> None:
    with pytest.raises(CorpusError) as caught:
        load_manifest(table(tmp_path, *lines), workspace)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there_names_its_columns(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(CorpusError, match=r"none\.csv: no such table; expected .* path, utterance, speaker, label$"):
        load_manifest(CorpusConfig(name="table", root=tmp_path / "none.csv"), workspace)


def test_a_table_of_dimensions_alone_is_a_corpus_without_classes(tmp_path: Path, workspace: Workspace) -> None:
    header, first = f"{HEADER},activation,valence,dominance", "a.wav,u1,anna,,1,2,3"
    manifest = load_manifest(table(tmp_path, header, first, "b.flac,u2,ben,,3,2,2.5"), workspace)
    assert (manifest.classes, manifest.ledger) == ((), ())
    assert [item.dominance for item in manifest.utterances] == [3.0, 2.5]
    half = load_manifest(table(tmp_path, header, first, "b.flac,u2,ben,,3,2,"), workspace)
    assert [entry.reason for entry in half.ledger] == ["unlabelled", "unlabelled"]
