"""The figures of a report. Each is a picture of a small table that is written beside it as CSV (shares, no percent)."""

from __future__ import annotations

__all__ = ["Drawing", "draw_confusions", "draw_differences", "draw_ratios"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.svg import ACCENT, INK, MUTED, PAPER, SECOND, styled, text_on

ROW_INCHES = 0.26
COUNT_COLOURS = "Blues"


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
    data = comparisons
    if data["difference"].isna().all():
        return None
    names = dict(zip(data["arm_key"], data["arm"], strict=True))
    with styled():
        figure = Figure(figsize=(8.6, 1.3 + ROW_INCHES * len(names)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, metric in ((left, "ua"), (right, "wa")):
            _forest(axes, data[data["metric"] == metric])
            axes.set_xlabel(f"{metric.upper()}: arm − twin (points)")
        left.set_yticks(range(len(names)), list(names.values()))
        left.set_ylim(len(names) - 0.4, -0.6)
    columns = ["arm", "twin", "metric", "n_pairs", "difference", "ci_low", "ci_high", "p", "p_corrected"]
    return Drawing(
        name="differences",
        title="Difference of each arm to its twin",
        caption="Mean of the paired seed × fold cells, in percentage points, with 95 % intervals over speakers. "
        "Filled: the interval excludes zero. Open: it does not, or there are too few speakers for an interval. Right "
        "of the line the arm is better than its twin. Intervals are not corrected for the number of arms.",
        figure=figure,
        data=data[columns],
    )


def draw_ratios(results: pd.DataFrame) -> Drawing | None:
    """Realised against nominal ratio of every arm with a twin, and the twin's. None when nothing was masked."""
    by_key = results.set_index("arm_key")
    own = results[results["twin_key"].notna() & results["realised_ratio"].notna()]
    if own.empty:
        return None
    data = own[["arm", "twin", "nominal_ratio", "realised_ratio"]].copy()
    data["twin_realised_ratio"] = by_key["realised_ratio"].reindex(own["twin_key"]).to_numpy()
    with styled():
        figure = Figure(figsize=(8.6, 1.5 + ROW_INCHES * len(data)), layout="constrained")
        axes = figure.subplots()
        rows = np.arange(len(data))
        axes.plot(100 * data["nominal_ratio"], rows, "|", color=INK, markersize=14, label="nominal")
        axes.plot(100 * data["realised_ratio"], rows - 0.12, "o", color=ACCENT, markersize=5, label="arm, realised")
        twin = 100 * data["twin_realised_ratio"]
        axes.plot(twin, rows + 0.12, "D", color=SECOND, markersize=4.5, fillstyle="none", label="twin, realised")
        axes.set_yticks(rows, list(data["arm"]))
        axes.set_ylim(len(data) - 0.4, -0.6)
        axes.set_xlim(0, 1.12 * float(np.nanmax([100 * data["nominal_ratio"], 100 * data["realised_ratio"], twin])))
        axes.set_xlabel("hidden share of the valid frames (%)")
        axes.grid(axis="x")
        _clean(axes)
        figure.legend(loc="outside upper left", ncols=3)
    return Drawing(
        name="ratios",
        title="Mask ratio: asked for and realised",
        caption="A fair pair hides the same share of frames in both arms: the filled and the open mark lie together, "
        "and both at the nominal ratio.",
        figure=figure,
        data=data,
    )


def draw_confusions(pair: Sequence[tuple[str, NDArray[np.int64]]], *, classes: tuple[str, ...]) -> Drawing:
    """Pooled confusion matrices of an arm and its twin, in this order: name and counts (C, C), rows the true class."""
    with styled():
        size = 0.62 * len(classes)
        figure = Figure(figsize=(2 * size + 2.6, size + 1.3), layout="constrained")
        for axes, (name, counts_CC) in zip(figure.subplots(1, 2, sharey=True), pair, strict=True):
            _confusion(axes, counts_CC, classes)
            axes.set_title(name)
            axes.set_xlabel("predicted")
        figure.axes[0].set_ylabel("true")
    rows = [
        {"arm": name, "true": true, "predicted": predicted, "n": int(counts[i, j]), "share": float(shares[i, j])}
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
    _clean(axes)


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
    _clean(axes)
    axes.spines[:].set_visible(False)


def _recall(counts_CC: NDArray[np.int64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts_CC / counts_CC.sum(axis=1, keepdims=True)
    return shares


def _clean(axes: Axes) -> None:
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
