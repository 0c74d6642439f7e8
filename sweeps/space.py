"""A definition spread out: the points of its axes, arms and branches, and the trials that belong to each of them."""

from __future__ import annotations

__all__ = ["Pick", "Point", "Role", "contrast_pairs", "family", "point_at", "points", "space_size"]

import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.config import ControlName, TrialConfig
from core.errors import BadInputError
from core.relevance import looks_at_intensity, unused_settings
from core.resolve import twin_of
from sweeps.definition import Branch, Contrast, Space, SweepDefinition, laid_out, trial_config
from sweeps.earlier_upstream import is_reference
from sweeps.settings import effective, leaves, overlap, put, within
from sweeps.strategy import Range

Pick = Callable[[str, Sequence[Any] | Range], Any]
"""Chooses one value of an axis: (its name, which no two axes share; its values or range, or names of arms) → value."""
Role = Literal["arm", "twin"] | ControlName
"""What a trial is to the point it was made for; a control arm has the name of its track."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One setting of everything but the seed."""

    coordinates: dict[str, Any]
    """Axis → value; for each mapping of named arms, its place in the definition (`arms`, `when.0.arms`) → name."""
    varied: tuple[str, ...]
    """Dotted settings that axes and arms set here."""
    config: TrialConfig
    earlier: str | None = None
    """The upstream of an earlier sweep that the point names (`trial:…`, `best-of:…`)."""


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """One value of one axis, or one named arm."""

    axis: str
    value: Any
    settings: dict[str, Any]
    place: str
    """Where it stands, for messages."""


@dataclass(frozen=True, kw_only=True)
class _Dimension:
    """One axis, or one mapping of named arms."""

    axis: str
    name: str
    """The axis, and the branch it stands in."""
    values: tuple[Any, ...] | Range
    bundles: Mapping[str, dict[str, Any]] | None
    """Settings of each named arm; None for an axis, whose value is its setting."""
    under: str

    def at(self, value: Any) -> _Choice:
        if self.bundles is None:
            return _Choice(axis=self.axis, value=value, settings={self.axis: value}, place=f"an axis{self.under}")
        place = f"in arm {value!r}{self.under}"
        return _Choice(axis=self.axis, value=value, settings=self.bundles[value], place=place)

    def all(self) -> list[_Choice]:
        if isinstance(self.values, Range):
            raise BadInputError(f"axes.{self.axis}: a range ({self.values}) has no list of points")
        return [self.at(value) for value in self.values]


def points(definition: SweepDefinition, fixed: Mapping[str, Any] | None = None) -> tuple[Point, ...]:
    """All points of a definition, in its order.

    Args:
        definition: axes and arms at the top span points; each branch of `when` that one of them fulfils multiplies its
            own axes and arms in.
        fixed: dotted settings that the command line gives to all trials.

    Raises BadInputError for a setting that is refused or given in two places, that means nothing at a point where it
    is given (the preset's own are exempt), for a branch that no point fulfils, and for controls that no arm can have.
    """
    _check_conditions(definition)
    spread: list[Point] = []
    fulfilled: set[int] = set()
    for top in itertools.product(*(dimension.all() for dimension in _top(definition))):
        branches = _fulfilled(definition, top)
        fulfilled |= branches.keys()
        for rest in itertools.product(*(dimension.all() for dimension in _inner(branches))):
            spread.append(_point(definition, [*top, *rest], list(branches.values()), fixed or {}))
    for i, branch in enumerate(definition.when):
        if i not in fulfilled:
            found = _values_of(branch, spread)
            raise BadInputError(f"sweep {definition.name}: when {branch}: no point has that ({found})")
    if definition.controls and not any(looks_at_intensity(point.config) for point in spread):
        raise BadInputError(f"sweep {definition.name}: controls: no arm looks at intensity, so none has a control")
    return tuple(spread)


def point_at(definition: SweepDefinition, pick: Pick, fixed: Mapping[str, Any] | None = None) -> Point:
    """The point at which every axis has the value that `pick` gives it; first those at the top, then of its branches.

    Raises BadInputError for settings that are refused, as `points` does.
    """
    _check_conditions(definition)
    top = [dimension.at(pick(dimension.name, dimension.values)) for dimension in _top(definition)]
    branches = _fulfilled(definition, top)
    rest = [dimension.at(pick(dimension.name, dimension.values)) for dimension in _inner(branches)]
    return _point(definition, [*top, *rest], list(branches.values()), fixed or {})


def space_size(definition: SweepDefinition) -> int | None:
    """How many points there are; None where an axis is a range."""
    parts = (definition, *definition.when)
    if any(isinstance(values, Range) for part in parts for values in part.axes.values()):
        return None
    return len(points(definition))


def family(config: TrialConfig, definition: SweepDefinition) -> Iterator[tuple[Role, TrialConfig]]:
    """The arm itself, its twin, its control arms: what is to finish together. Twin and controls only where they exist.

    A control arm has the arm's own twin. `random_as_topk` has no controls: on another track it hides other runs.
    """
    yield "arm", config
    twin = twin_of(config) if definition.twins else None
    if twin is not None:
        yield "twin", twin
    if looks_at_intensity(config) and config.masking.policy != "random_as_topk":
        for control in definition.controls:
            intensity = config.intensity.model_copy(update={"control": control})
            yield control, config.model_copy(update={"intensity": intensity})


def contrast_pairs(definition: SweepDefinition, spread: tuple[Point, ...]) -> list[tuple[str, Point, Point]]:
    """(name, arm, against) of each contrast, once for each combination of all other axes.

    Raises BadInputError for a contrast whose two arms never stand in one mapping, or of which one arm has axes that
    the other has not.
    """
    for name, contrast in definition.contrasts.items():
        if not definition.holds_both(contrast):
            raise BadInputError(
                f"sweep {definition.name}: contrast {name!r}: no mapping of arms holds both {contrast.arm!r} and "
                f"{contrast.against!r}"
            )
    known = {_place(point.coordinates): point for point in spread}
    return [
        (name, point, _against(point, axis, contrast, known, where=f"sweep {definition.name}: contrast {name!r}"))
        for name, contrast in definition.contrasts.items()
        for point in spread
        for axis, value in point.coordinates.items()
        if value == contrast.arm and contrast.against in _arms_of(definition, axis)
    ]


def _against(point: Point, axis: str, contrast: Contrast, known: Mapping[str, Point], *, where: str) -> Point:
    wanted = {**point.coordinates, axis: contrast.against}
    other = known.get(_place(wanted))
    if other is None:
        places = ", ".join(f"{name}={value}" for name, value in wanted.items() if name != axis)
        raise BadInputError(f"{where}: there is no arm {contrast.against!r} at {places} to hold it against")
    return other


def _arms_of(definition: SweepDefinition, axis: str) -> Collection[str]:
    """The arms that an axis names; none for an axis of a setting."""
    if axis == "arms":
        return definition.arms
    named = {f"when.{place}.arms": branch.arms for place, branch in enumerate(definition.when)}
    return named.get(axis, ())


def _place(coordinates: Mapping[str, Any]) -> str:
    return json.dumps(coordinates, sort_keys=True, default=str)


def _names_arms(axis: str) -> bool:
    return axis == "arms" or axis.startswith("when.")


def _top(definition: SweepDefinition) -> list[_Dimension]:
    return _dimensions(definition, axis="arms", branch="", under="")


def _inner(branches: Mapping[int, Branch]) -> list[_Dimension]:
    return [
        dimension
        for i, branch in branches.items()
        for dimension in _dimensions(branch, axis=f"when.{i}.arms", branch=f"when.{i}.", under=f" under when {branch}")
    ]


def _fulfilled(definition: SweepDefinition, top: Iterable[_Choice]) -> dict[int, Branch]:
    chosen = _together(top)
    settings = laid_out(definition, chosen)
    if earlier := _earlier(definition, chosen):
        # A condition on `upstream` means what is written there: what is trained already has its settings.
        put(settings, "upstream", earlier)
    return {i: branch for i, branch in enumerate(definition.when) if branch.matches(settings)}


def _dimensions(part: Space, *, axis: str, branch: str, under: str) -> list[_Dimension]:
    dimensions = [
        _Dimension(axis=key, name=branch + key, values=values, bundles=None, under=under)
        for key, values in part.axes.items()
    ]
    if part.arms:
        dimensions.append(_Dimension(axis=axis, name=axis, values=tuple(part.arms), bundles=part.arms, under=under))
    return dimensions


def _together(choices: Iterable[_Choice]) -> dict[str, Any]:
    return {key: value for choice in choices for key, value in choice.settings.items()}


def _point(
    definition: SweepDefinition, choices: list[_Choice], branches: list[Branch], fixed: Mapping[str, Any]
) -> Point:
    where = _label(choices)
    places = [("a fixed setting", definition.settings)]
    places += [(f"a fixed setting under when {branch}", branch.settings) for branch in branches]
    places += [(choice.place, choice.settings) for choice in choices]
    # A setting that is written as null is not given: it neither contradicts another nor means anything.
    given = [(place, {k: v for k, v in leaves(settings).items() if v is not None}) for place, settings in places]
    controls = [("in controls", {"intensity.control": definition.controls})] if definition.controls else []
    _refuse_two_places(definition, [*given, *controls])
    of_branches = {key: value for branch in branches for key, value in leaves(branch.settings).items()}
    chosen = _together(choices)
    config = trial_config(definition, {**fixed, **of_branches, **chosen}, where=where)
    _refuse_unused(definition, given, config, where)
    return Point(
        coordinates={choice.axis: choice.value for choice in choices},
        varied=tuple(leaves(chosen)),
        config=config,
        earlier=_earlier(definition, {**of_branches, **chosen}),
    )


def _earlier(definition: SweepDefinition, chosen: Mapping[str, Any]) -> str | None:
    written = chosen.get("upstream", definition.settings.get("upstream"))
    return written if is_reference(written) else None


def _label(choices: list[_Choice]) -> str:
    named = [("arm" if _names_arms(choice.axis) else choice.axis, choice.value) for choice in choices]
    return ", at " + ", ".join(f"{axis} {value!r}" for axis, value in named) if named else ""


def _refuse_two_places(definition: SweepDefinition, given: list[tuple[str, dict[str, Any]]]) -> None:
    for (one, keys), (other, others) in itertools.combinations(given, 2):
        for key, second in itertools.product(keys, others):
            if overlap(key, second):
                hint = f"; change an axis with -o axes.{second}=[…]" if "an axis" in (one, other) else ""
                raise BadInputError(f"sweep {definition.name}: {second}: is {one} and {other} at once{hint}")


def _refuse_unused(
    definition: SweepDefinition, given: list[tuple[str, dict[str, Any]]], config: TrialConfig, where: str
) -> None:
    unused = unused_settings(config)
    for place, settings in given:
        for key in settings:
            reason = next((why for prefix, why in unused.items() if within(key, prefix)), None)
            if reason is not None:
                raise BadInputError(
                    f"sweep {definition.name}{where}: {key} ({place}) means nothing there: {reason}; put it under "
                    "`when`, in a branch for the points it is meant for"
                )


def _check_conditions(definition: SweepDefinition) -> None:
    """Conditions look at what holds before any branch does: no branch may set what one of them asks for."""
    asked = [key for branch in definition.when for key in branch.condition]
    for branch in definition.when:
        for key, set_here in itertools.product(asked, branch.written_keys()):
            if overlap(key, set_here):
                raise BadInputError(
                    f"sweep {definition.name}: when {branch}: sets {set_here}, which a condition of `when` asks for; "
                    "set it at the top"
                )


def _values_of(branch: Branch, spread: list[Point]) -> str:
    asked = []
    for key in branch.condition:
        values = {str(effective(point.config.model_dump(mode="json"), key)) for point in spread}
        asked.append(f"{key}: {', '.join(sorted(values))}")
    return "; ".join(asked)
