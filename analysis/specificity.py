"""Is a gain over the twin about emotion? Arm against twin, arm against control, control against twin, as one.

A control arm follows the arm's own rule on a track that is not the emotion's intensity. An arm above twin and control
gains more than the control gives; not that nothing is left without what the control lacks: a control above the twin has
part of the gain. Requiring that an arm beats its twin and its controls, each by itself, needs no correction for their
number (intersection-union test, Berger, Technometrics 1982); max-T within the controls' family is stricter than that.
"""

from __future__ import annotations

__all__ = ["Finding", "findings", "specificity_sentences", "specificity_table"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.masks import MIXES, mixes, shares_clause
from analysis.standing import Standing, is_above, is_shown, standing
from analysis.tables import as_rows
from analysis.wording import points

Row = Mapping[str, Any]

WHAT = {
    "loudness": "the same rule on loudness",
    "shuffled": "the same rule on intensity shuffled in time",
    "rolled": "the same rule on intensity rolled in time",
    "inverse": "the same rule on inverse intensity",
}
SPECIFIC = {
    "loudness": "the gain is more than loudness gives",
    "shuffled": "the gain is more than the same scores in another order give",
    "rolled": "the gain is more than the same track begun elsewhere gives",
    "inverse": "the gain is more than {choosing} gives",
}
CHOOSING = {"npc": "letting the least intense frames enter the loss"}
"""What choosing the least intense frames means, where it is not hiding them."""
PARTLY = {
    "loudness": "part of the gain is there with loudness alone",
    "shuffled": "part of the gain is there without the order of the scores",
    "rolled": "part of the gain is there without the place of the track in time",
    "inverse": "part of the gain is there without choosing the intense frames",
}
RUNS = "shuffled intensity makes shorter runs than the arm's, which may be all that it shows (rolled keeps the runs)"
UNSPECIFIC = {
    "loudness": "cannot be told from what loudness gives",
    "shuffled": "cannot be put down to where the emotion is",
    "rolled": "cannot be put down to where the emotion is",
    "inverse": "cannot be put down to the intense frames",
}
VERBS: dict[Standing, str] = {
    "better": "beats",
    "leans better": "lies above",
    "open": "is not shown to beat",
    "leans worse": "lies below",
    "worse": "is worse than",
    "absent": "cannot be compared yet with",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One arm and one of its controls: three comparisons of UA (rows of `as_rows`), None where none was planned."""

    arm: Row
    """The arm's row of results."""
    control: Row
    """The control arm's row of results."""
    twin: Row | None
    """The row of results of the arm's twin."""
    against_twin: Row | None
    against_control: Row
    control_against_twin: Row | None

    @property
    def name(self) -> str:
        return str(self.against_control["name"])

    @property
    def standings(self) -> tuple[Standing, Standing]:
        """Of the arm: to its twin, to the control."""
        return standing(self.against_twin), standing(self.against_control)

    @property
    def reading(self) -> str:
        """The four cases in a few words; the first in two, by whether the control has part of the gain."""
        twin, control = self.standings
        if "absent" in (twin, control):
            return "not known yet" if self.against_twin is not None else "no twin to compare with"
        case = {
            (True, True): "gain, partly specific" if self.partly else "gain, specific",
            (True, False): "gain, not shown to be specific",
            (False, True): "no gain shown; above its control",
            (False, False): "no gain shown",
        }[is_above(twin), is_above(control)]
        found = [twin, control, *([standing(self.control_against_twin)] if self.partly else [])]
        leaning = any(is_above(each) and not is_shown(each) for each in found)
        notes = ["a sign, not proof"] * leaning + ["at unequal shares"] * self._unequal
        return f"{case} ({', '.join(notes)})" if notes else case

    @property
    def partly(self) -> bool:
        """Whether the arm stands above twin and control, and the control itself above its twin."""
        return all(map(is_above, (*self.standings, standing(self.control_against_twin))))

    @property
    def _unequal(self) -> bool:
        pairs = [(self.arm, self.control)]
        if self.twin is not None:
            pairs += [(self.arm, self.twin), *([(self.control, self.twin)] if self.partly else [])]
        return any(mixes(one, other) for one, other in pairs)


def findings(results: pd.DataFrame, comparisons: pd.DataFrame) -> list[Finding]:
    """Every arm with every control it has, in the order of the plan; empty for a sweep without controls."""
    arms = {row["arm_key"]: row for row in as_rows(results)}
    rows = as_rows(comparisons[comparisons["metric"] == "ua"])
    twins = {row["arm_key"]: row for row in rows if row["kind"] in ("twin", "control-twin")}
    return [
        Finding(
            arm=arms[row["arm_key"]],
            control=arms[row["twin_key"]],
            twin=arms.get(arms[row["arm_key"]]["twin_key"]),
            against_twin=twins.get(row["arm_key"]),
            against_control=row,
            control_against_twin=twins.get(row["twin_key"]),
        )
        for row in rows
        if row["kind"] == "control"
    ]


def specificity_table(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """One row per arm and control for `report.json`: differences of UA in shares, intervals, p by max-T."""
    names = ("difference", "ci_low", "ci_high", "p", "p_corrected")

    def part(row: Row | None) -> dict[str, Any]:
        return {name: row[name] if row else None for name in names}

    return [
        {
            "arm": one.arm["arm"],
            "arm_key": one.arm["arm_key"],
            "control": one.name,
            "control_key": one.control["arm_key"],
            "arm_against_twin": part(one.against_twin),
            "arm_against_control": part(one.against_control),
            "control_against_twin": part(one.control_against_twin),
            "reading": one.reading,
        }
        for one in found
    ]


def specificity_sentences(found: Sequence[Finding]) -> list[str]:
    """What the controls of one arm say of its gain; no stronger than intervals and tests allow. Empty without any."""
    if not found:
        return []
    first = found[0]
    sentences = [_against_twin(first), *map(_against_control, found)]
    standings = [each for one in found for each in one.standings]
    if len(found) > 1 and all(map(is_above, standings)):
        proof = "by the intervals; not all of the corrected tests confirm it: a sign, not proof"
        if all(map(is_shown, standings)):
            proof = "each by interval and corrected test"
        controls = "both controls" if len(found) == 2 else f"all {len(found)} controls"
        sentences.append(f"It stands above its twin and {controls}, {proof}.")
    return sentences


def _against_twin(one: Finding) -> str:
    if one.against_twin is None:
        return f"{one.arm['arm']} has no twin in this sweep: whether there is a gain is not known."
    text = f"{one.arm['arm']} {VERBS[one.standings[0]]} its twin{_numbers(one.against_twin)}."
    if one.twin is not None and mixes(one.arm, one.twin):
        text += f" It {shares_clause(one.arm, one.twin, named='its twin')}: their comparison {MIXES}."
    return text


def _against_control(one: Finding) -> str:
    text = f"It {VERBS[one.standings[1]]} {WHAT[one.name]}{_numbers(one.against_control)}{_conclusion(one)}."
    if standing(one.control_against_twin) != "absent" and one.control_against_twin is not None:
        verb = VERBS[standing(one.control_against_twin)]
        text += f" That control itself {verb} its twin{_numbers(one.control_against_twin)}{_part(one)}."
    if mixes(one.arm, one.control):
        text += f" The arm {shares_clause(one.arm, one.control, named='the control')}: their comparison {MIXES}."
    return text


def _conclusion(one: Finding) -> str:
    twin, control = one.standings
    if "absent" in (twin, control):
        return ""
    if not is_above(twin):
        apart = ", and what sets it apart from the control is not shown to be one" if is_above(control) else ""
        return f": no gain over its twin is shown{apart}"
    if not is_above(control):
        weak = "" if is_shown(twin) else ", itself a sign and not proof,"
        return f": the gain{weak} {UNSPECIFIC[one.name]}"
    sign = "" if is_shown(twin) and is_shown(control) else "a sign, not proof, that "
    choosing = CHOOSING.get(one.arm["upstream"], "hiding the least intense frames")
    runs = f"; {RUNS}" if one.name == "shuffled" else ""
    return f": {sign}{SPECIFIC[one.name].format(choosing=choosing)}{runs}"


def _part(one: Finding) -> str:
    """What a control above its twin says of an arm above both."""
    if not one.partly:
        return ""
    proven = is_shown(one.standings[0]) and is_shown(standing(one.control_against_twin))
    return f": {'' if proven else 'a sign, not proof, that '}{PARTLY[one.name]}"


def _numbers(row: Row) -> str:
    """Difference and interval; the p values stand in the table."""
    if row["difference"] is None:
        return ""
    between = f"95 % interval {points(row['ci_low'])} to {points(row['ci_high'])}"
    return f" ({points(row['difference'])} points, {'no interval' if row['ci_low'] is None else between})"
