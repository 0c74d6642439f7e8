"""A sweep as its author wrote it: YAML, overrides, presets, and what they make of one trial's config."""

from __future__ import annotations

__all__ = [
    "SweepDefinition",
    "accept_corpora",
    "apply_overrides",
    "checked",
    "definition_names",
    "load_definition",
    "trial_config",
]

import copy
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from core.config import Config, CorpusConfig, TrialConfig
from core.errors import BadInputError
from core.presets import PRESETS, Preset, Settings

DEFINITIONS = Path(__file__).parent / "definitions"
AxisValue = Annotated[Any, AfterValidator(lambda value: "inf" if value == math.inf else value)]
"""JSON has no infinity: written as text, which a temperature reads."""
Checked = TypeVar("Checked", bound=BaseModel)
SET_ELSEWHERE = {
    "seed": "the sweep: say seeds, e.g. seeds=[0,1]",
    "compute.threads": "sweep launch --cpus-per-trial",
    "compute.device": "sweep launch --gpus-per-trial",
}
SWEEP_KEYS = ("preset", "seeds", "twins")


class SweepDefinition(Config):
    """A named sweep: the axes of a grid over trial settings, replicated over seeds."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    description: str = ""
    preset: Preset = "smoke"
    settings: dict[str, Any] = Field(default_factory=dict)
    """Nested trial settings, over those of the preset."""
    axes: dict[str, Annotated[tuple[AxisValue, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Dotted trial setting → the values of this axis."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    twins: bool = True
    """Add the twin of each arm."""


class _Loader(yaml.SafeLoader):
    """PyYAML follows YAML 1.1, where `1e-4` is text: here it is a number, as everyone who types it means."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _read_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def definition_names() -> list[str]:
    """Names of the definitions that ship."""
    return sorted(path.stem for path in DEFINITIONS.glob("*.yaml"))


def load_definition(name_or_path: str, overrides: Iterable[str] = ()) -> SweepDefinition:
    """Read a shipped definition by name, or any YAML file by path, and apply `key=value` overrides.

    Raises BadInputError for a name that does not exist, YAML that is none, and keys or values that are refused.
    """
    path = DEFINITIONS / f"{name_or_path}.yaml"
    if not path.exists():
        path = Path(name_or_path)
    if not path.is_file():
        raise BadInputError(f"no sweep {name_or_path!r}: not one of {', '.join(definition_names())}, and no such file")
    try:
        content = _read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise BadInputError(f"{path}: not YAML that can be read ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict):
        raise BadInputError(f"{path}: a sweep definition is a mapping, this is a {type(content).__name__}")
    for part in ("settings", "axes"):
        if not isinstance(content.setdefault(part, {}), dict):
            raise BadInputError(f"{path}: {part} must be a mapping, got {content[part]!r}")
    for key in [*_leaves(content["settings"]), *map(str, content["axes"])]:
        _check_key(key, where=str(path))
    content = apply_overrides(content, overrides)
    for key in content["axes"]:
        if _get(content["settings"], key) is not None:
            raise BadInputError(f"{key}: is an axis and a fixed setting at once; change it with -o axes.{key}=[…]")
    return checked(SweepDefinition, content, where=str(path))


def accept_corpora(definition: SweepDefinition, *, quarantined: bool, incomplete: bool) -> SweepDefinition:
    """The definition with every corpus it names accepted although files are set aside, or counts are not published."""
    accepted = {"allow_quarantined": quarantined, "allow_incomplete": incomplete}
    settings = copy.deepcopy(definition.settings)
    for key in ("corpus", "pretraining_audio.corpus", "intensity.fit"):
        for name, allowed in accepted.items():
            if allowed and _get(settings, key) is not None:
                _set(settings, f"{key}.{name}", True)
    return definition.model_copy(update={"settings": settings})


def trial_config(definition: SweepDefinition, point: Mapping[str, Any]) -> TrialConfig:
    """The config of one point: defaults < preset < the definition's settings < the point (dotted keys).

    Raises BadInputError naming the setting, the value and the bound.
    """
    settings = _merge(PRESETS[definition.preset], definition.settings)
    for key, value in point.items():
        _set(settings, key, value)
    return checked(TrialConfig, settings, where=f"sweep {definition.name}")


def apply_overrides(content: Settings, overrides: Iterable[str]) -> Settings:
    """The content of a definition with `key=value` overrides applied; BadInputError for keys that do not exist."""
    changed = copy.deepcopy(content)
    # A corpus's name goes first: naming another corpus drops what was said of the old one.
    for key, value in sorted(map(_split, overrides), key=lambda pair: not pair[0].endswith(".name")):
        if key in SWEEP_KEYS:
            changed[key] = value
        elif key.startswith("axes."):
            axis = key.removeprefix("axes.")
            _check_key(axis, where=f"-o {key}")
            changed["axes"][axis] = value if isinstance(value, list) else [value]
        else:
            _check_key(key, where="-o")
            owner, _, field = key.rpartition(".")
            if field == "name" and _field_type(owner) is CorpusConfig:
                _set(changed["settings"], owner, {})
            _set(changed["settings"], key, value)
    return changed


def _split(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise BadInputError(f"-o {override}: expected key=value")
    try:
        return key.strip(), _read_yaml(text)
    except yaml.YAMLError as error:
        raise BadInputError(f"-o {override}: the value is not YAML ({str(error).splitlines()[0]})") from error


def known_keys(model: type[BaseModel] = TrialConfig, prefix: str = "") -> list[str]:
    """Every dotted setting of a trial."""
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        nested = _nested_model(field.annotation)
        if nested:
            keys += known_keys(nested, f"{prefix}{name}.")
    return keys


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _field_type(key: str) -> type[BaseModel] | None:
    model: type[BaseModel] | None = TrialConfig
    for part in key.split("."):
        field = model.model_fields.get(part) if model else None
        model = _nested_model(field.annotation) if field else None
    return model


def _check_key(key: str, *, where: str) -> None:
    if key in SET_ELSEWHERE:
        raise BadInputError(f"{where}: {key!r} is set by {SET_ELSEWHERE[key]}")
    known = [*known_keys(), *SWEEP_KEYS] if where == "-o" else known_keys()
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
        raise BadInputError(f"{where}: unknown setting {key!r}; the nearest is {near[0]!r}")


def _leaves(settings: Settings, prefix: str = "") -> list[str]:
    keys = []
    for name, value in settings.items():
        keys += _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + str(name)]
    return keys


def _get(settings: Settings, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _set(settings: Settings, key: str, value: Any) -> None:
    *owners, last = key.split(".")
    for part in owners:
        if not isinstance(settings.get(part), dict):
            settings[part] = {}
        settings = settings[part]
    settings[last] = value


def _merge(low: Settings, high: Settings) -> Settings:
    merged = copy.deepcopy(low)
    for name, value in high.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merge(merged[name], value) if both else copy.deepcopy(value)
    return merged


def checked(model: type[Checked], content: Settings, *, where: str) -> Checked:
    """The config that `content` means; BadInputError naming the setting, the bound and the value otherwise."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        given = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
        message = first["msg"].removeprefix("Value error, ")
        raise BadInputError(f"{where}: {place + ': ' if place else ''}{message}{given}") from error
