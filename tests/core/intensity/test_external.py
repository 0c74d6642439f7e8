from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.corpora.manifest import Manifest, Utterance
from core.errors import BadInputError
from core.intensity.external import place_in_time, read_external


def _utterance(name: str, path: str, **more: float) -> Utterance:
    return Utterance(
        utterance=name,
        path=Path(path),
        speaker="s",
        session="1",
        label="neu",
        content=name,
        **{"duration_s": 0.5, **more},
    )


def _corpus(*utterances: Utterance) -> Manifest:
    return Manifest(corpus="x", part="main", classes=("neu",), utterances=utterances)


CORPUS = _corpus(_utterance("a", "data/a.wav"), _utterance("b", "data/b.wav"))
FIVE = "0 .25 .5 .75 1"


def _file(folder: Path, *rows: str, header: str = "file_path,score") -> Path:
    path = folder / "scores.csv"
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def test_rows_are_matched_by_path_stem_or_id_in_any_order(tmp_path):
    read = read_external(
        _file(tmp_path, "other/b.flac,1 2 3 4 5", "c.wav,9 9", f"data/a.wav,{FIVE}"), CORPUS, hop_ms=100
    )
    np.testing.assert_allclose(read.by_utterance["a"], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(read.by_utterance["b"], [1, 2, 3, 4, 5])
    assert read.unused_rows == 1


def test_equal_stems_are_told_apart_by_path_or_id_and_refused_otherwise(tmp_path):
    twins = _corpus(_utterance("x1", "one/a.wav"), _utterance("x2", "two/a.wav"))
    read = read_external(_file(tmp_path, "one/a.wav,1 1 1 1 1", "x2,2 2 2 2 2"), twins, hop_ms=100)
    assert read.by_utterance["x1"][0] == 1
    assert read.by_utterance["x2"][0] == 2
    with pytest.raises(BadInputError, match=r"line 2: elsewhere/a\.wav could be utterance 'x1' and 'x2'"):
        read_external(_file(tmp_path, f"elsewhere/a.wav,{FIVE}"), twins, hop_ms=100)


def test_stretches_of_one_file_are_matched_by_utterance_id(tmp_path):
    stretches = _corpus(
        _utterance("t1", "long.wav", start=0.0, end=0.5), _utterance("t2", "long.wav", start=0.5, end=1.0)
    )
    read = read_external(_file(tmp_path, f"t1,{FIVE}", f"t2.wav,{FIVE}"), stretches, hop_ms=100)
    assert set(read.by_utterance) == {"t1", "t2"}
    with pytest.raises(BadInputError, match=r"long\.wav could be utterance 't1' and 't2'"):
        read_external(_file(tmp_path, f"long.wav,{FIVE}"), stretches, hop_ms=100)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((f"a.wav,{FIVE}",), r"no scores for 1 of 2 utterances of x \(first: 'b'\)"),
        ((f"a.wav,{FIVE}", f"a.flac,{FIVE}"), "line 3: a second row for utterance 'a'"),
        (("a.wav,0 1 nan 1 1",), r"line 2: a\.wav, frame 2: score 'nan' is not a finite number"),
        (("a.wav,0 1 1 one 1",), r"a\.wav, frame 3: score 'one'"),
        (("a.wav,0 inf 1 1 1",), r"a\.wav, frame 1: score 'inf'"),
        (("a.wav,",), r"line 2: a\.wav has no scores"),
        (
            ("a.wav,1 2",),
            r"2 scores at hop_ms 100 last 0\.200 s, but utterance 'a' lasts 0\.500 s \(allowed .* 0\.200 s\)",
        ),
        (("a.wav,1 2 3 4 5 6 7 8",), "8 scores at hop_ms 100"),
    ],
)
def test_each_kind_of_broken_row_has_its_one_line_error(tmp_path, rows, message):
    with pytest.raises(BadInputError, match=message) as caught:
        read_external(_file(tmp_path, *rows), CORPUS, hop_ms=100)
    assert "\n" not in str(caught.value)


def test_a_file_without_the_columns_or_without_a_file_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="has no column 'score'; found file_path, scores"):
        read_external(_file(tmp_path, header="file_path,scores"), CORPUS, hop_ms=100)
    with pytest.raises(BadInputError, match="cannot be read"):
        read_external(tmp_path / "none.csv", CORPUS, hop_ms=100)


def test_a_very_long_row_is_read(tmp_path):
    hour = _corpus(_utterance("a", "a.wav", duration_s=3600.0))
    scores = " ".join(["0.123456"] * 180_000)
    assert len(read_external(_file(tmp_path, f"a.wav,{scores}"), hour, hop_ms=20).by_utterance["a"]) == 180_000


def test_scores_are_a_hop_apart_and_centred_on_the_utterance():
    np.testing.assert_allclose(place_in_time(4, hop_ms=20, duration_s=0.1), [0.02, 0.04, 0.06, 0.08])
    np.testing.assert_allclose(place_in_time(1, hop_ms=20, duration_s=0.5), [0.25])
