"""`index.html`: one page that needs nothing else — styles, script and figures are inside, nothing is loaded."""

from __future__ import annotations

__all__ = ["html_text"]

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.comparisons import RESAMPLES
from analysis.content import Report
from analysis.figures import Drawing
from analysis.published import PROTOCOL_NOTE
from analysis.sentences import METRIC_DEFINITIONS
from analysis.svg import inline_svg, svg_text
from analysis.tables import as_rows
from analysis.wording import count, joined, mean_sd, p_value, percent, points

TEMPLATES = Path(__file__).with_name("templates")


def html_text(report: Report, *, svgs: dict[str, str] | None = None) -> str:
    """The whole page. `svgs`: figure name → SVG document, where they were made already."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = {"percent": percent, "points": points, "mean_sd": mean_sd, "p_value": p_value, "joined": joined}
    environment.filters |= words
    environment.globals["count"] = count
    documents = svgs or {drawing.name: svg_text(drawing.figure) for drawing in report.drawings}
    return environment.get_template("index.html").render(
        report=report,
        style=_raw("style.css"),
        script=_raw("sort.js"),
        results=as_rows(report.results),
        comparisons=as_rows(report.comparisons),
        figures=[(drawing, _inline(drawing, documents[drawing.name])) for drawing in report.drawings],
        definitions=METRIC_DEFINITIONS,
        protocol_note=PROTOCOL_NOTE,
        resamples=RESAMPLES,
    )


def _inline(drawing: Drawing, document: str) -> Markup:
    label = str(escape(f"{drawing.title}. {drawing.caption}"))
    return Markup(inline_svg(document, name=f"fig-{drawing.name}", label=label))  # our own SVG, text escaped in it


def _raw(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
