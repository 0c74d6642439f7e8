"""`index.html`: one page that needs nothing else — styles, script and figures are inside, nothing is loaded."""

from __future__ import annotations

__all__ = ["html_text"]

import re
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.comparisons import RESAMPLES
from analysis.content import Report
from analysis.counts import counted_rows
from analysis.figures import Drawing
from analysis.joined import JOINED
from analysis.load import EMS
from analysis.markdown import with_masks
from analysis.masks import RATIO_TOLERANCE, chosen_frames
from analysis.measures import MEASURES, measure_of
from analysis.paragraphs import methods_paragraph, results_paragraph
from analysis.picked import seeds_needed, worth_lines
from analysis.pretraining import QUARTERS, loss_table, measured_frames, measured_with, one_per_upstream
from analysis.published import PROTOCOL_NOTE
from analysis.sentences import METRIC_DEFINITIONS, arms_sentence
from analysis.svg import inline_svg, svg_text
from analysis.systems import definitions
from analysis.tables import RELEASED_NOTE, as_rows
from analysis.verdict import METRICS
from analysis.wording import DASH, count, interval, joined, loss, mean_sd, p_value, percent, points

CONTENTS = Markup("<!-- contents -->")
HEADING = re.compile(r'<h2 id="([^"]+)">(.*?)</h2>')
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
    environment.filters |= words | {"loss": loss, "sortable": _sortable, "setting": _setting, "signed": _signed}
    environment.filters |= {"seeds_needed": seeds_needed, "measure": measure_of, "ccc": MEASURES["ccc_mean"].mean_sd}
    environment.globals |= {"count": count, "interval": interval, "chosen_frames": chosen_frames}
    documents = svgs or {drawing.name: svg_text(drawing.figure) for drawing in report.drawings}
    text = environment.get_template("index.html").render(
        **_tables(report),
        report=report,
        style=_raw("style.css"),
        script=_raw("page.js"),
        figures=[(drawing, _inline(drawing, documents[drawing.name])) for drawing in report.drawings],
        definitions=definitions(METRIC_DEFINITIONS, report.sweep.systems, report.sweep.answers),
        reading=arms_sentence([arm.name for arm in report.sweep.planned], report.sweep.systems),
        protocol_note=PROTOCOL_NOTE,
        resamples=RESAMPLES,
        contents_mark=CONTENTS,
        joint=JOINED in report.name,
        completing=_completing(report),
    )
    return text.replace(CONTENTS, _contents(text), 1)


def _contents(text: str) -> str:
    """Links to the sections that a page really has."""
    links = [f'<li><a href="#{name}">{title}</a></li>' for name, title in HEADING.findall(text)]
    return "\n".join(["<ul>", *links, "</ul>"])


def _tables(report: Report) -> dict[str, Any]:
    """Rows of the page's tables, and what of the sweep decides which columns they have."""
    upstreams = report.sweep.upstreams
    apart = one_per_upstream(report.results, report.sweep)
    return {
        "upstreams": upstreams,
        "several": len(upstreams) > 1,
        "grouped": len(report.sweep.groups) > 1,
        **_columns(report),
        "audited": _audited(apart, report),
        "counted": counted_rows(report.counts),
        "frames": chosen_frames(upstreams),
        "chosen": list(report.chosen.values()),
        "results": as_rows(report.results),
        "twins": as_rows(report.comparisons[report.comparisons["kind"] == "twin"]),
        "worth": worth_lines(report.picked),
        "changes": [(upstream, list(rows)) for upstream, rows in groupby(report.changes, lambda row: row["upstream"])],
        "policies": as_rows(report.policies),
        "tolerance": RATIO_TOLERANCE,
        "losses": as_rows(loss_table(apart)),
        "quarters": QUARTERS,
        "measured_frames": measured_frames(report.results),
        "measured_with": measured_with(report.results),
        "paragraphs": {"results": results_paragraph(report), "methods": methods_paragraph(report)},
        **_further(report),
    }


def _columns(report: Report) -> dict[str, Any]:
    """What decides which columns the tables of results and differences have, and how they are headed."""
    with_classes, with_ccc = ("classes" in report.sweep.answers, "dimensions" in report.sweep.answers)
    primary = " or ".join([*(["UA"] if with_classes else []), *(["mean CCC"] if with_ccc else [])])
    points = "percentage points" + (" (CCC: in its own units)" if with_ccc else "")
    return {
        "systems": report.sweep.systems if len(report.sweep.systems) > 1 else (),
        "with_classes": with_classes,
        "with_ccc": with_ccc,
        "with_masks": with_masks(report),
        "primary": primary,
        "points_said": points if with_classes else "units of CCC",
        "released_note": RELEASED_NOTE if "validation_test_ua" in report.results else "",
        "concordances": [
            (measure.said, measure.column) for measure in MEASURES.values() if with_ccc and not measure.is_share
        ],
    }


def _audited(apart: pd.DataFrame, report: Report) -> list[dict[str, Any]]:
    """Arms for the audit of masks: those of EMS and imported ones whether they have one or not, others that do."""
    arms = report.sweep.arms
    return [
        row
        for row in as_rows(apart)
        if row["policy"] is not None or arms[row["arm_key"]].system == EMS or arms[row["arm_key"]].external is not None
    ]


def _completing(report: Report) -> list[str]:
    """Commands that run what is absent; pruned trials were given up on purpose."""
    absent = {outcome.status for outcome in report.absent}
    commands = [command for status, command in (("failed", "retry"), ("missing", "resume")) if status in absent]
    return [f"sweep {command} {name}" for name in report.name.split(JOINED) for command in commands]


def _further(report: Report) -> dict[str, Any]:
    """Rows that are worth the page's room; all of them are in the CSV files."""
    verdicts, budgets = report.further.verdicts, report.further.budgets
    # Costs have a ratio; all else is a share.
    shares = verdicts["difference"].notna() & verdicts["ratio"].isna()
    chosen = verdicts["arm_key"].isin(list(report.chosen.values())) & shares
    return {
        "verdicts": [row | {"metric": METRICS[row["metric"]].said} for row in as_rows(verdicts[chosen])],
        "budgets": as_rows(budgets[~budgets["matched"].astype(bool)]),
        "importance": as_rows(report.further.importance),
    }


def _sortable(value: float | str) -> str:
    """A value as the page's script sorts by: six digits tell any two cells apart."""
    return value if isinstance(value, str) else f"{value:.6g}"


def _setting(value: str | None) -> str:
    """A temperature of the tables (`1.0`, `inf`) as it is written on figures."""
    return DASH if value is None else f"{float(value):g}".replace("inf", "∞")


def _signed(value: float | None) -> str:
    """Two decimals with a sign, but for zero."""
    text = DASH if value is None else f"{value:+.2f}".replace("-", "−")
    return text.lstrip("+−") if not text.strip("+−0.") else text


def _inline(drawing: Drawing, document: str) -> Markup:
    label = str(escape(drawing.title))  # the caption stands beside it
    return Markup(inline_svg(document, name=f"fig-{drawing.name}", label=label))  # our own SVG, text escaped in it


def _raw(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
