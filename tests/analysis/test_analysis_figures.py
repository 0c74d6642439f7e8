"""Figures as files: paper size, the same bytes, sheets, and a page's copy of them."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from synthetic_sweep import SyntheticSweep, grid, published_arms, published_contrasts

from analysis.content import gather
from analysis.figures import DOUBLE, MAX_ROWS, SINGLE, Drawing, draw_spans, name_rows, sheets, shortened
from analysis.load import load_sweep, open_test
from analysis.svg import inline_svg, pdf_bytes, styled, svg_text

POINTS = 72
TALLEST = 9.5
"""Of a figure on a page of a paper, inches."""


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Drawing, ...]:
    arms = (*published_arms("mockingjay"), *grid((0.15, 0.3), (1.0, "inf"), (7,)))
    contrasts = tuple(published_contrasts("mockingjay"))
    root = tmp_path_factory.mktemp("sweep")
    written = SyntheticSweep(root=root, arms=arms, contrasts=contrasts, seeds=(0,), sessions=2).write()
    sweep = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)
    return gather(sweep, open_test(sweep), opening=None, resamples=200).drawings


def test_every_figure_has_the_width_of_a_column_and_fits_a_page(drawings: tuple[Drawing, ...]) -> None:
    names = [drawing.name for drawing in drawings]
    assert len(names) == len(set(names))
    assert {"differences", "changes", "confusions", "speakers", "ratios", "pretraining"} <= set(names)
    for drawing in drawings:
        width, height = drawing.figure.get_size_inches()
        assert width <= DOUBLE, drawing.name
        assert height <= TALLEST, drawing.name
        root = ElementTree.fromstring(svg_text(drawing.figure))
        assert root.attrib["width"] == f"{width * POINTS:g}pt"
    box = re.search(rb"/MediaBox \[([^\]]+)\]", pdf_bytes(drawing.figure))
    assert box
    assert [float(side) for side in box[1].split()[2:]] == pytest.approx([width * POINTS, height * POINTS], abs=0.01)


def test_no_type_is_smaller_than_six_points(drawings: tuple[Drawing, ...]) -> None:
    for drawing in drawings:
        for text in drawing.figure.findobj(lambda each: hasattr(each, "get_fontsize")):
            assert text.get_fontsize() >= 6 or not text.get_text(), (drawing.name, text.get_text())  # type: ignore[attr-defined]


def test_the_same_figure_gives_the_same_bytes_in_either_order() -> None:
    def drawn() -> Figure:
        with styled():
            figure = Figure(figsize=(SINGLE, 2), layout="constrained")
            axes = figure.subplots()
            axes.plot([0, 1], [0, 1], "o", label="a")
            axes.imshow(np.eye(3))
            axes.set_ylabel("a long label that needs its room")
        return figure

    first, second = drawn(), drawn()
    svg, pdf = svg_text(first), pdf_bytes(first)
    assert (pdf_bytes(second), svg_text(second)) == (pdf, svg)
    assert b"CreationDate" not in pdf


@pytest.mark.parametrize("rows", [1, MAX_ROWS, MAX_ROWS + 1, 2 * MAX_ROWS, 2 * MAX_ROWS + 1, 5000])
def test_sheets_hold_every_row_once_and_never_more_than_a_page(rows: int) -> None:
    found = sheets(rows)
    assert [place for sheet in found for place in range(rows)[sheet.rows]] == list(range(rows))
    assert all(sheet.height <= TALLEST for sheet in found)
    assert all(sheet.named for sheet in found) == (rows <= 2 * MAX_ROWS)
    assert len({sheet.suffix for sheet in found}) == len(found) <= 2
    if all(sheet.named for sheet in found):
        assert max(sheet.rows.stop - sheet.rows.start for sheet in found) <= MAX_ROWS


def test_no_rows_have_no_sheet() -> None:
    assert sheets(0) == []


def test_a_crowd_has_its_number_in_place_of_names() -> None:
    axes = Figure().subplots()
    name_rows(axes, ["a"] * 1200, named=False)
    assert (list(axes.get_yticks()), axes.get_ylabel()) == ([], "1,200 arms")
    name_rows(axes, ["a", "b" * 60], named=True)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", shortened("b" * 60)]
    assert axes.get_ylim() == (1.6, -0.6), "the first row is on top"


def test_spans_are_one_path_with_gaps() -> None:
    axes = Figure().subplots()
    draw_spans(axes, [1.0, np.nan], [2.0, 3.0], [0, 1], colour="k", width=1)
    (line,) = axes.lines
    x, y = (np.asarray(values, dtype=float) for values in line.get_data())
    assert np.array_equal(x, [1, 2, np.nan, np.nan, 3, np.nan], equal_nan=True)
    assert list(y) == [0, 0, 0, 1, 1, 1]


def test_a_page_holds_a_smaller_copy_that_says_the_same() -> None:
    with styled():
        figure = Figure(figsize=(SINGLE, 2))
        axes = figure.subplots()
        axes.plot(np.linspace(0, 1, 50), np.linspace(0, 1, 50) ** 2, "o")
        axes.set_title("r0.123456 <kept>")
    document = svg_text(figure)
    inside = inline_svg(document, name="one", label="A figure")
    assert len(inside) < 0.7 * len(document)
    assert "r0.123456 &lt;kept&gt;" in inside, "numbers in texts are no places"
    assert inside.count("<use") == document.count("<use")
    places = [re.findall(r'<use [^>]*x="([\d.]+)"', text) for text in (document, inside)]
    assert [float(x) for x in places[1]] == pytest.approx([float(x) for x in places[0]], abs=0.011)
    assert ElementTree.fromstring(inside.replace("xlink:href", "href")).attrib["role"] == "img"
    assert all(found.startswith("one-") for found in re.findall(r'\bid="([^"]+)"', inside))


def test_report_lists_every_figure_it_can_draw(drawings: tuple[Drawing, ...]) -> None:
    """A figure that `report.FIGURES` does not know would outlive the report it belongs to."""
    from analysis.report import FIGURES

    known = [Path(drawing.name) for drawing in drawings]
    assert all(any(name.match(pattern) for pattern in FIGURES) for name in known)
