"""The axes of a sweep as columns of a linear model: which effects its arms can tell apart.

Letters in names: A arms, K seeds, F folds, P columns of the model.
"""

from __future__ import annotations

__all__ = ["MOST_LEVELS", "Axis", "Crossed", "Model", "Term", "crossed_differences", "model_of"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.comparisons import Pair
from core.records import Split

MOST_LEVELS = 6
"""A numeric axis with more values (a search draws them) enters by the rank of its value, as a rise and a bend."""
ABSENT = "–"
"""Level of an arm that does not have the setting."""


@dataclass(frozen=True, kw_only=True)
class Crossed:
    """Paired differences of UA, arms × seeds × folds without a gap."""

    pairs: tuple[Pair, ...]
    seeds: tuple[int, ...]
    folds: tuple[str, ...]
    difference_AKF: NDArray[np.float64]
    """Arm minus twin, shares."""
    left_out: tuple[int, int]
    """Arms and seeds that would have left gaps."""

    @property
    def by_arm(self) -> NDArray[np.float64]:
        """Mean difference, shape (A)."""
        mean_A: NDArray[np.float64] = self.difference_AKF.mean(axis=(1, 2))
        return mean_A


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A setting that the compared arms vary."""

    key: str
    """Dotted setting."""
    levels: tuple[object, ...]
    """In the order of their numbers, else of the plan."""
    place_A: NDArray[np.intp]
    """Arm → place in `levels`."""

    @property
    def name(self) -> str:
        return self.key.rsplit(".", 1)[-1]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple("∞" if str(level) == "inf" else str(level) for level in self.levels)

    @property
    def numbers(self) -> tuple[float, ...] | None:
        """The levels as numbers; None where one is none."""
        return _numbers(self.levels)

    @property
    def graded(self) -> bool:
        """Whether it enters as a rise and a bend."""
        return len(self.levels) > MOST_LEVELS and self.numbers is not None

    @cached_property
    def codes(self) -> NDArray[np.float64]:
        """Columns of the main effect by level, each with sum zero over the levels: (L, L − 1), of a graded axis (L, 2).

        Sum coding; a graded axis has its rank and the square of it, both standardised.
        """
        n = len(self.levels)
        if not self.graded:
            return np.vstack([np.eye(n - 1), -np.ones(n - 1)])
        rank = (np.arange(n) - (n - 1) / 2) / n
        bend = rank**2 - (rank**2).mean()
        return np.column_stack([rank / rank.std(), bend / bend.std()])

    @property
    def crossing(self) -> NDArray[np.float64]:
        """The columns that interactions are made of: of a graded axis the rise alone."""
        return self.codes[:, :1] if self.graded else self.codes


@dataclass(frozen=True, kw_only=True)
class Term:
    """A main effect (one axis) or an interaction (two)."""

    axes: tuple[Axis, ...]
    columns: slice
    """In the model's matrix; empty where the arms cannot tell it from the terms before it."""

    @property
    def name(self) -> str:
        return " × ".join(axis.name for axis in self.axes)

    @property
    def estimable(self) -> bool:
        return bool(self.columns.stop > self.columns.start)

    def row(self, places: Sequence[int], width: int) -> NDArray[np.float64]:
        """What this term adds to a row of the model, (P), where its axes have these levels."""
        row_P = np.zeros(width)
        if self.estimable:
            row_P[self.columns] = _product(
                [axis.codes if len(self.axes) == 1 else axis.crossing for axis in self.axes], places
            )
        return row_P


@dataclass(frozen=True, kw_only=True)
class Model:
    """Main effects and pairwise interactions of all axes, as far as the arms tell them apart."""

    axes: tuple[Axis, ...]
    terms: tuple[Term, ...]
    matrix_AP: NDArray[np.float64]

    @property
    def balanced(self) -> bool:
        """Whether every combination of levels is there equally often."""
        combined = pd.DataFrame({axis.key: axis.place_A for axis in self.axes}).value_counts()
        return len(combined) == int(np.prod([len(axis.levels) for axis in self.axes])) and combined.nunique() == 1


def crossed_differences(pairs: Sequence[Pair], cells: pd.DataFrame, *, split: Split) -> Crossed | None:
    """Differences of UA of the pairs over the seeds and folds that all of them have; None without a common cell.

    `cells`: `sweep.cells()`. Where seeds are missing in some arms, the seeds go or the arms, whichever leaves more
    cells (ours).
    """
    held = {arm.key for pair in pairs for arm in (pair.arm, pair.against)}
    # Systems may be tested in other folds.
    own = cells[(cells["split"] == split) & cells["arm_key"].isin(held)]
    table = own.pivot_table(index=["arm_key", "seed"], columns="fold", values="ua", sort=False)
    known = set(table.index[table.notna().all(axis=1)])
    there = {
        pair.arm.key: [seed for seed in pair.arm.seeds if {(pair.arm.key, seed), (pair.against.key, seed)} <= known]
        for pair in pairs
    }
    compared = [pair for pair in pairs if there[pair.arm.key]]
    if not compared:
        return None
    every = sorted({seed for pair in compared for seed in there[pair.arm.key]})
    common = [seed for seed in every if all(seed in there[pair.arm.key] for pair in compared)]
    whole = [pair for pair in compared if len(there[pair.arm.key]) == len(every)]
    kept, seeds = (compared, common) if len(compared) * len(common) >= len(whole) * len(every) else (whole, every)
    index = [(pair.arm.key, seed) for pair in kept for seed in seeds]
    others = [(pair.against.key, seed) for pair in kept for seed in seeds]
    if not index:
        return None
    differences = table.loc[index].to_numpy() - table.loc[others].to_numpy()
    return Crossed(
        pairs=tuple(kept),
        seeds=tuple(seeds),
        folds=tuple(map(str, table.columns)),
        difference_AKF=differences.reshape(len(kept), len(seeds), len(table.columns)),
        left_out=(len(pairs) - len(kept), len(every) - len(seeds)),
    )


def model_of(pairs: Sequence[Pair]) -> Model | None:
    """The model of all axes with more than one value among these arms; None where no axis varies.

    A term enters when it raises the rank by all its columns: an axis that moves with another, or two axes of which not
    every pair of values was run, cannot be told apart, and the term has no columns.
    """
    keys = dict.fromkeys(key for pair in pairs for key in pair.arm.axes if key != "upstream")
    axes = [axis for axis in (_axis(key, pairs) for key in keys) if len(axis.levels) > 1]
    if not axes:
        return None
    matrix_AP = np.ones((len(pairs), 1))
    terms = []
    for chosen in [(axis,) for axis in axes] + list(combinations(axes, 2)):
        blocks = [(axis.codes if len(chosen) == 1 else axis.crossing)[axis.place_A] for axis in chosen]
        own_AP = np.einsum("ai,aj->aij", blocks[0], blocks[-1]).reshape(len(pairs), -1) if chosen[1:] else blocks[0]
        wider_AP = np.hstack([matrix_AP, own_AP])
        start = matrix_AP.shape[1]
        if np.linalg.matrix_rank(wider_AP) == wider_AP.shape[1]:
            matrix_AP = wider_AP
        terms.append(Term(axes=chosen, columns=slice(start, matrix_AP.shape[1])))
    return Model(axes=tuple(axes), terms=tuple(terms), matrix_AP=matrix_AP)


def _axis(key: str, pairs: Sequence[Pair]) -> Axis:
    values = [_hashable(pair.arm.axes.get(key)) for pair in pairs]
    levels = list(dict.fromkeys(values))
    numbers = _numbers(levels)
    if numbers is not None:
        levels = [level for _, level in sorted(zip(numbers, levels, strict=True), key=lambda found: found[0])]
    places = {level: place for place, level in enumerate(levels)}
    return Axis(key=key, levels=tuple(levels), place_A=np.array([places[value] for value in values], dtype=np.intp))


def _hashable(value: object) -> object:
    return ABSENT if value is None else value if isinstance(value, str | int | float) else repr(value)


def _numbers(levels: Sequence[object]) -> tuple[float, ...] | None:
    """`inf` is a number, a switch is none."""
    try:
        return (
            None if any(isinstance(level, bool) for level in levels) else tuple(float(str(level)) for level in levels)
        )
    except ValueError:
        return None


def _product(codes: Sequence[NDArray[np.float64]], places: Sequence[int]) -> NDArray[np.float64]:
    rows = [code[place] for code, place in zip(codes, places, strict=True)]
    return rows[0] if len(rows) == 1 else np.outer(rows[0], rows[1]).ravel()
