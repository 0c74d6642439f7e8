"""Predictions of activation, valence and dominance with a known share of the truth in them, and their metrics."""

from __future__ import annotations

__all__ = ["dimension_metrics", "dimension_predictions"]

from functools import lru_cache

import numpy as np
import pandas as pd

from core.metrics import ccc
from core.records import DIMENSIONS, FoldMetrics, MetricsEntry


# The same arms are written by many tests.
@lru_cache(maxsize=64)
def dimension_predictions(
    key: str, heard: float, seed: int, speakers: tuple[tuple[str, str], ...], utterances: int
) -> pd.DataFrame:
    """As `synthetic_sweep` does for classes; true values are those of the speakers, whatever arm and seed.

    `heard`: share of an utterance's true value in what is predicted, before the speaker's own offset.
    """
    truth, rng = np.random.default_rng(7), np.random.default_rng([seed, *key.encode()])
    sessions, frames = len(speakers) // 2, []
    for index, (session, speaker) in enumerate(speakers):
        true_UD = 3 + truth.normal(0, 0.3, 3) + truth.normal(0, 0.8, (utterances, 3))
        share = heard + 0.1 * float(np.sin(3 * index))
        for split, fold in (("test", index // 2), ("validation", (index // 2 - 1) % sessions)):
            predicted_UD = 3 + share * (true_UD - 3) + rng.normal(0, 0.4, true_UD.shape)
            names = [f"{speaker}_{number:03d}" for number in range(utterances)]
            columns = {"utterance": names, "speaker": speaker, "session": session, "fold": f"Ses0{fold + 1}"}
            columns |= {"split": split} | {f"true_{name}": true_UD[:, d] for d, name in enumerate(DIMENSIONS)}
            columns |= {f"predicted_{name}": predicted_UD[:, d] for d, name in enumerate(DIMENSIONS)}
            frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def dimension_metrics(predictions: pd.DataFrame) -> MetricsEntry:
    folds = [
        FoldMetrics(fold=fold, split=split, n=len(own), **_scores(own))
        for (split, fold), own in predictions.groupby(["split", "fold"])
    ]
    splits = ("validation", "test")
    mean = {
        split: pd.DataFrame([entry.scores for entry in folds if entry.split == split]).mean().to_dict()
        for split in splits
    }
    pooled = {split: _scores(predictions[predictions["split"] == split]) for split in splits}
    return MetricsEntry(folds=tuple(folds), mean=mean, pooled=pooled)


def _scores(rows: pd.DataFrame) -> dict[str, float]:
    found = {f"ccc_{name}": ccc(rows[f"true_{name}"], rows[f"predicted_{name}"]) for name in DIMENSIONS}
    return found | {"ccc_mean": float(np.mean(list(found.values())))}
