"""The words: from the corpus or a CSV, all of them or an error that says how many lack; and the encoder's key."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.corpora.manifest import Manifest, Utterance
from core.errors import CorpusError
from core.teacher_config import TeacherConfig
from core.transcripts import text_content, transcripts_of


def manifest(*words: str | None) -> Manifest:
    return Manifest(
        corpus="made",
        part="main",
        classes=(),
        utterances=tuple(
            Utterance(
                utterance=f"u{place}", path=Path("x.wav"), speaker="s", session="s", label="", duration_s=1.0,
                content=str(place), transcript=each,
            )
            for place, each in enumerate(words)
        ),
    )  # fmt: skip


def test_own_words_and_those_of_a_file_in_the_order_of_the_corpus(tmp_path):
    corpus = manifest("so be it", " yes ")
    assert transcripts_of(corpus, None) == {"u0": "so be it", "u1": "yes"}
    file = tmp_path / "said.csv"
    file.write_text('utterance,transcript\nelse,nobody\nu1,"well, no"\nu0,maybe\n')
    assert list(transcripts_of(corpus, file).items()) == [("u0", "maybe"), ("u1", "well, no")]


def test_missing_words_are_named_and_counted(tmp_path):
    with pytest.raises(CorpusError, match=r"corpus made: 4 of 5 utterances have no transcript \(u0, u2, u3, …\)"):
        transcripts_of(manifest(None, "yes", "", " ", None), None)
    file = tmp_path / "said.csv"
    file.write_text("utterance,transcript\nu0,maybe\n")
    # An empty cell is no gap: nothing was said. A corpus's own words do not fill the gaps of a file.
    (tmp_path / "laughed.csv").write_text("utterance,transcript\nu0,maybe\nu1, \n")
    assert transcripts_of(manifest("so be it", "yes"), tmp_path / "laughed.csv") == {"u0": "maybe", "u1": ""}
    with pytest.raises(CorpusError, match=r"said\.csv: 1 of 2 utterances have no transcript \(u1\)"):
        transcripts_of(manifest("so be it", "yes"), file)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("utterance;transcript\nu0,x\n", "header utterance,transcript"),
        ("utterance,transcript\nu0,x,y\n", r"said\.csv:2: 3 cells, the header has 2"),
        ("utterance,transcript\nu0,x\nu0,y\n", r"said\.csv:3: utterance 'u0' is there twice"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_its_line(tmp_path, content, complaint):
    file = tmp_path / "said.csv"
    file.write_text(content)
    with pytest.raises(CorpusError, match=complaint):
        transcripts_of(manifest("yes"), file)


def test_a_key_knows_words_and_weights_but_no_path(tmp_path):
    corpus, folder = manifest("yes"), tmp_path / "encoder"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text(name)
    moved = tmp_path / "moved"
    file = tmp_path / "said.csv"
    file.write_text("utterance,transcript\nu0,yes\n")
    before = text_content(TeacherConfig(text_model=str(folder)), corpus)
    folder.rename(moved)
    assert text_content(TeacherConfig(text_model=str(moved), transcripts=file), corpus) == before
    (moved / "model.safetensors").write_text("other weights")
    after = text_content(TeacherConfig(text_model=str(moved)), corpus)
    assert (after["transcripts"], after["text_model"] != before["text_model"]) == (before["transcripts"], True)
