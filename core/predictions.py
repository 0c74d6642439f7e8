"""Predictions of a trial as the record keeps them, and the metrics they give.

K folds, U utterances of the corpus in its order, C classes, D dimensions (`core.records.DIMENSIONS`).
"""

from __future__ import annotations

__all__ = ["class_predictions", "dimension_predictions", "measure"]

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.corpora.folds import Fold
from core.corpora.manifest import Manifest
from core.metrics import ccc, confusion, macro_f1, ua, wa
from core.records import DIMENSIONS, FoldMetrics, MetricsEntry, Split
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
    for k, (fold, split, part) in _parts(corpora):
        scores = scores_KUC[k, [place[name] for name in part]]
        columns = _who(corpora.evaluated, fold, split, part) | {
            "label": [by_id[name].label for name in part],
            "predicted": [classes[winner] for winner in scores.argmax(-1)],
        }
        frames.append(pd.DataFrame(columns | {f"score_{name}": scores[:, i] for i, name in enumerate(classes)}))
    return pd.concat(frames, ignore_index=True)


def dimension_predictions(
    corpora: Corpora, outputs_KUD: NDArray[np.floating[Any]], labels_UD: NDArray[np.float64]
) -> pd.DataFrame:
    """The same of dimensions: `true_<dimension>` and `predicted_<dimension>` on the corpus's scale, float64.

    `outputs_KUD`: of every utterance under each fold's model; only those of validation and test are read.
    """
    import pandas as pd

    place = {utterance.utterance: position for position, utterance in enumerate(corpora.evaluated.utterances)}
    frames = []
    for k, (fold, split, part) in _parts(corpora):
        rows = [place[name] for name in part]
        columns = _who(corpora.evaluated, fold, split, part)
        columns |= {f"true_{name}": labels_UD[rows, d] for d, name in enumerate(DIMENSIONS)}
        columns |= {
            f"predicted_{name}": outputs_KUD[k, rows, d].astype(np.float64) for d, name in enumerate(DIMENSIONS)
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def _parts(corpora: Corpora) -> Iterator[tuple[int, tuple[Fold, Split, tuple[str, ...]]]]:
    """The number of each fold with each of its predicted parts, in the order of the rows of a file."""
    for k, fold in enumerate(corpora.folds.folds):
        yield k, (fold, "validation", fold.validation)
        yield k, (fold, "test", fold.test)


def _who(manifest: Manifest, fold: Fold, split: Split, part: Sequence[str]) -> dict[str, Any]:
    by_id = {utterance.utterance: utterance for utterance in manifest.utterances}
    return {
        "utterance": list(part),
        "speaker": [by_id[name].speaker for name in part],
        "session": [by_id[name].session for name in part],
        "fold": fold.name,
        "split": split,
    }


def measure(predictions: pd.DataFrame, classes: tuple[str, ...]) -> MetricsEntry:
    """The metrics of each fold and split, their means over folds, and those of all folds' predictions at once.

    CCC per dimension and its mean where the predictions are of dimensions; else UA, WA and macro-F1.
    """
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
    if f"true_{DIMENSIONS[0]}" in rows:
        found = {f"ccc_{name}": ccc(rows[f"true_{name}"], rows[f"predicted_{name}"]) for name in DIMENSIONS}
        return found | {"ccc_mean": float(np.mean(list(found.values())))}
    counts = confusion(rows["label"].tolist(), rows["predicted"].tolist(), classes)
    return {"ua": ua(counts), "wa": wa(counts), "macro_f1": macro_f1(counts)}
