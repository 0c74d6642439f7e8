"""The figures of a report. Each is a picture of a small table that is written beside it as CSV (shares, no percent)."""

from __future__ import annotations

__all__ = ["ROW_INCHES", "Drawing", "clean", "draw_changes", "draw_confusions", "draw_differences"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.svg import ACCENT, INK, MUTED, PAPER, styled, text_on

ROW_INCHES = 0.26
COUNT_COLOURS = "Blues"

FOREST_COLUMNS = ("metric", "n_pairs", "difference", "ci_low", "ci_high", "p", "p_corrected")
FOREST_CAPTION = (
    "Mean of the paired seed × fold cells, in percentage points, with 95 % intervals over speakers. Filled: the "
    "interval excludes zero. Open: it does not, or there are too few speakers for an interval. Right of the line the "
    "arm is better than {other}. Intervals are not corrected for the number of {many}."
)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One figure: its file name without ending, what it shows, and the numbers in it."""

    name: str
    title: str
    caption: str
    figure: Figure
    data: pd.DataFrame


def draw_differences(comparisons: pd.DataFrame) -> Drawing | None:
    """Forest plot: difference of every arm to its twin with its interval, UA and WA side by side.

    Returns None when no pair has a value.
    """
    data = comparisons[comparisons["kind"] == "twin"]
    if data["difference"].isna().all():
        return None
    return Drawing(
        name="differences",
        title="Difference of each arm to its twin",
        caption=FOREST_CAPTION.format(other="its twin", many="arms"),
        figure=_forests(data, list(data.loc[data["metric"] == "ua", "arm"]), "arm − twin"),
        data=data[["arm", "twin", *FOREST_COLUMNS]],
    )


def draw_changes(comparisons: pd.DataFrame) -> Drawing | None:
    """Forest plot of the contrasts that the definition names. None when no contrast has a value."""
    data = comparisons[comparisons["kind"] == "contrast"]
    if data["difference"].isna().all():
        return None
    rows = data[data["metric"] == "ua"]
    labels = [f"{name}: {arm}" for name, arm in zip(rows["name"], rows["arm"], strict=True)]
    return Drawing(
        name="changes",
        title="Named changes",
        caption=FOREST_CAPTION.format(other="the one it is held against", many="changes"),
        figure=_forests(data, labels, "difference"),
        data=data[["name", "arm", "twin", *FOREST_COLUMNS]],
    )


def draw_confusions(pairs: Sequence[Sequence[tuple[str, NDArray[np.int64]]]], *, classes: tuple[str, ...]) -> Drawing:
    """Pooled confusion matrices, one row of panels per arm with its twin beside it.

    Each is a name and counts (C, C), rows the true class.
    """
    with styled():
        size = 0.62 * len(classes)
        figure = Figure(figsize=(2 * size + 2.6, len(pairs) * (size + 1.3)), layout="constrained")
        panels = figure.subplots(len(pairs), 2, sharex=True, sharey=True, squeeze=False)
        for axes, (name, counts_CC) in zip(panels.flat, (each for pair in pairs for each in pair), strict=True):
            _confusion(axes, counts_CC, classes)
            axes.set_title(name)
        for axes in panels[-1]:
            axes.set_xlabel("predicted")
        for axes in panels[:, 0]:
            axes.set_ylabel("true")
    rows = [
        {"arm": name, "true": true, "predicted": predicted, "n": int(counts[i, j]), "share": float(shares[i, j])}
        for pair in pairs
        for name, counts in pair
        for shares in [_recall(counts)]
        for i, true in enumerate(classes)
        for j, predicted in enumerate(classes)
    ]
    return Drawing(
        name="confusions",
        title="Where the answers go",
        caption="Percent of each true class (rows sum to 100), all folds and the seeds that both have in one matrix. "
        "The arm was picked by its validation UA; its twin beside it. The diagonal is recall, its mean the pooled UA.",
        figure=figure,
        data=pd.DataFrame(rows),
    )


def _forests(data: pd.DataFrame, labels: Sequence[str], what: str) -> Figure:
    with styled():
        figure = Figure(figsize=(8.6, 1.3 + ROW_INCHES * len(labels)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, metric in ((left, "ua"), (right, "wa")):
            _forest(axes, data[data["metric"] == metric])
            axes.set_xlabel(f"{metric.upper()}: {what} (points)")
        left.set_yticks(range(len(labels)), labels)
        left.set_ylim(len(labels) - 0.4, -0.6)
    return figure


def _forest(axes: Axes, data: pd.DataFrame) -> None:
    axes.axvline(0, color=INK, linewidth=0.9)
    for y, row in enumerate(data.to_dict("records")):
        if row["n_pairs"] == 0:
            axes.text(0, y, "  missing", color=MUTED, va="center", fontsize=8)
            continue
        low, high, value = 100 * row["ci_low"], 100 * row["ci_high"], 100 * row["difference"]
        clear = low > 0 or high < 0
        axes.plot([low, high], [y, y], color=ACCENT, linewidth=1.6, solid_capstyle="butt")
        face = ACCENT if clear else PAPER
        axes.plot(value, y, "o", color=ACCENT, markerfacecolor=face, markersize=5.5, markeredgewidth=1.4)
    axes.grid(axis="x")
    clean(axes)


def _confusion(axes: Axes, counts_CC: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    shares_CC = _recall(counts_CC)
    mesh = axes.pcolormesh(shares_CC, cmap=COUNT_COLOURS, vmin=0, vmax=1, edgecolors=PAPER, linewidth=1)
    for i, row in enumerate(shares_CC):
        for j, share in enumerate(row):
            colour = text_on(np.asarray(mesh.to_rgba(share)))
            axes.text(j + 0.5, i + 0.5, f"{100 * share:.1f}", ha="center", va="center", color=colour)
    ticks = np.arange(len(classes)) + 0.5
    axes.set_xticks(ticks, classes)
    axes.set_yticks(ticks, classes)
    axes.set_ylim(len(classes), 0)
    axes.set_aspect("equal")
    clean(axes)
    axes.spines[:].set_visible(False)


def _recall(counts_CC: NDArray[np.int64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts_CC / counts_CC.sum(axis=1, keepdims=True)
    return shares


def clean(axes: Axes) -> None:
    """No ticks, no left spine: the labels and the grid say enough."""
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
