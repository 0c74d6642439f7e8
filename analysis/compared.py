"""One pair of arms under one metric: all that can be said of it alone, before it joins its family."""

from __future__ import annotations

__all__ = ["Compared", "Matched", "MatchedDimensions", "compared", "matched", "matched_parts", "parts_of"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.concordance import ccc_contributions
from analysis.corrected_t import corrected_t_p, part_ratio
from analysis.dimension_parts import DimensionPart
from analysis.effects import effect_size
from analysis.intervals import METHOD, Spread, interval, spread
from analysis.load import AnyPart, Arm, Part
from analysis.paired import Contributions, Metric, contributions
from analysis.power import components, seeds_for_power
from analysis.sign_flips import sign_flip_floor, sign_flip_p, studentised_floor
from analysis.tables import Row
from core.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Two arms on the same test utterances, under the seeds that both have."""

    folds: tuple[str, ...]
    speakers: tuple[str, ...]
    gain_KFSC: NDArray[np.float64]
    """Correct answers of the arm minus those of the other, by seed, fold, speaker and true class."""
    total_FSC: NDArray[np.int64]
    test_to_train: float
    """Utterances tested over utterances trained on; NaN where it is not known."""


@dataclass(frozen=True, kw_only=True)
class MatchedDimensions:
    """Two arms that answer with dimensions, on the same test utterances, under the seeds that both have."""

    folds: tuple[str, ...]
    speakers: tuple[str, ...]
    gain_KFD: NDArray[np.float64]
    """CCC of the arm minus that of the other, by seed, fold and dimension."""
    pull_KFSD: NDArray[np.float64]
    """The same of what each speaker pulls at it (`DimensionPart.pull_FSD`)."""
    n_FS: NDArray[np.int64]
    """Utterances."""
    test_to_train: float
    """As in `Matched`."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A pair under one metric."""

    speakers: tuple[str, ...]
    parts: Contributions
    spread: Spread
    test_to_train: float

    @property
    def error(self) -> float:
        """Standard error as intervals and tests use it; NaN for one speaker."""
        return self.spread.se * self.spread.widening

    def row(self, quantiles: tuple[float, float]) -> Row:
        """Columns that no other comparison changes. `quantiles`: of the studentised difference."""
        cells_KF, difference, n_speakers = self.parts.cells, self.parts.difference, len(self.speakers)
        n_seeds, n_folds = cells_KF.shape
        bounds = interval(difference, self.spread, quantiles=quantiles, n_speakers=n_speakers)
        corrected = float("nan")
        if self.test_to_train > 0:
            corrected = corrected_t_p(cells_KF.ravel().tolist(), test_to_train=self.test_to_train)
        return {
            "n_pairs": cells_KF.size,
            "difference": difference,
            "sd": float(cells_KF.std(ddof=1)) if cells_KF.size > 1 else float("nan"),
            "se": self.spread.se,
            "ci_low": bounds[0] if bounds else float("nan"),
            "ci_high": bounds[1] if bounds else float("nan"),
            "interval_method": METHOD if bounds else None,
            "p_floor": studentised_floor(n_speakers),
            "p_folds": sign_flip_p(cells_KF.mean(axis=0).tolist()),
            "p_folds_floor": sign_flip_floor(n_folds),
            "p_cells": sign_flip_p(cells_KF.ravel().tolist()),
            "p_cells_floor": sign_flip_floor(cells_KF.size),
            "p_t_corrected": corrected,
            "effect_size": effect_size(difference, variance=self.spread.se**2, n_speakers=n_speakers),
            "seeds_for_80": seeds_for_power(difference, components(self.parts)),
            "n_folds": n_folds,
            "n_seeds": n_seeds,
            "n_speakers": n_speakers,
        }


def matched(arm: Arm, against: Arm, tests: Mapping[str, AnyPart]) -> Matched | MatchedDimensions | None:
    """Both arms' test parts under their common seeds; None without one.

    Raises BadInputError when they were not tested on the same utterances and folds, as are an arm that answers with
    classes and one that answers with dimensions.
    """
    others = {record.seed: record for record in against.records}
    records = [(record, others[record.seed]) for record in arm.records if record.seed in others]
    found = [(tests[own.trial_key], tests[other.trial_key]) for own, other in records]
    if not found:
        return None
    if len({part.identity for both in found for part in both}) > 1:
        raise BadInputError(
            f"arm {arm.name!r} and arm {against.name!r}: their trials were not tested on the same utterances and folds"
        )
    metrics = records[0][0].metrics
    return matched_parts(found, test_to_train=part_ratio(metrics.folds) if metrics else float("nan"))


def matched_parts(found: Sequence[tuple[AnyPart, AnyPart]], *, test_to_train: float) -> Matched | MatchedDimensions:
    """Parts of an arm and of the other, seed by seed, that are of the same utterances (`identity`)."""
    classes = [(own, other) for own, other in found if isinstance(own, Part) and isinstance(other, Part)]
    if classes:
        first = classes[0][0]
        return Matched(
            folds=first.folds,
            speakers=first.speakers,
            gain_KFSC=_gains(classes),
            total_FSC=first.counts.sum(axis=3),
            test_to_train=test_to_train,
        )
    dimensions = [
        (own, other) for own, other in found if isinstance(own, DimensionPart) and isinstance(other, DimensionPart)
    ]
    return MatchedDimensions(
        folds=dimensions[0][0].folds,
        speakers=dimensions[0][0].speakers,
        gain_KFD=np.stack([own.ccc_FD - other.ccc_FD for own, other in dimensions]),
        pull_KFSD=np.stack([own.pull_FSD - other.pull_FSD for own, other in dimensions]),
        n_FS=dimensions[0][0].n_FS,
        test_to_train=test_to_train,
    )


def parts_of(both: Matched | MatchedDimensions, *, metric: Metric) -> Contributions:
    """The difference under one metric, taken apart."""
    if isinstance(both, Matched):
        return contributions(both.gain_KFSC, both.total_FSC, metric=metric)
    return ccc_contributions(both.gain_KFD, both.pull_KFSD, both.n_FS, metric=metric)


def compared(both: Matched | MatchedDimensions, *, metric: Metric) -> Compared:
    """The pair under one metric."""
    parts = parts_of(both, metric=metric)
    return Compared(speakers=both.speakers, parts=parts, spread=spread(parts), test_to_train=both.test_to_train)


def _gains(found: Sequence[tuple[Part, Part]]) -> NDArray[np.float64]:
    gains = [
        np.diagonal(own.counts, axis1=2, axis2=3) - np.diagonal(other.counts, axis1=2, axis2=3) for own, other in found
    ]
    return np.stack(gains).astype(np.float64)
