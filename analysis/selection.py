"""The arm that was picked, and what its number is worth after having been picked."""

from __future__ import annotations

__all__ = ["PickedArm", "picked_arm", "shrunk"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from statsmodels.stats.meta_analysis import combine_effects

from analysis.paired import Metric
from analysis.tables import as_rows
from core.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class PickedArm:
    """The arm that validation picked among several, against its twin. Shares; None where not defined."""

    arm: str
    arm_key: str
    metric: Metric
    candidates: int
    """Arms that were compared with a twin, this one among them."""
    rank: int
    """Its place among them by the test difference, 1 the best: 1 is what luck favours."""
    difference: float
    """As tested. Validation chose, but on the speakers that other folds test: not wholly unbiased."""
    ci_low: float | None
    ci_high: float | None
    """Holds for this arm had it been named beforehand."""
    ci_low_all: float | None
    ci_high_all: float | None
    """Holds for all candidates at once and so for whichever was picked, by whatever rule (Berk et al. 2013)."""
    shrunk: float | None
    """Drawn towards the mean of the candidates as far as their differences may be chance."""
    p_corrected: float | None
    """Over all candidates, by step-down max-T."""
    seeds_for_80: float | str | None
    """Seeds that a true difference of this size needs (`analysis.power`); `inf`: too many."""
    n_seeds: int


def shrunk(differences: Sequence[float], errors: Sequence[float]) -> list[float]:
    """Empirical-Bayes estimates of several differences, in the order given; NaN for each with fewer than 3.

    m + τ² / (τ² + se²) · (d − m) (Efron & Morris 1975, §3; Morris 1983), m and τ² the mean and the variance between
    arms of a random-effects model, by the iterated moments of Paule & Mandel (1982). Arms with the same twin share its
    chance, which this does not know: what all have in common stays in m.
    """
    values, variances = np.asarray(differences, dtype=np.float64), np.asarray(errors, dtype=np.float64) ** 2
    if values.size < 3 or not np.isfinite(variances).all():
        return [math.nan] * values.size
    if not (variances > 0).all():
        return values.tolist() if not (variances > 0).any() else [math.nan] * values.size
    found = combine_effects(values, variances, method_re="iterated")
    between = max(0.0, float(found.tau2))
    weights = 1 / (between + variances)
    mean = float((weights * values).sum() / weights.sum())
    estimates: list[float] = (mean + between / (between + variances) * (values - mean)).tolist()
    return estimates


def picked_arm(comparisons: pd.DataFrame, arm_key: str, *, metric: Metric = "ua") -> PickedArm:
    """What the picked arm's difference from its twin is worth.

    `comparisons`: the table of `analysis.comparisons`; `arm_key`: the arm that validation picked. Raises BadInputError
    for an arm that was not compared with a twin.
    """
    tested = (comparisons["kind"] == "twin") & (comparisons["metric"] == metric) & comparisons["difference"].notna()
    rows = comparisons[tested]
    own = as_rows(rows[rows["arm_key"] == arm_key])
    if not own:
        raise BadInputError(f"picked arm {arm_key}: it is in no comparison with a twin ({len(rows)} arms are)")
    row = own[0]

    return PickedArm(
        arm=row["arm"],
        arm_key=arm_key,
        metric=metric,
        candidates=len(rows),
        rank=1 + int((rows["difference"] > row["difference"]).sum()),
        difference=row["difference"],
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        ci_low_all=row["ci_low_all"],
        ci_high_all=row["ci_high_all"],
        shrunk=row["shrunk"],
        p_corrected=row["p_corrected"],
        seeds_for_80=row["seeds_for_80"],
        n_seeds=row["n_seeds"],
    )
