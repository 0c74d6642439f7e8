"""Records of a system without classes: CCC per fold, nothing of the other kind, and old records as they were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from core.corpora.folds import make_folds
from core.corpora.manifest import Manifest, Utterance
from core.data_config import FoldsConfig
from core.dimensions import dimension_labels
from core.errors import CorpusError
from core.metrics import ccc
from core.predictions import dimension_predictions, measure
from core.records import DIMENSION_METRICS, FoldMetrics, MetricsEntry, read_record, write_record
from core.resolve import Corpora
from tests.core.test_records import make_record

LABELS_UD = np.random.default_rng(0).normal(size=(12, 3)).round(2)


def manifest(labels_UD: np.ndarray = LABELS_UD) -> Manifest:
    return Manifest(
        corpus="made",
        part="main",
        classes=(),
        utterances=tuple(
            Utterance(
                utterance=f"u{place:02d}", path=Path("x.wav"), speaker="abc"[place // 4], session="abc"[place // 4],
                label="", duration_s=1.0, content=str(place), activation=row[0], valence=row[1], dominance=row[2],
            )
            for place, row in enumerate(labels_UD.tolist())
        ),
    )  # fmt: skip


def predictions() -> pd.DataFrame:
    corpus = manifest()
    folds = make_folds(corpus, FoldsConfig(scheme="leave-one-speaker-out"))
    outputs_KUD = LABELS_UD + np.random.default_rng(1).normal(size=(3, 12, 3))
    corpora = Corpora(evaluated=corpus, heard=corpus, fit=None, folds=folds)
    return dimension_predictions(corpora, outputs_KUD, dimension_labels(corpus))


def test_predictions_stand_beside_the_labels_on_the_corpus_s_scale():
    rows = predictions()
    assert list(rows.columns) == [
        "utterance", "speaker", "session", "fold", "split", "true_activation", "true_valence", "true_dominance",
        "predicted_activation", "predicted_valence", "predicted_dominance",
    ]  # fmt: skip
    assert rows.groupby("split")["utterance"].nunique().to_dict() == {"test": 12, "validation": 12}
    tested = rows[rows["split"] == "test"].sort_values("utterance")
    np.testing.assert_array_equal(tested[["true_activation", "true_valence", "true_dominance"]], LABELS_UD)
    assert set(tested[tested["fold"] == "b"]["speaker"]) == {"b"}


def test_metrics_are_ccc_of_each_fold_their_mean_and_all_at_once(tmp_path):
    rows = predictions()
    metrics = measure(rows, ())
    part = rows[(rows["fold"] == "b") & (rows["split"] == "test")]
    entry = next(entry for entry in metrics.folds if (entry.fold, entry.split) == ("b", "test"))
    assert entry.n == 4
    assert entry.ccc_valence == ccc(part["true_valence"], part["predicted_valence"])
    three = [entry.ccc_activation, entry.ccc_valence, entry.ccc_dominance]
    assert entry.ccc_mean == pytest.approx(np.mean(three))
    assert list(entry.scores) == list(metrics.mean["test"]) == list(DIMENSION_METRICS)
    of_test = [entry.ccc_valence for entry in metrics.folds if entry.split == "test"]
    assert metrics.mean["test"]["ccc_valence"] == pytest.approx(np.mean(of_test))
    tested = rows[rows["split"] == "test"]
    assert metrics.pooled["test"]["ccc_valence"] == ccc(tested["true_valence"], tested["predicted_valence"])

    record = make_record().model_copy(update={"metrics": metrics})
    write_record(tmp_path, record, rows)
    assert read_record(tmp_path) == record
    written = json.loads((tmp_path / "record.json").read_text())["metrics"]["folds"][0]
    assert set(written) == {"fold", "split", "n", *DIMENSION_METRICS}


def test_records_of_classes_are_written_as_before_and_read(tmp_path):
    write_record(tmp_path, make_record(), None)
    content = json.loads((tmp_path / "record.json").read_text())
    assert content["metrics"]["folds"] == [
        {"fold": "Ses01", "split": "test", "n": 2, "ua": 0.5, "wa": 1 / 3, "macro_f1": 0.1}
    ]
    (tmp_path / "record.json").write_text(json.dumps(content | {"schema_version": 3}))
    old = read_record(tmp_path)
    assert old is not None
    assert old.metrics == make_record().metrics


@pytest.mark.parametrize(
    "scores", [{}, {"ua": 0.5}, {"ua": 0.5, "wa": 0.5, "macro_f1": 0.5, "ccc_mean": 0.1}, {"ccc_activation": 0.1}]
)
def test_half_a_set_of_metrics_is_refused(scores):
    with pytest.raises(ValidationError, match="metrics of a fold are ua, wa, macro_f1 or ccc_activation"):
        FoldMetrics(fold="a", split="test", n=1, **scores)


def test_a_fold_may_disagree_completely():
    entry = FoldMetrics(fold="a", split="test", n=2, **dict.fromkeys(DIMENSION_METRICS, 0.0))
    assert MetricsEntry(folds=(entry,), mean={}, pooled={}).folds[0].scores == dict.fromkeys(DIMENSION_METRICS, 0.0)


def test_missing_labels_are_named_and_counted():
    labels_UD = LABELS_UD.astype(object)
    labels_UD[3:5, 1] = None
    with pytest.raises(CorpusError, match=r"corpus made: 2 of 12 utterances have no valence \(first u03\)"):
        dimension_labels(manifest(labels_UD))
