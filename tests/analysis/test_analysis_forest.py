"""Forest plots: every pair in its group, with its interval, its standing and its seeds."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import MAX_ROWS
from analysis.forest import draw_changes, draw_differences
from analysis.load import Arm
from analysis.svg import ACCENT, PAPER

NAN = math.nan
SHOWN, LEANS, OPEN = (0.02, 0.06, 0.01), (0.02, 0.06, 0.2), (-0.02, 0.10, 0.4)
"""Interval and corrected p."""


def pair(arm: str, twin: str, found: tuple[float, float, float] | None, **changes: Any) -> list[dict[str, Any]]:
    low, high, p = found or (NAN, NAN, NAN)
    row = {"arm": arm, "twin": twin, "arm_key": f"key {arm}", "twin_key": f"key {twin}", "kind": "twin", "name": "twin"}
    row |= {"difference": (low + high) / 2, "ci_low": low, "ci_high": high, "p": p, "p_corrected": p}
    row |= {"n_pairs": 10 if found else 0, "n_seeds": 2 if found else 0, "n_seeds_expected": 3} | changes
    return [row | {"metric": metric} for metric in ("ua", "wa")]


def arms_of(rows: list[dict[str, Any]], upstream: str = "mockingjay") -> dict[str, Arm]:
    return {
        row["arm_key"]: Arm(
            key=row["arm_key"], name=row["arm"], twin_key=row["twin_key"], control="none", axes={}, outcomes=(),
            upstream="npc" if row["arm"].startswith("npc") else upstream,
        )
        for row in rows
    }  # fmt: skip


def labels(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def marks(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """Fill → places of the marks."""
    found: dict[str, list[tuple[float, float]]] = {}
    for line in axes.lines:
        if line.get_marker() != "o":
            continue
        fill = (
            "half"
            if line.get_fillstyle() == "left"
            else {ACCENT: "full", PAPER: "open"}[str(line.get_markerfacecolor())]
        )
        found.setdefault(fill, []).extend(zip(*(map(float, values) for values in line.get_data()), strict=True))  # type: ignore[arg-type]
    return found


def test_arms_of_one_twin_stand_together_and_upstreams_apart() -> None:
    rows = [*pair("npc a", "npc t", SHOWN), *pair("a", "t", OPEN), *pair("b", "u", OPEN), *pair("c", "t", LEANS)]
    arms = arms_of(rows)
    order = ["key a", "key b", "key c", "key npc a"]
    (drawing,) = draw_differences(pd.DataFrame(rows), {key: arms[key] for key in order})
    expected = ["against t", "a", "c", "against u", "b", "against npc t", "npc a"]
    assert labels(drawing.figure) == expected
    assert list(drawing.data.loc[drawing.data["metric"] == "ua", "arm"]) == ["a", "c", "b", "npc a"]


def test_no_headings_where_no_two_arms_share_a_twin() -> None:
    rows = [*pair("a", "t", SHOWN), *pair("b", "u", OPEN)]
    (drawing,) = draw_differences(pd.DataFrame(rows), arms_of(rows))
    assert labels(drawing.figure) == ["a", "b"]


def test_the_fill_says_what_speaks_for_a_difference_and_the_stroke_how_far_it_may_be() -> None:
    rows = [*pair("a", "t", SHOWN), *pair("b", "t", LEANS), *pair("c", "t", OPEN), *pair("d", "t", None)]
    (drawing,) = draw_differences(pd.DataFrame(rows), arms_of(rows))
    for axes in drawing.figure.axes:
        assert marks(axes) == {"full": [(4.0, 1.0)], "half": [(4.0, 2.0)], "open": [(4.0, 3.0)]}
        spans = next(line for line in axes.lines if line.get_marker() == "None" and len(line.get_xdata()) == 9)  # type: ignore[arg-type]
        ends = [float(x) for x in spans.get_xdata() if not math.isnan(float(x))]  # type: ignore[union-attr, arg-type]
        assert ends == pytest.approx([2, 6, 2, 6, -2, 10])
        assert next(text.get_text().strip() for text in axes.texts if "/" not in text.get_text()) == "missing"
    seeds = [text.get_text() for text in drawing.figure.axes[1].texts if "/" in text.get_text()]
    assert seeds == ["2/3", "2/3", "2/3", "0/3"]
    legend = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert legend == ["interval and corrected test", "interval alone", "neither"]


def test_a_difference_without_interval_is_an_open_mark() -> None:
    rows = pair("a", "t", SHOWN, ci_low=NAN, ci_high=NAN, p_corrected=0.001)
    (drawing,) = draw_differences(pd.DataFrame(rows), arms_of(rows))
    assert set(marks(drawing.figure.axes[0])) == {"open"}


def test_nothing_to_show_is_no_figure() -> None:
    rows = pair("a", "t", None)
    assert draw_differences(pd.DataFrame(rows), arms_of(rows)) == []
    assert draw_changes(pd.DataFrame(rows)) == []


def test_changes_stand_under_their_names_and_one_arm_may_have_several() -> None:
    kinds = {"kind": "contrast"}
    rows = [*pair("a", "t", SHOWN, name="which", **kinds), *pair("a", "u", OPEN, name="how many", **kinds)]
    rows += [*pair("npc a", "npc t", LEANS, name="which", **kinds), *pair("x", "t", OPEN)]
    (drawing,) = draw_changes(pd.DataFrame(rows))
    assert labels(drawing.figure) == ["which", "a", "npc a", "how many", "a"]
    assert set(marks(drawing.figure.axes[0])) == {"full", "half", "open"}
    assert list(drawing.data["name"].unique()) == ["which", "how many"]


def test_two_pages_hold_their_arms_by_name_and_a_crowd_stands_in_order_of_ua() -> None:
    def many(number: int) -> list[dict[str, Any]]:
        found = [((place * 7 % number) / 1000, 0.2, 0.4) for place in range(number)]
        return [row for place, each in enumerate(found) for row in pair(f"arm {place}", "t", each)]

    rows = many(MAX_ROWS + 2)
    both = draw_differences(pd.DataFrame(rows), arms_of(rows))
    assert [drawing.name for drawing in both] == ["differences", "differences-2"]
    assert sum(len(drawing.data) for drawing in both) == len(rows)
    assert [labels(drawing.figure)[0] for drawing in both] == ["against t"] * 2, "every sheet has its headings"
    rows = [*many(300), *pair("absent", "t", None)]
    (crowd,) = draw_differences(pd.DataFrame(rows), arms_of(rows))
    (places,) = [spots for fill, spots in marks(crowd.figure.axes[0]).items() if fill == "half"] or [[]]
    found = sorted([*places, *marks(crowd.figure.axes[0]).get("open", [])], key=lambda spot: spot[1])
    assert len(found) == 300
    assert [x for x, _ in found] == sorted((x for x, _ in found), reverse=True)
    assert len(crowd.data) == len(rows), "the CSV has every arm by name"
