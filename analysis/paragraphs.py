r"""Results and methods as paragraphs for the paper, no stronger than interval and corrected test allow.

Written once over names of numbers: as text for the page, and for LaTeX with the macros of `numbers.tex` in their place.
"""

from __future__ import annotations

__all__ = ["methods_paragraph", "paragraphs_latex", "results_paragraph"]

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.content import Report
from analysis.latex import latex
from analysis.load import EMS
from analysis.measures import PRIMARY, measure_of
from analysis.numbers import Numbers, numbers_of
from analysis.sentences import protocol_sentences
from analysis.standing import standing
from analysis.systems import arm_and_twin
from analysis.tables import as_rows
from analysis.wording import joined

Say = Callable[[str, str], str]
"""(macro, argument) → how the number is written."""
SHOWN = "The interval excludes zero and the corrected test agrees: on this corpus and protocol the arm is"
LEANING = "The interval excludes zero, but the corrected test does not confirm it: a sign of"
VERDICTS = {
    "better": f"{SHOWN} better.",
    "leans better": f"{LEANING} a gain, not proof.",
    "open": "The difference is not distinguishable from zero.",
    "leans worse": f"{LEANING} a loss, not proof.",
    "worse": f"{SHOWN} worse.",
}


def results_paragraph(report: Report, say: Say | None = None) -> str:
    """What the sweep shows, one passage per upstream; says so where nothing can be compared."""
    numbers = numbers_of(report)
    write = say or _plain(numbers)
    rows = {row["arm_key"]: row for row in _twins(report)}
    several = len(report.sweep.systems) > 1
    passages = [
        _passage(rows[key], numbers, write, among=f" among the {group} arms" if several else "")
        for group, key in report.chosen.items()
        if key in rows
    ]
    if not passages:
        return "No arm can be compared with its twin yet."
    compared, trials = write("Sweep", "compared"), write("Sweep", "trials")
    masking = "random-masking " if report.sweep.systems == (EMS,) else ""
    head = f"{compared} arms were compared with their {masking}twins in {trials} trials"
    planned = "" if numbers["Sweep", "trials"] == numbers["Sweep", "planned"] else f" of {write('Sweep', 'planned')}"
    return " ".join([f"{head}{planned}.", *passages, _others(list(rows.values()))])


def _passage(row: Mapping[str, Any], numbers: Numbers, write: Say, *, among: str) -> str:
    arm, twin = row["arm"], row["twin"]
    scores = (
        f"The arm that validation chose{among}, {write('Name', arm)}, reached a {measure_of(row).said} of "
        f"{_scores(row, arm, write)}, its twin {_scores(row, twin, write)}"
    )
    interval = f", 95 % interval {write('Low', arm)} to {write('High', arm)}" if row["ci_low"] is not None else ""
    test = f"; p = {write('P', arm)}, {write('PCorrected', arm)} corrected for all arms"
    tested = test if ("P", arm) in numbers.values else ""
    difference = f"a difference of {write('Diff', arm)}{measure_of(row).unit}{interval}{tested}"
    return " ".join([f"{scores}: {difference}. {VERDICTS[standing(row)]}", *_picked(row, numbers, write)])


def _scores(row: Mapping[str, Any], arm: str, write: Say) -> str:
    """Of one arm of a comparison: the primary metric, the others in brackets."""
    if measure_of(row).is_share:
        return f"{write('UA', arm)} % (WA {write('WA', arm)} %)"
    of_each = [f"{name.lower()} {write(f'CCC{name}', arm)}" for name in ("Activation", "Valence", "Dominance")]
    return f"{write('CCC', arm)} ({joined(of_each)})"


def _picked(row: Mapping[str, Any], numbers: Numbers, write: Say) -> list[str]:
    """What it was worth after having been picked among several, as far as that can be said."""
    arm = row["arm"]
    place = ("Candidates", arm) if ("Candidates", arm) in numbers.values else ("Sweep", "compared")
    if numbers[place] == "1":
        return []
    said = [f"By this difference it is number {write('Rank', arm)} of the {write(*place)} arms compared"]
    if ("LowAll", arm) in numbers.values:
        said.append(
            f"the interval that holds for all of them at once is {write('LowAll', arm)} to {write('HighAll', arm)}"
        )
    if ("Shrunk", arm) in numbers.values:
        said.append(
            "drawn towards their mean as far as chance may explain it, the difference is "
            f"{write('Shrunk', arm)}{measure_of(row).unit}"
        )
    return ["; ".join(said) + "."]


def _others(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many arms the same can be said of: the chosen one is not to be read alone."""
    found = [standing(row) for row in rows]
    said = {"better": "better", "leans better": "leaning better", "leans worse": "leaning worse", "worse": "worse"}
    parts = [f"{found.count(kind)} {words}" for kind, words in said.items() if kind in found]
    clear = joined(parts) if parts else "none clearly better or worse"
    return f"Of all {len(rows)} arms with a twin: {clear}."


def methods_paragraph(report: Report, say: Say | None = None) -> str:
    """Corpus, protocol, budget and statistics of the sweep; empty without a record."""
    write = say or _plain(numbers_of(report))
    records = report.sweep.records
    if not records:
        return ""
    arms: dict[str, None] = dict.fromkeys(" ".join(protocol_sentences(record)) for record in records)
    corpus = (
        f"Trials were evaluated on {write('Sweep', 'corpus')} ({write('Sweep', 'utterances')} utterances, "
        f"{write('Sweep', 'classes')} classes, {write('Sweep', 'folds')} folds)."
    )
    twins = (
        "Each arm has a twin that masks at random and shares everything else with it: initial weights, batches, and in "
        "every utterance the number of hidden frames."
    )
    if report.sweep.systems != (EMS,):
        twins = arm_and_twin(report.sweep.systems)
    statistics = (
        "Differences are arm less twin, paired over seeds, folds and speakers; intervals are 95 % and resample "
        "speakers; tests flip the signs of speakers and are corrected over all arms by the step-down maximum "
        f"statistic.{_of_ccc(report)} Arms were chosen on validation. Readings of the test part so far: "
        f"{_readings(report, write)}."
    )
    cost = (
        f"All recorded trials took {write('Sweep', 'steps')} updates and {write('Sweep', 'device hours')} device-hours."
    )
    return " ".join([corpus, *arms, twins, statistics, cost])


def _of_ccc(report: Report) -> str:
    if "dimensions" not in report.sweep.answers:
        return ""
    return (
        " Differences of CCC, which is no mean over speakers, are taken apart by the influence of each speaker "
        "(infinitesimal jackknife)."
    )


def _readings(report: Report, write: Say) -> str:
    """Their number; of several sweeps each has its own."""
    sweeps = report.opening.sweeps if report.opening else {}
    each = [f"{write('Sweep', f'openings {name}')} ({name})" for name in sweeps]
    return ", ".join(each) or write("Sweep", "openings")


def paragraphs_latex(report: Report) -> str:
    r"""`paragraphs.tex`: both paragraphs, numbers as macros of `numbers.tex`."""
    marks: dict[str, str] = {}

    def say(macro: str, name: str) -> str:
        # Marks survive the escaping of the text around them.
        mark = f"\x00{len(marks)}\x00"
        marks[mark] = latex(name) if macro == "Name" else rf"\ems{macro}{{{name}}}"
        return mark

    text = latex("\n\n".join([results_paragraph(report, say), methods_paragraph(report, say)])) + "\n"
    for mark, written in marks.items():
        text = text.replace(mark, written)
    return text


def _plain(numbers: Numbers) -> Say:
    return lambda macro, name: name if macro == "Name" else numbers[macro, name]


def _twins(report: Report) -> list[dict[str, Any]]:
    primary = (report.comparisons["kind"] == "twin") & report.comparisons["metric"].isin(list(PRIMARY.values()))
    return as_rows(report.comparisons[primary & report.comparisons["difference"].notna()])
