"""The difference to the twin along each axis and over each pair of axes, with what seeds and folds leave open.

The heat maps show every arm; these show what the arms say together. Letters in names: K seeds, F folds, P columns.
"""

from __future__ import annotations

__all__ = ["draw_effects", "effects_data"]

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.factors import Axis, Model, Term
from analysis.figures import DOUBLE, Drawing, shortened
from analysis.importance import Importance
from analysis.strata import estimate
from analysis.svg import ACCENT, GRID, INK, MUTED, SECOND, styled
from analysis.tables import Row

PER_ROW = 3
MOST_PANELS = 9
"""Main effects come first: four axes fill it with five of their six pairs."""
COLUMNS = ["upstream", "term", "axis", "level", "other_axis", "other_level", "difference", "ci_low", "ci_high", "arms"]
LOOKS = (
    *(("o", "-", ACCENT, ACCENT), ("D", "--", SECOND, "none"), ("s", ":", INK, INK)),
    *(("^", "-.", MUTED, "none"), ("v", "-", INK, "none"), ("P", "--", ACCENT, "none")),
)
"""Mark, line, colour and fill of the levels of the second axis; as many as an axis without rank may have."""


def draw_effects(found: Sequence[Importance]) -> list[Drawing]:
    """One figure per upstream, of the test part: a panel per axis and per pair of axes."""
    shown = [one for one in found if one.split == "test"]
    return [_draw(one, several=len(shown) > 1) for one in shown]


def effects_data(one: Importance) -> pd.DataFrame:
    """What is drawn: estimated marginal means (Searle, Speed & Milliken 1980) of the difference at each level of an
    axis, and at each pair of levels, all other axes averaged with equal weight for each of their levels; intervals by
    `strata.estimate`. `arms`: how many have these levels. A graded axis (`factors.Axis`) has its arms' means by level
    and no interval. Shares.
    """
    rows = [row for term in _panels(one.model) for row in _rows(one, term)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _panels(model: Model) -> list[Term]:
    terms = [
        term for term in model.terms if term.estimable and not (term.axes[1:] and any(a.graded for a in term.axes))
    ]
    return terms[:MOST_PANELS]


def _rows(one: Importance, term: Term) -> list[Row]:
    solver_PA = np.linalg.pinv(one.model.matrix_AP)
    coefficients_PKF = np.einsum("pa,akf->pkf", solver_PA, one.crossed.difference_AKF)
    rows = []
    for places in product(*(range(len(axis.levels)) for axis in term.axes)):
        at_A = np.all([axis.place_A == place for axis, place in zip(term.axes, places, strict=True)], axis=0)
        first, second = term.axes[0], term.axes[1] if term.axes[1:] else None
        row: Row = {"upstream": one.upstream, "term": term.name, "axis": first.name}
        row |= {"level": first.labels[places[0]], "arms": int(at_A.sum())}
        if second is not None:
            row |= {"other_axis": second.name, "other_level": second.labels[places[1]]}
        if first.graded:
            row |= {"difference": float(one.crossed.by_arm[at_A].mean()), "ci_low": math.nan, "ci_high": math.nan}
        else:
            row_P = _reference(one.model, dict(zip((axis.key for axis in term.axes), places, strict=True)))
            cells_KF: NDArray[np.float64] = np.einsum("p,pkf->kf", row_P, coefficients_PKF)
            about = estimate(cells_KF[:, :, None])
            low, high = about.bounds or (math.nan, math.nan)
            row |= {"difference": about.mean, "ci_low": low, "ci_high": high}
        rows.append(row)
    return rows


def _reference(model: Model, places: dict[str, int]) -> NDArray[np.float64]:
    """Row of the model's matrix at these levels, averaged over all levels of the other axes: codes have the sum zero,
    so only terms of the fixed axes remain.
    """
    width = model.matrix_AP.shape[1]
    row_P: NDArray[np.float64] = np.eye(width)[0]
    for term in model.terms:
        if all(axis.key in places for axis in term.axes):
            row_P += term.row([places[axis.key] for axis in term.axes], width)
    return row_P


def _draw(one: Importance, *, several: bool) -> Drawing:
    data, terms = effects_data(one), _panels(one.model)
    columns = min(PER_ROW, len(terms))
    rows = math.ceil(len(terms) / columns)
    with styled():
        figure = Figure(figsize=(max(0.45, columns / PER_ROW) * DOUBLE, 0.1 + 2.25 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes in grid.flat[len(terms) :]:
            axes.set_visible(False)
        for axes, term in zip(grid.flat, terms, strict=False):
            own = data[data["term"] == term.name]
            _panel(axes, own, term, one)
        low, high = grid[0, 0].get_ylim()
        # Room for the legends.
        grid[0, 0].set_ylim(low, high + 0.22 * (high - low) * any(term.axes[1:] for term in terms))
        for axes in grid[:, 0]:
            axes.set_ylabel("arm − twin (points)")
    return Drawing(
        name=f"effects-{one.upstream.replace(' ', '-')}" if several else "effects",
        title="What the axes do to the difference" + (f", {one.upstream}" if several else ""),
        caption=_caption(one),
        figure=figure,
        data=data,
    )


def _caption(one: Importance) -> str:
    seeds = len(one.crossed.seeds)
    text = (
        "Test UA, arm minus twin, in percentage points: means at each value of an axis, and at each pair of values of "
        "two axes (parallel lines: no interaction), averaged over the values of all other axes with equal weight; "
        "small marks: single arms. Bars: 95 % intervals of each mean over folds"
        + (" and seeds" if seeds > 1 else ", which do not cover other seeds (there is one)")
        + ", not corrected for their number; two values may differ even where their bars overlap, because arms share "
        "speakers."
    )
    if any(axis.graded for axis in one.model.axes):
        text += " An axis with many values has its arms' means without an interval."
    return text


def _panel(axes: Axes, data: pd.DataFrame, term: Term, one: Importance) -> None:
    first = term.axes[0]
    axes.axhline(0, color=INK, linewidth=0.8)
    if len(term.axes) == 1:
        axes.plot(_beside(first), 100 * one.crossed.by_arm, "o", color=MUTED, markersize=2, markeredgewidth=0)
        _line(axes, data, LOOKS[0], shift=0.0, label=None)
    else:
        second = term.axes[1]
        for place, (label, look) in enumerate(zip(second.labels, LOOKS, strict=False)):
            shift = 0.08 * (place - (len(second.labels) - 1) / 2)
            _line(axes, data[data["other_level"] == label], look, shift=shift, label=label)
        axes.set_title(term.name)
        axes.legend(title=second.name, fontsize=6.5, title_fontsize=6.5, handlelength=2.4, ncols=3, loc="upper center")
    _ticks(axes, first)
    axes.set_xlabel(first.name)
    axes.grid(axis="y")
    axes.tick_params(length=0)
    axes.spines[:].set_color(GRID)


def _beside(axis: Axis) -> NDArray[np.float64]:
    """Places of single arms, (A): right of the mean of their level, side by side."""
    order_A = pd.Series(axis.place_A).groupby(axis.place_A).cumcount().to_numpy()
    number_A = np.bincount(axis.place_A)[axis.place_A]
    beside_A: NDArray[np.float64] = axis.place_A + 0.1 + 0.2 * order_A / number_A
    return beside_A


def _line(axes: Axes, data: pd.DataFrame, look: tuple[str, str, str, str], *, shift: float, label: str | None) -> None:
    mark, line, colour, face = look
    x = np.arange(len(data)) + shift
    y, low, high = (100 * data[name].to_numpy(dtype=np.float64) for name in ("difference", "ci_low", "ci_high"))
    if np.isfinite(low).any():
        axes.vlines(x, low, high, color=colour, linewidth=1.0)
    axes.plot(
        x,
        y,
        marker=mark,
        linestyle=line,
        color=colour,
        markerfacecolor=face,
        markersize=4.2,
        linewidth=1.0,
        label=label,
    )


def _ticks(axes: Axes, axis: Axis) -> None:
    every = math.ceil(len(axis.levels) / 7)
    axes.set_xticks(range(0, len(axis.levels), every), [shortened(label, length=10) for label in axis.labels[::every]])
