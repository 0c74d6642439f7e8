"""The tables as files: Markdown and LaTeX in percent for people, CSV and JSON in shares for programs."""

from __future__ import annotations

__all__ = ["csv_text", "json_text", "latex_text", "markdown_text", "tables_text"]

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.content import Report
from analysis.published import PROTOCOL_NOTE
from analysis.tables import as_rows
from analysis.wording import count, mean_sd, p_value, percent, points

LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",
    "<": r"$<$",
    ">": r"$>$",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "×": r"$\times$",
    "τ": r"$\tau$",
    "∞": r"$\infty$",
    "Δ": r"$\Delta$",
}


def csv_text(table: pd.DataFrame) -> str:
    """A table as CSV, floats written in full, absent values empty."""
    return table.to_csv(index=False, lineterminator="\n")


def json_text(report: Report) -> str:
    """`report.json`: everything on the page, shares in [0, 1], absent values null."""
    return json.dumps(report.as_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def markdown_text(report: Report) -> str:
    """`results.md`: `tables_text` and, set apart, what others have published on the corpus."""
    return "\n\n".join([tables_text(report), *_markdown_published(report)]) + "\n"


def tables_text(report: Report) -> str:
    """Notes, results and comparisons as Markdown, percent with one decimal; also what the terminal shows."""
    results = [
        ["arm", "twin", "trials", "UA %", "WA %", "F1 %", "realised ratio %"],
        *(
            [row["arm"], row["twin"] or "", _trials(row), *_scores(row, digits=1), percent(row["realised_ratio"])]
            for row in as_rows(report.results)
        ),
    ]
    differences = [
        ["arm", "twin", "metric", "pairs", "difference (points)", "95 % interval", "p", "p (Holm)"],
        *(
            [row["arm"], row["twin"], row["metric"].upper(), _pairs(row), *_difference(row, digits=1)]
            for row in as_rows(report.comparisons)
        ),
    ]
    parts = [f"# Sweep {report.name}", *(f"> **{banner.text}**" for banner in report.banners), report.key_result]
    parts += [report.tally, report.floor, "## Results", _markdown(results)]
    if len(differences) > 1:
        parts += ["## Differences to the twin", _markdown(differences)]
    return "\n\n".join(part for part in parts if part)


def latex_text(report: Report) -> str:
    r"""Results with their difference in UA as a `table` (needs `\usepackage{booktabs}`), percent with two decimals."""
    differences = {row["arm_key"]: row for row in as_rows(report.comparisons) if row["metric"] == "ua"}
    lines = []
    for row in as_rows(report.results):
        difference = differences.get(row["arm_key"])
        cells = [row["arm"], _trials(row), *_scores(row, digits=2), percent(row["realised_ratio"], 2)]
        cells += _difference(difference, digits=2) if difference else ["", "", "", ""]
        lines.append(" & ".join(map(_latex, cells)) + r" \\")
    header = ["Arm", "Trials", "UA", "WA", "F1", "Realised ratio", "ΔUA", "95 % interval", "p", "p (Holm)"]
    notes = [banner.text for banner in report.banners]
    caption = f"Sweep {report.name}: percent, mean ± sd over folds and seeds; ΔUA against the twin in points."
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(' '.join([caption, *notes]))}}}",
            rf"\label{{tab:{''.join(c if c.isalnum() else '-' for c in report.name)}}}",
            r"\begin{tabular}{lrrrrrrrrr}",
            r"\toprule",
            " & ".join(map(_latex, header)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _scores(row: dict[str, Any], *, digits: int) -> list[str]:
    return [mean_sd(row[f"{name}_mean"], row[f"{name}_sd"], digits) for name in ("ua", "wa", "f1")]


def _trials(row: dict[str, Any]) -> str:
    text = f"{row['n_trials']}/{row['n_expected']}"
    if row["status"] == "complete":
        return text
    return f"{text} ({row['status']}: no seed {row['missing_seeds'].replace(' ', ', ')})"


def _pairs(row: dict[str, Any]) -> str:
    whole = row["n_seeds"] == row["n_seeds_expected"]
    return str(row["n_pairs"]) + ("" if whole else f" ({row['n_seeds']}/{row['n_seeds_expected']} seeds)")


def _difference(row: dict[str, Any], *, digits: int) -> list[str]:
    low, high = row["ci_low"], row["ci_high"]
    interval = "–" if low is None else f"[{points(low, digits)}, {points(high, digits)}]"
    return [points(row["difference"], digits), interval, p_value(row["p"]), p_value(row["p_corrected"])]


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*escaped, strict=True)]
    ruled = [escaped[0], ["-" * max(3, width) for width in widths], *escaped[1:]]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in ruled]
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


def _markdown_published(report: Report) -> list[str]:
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


def _latex(text: str) -> str:
    return "".join(LATEX_SPECIAL.get(character, character) for character in text)
