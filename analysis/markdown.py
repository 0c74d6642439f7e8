"""The tables as Markdown, in percent: `results.md`, and what the terminal shows."""

from __future__ import annotations

__all__ = ["markdown_text", "tables_text"]

from collections.abc import Sequence

import pandas as pd

from analysis.cells import difference_cells, pairs_cell, score_cells, summary_cell, trials_cell
from analysis.content import Report
from analysis.pretraining import QUARTERS, loss_table
from analysis.published import PROTOCOL_NOTE
from analysis.tables import as_rows
from analysis.wording import DASH, count, loss, percent

Table = list[list[str]]


def markdown_text(report: Report) -> str:
    """`results.md`: `tables_text` and, set apart, what others have published on the corpus."""
    return "\n\n".join([tables_text(report), *_published(report)]) + "\n"


def tables_text(report: Report) -> str:
    """Notes and tables as Markdown, percent with one decimal; also what the terminal shows."""
    parts = [f"# Sweep {report.name}", *(f"> **{banner.text}**" for banner in report.banners), *report.key_results]
    parts += [report.tally, *report.floor, "## Results", _markdown(_results(report))]
    tables = {
        "Differences to the twin": ([], _differences(report.comparisons)),
        "Is it the emotion?": ([" ".join(said) for said in report.specificity], _controls(report)),
        "What each change does": (report.changes_said, _changes(report)),
        "Nominal against realised": ([], _policies(report)),
        "Pre-training": ([report.measured], _losses(report)),
    }
    for title, (said, table) in tables.items():
        if len(table) > 1:
            parts += [f"## {title}", *said, _markdown(table)]
    return "\n\n".join(part for part in parts if part)


def _results(report: Report) -> Table:
    return [
        ["arm", "twin", "trials", "UA %", "WA %", "F1 %", "realised ratio %"],
        *(
            [row["arm"], row["twin"] or "", trials_cell(row), *score_cells(row), percent(row["realised_ratio"])]
            for row in as_rows(report.results)
        ),
    ]


def _differences(comparisons: pd.DataFrame) -> Table:
    return [
        ["arm", "twin", "metric", "pairs", "difference (points)", "95 % interval", "p", "p (max-T)"],
        *(
            [row["arm"], row["twin"], row["metric"].upper(), pairs_cell(row), *difference_cells(row)]
            for row in as_rows(comparisons[comparisons["kind"] == "twin"])
        ),
    ]


def _controls(report: Report) -> Table:
    return [
        ["arm", "control", "arm − twin", "arm − control", "control − twin", "reading"],
        *(
            [
                one.arm["arm"],
                one.name,
                *map(summary_cell, (one.against_twin, one.against_control, one.control_against_twin)),
                one.reading,
            ]
            for one in report.controls
        ),
    ]


def _changes(report: Report) -> Table:
    head = ["change", "arm", "against", "realised ratio %", "against %", "UA difference (points)", "95 % interval"]
    return [
        ["upstream", *head, "p", "p (max-T)"],
        *(
            [
                *(row["upstream"], row["name"], row["arm"], row["twin"]),
                *map(percent, (row["realised_ratio"], row["against_realised_ratio"])),
                *difference_cells(row),
            ]
            for row in report.changes
        ),
    ]


def _policies(report: Report) -> Table:
    return [
        ["upstream", "policy", "control", "nominal %", "span", "arms", "realised %", "of nominal %"],
        *(
            [
                *(row["upstream"], row["policy"], row["control"], percent(row["nominal_ratio"])),
                DASH if row["span"] is None else str(row["span"]),
                str(row["arms"]),
                percent(row["realised_ratio"]),
                percent(row["kept"], 0),
            ]
            for row in as_rows(report.policies)
        ),
    ]


def _losses(report: Report) -> Table:
    return [
        ["arm", "training loss", "validation loss", "Q1, least intense", "Q2", "Q3", "Q4, most intense"],
        *(
            [row["arm"], *(loss(row[name]) for name in ("pretrain_loss", "validation_loss", *QUARTERS))]
            for row in as_rows(loss_table(report.results))
        ),
    ]


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*escaped, strict=True)]
    ruled = [escaped[0], ["-" * max(3, width) for width in widths], *escaped[1:]]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in ruled]
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


def _published(report: Report) -> list[str]:
    if not report.published:
        return []
    rows = [
        ["system", "protocol", "UA %", "WA %", "F1 %", "source"],
        *(
            [row.system, row.protocol, percent(row.ua), percent(row.wa), percent(row.macro_f1), row.source]
            for row in report.published
        ),
    ]
    title = f"## Published elsewhere ({count(len(report.published), 'result')} on the same corpus)"
    return [title, PROTOCOL_NOTE, _markdown(rows)]
