r"""The results as a LaTeX table, in percent: `results.tex`."""

from __future__ import annotations

__all__ = ["latex", "latex_text"]

from analysis.cells import ccc_cells, difference_cells, score_cells, trials_cell
from analysis.content import Report
from analysis.measures import PRIMARY, measure_of
from analysis.tables import as_rows
from analysis.wording import joined, percent

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
    r"""Results with their difference in UA as a `table` (needs `\usepackage{booktabs}`), percent with two decimals.

    Arms that answer with dimensions have their mean CCC and its difference instead, with three decimals.
    """
    with_ccc = "dimensions" in report.sweep.answers
    own = ("twin", "control-twin")
    differences = {
        row["arm_key"]: row
        for row in as_rows(report.comparisons)
        if row["metric"] in PRIMARY.values() and row["kind"] in own
    }
    lines = []
    for row in as_rows(report.results):
        difference = differences.get(row["arm_key"])
        cells = [row["arm"], trials_cell(row), *score_cells(row, digits=2)]
        cells += ccc_cells(row)[:1] if with_ccc else []
        cells.append(percent(row["realised_ratio"], 2))
        more = 1 if difference and measure_of(difference).is_share else 0
        cells += difference_cells(difference, more=more) if difference else ["", "", "", ""]
        lines.append(" & ".join(map(latex, cells)) + r" \\")
    scores = ["UA", "WA", "F1", *(["CCC"] if with_ccc else [])]
    named = joined([f"Δ{score}" for score in scores if score in ("UA", "CCC")])
    header = ["Arm", "Trials", *scores, "Realised ratio", named, "95 % interval", "p", "p (max-T)"]
    notes = [banner.text for banner in report.banners]
    caption = f"Sweep {report.name}: percent, mean ± sd over folds and seeds; ΔUA against the twin in points."
    caption += " CCC: mean over activation, valence and dominance, no percent." if with_ccc else ""
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex(' '.join([caption, *notes]))}}}",
            rf"\label{{tab:{''.join(c if c.isalnum() else '-' for c in report.name)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
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
