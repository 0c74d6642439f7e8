"""The record contract: what is written is read, what is broken is named, and splits stay apart."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from core.errors import BadInputError
from core.records import (
    CorpusEntry,
    FoldMetrics,
    MaskEntry,
    MetricsEntry,
    ProtocolEntry,
    ProvenanceEntry,
    Record,
    read_predictions,
    read_record,
    write_record,
)


def make_record(*, status: str = "complete", reason: str | None = None) -> Record:
    half = FoldMetrics(fold="Ses01", split="test", n=2, ua=0.5, wa=1 / 3, macro_f1=0.1)
    return Record(
        trial_key="0123456789abcdef",
        status=status,
        reason=reason,
        system="ems",
        upstream="mockingjay",
        arm="ems r0.15 t1 s7",
        arm_key="fedcba9876543210",
        twin_key=None,
        seed=3,
        corpus=CorpusEntry(
            name="emodb", fingerprint="f", utterances=2, quarantined={}, classes=("ang", "sad"), incomplete=None
        ),
        protocol=ProtocolEntry(
            folds="leave-one-speaker-out",
            n_folds=1,
            validation="next-fold",
            pretraining_audio="external",
            pretraining_corpus="ravdess",
            transductive=False,
            leaks=(),
        ),
        config={"masking": {"ratio": 0.15, "temperature": "inf"}},
        mask=MaskEntry(
            policy="ems",
            nominal_ratio=0.15,
            realised_ratio=0.1 + 0.2,  # a float that shows whether JSON keeps all digits
            span=7,
            temperature="inf",
            intensity_share=0.2,
            intensity_z=-0.1,
            runs={"7": 12, "14": 1},
            hidden_frames=98,
            valid_frames=700,
        ),
        metrics=MetricsEntry(folds=(half,), mean={"test": {"ua": 0.5}}, pooled={"test": {"ua": 0.5}}),
        provenance=ProvenanceEntry(commit="c", dirty=True, packages={}, hardware="cpu", started="a", ended="b"),
    )


def predictions() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "utterance": ["u1", "u2", "u3"],
            "speaker": ["03", "03", "08"],
            "session": ["03", "03", "08"],
            "fold": ["03", "03", "03"],
            "split": ["test", "test", "validation"],
            "label": ["ang", "sad", "sad"],
            "predicted": ["ang", "ang", "sad"],
            "score_ang": [0.9, 0.6, 0.2],
            "score_sad": [0.1, 0.4, 0.8],
        }
    )


def test_round_trip_keeps_every_digit(tmp_path: Path) -> None:
    record = make_record()
    write_record(tmp_path, record, predictions())
    assert read_record(tmp_path) == record
    assert record.mask is not None
    assert read_record(tmp_path).mask.realised_ratio == 0.1 + 0.2  # type: ignore[union-attr]


def test_each_split_is_read_alone(tmp_path: Path) -> None:
    write_record(tmp_path, make_record(), predictions())
    validation, test = read_predictions(tmp_path, split="validation"), read_predictions(tmp_path, split="test")
    assert list(validation["utterance"]) == ["u3"]
    assert list(test["utterance"]) == ["u1", "u2"]
    assert list(test["score_sad"]) == [0.1, 0.4]


def test_a_trial_without_record_is_none_and_without_predictions_an_error(tmp_path: Path) -> None:
    assert read_record(tmp_path / "never") is None
    write_record(tmp_path, make_record(status="failed", reason="loss is nan"), None)
    failed = read_record(tmp_path)
    assert failed is not None
    assert (failed.status, failed.reason) == ("failed", "loss is nan")
    with pytest.raises(BadInputError, match="no predictions"):
        read_predictions(tmp_path, split="test")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"status": "done"}, "status"),
        ({"schema_version": 5}, "schema_version"),
        ({"seed": "three"}, "seed"),
        ({"colour": "blue"}, "colour"),
        ({"corpus": {"name": "emodb"}}, "corpus.fingerprint"),
    ],
)
def test_a_broken_record_is_named_in_one_line(tmp_path: Path, change: dict[str, object], place: str) -> None:
    write_record(tmp_path, make_record(), None)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadInputError, match=rf"record\.json: not a record of schema 4 \({place}: ") as error:
        read_record(tmp_path)
    assert "\n" not in str(error.value)


def test_half_a_file_is_no_record(tmp_path: Path) -> None:
    write_record(tmp_path, make_record(), None)
    path = tmp_path / "record.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInputError, match="not a record of schema 4"):
        read_record(tmp_path)


def test_predictions_are_there_before_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between the two files must leave no record: a record on disk promises its predictions."""
    monkeypatch.setattr(Record, "model_dump_json", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_record(tmp_path, make_record(), predictions())
    assert (tmp_path / "predictions.parquet").exists()
    assert read_record(tmp_path) is None


def test_records_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make_record().seed = 4  # type: ignore[misc]


def test_a_complete_record_stays_and_its_diff_with_it(tmp_path: Path) -> None:
    write_record(tmp_path, make_record(), predictions(), code_diff=b"changes")
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert write_record(tmp_path, make_record(status="failed", reason="lost"), None) == make_record()
    assert write_record(tmp_path, make_record(status="pruned", reason="late"), None, code_diff=b"x") == make_record()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_another_end_replaces_an_incomplete_one(tmp_path: Path) -> None:
    write_record(tmp_path, make_record(status="failed", reason="one"), None, code_diff=b"changes")
    assert (tmp_path / "code.diff").read_bytes() == b"changes"
    pruned = make_record(status="pruned", reason="two")
    assert write_record(tmp_path, pruned, None) == pruned == read_record(tmp_path)
    assert not (tmp_path / "code.diff").exists()
    assert write_record(tmp_path, make_record(), predictions()) == make_record() == read_record(tmp_path)


def test_an_end_replaces_what_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text("{")
    failed = make_record(status="failed", reason="unreadable")
    assert write_record(tmp_path, failed, None) == failed == read_record(tmp_path)
