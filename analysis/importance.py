"""Which axes matter for the difference arm − twin, alone and in pairs, when seeds and folds are chance?

Letters in names: A arms, K seeds, F folds, P columns of the model, D columns of a term.
"""

from __future__ import annotations

__all__ = ["COLUMNS", "Importance", "importances", "importance_sentences", "importance_table", "whitened"]

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.comparisons import Pair, planned_pairs
from analysis.factors import Crossed, Model, Term, crossed_differences, model_of
from analysis.families import holm
from analysis.load import Sweep
from analysis.strata import Estimate, estimate, random_spread
from analysis.tables import Row, as_rows
from analysis.wording import count, joined, p_value, points
from core.records import Split

ALPHA = 0.05
COLUMNS = [
    *("upstream", "split", "term", "kind", "freedom", "share", "effect", "effect_beyond_chance"),
    *("f", "f_freedom", "error_freedom", "p", "p_holm", "note"),
]


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The axes of one upstream's arms on one split."""

    upstream: str
    split: Split
    crossed: Crossed
    model: Model
    estimates: tuple[Estimate | None, ...]
    """By term of the model; None where the arms cannot tell it apart."""

    @property
    def total(self) -> float:
        """Sum of squares between the arms' mean differences."""
        return float(((self.crossed.by_arm - self.crossed.by_arm.mean()) ** 2).sum())

    @property
    def spread(self) -> tuple[float, float]:
        """Standard deviation of the mean difference of all arms from seed to seed and from fold to fold, in shares."""
        return random_spread(self.crossed.difference_AKF.mean(axis=0))


def importances(sweep: Sweep) -> tuple[list[Importance], list[str]]:
    """What can be said of the axes, per upstream and split (test first), and a sentence for each where nothing can.

    Arms with a twin, without controls. The difference is of UA.
    """
    cells = sweep.cells()
    found, refused = [], []
    for upstream in sweep.groups:
        pairs = [pair for pair in planned_pairs(sweep) if pair.kind == "twin" and pair.arm.group == upstream]
        for split in reversed(get_args(Split)):
            one = _importance(pairs, cells, upstream=upstream, split=split) if pairs else "no arm has a twin"
            if isinstance(one, Importance):
                found.append(one)
            elif split == "test":
                refused.append(f"What matters among the {upstream} arms cannot be said: {one}.")
    return found, refused


def importance_table(found: Sequence[Importance]) -> pd.DataFrame:
    """One row per upstream, split and term (each axis, each pair of axes).

    - share: of the variance between the arms' mean differences, by functional ANOVA over the grid of arms (Hutter et
      al. 2014; on a full grid it is exact, and the shares of all terms and of higher interactions have the sum 1).
      Chance is in it. On other sets of arms: what the term explains beyond all others, which need not add up.
    - effect: root mean square of what the term adds to an arm's difference; effect_beyond_chance: the same less what
      folds and seeds alone would make of it, not below 0
    - f, f_freedom, error_freedom, p: `strata.estimate`; p_holm: over the terms of one upstream and split
    - freedom: columns of the term; note: why it has no value

    Differences are shares.
    """
    rows = [row for one in found for row in _rows(one)]
    floats = dict.fromkeys(COLUMNS[5:13], "float64")
    return pd.DataFrame(rows, columns=COLUMNS).astype(floats | {"freedom": "Int64"})


def importance_sentences(found: Sequence[Importance], table: pd.DataFrame) -> list[str]:
    """What the tests allow one to say of the axes, one paragraph per upstream: test, then whether validation agrees."""
    said = []
    for one in found:
        if one.split == "test":
            own = table[table["upstream"] == one.upstream]
            said.append(_paragraph(one, own[own["split"] == "test"], own[own["split"] == "validation"]))
    return said


def whitened(model: Model, difference_AKF: NDArray[np.float64]) -> Iterator[tuple[Term, NDArray[np.float64]]]:
    """Each term that can be told apart, with its columns in every cell, (K, F, D), scaled so that the squares of their
    means add up to its sum of squares (type III: beyond all other terms).
    """
    coefficients_PKF = np.einsum("pa,akf->pkf", np.linalg.pinv(model.matrix_AP), difference_AKF)
    covariance_PP = np.linalg.inv(model.matrix_AP.T @ model.matrix_AP)
    for term in model.terms:
        if term.estimable:
            own_DD = np.linalg.inv(covariance_PP[term.columns, term.columns])
            scale_DD = np.linalg.cholesky((own_DD + own_DD.T) / 2).T
            yield term, np.einsum("ed,dkf->kfe", scale_DD, coefficients_PKF[term.columns])


def _importance(pairs: Sequence[Pair], cells: pd.DataFrame, *, upstream: str, split: Split) -> Importance | str:
    crossed = crossed_differences(pairs, cells, split=split)
    if crossed is None:
        return "no seed is complete in all arms and their twins"
    model = model_of(crossed.pairs)
    if model is None:
        return f"{count(len(crossed.pairs), 'arm')} with a twin, and no setting that differs between them"
    if len(crossed.folds) < 2:
        return "there is one fold, and nothing to set an effect against"
    tested = {term.name: estimate(cells_KFD) for term, cells_KFD in whitened(model, crossed.difference_AKF)}
    estimates = tuple(tested.get(term.name) for term in model.terms)
    return Importance(upstream=upstream, split=split, crossed=crossed, model=model, estimates=estimates)


def _rows(one: Importance) -> list[Row]:
    rows = []
    tested = [each.p for each in one.estimates if each is not None and not math.isnan(each.p)]
    corrected = iter(holm(tested))
    n_arms = len(one.crossed.pairs)
    for term, found in zip(one.model.terms, one.estimates, strict=True):
        row: Row = {"upstream": one.upstream, "split": one.split, "term": term.name}
        row["kind"] = "main" if len(term.axes) == 1 else "interaction"
        if found is None:
            few = "moves with the axes before it" if len(term.axes) == 1 else "not every pair of values was run"
            rows.append(row | {"note": few})
            continue
        row |= {
            "freedom": term.columns.stop - term.columns.start,
            "share": found.size / one.total if one.total > 0 else math.nan,
            "effect": math.sqrt(found.size / n_arms),
            "effect_beyond_chance": math.sqrt(max(0.0, found.size - found.error) / n_arms),
            "f": found.f,
            "f_freedom": found.freedom[0],
            "error_freedom": found.freedom[1],
            "p": found.p,
            "p_holm": math.nan if math.isnan(found.p) else next(corrected),
            "note": None if found.error > 0 else "the same in every fold",
        }
        rows.append(row)
    return rows


def _paragraph(one: Importance, table: pd.DataFrame, validation: pd.DataFrame) -> str:
    rows = [row for row in as_rows(table) if row["p"] is not None]
    agreeing = {row["term"] for row in as_rows(validation) if row["p"] is not None and row["p"] < ALPHA}
    seeds, folds = len(one.crossed.seeds), len(one.crossed.folds)
    text = (
        f"Over {count(len(one.crossed.pairs), f'{one.upstream} arm')} with a twin ({count(seeds, 'seed')} × "
        f"{count(folds, 'fold')}{', both random' if seeds > 1 else ', folds random'}), "
    )
    shown = [row for row in rows if row["p_holm"] < ALPHA]
    if shown:
        named = [
            f"{row['term']} ({points(row['effect_beyond_chance'])[1:]} points beyond chance, Holm p = "
            f"{p_value(row['p_holm'])}{'; on validation too' if row['term'] in agreeing else '; not on validation'})"
            for row in shown
        ]
        text += f"the difference to the twin depends on {joined(named)}."
    else:
        text += (
            f"none of {count(len(rows), 'effect')} of axes and pairs of axes on the difference is shown after "
            "correction (Holm): this is not a proof that they do not matter."
        )
    if seeds == 1:
        text += " Under one seed an effect of a setting cannot be told from the chance of its training runs."
    refused = [row["term"] for row in as_rows(table) if row["p"] is None]
    if refused:
        text += f" Not to be said: {joined(refused)}."
    if any(one.crossed.left_out):
        arms, dropped = one.crossed.left_out
        text += f" Left out, for their gaps: {count(arms, 'arm')}, {count(dropped, 'seed')}."
    return text
