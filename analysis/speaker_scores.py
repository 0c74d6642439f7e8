"""Scores that are no sum over speakers, taken apart by speaker all the same, by leaving each of them out.

Letters in names: F folds, S speakers, C classes, X whatever stands in front.
"""

from __future__ import annotations

__all__ = ["by_speaker", "class_recalls", "macro_f1s", "without_each"]

import numpy as np
from numpy.typing import NDArray

from analysis.paired import Contributions


def without_each(counts_FSCC: NDArray[np.int64]) -> NDArray[np.float64]:
    """Confusion matrices by fold of all speakers, and of all but each one: shape (1 + S, F, C, C)."""
    all_FCC = counts_FSCC.sum(axis=1)
    return np.concatenate([all_FCC[None], all_FCC - np.moveaxis(counts_FSCC, 1, 0)]).astype(np.float64)


def macro_f1s(counts_XFCC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over folds of `core.metrics.macro_f1`, shape (X), in [0, 1]; a fold without an utterance is none."""
    hits_XFC = np.diagonal(counts_XFCC, axis1=-2, axis2=-1)
    total_XFC = counts_XFCC.sum(axis=-1) + counts_XFCC.sum(axis=-2)
    f1_XF = np.divide(2 * hits_XFC, total_XFC, out=np.zeros_like(hits_XFC), where=total_XFC > 0).mean(axis=-1)
    there_XF = total_XFC.sum(axis=-1) > 0
    result: NDArray[np.float64] = (f1_XF * there_XF).sum(axis=-1) / np.maximum(there_XF.sum(axis=-1), 1)
    return result


def class_recalls(counts_XFCC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Recall by class, mean over the folds that have the class, shape (X, C): their mean over classes is UA.

    NaN for a class without an utterance.
    """
    n_XFC = counts_XFCC.sum(axis=-1)
    recall_XFC = np.divide(
        np.diagonal(counts_XFCC, axis1=-2, axis2=-1), n_XFC, out=np.zeros_like(n_XFC), where=n_XFC > 0
    )
    folds_XC = (n_XFC > 0).sum(axis=-2)
    result: NDArray[np.float64] = np.divide(
        recall_XFC.sum(axis=-2), folds_XC, out=np.full(folds_XC.shape, np.nan), where=folds_XC > 0
    )
    return result


def by_speaker(difference_KX: NDArray[np.float64]) -> Contributions:
    """A difference under each seed, with all speakers (first) and without each of them (K, 1 + S), as contributions.

    Jackknife pseudo-values (Tukey 1958; Efron & Tibshirani 1993, §11.5), moved so that their sum is the difference
    itself (ours): the clustered variance of the contributions is then the jackknife's, and intervals for other speakers
    and seeds are made as those of UA are. Every speaker has the same weight.
    """
    whole_K1, without_KS = difference_KX[:, :1], difference_KX[:, 1:]
    n_speakers = without_KS.shape[1]
    moved_KS = (n_speakers - 1) * (without_KS.mean(axis=1, keepdims=True) - without_KS)
    added_KS = (whole_K1 + moved_KS) / n_speakers
    return Contributions(added_KFS=added_KS[:, None, :], weight_FS=np.full((1, n_speakers), 1 / n_speakers))
