"""What the difference of a picked arm is worth, said line by line for readers who know no statistics."""

from __future__ import annotations

__all__ = ["Worth", "picked_arms", "seeds_needed", "worth_lines"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.measures import MEASURES, primary_of
from analysis.power import MAX_SEEDS
from analysis.selection import PickedArm, picked_arm
from analysis.wording import DASH, count


@dataclass(frozen=True, kw_only=True)
class Worth:
    """One way to read the difference of a picked arm from its twin."""

    arm: str
    arm_key: str
    name: str
    value: str
    """In points, or CCC; of the seeds, how many."""
    interval: str
    meaning: str


def picked_arms(comparisons: pd.DataFrame, chosen: Mapping[str, str]) -> tuple[PickedArm, ...]:
    """One per group. `chosen`: group → key of its arm that validation chose."""
    return tuple(picked_arm(comparisons, key, metric=primary_of(comparisons, key)) for key in chosen.values())


def worth_lines(picked: Sequence[PickedArm]) -> list[Worth]:
    """As tested, for all arms at once, drawn towards the others, and the seeds it takes; one arm after the other."""
    return [line for one in picked for line in _lines(one)]


def seeds_needed(value: float | str | None) -> str:
    """Of a table's column `seeds_for_80`, where `inf` means that MAX_SEEDS would not do.

    >>> seeds_needed(4.0), seeds_needed("inf"), seeds_needed(None)
    ('4', 'over 100', '–')
    """
    if value is None:
        return DASH
    return f"over {MAX_SEEDS}" if isinstance(value, str) else f"{value:.0f}"


def _lines(one: PickedArm) -> list[Worth]:
    measure = MEASURES[one.metric]
    tested, candidates = measure.difference(one.difference), count(one.candidates, "arm")
    several = one.candidates > 1
    place = "the best, where luck is likeliest," if one.rank == 1 else _ordinal(one.rank)
    rank = f" By this number it is {place} of the {candidates}." if several else ""
    found = [
        ("As tested", tested, measure.interval(one.ci_low, one.ci_high),
         "The interval holds if this arm alone had been named before the sweep." + rank),
    ]  # fmt: skip
    if several:
        found += [
            ("For all arms at once", tested, measure.interval(one.ci_low_all, one.ci_high_all),
             f"Wide enough to hold for all {candidates} together, and so for whichever was picked, by whatever rule."),
            ("Shrunk", measure.difference(one.shrunk), "",
             "Drawn towards the mean of all arms as far as their differences may be chance: the better guess at what "
             "a repetition would find." if one.shrunk is not None else "Needs three arms and their standard errors."),
        ]  # fmt: skip
    found.append(("Seeds for 80 % power", seeds_needed(one.seeds_for_80), "", _seeds(one)))
    return [
        Worth(arm=one.arm, arm_key=one.arm_key, name=name, value=value, interval=spread, meaning=meaning)
        for name, value, spread, meaning in found
    ]


def _seeds(one: PickedArm) -> str:
    has = f"this sweep has {one.n_seeds}"
    if one.seeds_for_80 is None:
        if one.n_seeds > 1:
            return "Too few speakers to tell."
        return "One seed cannot tell: it takes two to see what seeds differ by."
    if isinstance(one.seeds_for_80, str):
        return (
            f"Not even {MAX_SEEDS} seeds would show a true difference of this size with a chance of 80 % ({has}): what "
            "speakers differ by, no seed removes."
        )
    return (
        f"With so many seeds a true difference of this size would be shown with a chance of 80 % ({has}). A plan for "
        "the next sweep, not evidence on this one."
    )


def _ordinal(number: int) -> str:
    """
    >>> [_ordinal(number) for number in (1, 2, 3, 4, 11, 22, 113)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd', '113th']
    """
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
