"""Mask ratio × intensity temperature: where on the grid is the arm better than its twin?"""

from __future__ import annotations

__all__ = ["draw_heatmaps"]

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from analysis.figures import DOUBLE, Drawing
from analysis.load import Arm
from analysis.standing import is_shown, standing
from analysis.svg import DIVERGING, INK, PAPER, styled, text_on
from analysis.tables import as_rows
from analysis.wording import points

RATIO, TEMPERATURE, SPAN = "masking.ratio", "masking.temperature", "masking.span"
SHOWN = (RATIO, TEMPERATURE, SPAN, "masking.policy", "upstream")
"""Axes that are a direction or the title; every other one makes panels of its own."""
PER_ROW = 3
CELL = (0.5, 0.42)
"""Least width and usual height of a cell, inches: wide enough for `+13.2 •`."""
TALLEST = 7.5
"""Of all cells one above the other: more ratios make flatter cells, without numbers below LEGIBLE."""
LEGIBLE = 0.14
MOST_TICKS = 20


def draw_heatmaps(comparisons: pd.DataFrame, arms: Mapping[str, Arm]) -> list[Drawing]:
    """UA difference to the twin over ratio × temperature, one figure per upstream, in it one panel per span (and per
    value of any other axis).

    An upstream whose compared arms do not vary the ratio or the temperature has none: control arms, arms without these
    axes and policies without a temperature are in no cell.
    """
    compared = comparisons.loc[comparisons["kind"] == "twin", "arm_key"]
    upstreams = list(dict.fromkeys(arms[key].group for key in compared))
    found = {upstream: _cells(comparisons, arms, upstream) for upstream in upstreams}
    return [
        _draw(cells, upstream if len(upstreams) > 1 else None)
        for upstream, cells in found.items()
        if not cells.empty and max(cells["ratio"].nunique(), cells["temperature"].nunique()) > 1
    ]


def _draw(cells: pd.DataFrame, upstream: str | None) -> Drawing:
    panels = list(dict.fromkeys(cells["panel"]))
    bound = 100 * max(float(cells["difference"].abs().max()), 0.01) if cells["difference"].notna().any() else 1.0
    ratios, temperatures = sorted(cells["ratio"].unique()), sorted(cells["temperature"].unique())
    columns = max(1, min(PER_ROW, len(panels), int(DOUBLE / (CELL[0] * len(temperatures) + 0.4))))
    rows = math.ceil(len(panels) / columns)
    tall = min(CELL[1], TALLEST / (rows * len(ratios)))
    with styled():
        width = min(DOUBLE, 0.8 + columns * (0.75 * len(temperatures) + 0.2))
        figure = Figure(figsize=(width, rows * (0.7 + tall * len(ratios))), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _panel(axes, cells[cells["panel"] == panel], (ratios, temperatures), bound, numbers=tall >= LEGIBLE)
            axes.set_title(panel)
            axes.set_xlabel("temperature τ")
        for axes in grid[:, 0]:
            axes.set_ylabel("mask ratio")
    return Drawing(
        name=f"heatmap-{upstream.replace(' ', '-')}" if upstream else "heatmap",
        title="UA difference to the twin over mask ratio and intensity temperature"
        + (f", {upstream}" if upstream else ""),
        caption="Percentage points, signed: orange and minus below the twin, purple and plus above. A dot marks cells "
        "whose 95 % interval excludes zero, a star those that the corrected test confirms; a dash marks missing cells. "
        "The interval is not corrected for the number of cells: with twenty of them, one is expected to stand out by "
        "chance. A grid too fine for numbers has signs in their place, large where there would be a dot.",
        figure=figure,
        data=cells.drop(columns="panel"),
    )


def _cells(comparisons: pd.DataFrame, arms: Mapping[str, Arm], upstream: str) -> pd.DataFrame:
    rows = []
    own = comparisons[(comparisons["metric"] == "ua") & (comparisons["kind"] == "twin")]
    for row in own.to_dict("records"):
        axes = arms[row["arm_key"]].axes
        if arms[row["arm_key"]].group != upstream or axes.get(RATIO) is None or axes.get(TEMPERATURE) is None:
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
                **{name: row[name] for name in ("difference", "ci_low", "ci_high", "p_corrected", "n_seeds")},
            }
        )
    return pd.DataFrame(rows, columns=None if rows else ["ratio", "temperature", "difference"])


def _panel(
    axes: Axes, cells: pd.DataFrame, ticks: tuple[list[float], list[float]], bound: float, *, numbers: bool
) -> None:
    ratios, temperatures = ticks
    values = np.full((len(ratios), len(temperatures)), np.nan)
    signs: dict[tuple[int, int], str] = {}
    for row in as_rows(cells):
        place = (ratios.index(row["ratio"]), temperatures.index(float(row["temperature"])))
        if row["difference"] is not None:
            values[place], signs[place] = row["difference"], _sign(row)
    shown = np.ma.masked_invalid(100 * values)
    mesh = axes.pcolormesh(shown, cmap=DIVERGING, vmin=-bound, vmax=bound, edgecolors=PAPER, linewidth=0.6)
    for i, j in np.argwhere(np.isnan(values)):
        axes.add_patch(Rectangle((j, i), 1, 1, fill=False, hatch="///", linewidth=0))
        if numbers:
            axes.text(j + 0.5, i + 0.5, "–", ha="center", va="center", color=INK)
    colours = {place: text_on(np.asarray(mesh.to_rgba(np.asarray(100 * values[place])))) for place in signs}
    if numbers:
        for (i, j), sign in signs.items():
            text = f"{points(float(values[i, j]))} {sign}".rstrip()
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colours[i, j])
    else:
        _mark(axes, values, signs, colours)
    axes.set_xticks(np.arange(len(temperatures)) + 0.5, ["∞" if math.isinf(t) else f"{t:g}" for t in temperatures])
    every = math.ceil(len(ratios) / MOST_TICKS)
    axes.set_yticks(np.arange(len(ratios))[::every] + 0.5, [f"{100 * ratio:g} %" for ratio in ratios[::every]])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _mark(
    axes: Axes,
    values: NDArray[np.float64],
    signs: Mapping[tuple[int, int], str],
    colours: Mapping[tuple[int, int], str],
) -> None:
    """Where no number fits: a plus or a minus, large where the interval excludes zero; orange is purple in grey."""
    groups: dict[tuple[str, float, str], list[tuple[int, int]]] = {}
    for place, sign in signs.items():
        look = ("+" if values[place] > 0 else "_", 6.0 if sign else 2.0, colours[place])
        groups.setdefault(look, []).append(place)
    for (marker, size, colour), places in groups.items():
        i, j = np.array(places).T
        axes.plot(j + 0.5, i + 0.5, marker, color=colour, markersize=size, markeredgewidth=1.2 if size > 2 else 0.6)


def _sign(row: dict[str, Any]) -> str:
    """What speaks for a difference, in a cell: a star for interval and corrected test, a dot for the interval alone."""
    found = standing(row)
    return "" if found in ("open", "absent") else "★" if is_shown(found) else "•"
