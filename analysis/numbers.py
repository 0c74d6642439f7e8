r"""Every number that a paper would print, by name: as LaTeX macros, and for the paragraphs made of them.

`numbers.tex` is loaded in the preamble; `\emsUA{ems r0.15 s7 t1}` is then the UA of that arm, `\emsSweep{folds}` a
number of the whole sweep, `\emsArm{chosen}` the name of the arm that validation chose. What has no value is an error.
"""

from __future__ import annotations

__all__ = ["Numbers", "macros_text", "numbers_of"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.content import Report
from analysis.latex import latex
from analysis.picked import seeds_needed
from analysis.tables import as_rows
from analysis.wording import p_value, percent, points

RESULTS = {
    "UA": "ua_mean", "UASd": "ua_sd", "WA": "wa_mean", "WASd": "wa_sd", "F": "f1_mean", "FSd": "f1_sd",
    "ValidationUA": "validation_ua", "Ratio": "realised_ratio",
}  # fmt: skip
"""Macro → column of `results`, a share printed as percent."""
DIFFERENCES = {
    "Diff": "difference", "Low": "ci_low", "High": "ci_high", "LowAll": "ci_low_all", "HighAll": "ci_high_all",
    "Shrunk": "shrunk",
}  # fmt: skip
TESTS = {"P": "p", "PCorrected": "p_corrected", "PFloor": "p_floor"}
COUNTS = {"Pairs": "n_pairs", "Seeds": "n_seeds"}
PLANS = {"SeedsNeeded": "seeds_for_80"}
"""Macro → column of the arm's comparison with its twin; `WA` before the name for those in WA."""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """(macro, argument) → text, in the order in which they are printed."""

    values: Mapping[tuple[str, str], str]

    def __getitem__(self, place: tuple[str, str]) -> str:
        return self.values[place]


def numbers_of(report: Report) -> Numbers:
    """Percent and points with one decimal, as the tables have them; what is absent has no entry."""
    found: dict[tuple[str, str], str] = {}
    for row in as_rows(report.results):
        found |= _of_arm(row)
    for row in as_rows(report.comparisons[report.comparisons["kind"].isin(["twin", "control-twin"])]):
        found |= _of_pair(row)
    found |= {("Rank", one.arm): str(one.rank) for one in report.picked}
    names = {row["arm_key"]: row["arm"] for row in as_rows(report.results)}
    several = len(report.chosen) > 1
    for upstream, key in report.chosen.items():
        found["Arm", f"chosen {upstream}" if several else "chosen"] = names[key]
    return Numbers(values=found | {("Sweep", name): text for name, text in _of_sweep(report).items()})


def _of_arm(row: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    shares = {(macro, row["arm"]): percent(row[column]) for macro, column in RESULTS.items() if row[column] is not None}
    return shares | {("Trials", row["arm"]): str(row["n_trials"]), ("Planned", row["arm"]): str(row["n_expected"])}


def _of_pair(row: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    before = "" if row["metric"] == "ua" else row["metric"].upper()
    found = {("Twin", row["arm"]): row["twin"]}
    for columns, shown in ((DIFFERENCES, points), (TESTS, p_value), (COUNTS, str), (PLANS, seeds_needed)):
        found |= {
            (before + macro, row["arm"]): shown(row[column])
            for macro, column in columns.items()
            if row[column] is not None
        }
    return found


def _of_sweep(report: Report) -> dict[str, str]:
    first = next(iter(report.sweep.records), None)
    twins = report.comparisons[(report.comparisons["kind"] == "twin") & (report.comparisons["metric"] == "ua")]
    found = {
        "arms": str(len(report.sweep.planned)),
        "compared": str(int(twins["difference"].notna().sum())),
        "trials": str(sum(outcome.status == "complete" for outcome in report.sweep.outcomes)),
        "planned": str(len(report.sweep.outcomes)),
        "openings": str(report.opening.number if report.opening else 0),
        "steps": f"{report.cost()['steps']:,}",
        "device hours": f"{report.cost()['device_seconds'] / 3600:.1f}",
    }
    found |= {f"openings {sweep}": str(n) for sweep, n in (report.opening.sweeps if report.opening else {}).items()}
    if first is not None:
        found |= {
            "corpus": first.corpus.name, "utterances": f"{first.corpus.utterances:,}",
            "classes": str(len(first.corpus.classes)), "folds": str(first.protocol.n_folds),
        }  # fmt: skip
    speakers = twins["n_speakers"].dropna()
    return found | ({"speakers": str(int(speakers.max()))} if len(speakers) else {})


def macros_text(numbers: Numbers) -> str:
    """`numbers.tex`: for the preamble, no package needed."""
    names = dict.fromkeys(macro for macro, _ in numbers.values)
    lines = [
        r"\makeatletter",
        r"\newcommand{\ems@number}[2]{\ifcsname ems@#1@#2\endcsname\csname ems@#1@#2\endcsname\else"
        r"\PackageError{emsweep}{no \string\ems#1 for `#2'}{The report has no such number.}\fi}",
        r"\newcommand{\ems@set}[3]{\expandafter\def\csname ems@#1@#2\endcsname{#3}}",
        *(rf"\newcommand{{\ems{name}}}[1]{{\ems@number{{{name}}}{{#1}}}}" for name in names),
        *(rf"\ems@set{{{macro}}}{{{name}}}{{{latex(text)}}}" for (macro, name), text in numbers.values.items()),
        r"\makeatother",
    ]
    return "\n".join([*lines, ""])
