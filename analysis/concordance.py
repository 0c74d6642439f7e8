"""A difference of CCC, taken apart by speaker: what each of them pulls at the concordance of their fold.

CCC of a fold is no mean over its speakers, but close to its value it moves like one: by the mean of an influence over
the utterances (the infinitesimal jackknife). So its difference joins the intervals and tests of UA, to first order.
Letters in names: K seeds, F folds, S speakers, D dimensions, N utterances of a fold.
"""

from __future__ import annotations

__all__ = ["ccc_contributions", "influence"]

import numpy as np
from numpy.typing import NDArray

from analysis.paired import Contributions, Metric
from core.metrics import ccc
from core.records import DIMENSIONS


def influence(true_N: NDArray[np.float64], predicted_N: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """CCC, and how each utterance pulls at it (N), mean 0.

    The influence function of 2·cov / (var_x + var_y + (mean_x − mean_y)²) =: 2·cov / V at the utterances themselves:
    (2·(1 − CCC)·(x − mean_x)·(y − mean_y) − CCC·(x − y)²) / V. The jackknife for infinitesimal weights is Jaeckel's
    (1972; Efron & Tibshirani 1993, §21.3); Lin (1989) has the asymptotic normality of CCC by the same derivatives; the
    closed form is ours. Raises BadInputError where CCC is not defined (`core.metrics.ccc`).

    >>> value, pull_N = influence(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0]))
    >>> round(value, 4), pull_N.round(4).tolist()
    (0.6667, [0.4444, 0.0, -0.4444])
    """
    value = ccc(true_N, predicted_N)
    x_N, y_N = true_N - true_N.mean(), predicted_N - predicted_N.mean()
    spread = float(np.mean((true_N - predicted_N) ** 2) + 2 * np.mean(x_N * y_N))
    pull_N: NDArray[np.float64] = (2 * (1 - value) * x_N * y_N - value * (true_N - predicted_N) ** 2) / spread
    return value, pull_N


def ccc_contributions(
    gain_KFD: NDArray[np.float64], pull_KFSD: NDArray[np.float64], n_FS: NDArray[np.int64], *, metric: Metric
) -> Contributions:
    """Take a difference of CCC, or of its mean over the dimensions, apart by speaker.

    `gain_KFD`: CCC of the arm minus that of the other; `pull_KFSD`: likewise the sum of a speaker's influences over the
    utterances of its fold; `n_FS`: utterances. A speaker adds its share of the utterances of its fold times the fold's
    difference, and its pull: summed over the speakers of a fold it is that fold's difference exactly, of one speaker
    too, and residuals about the mean are the linearised values of which a clustered variance is made (Binder 1983). As
    first-order values they cannot hold how CCC bends; where a fold has few speakers the variance over whole folds,
    which knows no such limit, takes their place when it is larger (`intervals.spread`).
    """
    if metric != "ccc_mean":
        places = [DIMENSIONS.index(metric.removeprefix("ccc_"))]
        gain_KFD, pull_KFSD = gain_KFD[..., places], pull_KFSD[..., places]
    weight_FS = n_FS / n_FS.sum(axis=1, keepdims=True) / len(n_FS)
    pulled_KFS = pull_KFSD.mean(axis=-1) / len(n_FS)
    added_KFS = gain_KFD.mean(axis=-1)[:, :, None] * weight_FS + pulled_KFS
    return Contributions(added_KFS=added_KFS, weight_FS=weight_FS)
