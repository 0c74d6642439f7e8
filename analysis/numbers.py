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
from analysis.measures import MEASURES, PRIMARY, measure_of
from analysis.paired import Metric
from analysis.picked import seeds_needed
from analysis.tables import as_rows
from analysis.wording import p_value, percent

RESULTS = {
    "UA": "ua_mean", "UASd": "ua_sd", "WA": "wa_mean", "WASd": "wa_sd", "F": "f1_mean", "FSd": "f1_sd",
    "ValidationUA": "validation_ua", "Ratio": "realised_ratio",
}  # fmt: skip
"""Macro → column of `results`, a share printed as percent."""
CONCORDANCES = {
    "CCC": "ccc_mean", "CCCSd": "ccc_sd", "CCCActivation": "ccc_activation_mean", "CCCValence": "ccc_valence_mean",
    "CCCDominance": "ccc_dominance_mean", "ValidationCCC": "validation_ccc",
}  # fmt: skip
"""The same of arms that answer with dimensions, printed as they are."""
PREFIXES: Mapping[Metric, str] = {
    "ua": "", "wa": "WA", "ccc_mean": "", "ccc_activation": "Activation", "ccc_valence": "Valence",
    "ccc_dominance": "Dominance",
}  # fmt: skip
"""Before the macros of a comparison."""
DIFFERENCES = {
    "Diff": "difference", "Low": "ci_low", "High": "ci_high", "LowAll": "ci_low_all", "HighAll": "ci_high_all",
    "Shrunk": "shrunk",
}  # fmt: skip
TESTS = {"P": "p", "PCorrected": "p_corrected", "PFloor": "p_floor"}
COUNTS = {"Pairs": "n_pairs", "Seeds": "n_seeds"}
PLANS = {"SeedsNeeded": "seeds_for_80"}
"""Macro → column of the arm's comparison with its twin, in UA or mean CCC; PREFIXES before the name for others."""


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
    if len({one.metric for one in report.picked}) > 1:
        found |= {("Candidates", one.arm): str(one.candidates) for one in report.picked}
    names = {row["arm_key"]: row["arm"] for row in as_rows(report.results)}
    several = len(report.chosen) > 1
    for group, key in report.chosen.items():
        found["Arm", f"chosen {group}" if several else "chosen"] = names[key]
    return Numbers(values=found | {("Sweep", name): text for name, text in _of_sweep(report).items()})


def _of_arm(row: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    shares = {(macro, row["arm"]): percent(row[column]) for macro, column in RESULTS.items() if row[column] is not None}
    plain, measure = {macro: row.get(column) for macro, column in CONCORDANCES.items()}, MEASURES["ccc_mean"]
    shares |= {(macro, row["arm"]): measure.score(value) for macro, value in plain.items() if value is not None}
    return shares | {("Trials", row["arm"]): str(row["n_trials"]), ("Planned", row["arm"]): str(row["n_expected"])}


def _of_pair(row: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    before = PREFIXES[row["metric"]]
    found = {("Twin", row["arm"]): row["twin"]}
    for columns, shown in (
        (DIFFERENCES, measure_of(row).difference),
        (TESTS, p_value),
        (COUNTS, str),
        (PLANS, seeds_needed),
    ):
        found |= {
            (before + macro, row["arm"]): shown(row[column])
            for macro, column in columns.items()
            if row[column] is not None
        }
    return found


def _of_sweep(report: Report) -> dict[str, str]:
    first = next(iter(report.sweep.records), None)
    twins = report.comparisons[
        (report.comparisons["kind"] == "twin") & report.comparisons["metric"].isin(list(PRIMARY.values()))
    ]
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
