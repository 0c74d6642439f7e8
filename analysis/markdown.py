"""The tables as Markdown, in percent: `results.md`, and what the terminal shows."""

from __future__ import annotations

__all__ = ["markdown_text", "tables_text", "with_masks"]

from collections.abc import Sequence

import pandas as pd

from analysis.cells import ccc_cells, difference_cells, pairs_cell, score_cells, summary_cell, trials_cell
from analysis.content import Report
from analysis.counts import counted_rows
from analysis.load import EMS
from analysis.measures import MEASURES, measure_of
from analysis.pretraining import QUARTERS, loss_table, one_per_upstream
from analysis.published import PROTOCOL_NOTE
from analysis.tables import RELEASED_NOTE, as_rows
from analysis.wording import DASH, count, joined, loss, percent

Table = list[list[str]]
UNITS = {"ua": "UA difference (points)", "ccc_mean": "mean CCC difference"}
"""Of the changes, where all are in one metric."""


def markdown_text(report: Report) -> str:
    """`results.md`: `tables_text` and, set apart, what others have published on the corpus."""
    return "\n\n".join([tables_text(report), *_published(report)]) + "\n"


def tables_text(report: Report) -> str:
    """Notes and tables as Markdown, percent with one decimal; also what the terminal shows."""
    parts = [f"# Sweep {report.name}", *(f"> **{banner.text}**" for banner in report.banners), *report.key_results]
    parts += [report.tally, *report.floor, "## Results", _markdown(_results(report))]
    parts += [f"Reference: {RELEASED_NOTE}."] if "validation_test_ua" in report.results else []
    shares = report.comparisons["metric"].isin([name for name, measure in MEASURES.items() if measure.is_share])
    tables = {
        "Differences to the twin": ([], _differences(report.comparisons[shares], "difference (points)")),
        "Differences to the twin in CCC": ([], _differences(report.comparisons[~shares], "difference")),
        "Is it the emotion?": ([" ".join(said) for said in report.specificity], _controls(report)),
        "What each change does": (report.changes_said, _changes(report)),
        "Nominal against realised": ([], _policies(report)),
        "Pre-training": ([report.measured], _losses(report)),
        "Set aside, fallen back on or hidden": ([], _counts(report)),
    }
    for title, (said, table) in tables.items():
        if len(table) > 1:
            parts += [f"## {title}", *said, _markdown(table)]
    return "\n\n".join(part for part in parts if part)


def _results(report: Report) -> Table:
    """Columns of what no arm of the sweep can have are left out; those of EMS are always there."""
    answers, several = report.sweep.answers, len(report.sweep.systems) > 1
    has = {
        "classes": "classes" in answers, "dimensions": "dimensions" in answers,
        "masks": with_masks(report),
        "released": "validation_test_ua" in report.results,
    }  # fmt: skip
    head = [*(["system"] if several else []), "arm", "twin", "trials"]
    head += ["UA %", "WA %", "F1 %"] if has["classes"] else []
    head += ["CCC, mean", "CCC, activation", "CCC, valence", "CCC, dominance"] if has["dimensions"] else []
    head += ["realised ratio %"] if has["masks"] else []
    head += [f"reference: (validation + test) / 2, {name} %" for name in ("UA", "WA") if has["released"]]
    rows = []
    for row in as_rows(report.results):
        cells = [*([row["system"]] if several else []), row["arm"], row["twin"] or "", trials_cell(row)]
        cells += score_cells(row) if has["classes"] else []
        cells += ccc_cells(row) if has["dimensions"] else []
        cells += [percent(row["realised_ratio"])] if has["masks"] else []
        rows.append(cells + [percent(row[f"validation_test_{name}"]) for name in ("ua", "wa") if has["released"]])
    return [head, *rows]


def with_masks(report: Report) -> bool:
    """Whether columns about masks have anything to say."""
    return EMS in report.sweep.systems or bool(report.results["realised_ratio"].notna().any())


def _differences(comparisons: pd.DataFrame, unit: str) -> Table:
    return [
        ["arm", "twin", "metric", "pairs", unit, "95 % interval", "p", "p (max-T)"],
        *(
            [row["arm"], row["twin"], measure_of(row).said, pairs_cell(row), *difference_cells(row)]
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
    metrics = {row["metric"] for row in report.changes} or {"ua"}
    unit = UNITS[min(metrics)] if len(metrics) == 1 else "difference (points of UA, or mean CCC)"
    shares = ("realised_ratio", "against_realised_ratio") if with_masks(report) else ()
    head = ["change", "arm", "against", *(["realised ratio %", "against %"] if shares else []), unit, "95 % interval"]
    return [
        ["upstream", *head, "p", "p (max-T)"],
        *(
            [
                *(row["upstream"], row["name"], row["arm"], row["twin"]),
                *(percent(row[name]) for name in shares),
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
            for row in as_rows(loss_table(one_per_upstream(report.results, report.sweep)))
        ),
    ]


def _counts(report: Report) -> Table:
    rows = [[row["what"], row["n"], joined(row["arms"])] for row in counted_rows(report.counts)]
    return [["what", "in each trial", "arms"], *rows]


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
