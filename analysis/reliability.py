"""Does a probe that is 80 % sure answer right in 80 % of the cases? Reliability diagrams from the class scores."""

from __future__ import annotations

__all__ = ["BINS", "draw_reliability", "reliability_table"]

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figures import DOUBLE, SINGLE, Drawing, shortened
from analysis.load import Arm
from analysis.svg import ACCENT, INK, MUTED, SECOND, styled
from core.records import read_predictions

BINS = 10
"""Of equal width over [0, 1], as in reliability diagrams since DeGroot & Fienberg (The Statistician 1983)."""
FEW = 10
"""Bins with fewer answers are not drawn: one answer more moves them by ten points and more. The CSV has them."""
SCORE = "score_"
LOOKS = (("o", "-", ACCENT), ("D", "--", SECOND))
"""Mark, line and colour of the arm and of its twin."""


def reliability_table(
    confidence_N: NDArray[np.float64], right_N: NDArray[np.bool_], *, bins: int = BINS
) -> pd.DataFrame:
    """Answers grouped by confidence (score of the predicted class, in [0, 1]) into bins of equal width (low, high].

    Columns: low, high, n, confidence (mean), accuracy (share of right answers); the last two empty where n is 0.
    """
    edges = np.linspace(0, 1, bins + 1)
    places_N = np.clip(np.searchsorted(edges, confidence_N, side="left") - 1, 0, bins - 1)
    n_B = np.bincount(places_N, minlength=bins)
    sums = [np.bincount(places_N, weights=values, minlength=bins) for values in (confidence_N, right_N.astype(float))]
    means = [np.divide(total_B, n_B, out=np.full(bins, np.nan), where=n_B > 0) for total_B in sums]
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n": n_B, "confidence": means[0], "accuracy": means[1]})


def draw_reliability(pairs: Sequence[tuple[Arm, Arm]], *, trials_root: Path) -> Drawing | None:
    """Accuracy over confidence of each arm and its twin, and how often each confidence occurs, one panel per pair.

    All folds and the seeds that both have together. None when a trial's predictions hold no class scores. Reads test
    predictions: call it within an opening that is on record.
    """
    rows = []
    for arm, twin in pairs:
        for own, other in ((arm, twin), (twin, arm)):
            found = _answers(own, other, trials_root)
            if found is None:
                return None
            table = reliability_table(*found)
            table.insert(0, "arm", own.name)
            rows.append(table)
    with styled():
        width = SINGLE if len(pairs) == 1 else DOUBLE
        figure = Figure(figsize=(width, 4.3), layout="constrained")
        grid = figure.subplots(2, len(pairs), sharex=True, sharey="row", squeeze=False, height_ratios=[3, 1])
        for place, pair in enumerate(pairs):
            _panel(grid[0, place], grid[1, place], rows[2 * place : 2 * place + 2])
            if len(pairs) > 1:
                grid[0, place].set_title(pair[0].group)
        grid[0, 0].set_ylabel("right answers (%)")
        grid[1, 0].set_ylabel("of all (%)")
    return Drawing(
        name="reliability",
        title="How sure, and how often right",
        caption="Test answers of all folds and common seeds, grouped by the score of the class that was answered, in "
        f"{BINS} bins of equal width. On the diagonal the probe is as sure as it is right; below it, too sure. Lower "
        f"panel: share of the answers in each bin; bins of fewer than {FEW} have no mark above.",
        figure=figure,
        data=pd.concat(rows, ignore_index=True),
    )


def _answers(arm: Arm, other: Arm, trials_root: Path) -> tuple[NDArray[np.float64], NDArray[np.bool_]] | None:
    """Confidence (N,) and whether the answer is right (N,); None without scores."""
    found = []
    for record in arm.records:
        if record.seed not in other.seeds:
            continue
        frame = read_predictions(trials_root / record.trial_key, split="test")
        columns = [f"{SCORE}{name}" for name in record.corpus.classes]
        if not set(columns) <= set(frame.columns):
            return None
        places_N = pd.Index(record.corpus.classes).get_indexer(pd.Index(frame["predicted"].astype(str)))
        scores_NC = frame[columns].to_numpy(dtype=np.float64)
        confidence_N = scores_NC[np.arange(len(frame)), places_N]
        found.append((confidence_N, (frame["predicted"] == frame["label"]).to_numpy(dtype=np.bool_)))
    confidence, right = (np.concatenate(values) for values in zip(*found, strict=True))
    return confidence, right


def _panel(upper: Axes, lower: Axes, tables: Sequence[pd.DataFrame]) -> None:
    upper.plot([0, 100], [0, 100], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    for (mark, line, colour), table, side in zip(LOOKS, tables, (-1, 1), strict=True):
        label = shortened(str(table["arm"].iloc[0]), length=28)
        there = table[table["n"] >= FEW]
        face = colour if side < 0 else "none"
        upper.plot(
            100 * there["confidence"], 100 * there["accuracy"], marker=mark, linestyle=line, color=colour,
            markerfacecolor=face, markersize=4.5, linewidth=1.1, label=label,
        )  # fmt: skip
        middle, width = 50 * (table["low"] + table["high"]), 100 / len(table) * 0.4
        shares = 100 * table["n"] / table["n"].sum()
        hatch = None if side < 0 else "////"
        lower.bar(
            middle + side * width / 2, shares, width, facecolor=face, edgecolor=colour, hatch=hatch, linewidth=0.7
        )
    upper.set_xlim(0, 100)
    upper.set_ylim(0, 100)
    upper.grid()
    upper.legend(loc="upper left", handlelength=2.6)
    lower.set_xlabel("score of the answer (%)")
    for axes in (upper, lower):
        axes.tick_params(length=0)
        axes.spines[:].set_color(MUTED)
        axes.yaxis.label.set_color(INK)
