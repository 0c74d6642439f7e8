"""The figures of a report. Each is a picture of a small table that is written beside it as CSV (shares, no percent).

Drawn at the size at which a paper prints them: one column or two, type of 7 to 9 points. What differs in colour differs
in shape, fill or hatch too.
"""

from __future__ import annotations

__all__ = [
    "DOUBLE",
    "MAX_ROWS",
    "ROW_INCHES",
    "SINGLE",
    "Drawing",
    "Sheet",
    "clean",
    "draw_spans",
    "name_rows",
    "sheets",
    "shortened",
]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from analysis.svg import MUTED

SINGLE, DOUBLE = 3.4, 7.0
"""Width of one column and of two, inches."""
ROW_INCHES = 0.19
MAX_ROWS = 40
"""Rows of one figure: with headings, legend and axis they fill a page of a paper."""
LABEL_LENGTH = 40


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One figure: its file name without ending, what it shows, and the numbers in it."""

    name: str
    title: str
    caption: str
    figure: Figure
    data: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Rows of a table that fill one figure."""

    rows: slice
    named: bool
    """Whether each row has its name beside it; else the rows are a crowd, to be drawn in the order of their values."""
    suffix: str = ""
    """Of the file name: `-2` for the second."""
    note: str = ""
    """Of the title: empty where one figure holds all by name, else `, part 2 of 2`."""

    @property
    def height(self) -> float:
        """Of its rows, inches."""
        number: int = self.rows.stop - self.rows.start
        return ROW_INCHES * min(number, MAX_ROWS)


def sheets(n_rows: int) -> list[Sheet]:
    """One figure, or two consecutive ones as equal as can be; none of no rows.

    More rows than two pages hold by name are one crowd: a reader sees their spread, and the CSV has their names.

    >>> [sheet.rows for sheet in sheets(61)]
    [slice(0, 30, None), slice(30, 61, None)]
    """
    if n_rows > 2 * MAX_ROWS:
        return [Sheet(rows=slice(0, n_rows), named=False, note=f", all {n_rows:,} arms in the order of their values")]
    if n_rows <= MAX_ROWS:
        return [Sheet(rows=slice(0, n_rows), named=True)] if n_rows else []
    half = n_rows // 2
    return [
        Sheet(rows=slice(0, half), named=True, note=", part 1 of 2"),
        Sheet(rows=slice(half, n_rows), named=True, suffix="-2", note=", part 2 of 2"),
    ]


def name_rows(axes: Axes, names: Sequence[str], *, named: bool) -> None:
    """The names of rows 0, 1, … from the top down; of a crowd, only how many there are."""
    if named:
        axes.set_yticks(range(len(names)), [shortened(name) for name in names])
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(names):,} arms")
    axes.set_ylim(len(names) - 0.4, -0.6)


def draw_spans(axes: Axes, low: ArrayLike, high: ArrayLike, rows: ArrayLike, *, colour: str, width: float) -> None:
    """A horizontal stroke per row as one path (a path each would be most of the file). Empty where an end is NaN."""
    ends = np.column_stack([np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)])
    x = np.column_stack([ends, np.full(len(ends), np.nan)]).ravel()
    axes.plot(x, np.repeat(np.asarray(rows, dtype=np.float64), 3), color=colour, linewidth=width, solid_capstyle="butt")


def shortened(name: str, *, length: int = LABEL_LENGTH) -> str:
    """A name that fits beside an axis: its middle gives way. The CSV has it whole.

    >>> shortened("npc ems_topk loudness r0.15 s7 t1", length=15)
    'npc ems…5 s7 t1'
    """
    if len(name) <= length:
        return name
    head = (length - 1) // 2
    return f"{name[:head]}…{name[len(name) - (length - 1 - head) :]}"


def clean(axes: Axes) -> None:
    """No ticks, no left spine: the labels and the grid say enough."""
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
