"""Ways to choose a point of a definition's space: from a place in the unit cube, or one point after the other."""

from __future__ import annotations

__all__ = ["Draft", "Kept", "axis_names", "draft", "drafts", "from_unit", "kept_choices", "tidy"]

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from core.errors import BadInputError
from sweeps.definition import SweepDefinition
from sweeps.space import Point, point_at
from sweeps.strategy import Range

Kept = str | int | float | bool
"""A value of an axis as a study keeps it: the value itself, or its place in the list where it is no plain one."""
DIGITS = 4
"""Significant digits of a number drawn from a range (ours): arms keep readable names, and more would promise a
sharpness that no sweep has."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """Values chosen for all axes that a point has, and the point where the settings allow it."""

    kept: Mapping[str, Kept]
    axes: Mapping[str, Sequence[Any] | Range]
    """Name of each axis met → its values or range."""
    point: Point | None
    refused: str | None
    """Why there is no such point."""


def axis_names(definition: SweepDefinition) -> tuple[str, ...]:
    """The names by which `point_at` asks for values, of all branches, in the order of the definition."""
    names = [*definition.axes, *(["arms"] if definition.arms else [])]
    for place, branch in enumerate(definition.when):
        names += [f"when.{place}.{key}" for key in branch.axes]
        names += [f"when.{place}.arms"] if branch.arms else []
    return tuple(names)


def draft(
    definition: SweepDefinition, choose: Callable[[str, Sequence[Any] | Range], Kept], fixed: Mapping[str, Any]
) -> Draft:
    """The point where each axis has what `choose` says, as kept; numbers of a range are rounded first."""
    kept: dict[str, Kept] = {}
    axes: dict[str, Sequence[Any] | Range] = {}

    def pick(name: str, values: Sequence[Any] | Range) -> Any:
        axes[name] = values
        chosen = choose(name, values)
        kept[name] = tidy(values, chosen) if isinstance(values, Range) else chosen
        return kept[name] if isinstance(values, Range) else values[kept_choices(values).index(kept[name])]

    try:
        point = point_at(definition, pick, fixed)
    except BadInputError as error:
        return Draft(kept=kept, axes=axes, point=None, refused=str(error))
    return Draft(kept=kept, axes=axes, point=point, refused=None)


def drafts(definition: SweepDefinition, fixed: Mapping[str, Any], *, of_range: Sequence[float] = ()) -> Iterator[Draft]:
    """Every combination of the axes' values in the definition's order, those that the settings refuse among them.

    Args:
        of_range: places in [0, 1] at which a range is looked at. Without any, a range raises BadInputError.
    """
    places: list[int] | None = []
    while places is not None:
        turn = _Turn(places, of_range)
        yield draft(definition, turn, fixed)
        places = turn.following()


class _Turn:
    """Chooses the values at given places of the axes in the order they are asked for, the first where none is given."""

    def __init__(self, places: Sequence[int], of_range: Sequence[float]) -> None:
        self._given, self._of_range = places, of_range
        self._places: list[int] = []
        self._counts: list[int] = []

    def __call__(self, name: str, values: Sequence[Any] | Range) -> Kept:
        options = self._options(name, values)
        asked = len(self._places)
        self._places.append(self._given[asked] if asked < len(self._given) else 0)
        self._counts.append(len(options))
        return options[self._places[-1]]

    def following(self) -> list[int] | None:
        """Places of the next combination; axes behind the one that moves on begin anew: a branch may change them."""
        for last in reversed(range(len(self._places))):
            if self._places[last] + 1 < self._counts[last]:
                return [*self._places[:last], self._places[last] + 1]
        return None

    def _options(self, name: str, values: Sequence[Any] | Range) -> list[Kept]:
        if not isinstance(values, Range):
            return list(kept_choices(values))
        if not self._of_range:
            raise BadInputError(f"axes.{name}: a range ({values}) has no list of points")
        return list(dict.fromkeys(from_unit(values, at) for at in self._of_range))


def kept_choices(values: Sequence[Any]) -> tuple[Kept, ...]:
    """How each value of a list is kept: as it is where all are text, numbers or truth values and differ, or its place.

    >>> kept_choices([0.15, 0.3])
    (0.15, 0.3)
    >>> kept_choices([1, True])
    (0, 1)
    """
    plain = all(isinstance(value, str | int | float) for value in values)
    return tuple(values) if plain and len(set(values)) == len(values) else tuple(range(len(values)))


def from_unit(values: Sequence[Any] | Range, at: float) -> Kept:
    """The value at a place in [0, 1] of an axis, such that even places give even draws (even in the logarithm).

    >>> from_unit(Range(low=1, high=100, log=True), 0.5)
    7
    """
    if not isinstance(values, Range):
        choices = kept_choices(values)
        return choices[min(int(at * len(choices)), len(choices) - 1)]
    if values.step is not None or values.whole:
        return _on_grid(values, at)
    low, high = (math.log(values.low), math.log(values.high)) if values.log else (values.low, values.high)
    drawn = low + at * (high - low)
    return tidy(values, math.exp(drawn) if values.log else drawn)


def _on_grid(values: Range, at: float) -> int | float:
    if values.log:
        # Each whole number owns the stretch of half a unit to both sides.
        low, high = math.log(values.low - 0.5), math.log(values.high + 0.5)
        return min(max(round(math.exp(low + at * (high - low))), int(values.low)), int(values.high))
    step = Decimal(str(values.step or 1))
    count = int((Decimal(str(values.high)) - Decimal(str(values.low))) // step) + 1
    drawn = Decimal(str(values.low)) + step * min(int(at * count), count - 1)
    return int(drawn) if values.whole else float(drawn)


def tidy(values: Range, drawn: Any) -> int | float:
    """A number drawn from a range, at DIGITS significant digits and within it; one on a grid of steps as it is."""
    if values.whole:
        return int(drawn)
    if values.step is not None:
        return float(drawn)
    return float(min(max(float(f"{drawn:.{DIGITS}g}"), values.low), values.high))
