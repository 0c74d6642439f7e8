r"""The results as a LaTeX table, in percent: `results.tex`."""

from __future__ import annotations

__all__ = ["latex", "latex_text"]

from analysis.cells import difference_cells, score_cells, trials_cell
from analysis.content import Report
from analysis.tables import as_rows
from analysis.wording import percent

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


def latex_text(report: Report) -> str:
    r"""Results with their difference in UA as a `table` (needs `\usepackage{booktabs}`), percent with two decimals."""
    own = ("twin", "control-twin")
    differences = {
        row["arm_key"]: row for row in as_rows(report.comparisons) if row["metric"] == "ua" and row["kind"] in own
    }
    lines = []
    for row in as_rows(report.results):
        difference = differences.get(row["arm_key"])
        cells = [row["arm"], trials_cell(row), *score_cells(row, digits=2), percent(row["realised_ratio"], 2)]
        cells += difference_cells(difference, digits=2) if difference else ["", "", "", ""]
        lines.append(" & ".join(map(latex, cells)) + r" \\")
    header = ["Arm", "Trials", "UA", "WA", "F1", "Realised ratio", "ΔUA", "95 % interval", "p", "p (max-T)"]
    notes = [banner.text for banner in report.banners]
    caption = f"Sweep {report.name}: percent, mean ± sd over folds and seeds; ΔUA against the twin in points."
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex(' '.join([caption, *notes]))}}}",
            rf"\label{{tab:{''.join(c if c.isalnum() else '-' for c in report.name)}}}",
            r"\begin{tabular}{lrrrrrrrrr}",
            r"\toprule",
            " & ".join(map(latex, header)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def latex(text: str) -> str:
    return "".join(LATEX_SPECIAL.get(character, character) for character in text)
