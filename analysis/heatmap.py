"""Mask ratio × intensity temperature: where on the grid is the arm better than its twin?"""

from __future__ import annotations

__all__ = ["draw_heatmaps"]

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.figures import Drawing
from analysis.load import Arm
from analysis.svg import INK, PAPER, styled, text_on

RATIO, TEMPERATURE, SPAN = "masking.ratio", "masking.temperature", "masking.span"
SHOWN = (RATIO, TEMPERATURE, SPAN, "masking.policy", "upstream")
"""Axes that are a direction or the title; every other one makes panels of its own."""
PER_ROW = 3
COLOURS = "PuOr"


def draw_heatmaps(comparisons: pd.DataFrame, arms: Mapping[str, Arm]) -> list[Drawing]:
    """UA difference to the twin over ratio × temperature, one figure per upstream, in it one panel per span (and per
    value of any other axis).

    An upstream whose compared arms do not vary the ratio or the temperature has none: control arms, arms without these
    axes and policies without a temperature are in no cell.
    """
    upstreams = list(dict.fromkeys(arm.upstream for arm in arms.values()))
    found = {upstream: _cells(comparisons, arms, upstream) for upstream in upstreams}
    return [
        _draw(cells, upstream if len(upstreams) > 1 else None)
        for upstream, cells in found.items()
        if not cells.empty and max(cells["ratio"].nunique(), cells["temperature"].nunique()) > 1
    ]


def _draw(cells: pd.DataFrame, upstream: str | None) -> Drawing:
    panels = list(dict.fromkeys(cells["panel"]))
    columns = min(PER_ROW, len(panels))
    bound = 100 * max(float(cells["difference"].abs().max()), 0.01) if cells["difference"].notna().any() else 1.0
    ratios, temperatures = sorted(cells["ratio"].unique()), sorted(cells["temperature"].unique())
    with styled():
        size = (1.2 + columns * (0.85 * len(temperatures) + 0.3), 0.9 + 0.55 * len(ratios))
        rows = math.ceil(len(panels) / columns)
        figure = Figure(figsize=(size[0], rows * size[1]), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _panel(axes, cells[cells["panel"] == panel], (ratios, temperatures), bound)
            axes.set_title(panel)
            axes.set_xlabel("temperature τ")
        for axes in grid[:, 0]:
            axes.set_ylabel("mask ratio")
    return Drawing(
        name=f"heatmap-{upstream}" if upstream else "heatmap",
        title="UA difference to the twin over mask ratio and intensity temperature"
        + (f", {upstream}" if upstream else ""),
        caption="Percentage points, signed: orange and minus below the twin, purple and plus above. A dot marks cells "
        "whose 95 % interval excludes zero; a dash marks missing cells. The interval is not corrected for the number "
        "of cells: with twenty of them, one is expected to stand out by chance.",
        figure=figure,
        data=cells.drop(columns="panel"),
    )


def _cells(comparisons: pd.DataFrame, arms: Mapping[str, Arm], upstream: str) -> pd.DataFrame:
    rows = []
    own = comparisons[(comparisons["metric"] == "ua") & (comparisons["kind"] == "twin")]
    for row in own.to_dict("records"):
        axes = arms[row["arm_key"]].axes
        if arms[row["arm_key"]].upstream != upstream or axes.get(RATIO) is None or axes.get(TEMPERATURE) is None:
            continue
        others = {key: value for key, value in axes.items() if key not in SHOWN}
        span = [f"span {axes[SPAN]}"] if SPAN in axes else []
        rows.append(
            {
                "panel": ", ".join([*span, *(f"{key} {value}" for key, value in others.items())]),
                "arm": row["arm"],
                "span": axes.get(SPAN),
                "ratio": float(str(axes[RATIO])),
                "temperature": float(str(axes[TEMPERATURE])),
                **{name: row[name] for name in ("difference", "ci_low", "ci_high")},
            }
        )
    return pd.DataFrame(rows, columns=None if rows else ["ratio", "temperature", "difference"])


def _panel(axes: Axes, cells: pd.DataFrame, ticks: tuple[list[float], list[float]], bound: float) -> None:
    ratios, temperatures = ticks
    values = np.full((len(ratios), len(temperatures)), np.nan)
    text = {(i, j): "–" for i in range(len(ratios)) for j in range(len(temperatures))}
    for row in cells.to_dict("records"):
        place = (ratios.index(row["ratio"]), temperatures.index(row["temperature"]))
        values[place] = 100 * row["difference"]
        if not math.isnan(row["difference"]):
            clear = row["ci_low"] > 0 or row["ci_high"] < 0
            text[place] = f"{values[place]:+.1f}".replace("-", "−") + (" •" if clear else "")
    mesh = axes.pcolormesh(np.ma.masked_invalid(values), cmap=COLOURS, vmin=-bound, vmax=bound, edgecolors=PAPER)
    for (i, j), label in text.items():
        missing = math.isnan(values[i, j])
        if missing:
            axes.add_patch(Rectangle((j, i), 1, 1, fill=False, hatch="///", linewidth=0))
        colour = INK if missing else text_on(np.asarray(mesh.to_rgba(values[i, j])))
        axes.text(j + 0.5, i + 0.5, label, ha="center", va="center", color=colour)
    axes.set_xticks(np.arange(len(temperatures)) + 0.5, ["∞" if math.isinf(t) else f"{t:g}" for t in temperatures])
    axes.set_yticks(np.arange(len(ratios)) + 0.5, [f"{100 * ratio:g} %" for ratio in ratios])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
