"""Predictions of a trial as the record keeps them, and the metrics they give.

K folds, U utterances of the corpus in its order, C classes.
"""

from __future__ import annotations

__all__ = ["class_predictions", "measure"]

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.metrics import confusion, macro_f1, ua, wa
from core.records import FoldMetrics, MetricsEntry, Split
from core.resolve import Corpora

if TYPE_CHECKING:
    import pandas as pd

SPLITS: tuple[Split, Split] = ("validation", "test")


def class_predictions(corpora: Corpora, scores_KUC: NDArray[np.float32]) -> pd.DataFrame:
    """One row per (fold, split, utterance): columns as in `core.records.write_record`.

    `scores_KUC`: class probabilities of every utterance under each fold's model.
    """
    import pandas as pd

    classes = corpora.evaluated.classes
    by_id = {utterance.utterance: utterance for utterance in corpora.evaluated.utterances}
    place = {name: position for position, name in enumerate(by_id)}
    frames = []
    for k, fold in enumerate(corpora.folds.folds):
        for split, part in (("validation", fold.validation), ("test", fold.test)):
            scores = scores_KUC[k, [place[name] for name in part]]
            columns = {
                "utterance": list(part),
                "speaker": [by_id[name].speaker for name in part],
                "session": [by_id[name].session for name in part],
                "fold": fold.name,
                "split": split,
                "label": [by_id[name].label for name in part],
                "predicted": [classes[winner] for winner in scores.argmax(-1)],
            }
            frames.append(pd.DataFrame(columns | {f"score_{name}": scores[:, i] for i, name in enumerate(classes)}))
    return pd.concat(frames, ignore_index=True)


def measure(predictions: pd.DataFrame, classes: tuple[str, ...]) -> MetricsEntry:
    """UA, WA and macro-F1 of each fold and split, their means over folds, and the pooled ones."""
    folds = []
    pooled: dict[Split, dict[str, float]] = {}
    mean: dict[Split, dict[str, float]] = {}
    for split in SPLITS:
        rows = predictions[predictions["split"] == split]
        pooled[split] = _scores(rows, classes)
        for fold in rows["fold"].unique():
            part = rows[rows["fold"] == fold]
            folds.append(FoldMetrics(fold=fold, split=split, n=len(part), **_scores(part, classes)))
        of_split = [entry for entry in folds if entry.split == split]
        mean[split] = {name: float(np.mean([getattr(entry, name) for entry in of_split])) for name in pooled[split]}
    return MetricsEntry(folds=tuple(folds), mean=mean, pooled=pooled)


def _scores(rows: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, float]:
    counts = confusion(rows["label"].tolist(), rows["predicted"].tolist(), classes)
    return {"ua": ua(counts), "wa": wa(counts), "macro_f1": macro_f1(counts)}
