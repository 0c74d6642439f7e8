"""Forest plots: differences with their intervals, arm by arm, and how much each allows one to say."""

from __future__ import annotations

__all__ = ["draw_changes", "draw_differences"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.answers import Answers
from analysis.comparisons import METRICS
from analysis.figures import DOUBLE, ROW_INCHES, Drawing, Sheet, clean, draw_spans, name_rows, sheets
from analysis.load import Arm
from analysis.measures import MEASURES
from analysis.paired import Metric
from analysis.standing import is_shown, standing
from analysis.svg import ACCENT, GRID, INK, MUTED, PAPER, styled
from analysis.tables import as_rows

Row = Mapping[str, Any]
Fill = Literal["full", "left", "none"]

COLUMNS = ["arm", "twin", "metric", "n_pairs", "n_seeds", "difference", "ci_low", "ci_high", "p", "p_corrected"]
CAPTION = (
    "Mean of the paired seed × fold cells, {unit}, with 95 % intervals over speakers. Filled: the "
    "interval excludes zero and the corrected test confirms it. Half: the interval alone excludes zero, a sign and not "
    "proof. Open: it does not, or there are too few speakers for an interval. Right of the line the arm is better than "
    "{other}. Intervals are not corrected for the number of {many}. At the right: seeds that both have, of those "
    "planned."
)
UNITS: dict[Answers, str] = {"classes": "in percentage points", "dimensions": "in units of CCC"}
SUFFIXES: dict[Answers, str] = {"classes": "", "dimensions": "-ccc"}
NOTES: dict[Answers, str] = {"classes": "", "dimensions": ", CCC"}
FILLS: dict[Fill, str] = {"full": "interval and corrected test", "left": "interval alone", "none": "neither"}
"""Fill of a mark → what speaks for a difference: told apart in grey."""


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """An arm and what it is held against; `rows`: metric → row of comparisons."""

    arm_key: str
    twin_key: str
    heading: str
    rows: dict[Metric, Row] = field(default_factory=dict)

    @property
    def primary(self) -> Row:
        """Its row in the metric of the first panel."""
        return next(iter(self.rows.values()))


def draw_differences(comparisons: pd.DataFrame, arms: Mapping[str, Arm]) -> list[Drawing]:
    """Difference of every arm to its twin, metrics side by side; arms that share a twin stand together under it.

    A twin differs in the thing under test alone, so such a group is one upstream, ratio and span. As many figures as
    the arms fill, those of arms that answer with dimensions apart; none when no pair has a value.
    """
    data = comparisons[comparisons["kind"] == "twin"]
    return [drawing for answers in METRICS for drawing in _of_answers(data, arms, answers)]


def _of_answers(comparisons: pd.DataFrame, arms: Mapping[str, Arm], answers: Answers) -> list[Drawing]:
    pairs = _pairs(comparisons[comparisons["metric"].isin(METRICS[answers])], "twin")
    twins = list(dict.fromkeys(pair.twin_key for pair in pairs))
    if len(twins) == len(pairs):
        pairs = [_Pair(arm_key=pair.arm_key, twin_key=pair.twin_key, heading="", rows=pair.rows) for pair in pairs]
    groups = list(dict.fromkeys(arm.group for arm in arms.values()))
    pairs.sort(key=lambda pair: (groups.index(arms[pair.arm_key].group), twins.index(pair.twin_key)))
    said = CAPTION.format(other="its twin", many="arms", unit=UNITS[answers])
    return _drawings(
        f"differences{SUFFIXES[answers]}", f"Difference of each arm to its twin{NOTES[answers]}", said, pairs=pairs,
        what="arm − twin",
    )  # fmt: skip


def draw_changes(comparisons: pd.DataFrame) -> list[Drawing]:
    """The contrasts that the definition names, each under its name. Empty when no contrast has a value."""
    data = comparisons[comparisons["kind"] == "contrast"]
    found = []
    for answers in METRICS:
        pairs = _pairs(data[data["metric"].isin(METRICS[answers])], "name")
        headings = list(dict.fromkeys(pair.heading for pair in pairs))
        pairs.sort(key=lambda pair: headings.index(pair.heading))
        said = CAPTION.format(other="the one it is held against", many="changes", unit=UNITS[answers])
        name, title = f"changes{SUFFIXES[answers]}", f"Named changes{NOTES[answers]}"
        found += _drawings(name, title, said, pairs=pairs, what="difference")
    return found


def _pairs(data: pd.DataFrame, heading: Literal["twin", "name"]) -> list[_Pair]:
    """Pairs in the order of the table; empty when none has a value."""
    found: dict[tuple[str, str, str], _Pair] = {}
    for row in as_rows(data):
        key = (row["name"], row["arm_key"], row["twin_key"])
        said = f"against {row['twin']}" if heading == "twin" else str(row["name"])
        pair = found.setdefault(key, _Pair(arm_key=key[1], twin_key=key[2], heading=said))
        pair.rows[row["metric"]] = row
    return [] if data["difference"].isna().all() else list(found.values())


def _drawings(name: str, title: str, caption: str, *, pairs: Sequence[_Pair], what: str) -> list[Drawing]:
    columns = ["name", *COLUMNS] if name.startswith("changes") else COLUMNS
    return [
        Drawing(
            name=f"{name}{sheet.suffix}",
            title=f"{title}{sheet.note}",
            caption=caption,
            figure=_named(pairs[sheet.rows], what) if sheet.named else _crowd(pairs, sheet, what),
            data=pd.DataFrame([row for pair in pairs[sheet.rows] for row in pair.rows.values()], columns=columns),
        )
        for sheet in sheets(len(pairs))
    ]


def _named(pairs: Sequence[_Pair], what: str) -> Figure:
    """A line for every pair, under headings."""
    lines: list[tuple[str, _Pair | None]] = []
    for place, pair in enumerate(pairs):
        if pair.heading and (place == 0 or pairs[place - 1].heading != pair.heading):
            lines.append((pair.heading, None))
        lines.append((str(pair.primary["arm"]), pair))
    placed = [(y, pair) for y, (_, pair) in enumerate(lines) if pair is not None]
    figure, panels = _panels(placed, what, height=ROW_INCHES * len(lines))
    name_rows(panels[0], [label for label, _ in lines], named=True)
    for (_, held), label in zip(lines, panels[0].get_yticklabels(), strict=True):
        label.set_color(MUTED if held is None else INK)
    _seeds(panels[-1], [(y, pair.primary) for y, pair in placed])
    return figure


def _crowd(pairs: Sequence[_Pair], sheet: Sheet, what: str) -> Figure:
    """All pairs in the order of their difference in the first metric; those without one last."""
    ordered = sorted(pairs, key=lambda pair: -(pair.primary["difference"] or 0.0))
    ordered.sort(key=lambda pair: pair.primary["difference"] is None)
    figure, panels = _panels(list(enumerate(ordered)), what, height=sheet.height)
    name_rows(panels[0], [pair.heading for pair in ordered], named=False)
    return figure


def _panels(placed: Sequence[tuple[int, _Pair]], what: str, *, height: float) -> tuple[Figure, list[Axes]]:
    with styled():
        figure = Figure(figsize=(DOUBLE, 0.85 + height), layout="constrained")
        metrics = list(placed[0][1].rows)
        panels = list(figure.subplots(1, len(metrics), sharey=True))
        dense = len(placed) > 2 * height / ROW_INCHES
        for axes, metric in zip(panels, metrics, strict=True):
            measure = MEASURES[metric]
            _forest(axes, [(y, pair.rows[metric]) for y, pair in placed], dense=dense, scale=measure.scale)
            short = measure.said.removeprefix("CCC of ")
            axes.set_xlabel(f"{measure.said}: {what} (points)" if measure.is_share else f"{short}:\n{what}")
        figure.legend(handles=_legend(), loc="outside upper left", ncols=3)
    return figure, panels


def _forest(axes: Axes, rows: Sequence[tuple[int, Row]], *, dense: bool, scale: float) -> None:
    axes.axvline(0, color=INK, linewidth=0.8)
    there = [(y, row) for y, row in rows if row["difference"] is not None]
    for y, row in [] if dense else rows:
        if row["difference"] is None:
            axes.text(0, y, "  missing", color=MUTED, va="center", fontsize=7)
    # In a crowd the intervals stand back, or the marks are lost among them.
    colour, width = (GRID, 0.5) if dense else (ACCENT, 1.3)
    bounded = [(y, scale * row["ci_low"], scale * row["ci_high"]) for y, row in there if row["ci_low"] is not None]
    if bounded:
        places, low, high = zip(*bounded, strict=True)
        draw_spans(axes, low, high, places, colour=colour, width=width)
    for fill in FILLS:
        own = [(scale * row["difference"], y) for y, row in there if _fill(row) == fill]
        if own:
            axes.add_line(_marker(fill, *zip(*own, strict=True), size=2 if dense and fill == "none" else 5))
    axes.autoscale_view()
    axes.grid(axis="x")
    clean(axes)


def _fill(row: Row) -> Fill:
    found = standing(row)
    return "full" if is_shown(found) else "none" if found == "open" else "left"


def _marker(fill: Fill, x: Sequence[float] = (), y: Sequence[float] = (), *, size: float = 5) -> Line2D:
    # An open mark is filled with paper, so that the interval does not run through it.
    inside = PAPER if fill == "none" else ACCENT
    return Line2D(
        x, y, linestyle="", marker="o", markersize=size, markeredgewidth=min(1.1, size / 4), color=ACCENT,
        markerfacecolor=inside, markerfacecoloralt=PAPER, fillstyle="left" if fill == "left" else "full",
    )  # fmt: skip


def _legend() -> list[Line2D]:
    handles = [_marker(fill) for fill in FILLS]
    for handle, text in zip(handles, FILLS.values(), strict=True):
        handle.set_label(text)
    return handles


def _seeds(axes: Axes, rows: Sequence[tuple[int, Row]]) -> None:
    """A column of texts right of a panel: seeds that both have, of those planned."""
    for y, row in rows:
        text = f"{row['n_seeds']}/{row['n_seeds_expected']}"
        axes.annotate(
            text, (1.0, y), xycoords=("axes fraction", "data"), xytext=(22, 0), textcoords="offset points",
            ha="right", va="center", fontsize=7, color=MUTED, annotation_clip=False,
        )  # fmt: skip
    axes.annotate(
        "seeds", (1.0, 0.0), xycoords="axes fraction", xytext=(22, -6), textcoords="offset points",
        ha="right", va="top", fontsize=7, color=MUTED,
    )  # fmt: skip
