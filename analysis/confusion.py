"""Where the answers go: the confusion matrices of an arm and its twin, and how they differ class by class."""

from __future__ import annotations

__all__ = ["draw_confusions"]

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figures import DOUBLE, Drawing, clean, shortened
from analysis.load import Arm, Part
from analysis.svg import DIVERGING, PAPER, SEQUENTIAL, styled, text_on
from analysis.wording import percent, points

Shares = NDArray[np.float64]

FEW_CLASSES = 5
"""With more, cells hold whole percent and labels stand aslant."""


def draw_confusions(pairs: Sequence[tuple[Arm, Arm]], tests: Mapping[str, Part]) -> Drawing:
    """Pooled confusion matrices of each (arm, twin) and their difference, one row of three panels per pair.

    All folds and the seeds that both have in one matrix (C, C), rows the true class.
    """
    classes = pairs[0][0].records[0].corpus.classes
    counted = [(_pooled(arm, twin, tests), _pooled(twin, arm, tests)) for arm, twin in pairs]
    gains = [_recall(own) - _recall(other) for own, other in counted]
    bound = max(0.01, *(float(np.abs(gain_CC).max()) for gain_CC in gains))
    with styled():
        figure = Figure(figsize=(DOUBLE, 0.2 + 2.75 * len(pairs)), layout="constrained")
        grid = figure.subplots(len(pairs), 3, sharex=True, sharey=True, squeeze=False)
        for row, (arm, twin), (own, other), gain_CC in zip(grid, pairs, counted, gains, strict=True):
            _matrix(row[0], _recall(own), classes, limits=(0, 1), colours=SEQUENTIAL)
            _matrix(row[1], _recall(other), classes, limits=(0, 1), colours=SEQUENTIAL)
            _matrix(row[2], gain_CC, classes, limits=(-bound, bound), colours=DIVERGING)
            for axes, title in zip(
                row, (shortened(arm.name, length=30), shortened(twin.name, length=30)), strict=False
            ):
                axes.set_title(title)
            row[2].set_title("arm − twin (points)")
            row[0].set_ylabel("true")
        for axes in grid[-1]:
            axes.set_xlabel("predicted")
    return Drawing(
        name="confusions",
        title="Where the answers go",
        caption="Percent of each true class (rows sum to 100), all folds and the seeds that both have in one matrix; "
        "right, the difference in percentage points (rows sum to 0; purple and plus: the arm more often). The arm was "
        "picked by its validation UA; its twin beside it. The diagonal is recall, its mean the pooled UA.",
        figure=figure,
        data=_table(pairs, counted, gains, classes),
    )


def _pooled(arm: Arm, other: Arm, tests: Mapping[str, Part]) -> NDArray[np.int64]:
    records = [record for record in arm.records if record.seed in other.seeds]
    pooled_CC: NDArray[np.int64] = np.sum([tests[each.trial_key].counts.sum(axis=(0, 1)) for each in records], axis=0)
    return pooled_CC


def _recall(counts_CC: NDArray[np.int64]) -> Shares:
    shares: Shares = counts_CC / counts_CC.sum(axis=1, keepdims=True)
    return shares


def _matrix(
    axes: Axes, values_CC: Shares, classes: Sequence[str], *, limits: tuple[float, float], colours: str
) -> None:
    signed, few = limits[0] < 0, len(classes) <= FEW_CLASSES
    low, high = limits
    mesh = axes.pcolormesh(values_CC, cmap=colours, vmin=low, vmax=high, edgecolors=PAPER, linewidth=0.8)
    for (i, j), value in np.ndenumerate(values_CC):
        text = (points if signed else percent)(float(value), 1 if few else 0)
        colour = text_on(np.asarray(mesh.to_rgba(np.asarray(value))))
        axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour, fontsize=8 if few else 6)
    ticks = np.arange(len(classes)) + 0.5
    axes.set_xticks(ticks, classes, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, classes)
    axes.set_ylim(len(classes), 0)
    axes.set_box_aspect(1)
    clean(axes)
    axes.spines[:].set_visible(False)


def _table(
    pairs: Sequence[tuple[Arm, Arm]],
    counted: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    gains: Sequence[Shares],
    classes: Sequence[str],
) -> pd.DataFrame:
    """One row per matrix and cell; `difference` to the twin in the rows of the arm."""
    rows = []
    for pair, counts, gain_CC in zip(pairs, counted, gains, strict=True):
        for arm, counts_CC in zip(pair, counts, strict=True):
            shares_CC = _recall(counts_CC)
            for (i, j), n in np.ndenumerate(counts_CC):
                row = {"arm": arm.name, "true": classes[i], "predicted": classes[j], "n": int(n)}
                difference = float(gain_CC[i, j]) if arm is pair[0] else float("nan")
                rows.append(row | {"share": float(shares_CC[i, j]), "difference": difference})
    return pd.DataFrame(rows)
