"""Two sweeps side by side as the terminal shows them: what differs, and the differences in percentage points (CCC)."""

from __future__ import annotations

__all__ = ["diff_text"]

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.diff import ArmDifference, Side, SweepDiff
from analysis.measures import MEASURES
from analysis.wording import DASH, count

WIDEST = 44
"""Characters of a value; longer ones are cut."""


def diff_text(diff: SweepDiff) -> str:
    """Definition, environment, results; parts in which nothing differs say so in one line."""
    parts = [
        "\n".join(
            _side(letter, side, trials)
            for letter, side, trials in zip("AB", (diff.a, diff.b), diff.trials, strict=True)
        ),
        _part("definition", _columns([(key, _value(a), _value(b)) for key, (a, b) in diff.definition.items()])),
        _part("environment", _columns(_environment(diff.environment))),
        _part(_heading(diff.arms), _results(diff.arms), empty="no arm is in both"),
        *(_only(letter, arms) for letter, arms in (("A", diff.only_a), ("B", diff.only_b)) if arms),
        *_warnings(diff),
    ]
    return "\n\n".join(parts)


def _side(letter: str, side: Side, trials: Mapping[str, int]) -> str:
    states = ", ".join(f"{number} {status}" for status, number in trials.items())
    return f"{letter}  {side.name}: {states}  ({side.root})"


def _part(title: str, lines: Sequence[str], *, empty: str = "no difference") -> str:
    return "\n".join([title, *lines]) if lines else f"{title}: {empty}"


def _value(value: Any) -> str:
    if value is None:
        return DASH
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _environment(environment: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]) -> list[tuple[str, str, str]]:
    def side(values: tuple[str, ...]) -> str:
        return _value(", ".join(value[:12] if len(value) == 40 and " " not in value else value for value in values))

    return [(name, side(a) or DASH, side(b) or DASH) for name, (a, b) in environment.items()]


def _columns(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    return _aligned([("", "A", "B"), *rows]) if rows else []


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _has_ccc(arms: Sequence[ArmDifference]) -> bool:
    return any(not MEASURES[row.metric].is_share for row in arms)


def _heading(arms: Sequence[ArmDifference]) -> str:
    return "results, validation, B − A in " + ("percent and points, CCC as it is" if _has_ccc(arms) else "points")


def _results(arms: Sequence[ArmDifference]) -> list[str]:
    if not arms:
        return []
    sides = ("A", "B") if _has_ccc(arms) else ("A %", "B %")
    head = ("arm", "matched by", "metric", *sides, "B − A", "95 % interval", "seeds", "")
    return _aligned([head, *map(_row, arms)])


def _row(row: ArmDifference) -> tuple[str, ...]:
    measure = MEASURES[row.metric]
    seeds = f"{row.n_seeds} of {row.n_seeds + row.n_shared}" if row.n_shared else str(row.n_seeds)
    shared = f"{count(row.n_shared, 'seed')} shared, no evidence" if row.n_shared and row.n_seeds else ""
    return (
        row.a if row.a == row.b else f"{row.a} / {row.b}",
        row.matched_by,
        measure.said,
        measure.score(row.a_mean),
        measure.score(row.b_mean),
        measure.difference(row.difference),
        measure.interval(row.ci_low, row.ci_high),
        seeds,
        "; ".join(filter(None, (row.note, shared))),
    )


def _only(letter: str, arms: Sequence[str]) -> str:
    return _part(f"only in {letter}", [f"  {arm}" for arm in arms])


def _warnings(diff: SweepDiff) -> list[str]:
    return [
        f"trial {key}: the same trial, but its two records differ; sweep replay {key} says why" for key in diff.unequal
    ]
