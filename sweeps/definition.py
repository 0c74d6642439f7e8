"""A sweep as its author wrote it: YAML, overrides, presets, and what they make of one trial's config."""

from __future__ import annotations

__all__ = [
    "Branch",
    "Contrast",
    "Space",
    "SweepDefinition",
    "accept_corpora",
    "definition_names",
    "laid_out",
    "load_definition",
    "trial_config",
]

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, get_args

import yaml
from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from core.config import TRANSFORMERS, Config, ControlName, TrialConfig, UpstreamName
from core.errors import BadInputError
from core.presets import Preset, Settings, preset_settings
from sweeps.earlier_upstream import is_reference, taken_over
from sweeps.overrides import apply_overrides, overridden_keys, read_yaml
from sweeps.settings import UNION_TAG, check_key, checked, effective, get, leaves, merge, put
from sweeps.strategy import LimitsConfig, Objective, RacingConfig, Range, SearchConfig, StopConfig

DEFINITIONS = Path(__file__).parent / "definitions"
CORPORA = ("corpus", "pretraining_audio.corpus", "intensity.fit")


def _without_infinity(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_without_infinity(each) for each in value]
    return "inf" if value == math.inf else value


AxisValue = Annotated[Any, AfterValidator(_without_infinity)]
"""JSON has no infinity: written as text, which a temperature reads."""
AxisValues = Annotated[
    Annotated[tuple[AxisValue, ...], Field(min_length=1), Tag(UNION_TAG)] | Annotated[Range, Tag(f"{UNION_TAG}range")],
    Discriminator(lambda given: f"{UNION_TAG}range" if isinstance(given, dict | Range) else UNION_TAG),
]
Axes = dict[str, AxisValues]
"""Dotted trial setting → the values of this axis; for search also a range of them."""
ArmName = Annotated[str, Field(min_length=1)]
Arms = dict[ArmName, Annotated[dict[str, AxisValue], Field(min_length=1)]]
"""Name → dotted trial settings that are set together; all arms of one mapping are one more axis."""


class Space(Config):
    """Trial settings, fixed and varied."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Nested trial settings, over those of the preset."""
    axes: Axes = Field(default_factory=dict)
    arms: Arms = Field(default_factory=dict)

    def written_keys(self) -> list[str]:
        """Every dotted trial setting that is set here."""
        return [*leaves(self.settings), *self.axes, *(key for bundle in self.arms.values() for key in bundle)]


class Branch(Space):
    """What holds only for some of the points that the top of a definition spans."""

    condition: dict[str, AxisValue] = Field(alias="if", min_length=1)
    """Dotted trial setting → the value, or the list of values, that a point must have; all of them."""

    def matches(self, settings: Settings) -> bool:
        """Whether a trial with these settings fulfils the condition; defaults count like settings that are written."""
        return all(effective(settings, key) in values for key, values in self.wanted().items())

    def __str__(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.condition.items())

    def wanted(self) -> dict[str, tuple[Any, ...]]:
        """The condition, each key with all the values it may have."""
        return {key: tuple(v) if isinstance(v, list) else (v,) for key, v in self.condition.items()}


class Contrast(Config):
    """Two named arms to be compared beside each arm and its twin."""

    arm: ArmName
    against: ArmName

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.arm == self.against:
            raise ValueError(f"against: {self.against!r} is the arm itself")
        return self


class SweepDefinition(Space):
    """A named sweep: points of a space of trial settings, each an arm with its twin and controls, over seeds."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    description: str = ""
    preset: Preset = "smoke"
    when: tuple[Branch, ...] = ()
    """Settings, axes and arms for a part of the points only."""
    controls: tuple[ControlName, ...] = ()
    """For each arm that looks at intensity, the same arm with each of these tracks in place of the source's."""
    contrasts: dict[str, Contrast] = Field(default_factory=dict)
    """Name → further planned comparison, made within a branch and at equal values of all other axes."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)
    twins: bool = True
    """Add the twin of each arm."""
    objective: Objective = "difference"
    """Of search and early stopping."""
    search: SearchConfig | None = None
    """None: every point is tried."""
    stop: StopConfig | None = None
    racing: RacingConfig | None = None
    limits: LimitsConfig = LimitsConfig()
    earlier: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Set by the launch: upstream of an earlier sweep that is named (`trial:…`, `best-of:…`) → the trial settings that
    made it."""
    allow_quarantined: bool = False
    """Of every corpus of the sweep."""
    allow_incomplete: bool = False
    """Of every corpus of the sweep."""

    def holds_both(self, contrast: Contrast) -> bool:
        """Whether one mapping of arms has both arms of a contrast."""
        parts: tuple[Space, ...] = (self, *self.when)
        return any({contrast.arm, contrast.against} <= set(part.arms) for part in parts)

    @model_validator(mode="after")
    def _check(self) -> Self:
        repeated = {control for control in self.controls if self.controls.count(control) > 1}
        if repeated:
            raise ValueError(f"controls: {min(repeated)!r} is named twice")
        self._check_strategy()
        return self

    def _check_strategy(self) -> None:
        ranges = [key for part in (self, *self.when) for key, values in part.axes.items() if isinstance(values, Range)]
        if ranges and self.search is None:
            raise ValueError(f"axes.{ranges[0]}: a range can only be searched; say search.method, or list its values")
        if self.search is not None and self.contrasts:
            raise ValueError(f"contrasts: {min(self.contrasts)!r}: a search does not try every arm; leave them out")
        if (self.search or self.stop) and self.objective == "difference" and not self.twins:
            raise ValueError("objective: 'difference' needs twins; say objective: ua")
        if self.search and self.search.method == "nsga2" and self.stop:
            raise ValueError("stop: search.method 'nsga2' weighs cost itself; arms are not stopped early")
        if self.racing is None:
            return
        if self.search or self.stop:
            raise ValueError("racing: not together with search or stop, which leave arms out by other rules")
        if not self.twins:
            raise ValueError("racing: decides by the difference to the twin; twins is false")
        if self.racing.start >= len(self.seeds):
            raise ValueError(f"racing.start: {self.racing.start} of {len(self.seeds)} seeds leaves none to add")


def definition_names() -> list[str]:
    """Names of the definitions that ship."""
    return sorted(path.stem for path in DEFINITIONS.glob("*.yaml"))


def load_definition(name_or_path: str, overrides: Sequence[str] = ()) -> SweepDefinition:
    """Read a shipped definition by name, or any YAML file by path, and apply `key=value` overrides.

    A branch that asks for a value which an override takes away goes with it, and so do the contrasts of its arms.

    Raises BadInputError for a name that does not exist, YAML that is none, and keys or values that are refused. What
    the settings make of each trial is checked where the definition is spread out, in `sweeps.space`.
    """
    path = DEFINITIONS / f"{name_or_path}.yaml"
    if not path.exists():
        path = Path(name_or_path)
    if not path.is_file():
        raise BadInputError(f"no sweep {name_or_path!r}: not one of {', '.join(definition_names())}, and no such file")
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise BadInputError(f"{path}: not YAML that can be read ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict):
        raise BadInputError(f"{path}: a sweep definition is a mapping, this is a {type(content).__name__}")
    _check_keys(checked(SweepDefinition, content, where=str(path)), where=str(path))
    definition = checked(SweepDefinition, apply_overrides(content, overrides), where=str(path))
    _check_keys(definition, where=str(path))
    return _without_lost_branches(definition, overridden_keys(overrides))


def _check_keys(definition: SweepDefinition, *, where: str) -> None:
    parts: tuple[Space, ...] = (definition, *definition.when)
    conditions = [key for branch in definition.when for key in branch.condition]
    for key in [*(key for part in parts for key in part.written_keys()), *conditions]:
        check_key(key, where=where)


def _without_lost_branches(definition: SweepDefinition, overridden: set[str]) -> SweepDefinition:
    def is_lost(branch: Branch) -> bool:
        for key in overridden & set(branch.condition):
            values = definition.axes.get(key, (effective(definition.settings, key),))
            if isinstance(values, tuple) and not any(value in branch.wanted()[key] for value in values):
                return True
        return False

    lost = [branch for branch in definition.when if is_lost(branch)]
    left = definition.model_copy(update={"when": tuple(branch for branch in definition.when if branch not in lost)})
    parts: tuple[Space, ...] = (left, *left.when)
    standing = {key for part in parts for key in part.written_keys()}
    for branch in lost:
        for key in overridden & set(branch.written_keys()) - standing:
            raise BadInputError(f"-o {key}: stands under when {branch}, and another override leaves no point with that")
    contrasts = {
        name: contrast
        for name, contrast in definition.contrasts.items()
        if left.holds_both(contrast) or not definition.holds_both(contrast)
    }
    return left.model_copy(update={"contrasts": contrasts})


def accept_corpora(definition: SweepDefinition, *, quarantined: bool, incomplete: bool) -> SweepDefinition:
    """The definition with every corpus it names accepted although files are set aside, or counts are not published."""
    accepted = {"allow_quarantined": quarantined, "allow_incomplete": incomplete}
    return definition.model_copy(update={name: True for name, allowed in accepted.items() if allowed})


def trial_config(definition: SweepDefinition, point: Mapping[str, Any], *, where: str = "") -> TrialConfig:
    """The config of one point: defaults < preset < preset of its upstream < the definition's settings < the point.

    Args:
        definition: its axes, arms and branches are not looked at.
        point: dotted trial settings.
        where: which point it is, for the message.

    Raises BadInputError naming the setting, the value and the bound.
    """
    settings = laid_out(definition, point, where=where)
    config = checked(TrialConfig, settings, where=f"sweep {definition.name}{where}")
    _refuse_choosing(definition, config, where=where)
    return config


def _refuse_choosing(definition: SweepDefinition, config: TrialConfig, *, where: str) -> None:
    """What a system's arms cannot be chosen by."""
    chooses = [name for name in ("search", "stop", "racing") if getattr(definition, name) is not None]
    if chooses and config.system == "teacher_student":
        raise BadInputError(
            f"sweep {definition.name}{where}: {chooses[0]}: chooses by UA, and system 'teacher_student' has CCC only"
        )
    if definition.stop is not None and config.system != "ems":
        raise BadInputError(
            f"sweep {definition.name}{where}: stop: looks at upstreams while they train, and an arm of system "
            f"{config.system!r} shares its own with its twin: every difference would be 0"
        )


def laid_out(definition: SweepDefinition, point: Mapping[str, Any], *, where: str = "") -> Settings:
    """The nested settings of one point, preset and those of an earlier upstream included, not checked."""
    own = merge(definition.settings, {})
    for key, value in point.items():
        put(own, key, value)
    for corpus in CORPORA:
        if get(own, corpus) is not None:
            for name in ("allow_quarantined", "allow_incomplete"):
                if getattr(definition, name):
                    put(own, f"{corpus}.{name}", True)
    upstream = effective(own, "upstream")
    if is_reference(upstream):
        own = taken_over(own, upstream, definition.earlier, where=f"sweep {definition.name}{where}")
        upstream = own["upstream"]
    if upstream not in get_args(UpstreamName):
        # Refused, with the names that exist, when the config is made.
        return own
    shared, of_upstream = preset_settings(definition.preset, upstream)
    if upstream in TRANSFORMERS and "intensity" not in own:
        # Most trials over them need none, and half a setting would ask for the rest.
        shared = {part: settings for part, settings in shared.items() if part != "intensity"}
    return merge(merge(shared, of_upstream), own)
