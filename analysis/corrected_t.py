"""The corrected resampled t-test: cells of folds and seeds share training data, and a plain t-test forgets it."""

from __future__ import annotations

__all__ = ["corrected_t_p", "part_ratio"]

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from core.errors import BadInputError
from core.records import FoldMetrics


def corrected_t_p(differences: Sequence[float], *, test_to_train: float) -> float:
    """Two-sided p of mean difference zero; NaN for a single cell.

    t = mean / √((1/n + test/train) · s²) with n − 1 degrees of freedom (Nadeau & Bengio 2003, eq. 13; for repeated
    folds Bouckaert & Frank 2004). The differences of all seed × fold cells count as n runs; that speakers of one fold
    come back under every seed is not in it, only the added share of variance makes up for it (docs/calibration.md
    measures how far). Raises BadInputError for a ratio that is not above 0 or a value that is not finite.

    >>> round(corrected_t_p([0.02, 0.01, 0.03, 0.02, 0.04], test_to_train=1 / 3), 4)
    0.0449
    """
    values = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(values).all() or not 0 < test_to_train < math.inf:
        raise BadInputError(f"corrected t-test: test/train is {test_to_train}, differences {differences}; needs finite")
    if values.size < 2:
        return math.nan
    se = math.sqrt((1 / values.size + test_to_train) * float(values.var(ddof=1)))
    if se <= 1e-12 * float(np.abs(values).max()):
        return 1.0 if not values.any() else 0.0
    return float(2 * stats.t.sf(abs(float(values.mean())) / se, df=values.size - 1))


def part_ratio(folds: Sequence[FoldMetrics]) -> float:
    """Utterances tested over utterances trained on, mean over folds; NaN where nothing is left to train on.

    `folds`: the metrics of a record. Every utterance is tested in one fold; what a fold neither tests nor validates on
    it trains on.
    """
    tested = {entry.fold: entry.n for entry in folds if entry.split == "test"}
    validated = {entry.fold: entry.n for entry in folds if entry.split == "validation"}
    trained = {fold: sum(tested.values()) - n - validated.get(fold, 0) for fold, n in tested.items()}
    if not trained or min(trained.values()) <= 0:
        return math.nan
    return float(np.mean([n / trained[fold] for fold, n in tested.items()]))
