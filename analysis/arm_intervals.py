"""An arm's own score with an interval: how far it might be from that of other speakers, without a twin to compare with.

The score is the difference to an arm that never answers right, and so is taken apart and resampled as differences are.
"""

from __future__ import annotations

__all__ = ["arm_interval"]

from collections.abc import Sequence

import numpy as np

from analysis.concordance import ccc_contributions
from analysis.dimension_parts import DimensionPart
from analysis.intervals import paired_interval
from analysis.load import AnyPart, Part
from analysis.paired import Contributions, Metric, contributions

RESAMPLES = 10_000
"""Of speakers, as many as of a difference."""


def arm_interval(parts: Sequence[AnyPart], *, metric: Metric, seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the mean over folds and seeds, studentised over speakers, as `analysis.intervals` has it.

    `parts`: test parts of the arm, seed by seed. Bounds are cut to the metric's range (ours). None with too few
    speakers, and where seeds were not tested on the same utterances.
    """
    if not parts or len({part.identity for part in parts}) > 1:
        return None
    bounds = paired_interval(_alone(parts, metric), resamples=RESAMPLES, seed=seed)
    if bounds is None:
        return None
    lowest = -1.0 if metric.startswith("ccc") else 0.0
    low, high = np.clip(bounds, lowest, 1.0).tolist()
    return low, high


def _alone(parts: Sequence[AnyPart], metric: Metric) -> Contributions:
    classes = [part for part in parts if isinstance(part, Part)]
    if classes:
        right_KFSC = np.stack([np.diagonal(part.counts, axis1=2, axis2=3) for part in classes]).astype(np.float64)
        return contributions(right_KFSC, classes[0].counts.sum(axis=3), metric=metric)
    found = [part for part in parts if isinstance(part, DimensionPart)]
    return ccc_contributions(
        np.stack([part.ccc_FD for part in found]), np.stack([part.pull_FSD for part in found]), found[0].n_FS,
        metric=metric,
    )  # fmt: skip
