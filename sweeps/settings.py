"""Settings of a trial by dotted key: which exist, and how nested ones are read, written and laid over each other."""

from __future__ import annotations

__all__ = [
    "UNION_TAG",
    "check_key",
    "checked",
    "is_corpus",
    "effective",
    "get",
    "known_keys",
    "leaves",
    "merge",
    "overlap",
    "put",
    "within",
]

import copy
import difflib
import math
from collections.abc import Iterable
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from core.config import CorpusConfig, TrialConfig
from core.errors import BadInputError
from core.presets import Settings

UNION_TAG = "one of: "
"""Begins the names that pydantic gives the cases of a union, which are no part of a setting's place."""
Checked = TypeVar("Checked", bound=BaseModel)
SET_ELSEWHERE = {
    "seed": "the sweep: say seeds, e.g. seeds=[0,1]",
    "interim": "the sweep: say stop, e.g. stop.rule=asha",
    "interim.at": "the sweep: say stop.first and stop.factor",
    "interim.probe_steps": "the sweep: say stop.probe_steps",
    "compute.threads": "sweep launch --cpus-per-trial",
    "compute.device": "sweep launch --gpus-per-trial",
}


def known_keys(model: type[BaseModel] = TrialConfig, prefix: str = "") -> list[str]:
    """Every dotted setting of a trial."""
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        nested = _nested_model(field.annotation)
        if nested:
            keys += known_keys(nested, f"{prefix}{name}.")
    return keys


def check_key(key: str, *, where: str, besides: Iterable[str] = ()) -> None:
    """BadInputError, naming the nearest key, unless `key` is a setting of a trial that a sweep may set.

    Args:
        where: who says it, for the message.
        besides: other keys that are understood there.
    """
    if key in SET_ELSEWHERE:
        raise BadInputError(f"{where}: {key!r} is set by {SET_ELSEWHERE[key]}")
    known = [*known_keys(), *besides]
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
        raise BadInputError(f"{where}: unknown setting {key!r}; the nearest is {near[0]!r}")


def is_corpus(key: str) -> bool:
    """Whether the setting is a whole corpus, such as `intensity.fit`."""
    model: type[BaseModel] | None = TrialConfig
    for part in key.split("."):
        field = model.model_fields.get(part) if model else None
        model = _nested_model(field.annotation) if field else None
    return model is CorpusConfig


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def leaves(settings: Settings, prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted key → value."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def get(settings: Settings, key: str) -> Any:
    """The value of a dotted key in nested settings; None where it is not set."""
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def put(settings: Settings, key: str, value: Any) -> None:
    """Set a dotted key in nested settings."""
    *owners, last = key.split(".")
    for part in owners:
        if not isinstance(settings.get(part), dict):
            settings[part] = {}
        settings = settings[part]
    settings[last] = value


def merge(low: Settings, high: Settings) -> Settings:
    """A copy of `low` with `high` laid over it."""
    merged = copy.deepcopy(low)
    for name, value in high.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both else copy.deepcopy(value)
    return merged


def within(key: str, prefix: str) -> bool:
    """Whether a dotted key is `prefix` or lies below it."""
    return f"{key}.".startswith(f"{prefix}.")


def overlap(one: str, other: str) -> bool:
    """Whether two dotted keys set the same thing, or one a part of the other."""
    return within(one, other) or within(other, one)


def effective(settings: Settings, key: str) -> Any:
    """The value a trial with these settings has at a dotted key: theirs, else the default. Infinity as text, `inf`."""
    model: type[BaseModel] | None = TrialConfig
    value: Any = settings
    for part in key.split("."):
        if isinstance(value, dict):
            field = model.model_fields[part] if model else None
            value = value[part] if part in value else field.get_default() if field else None
            model = _nested_model(field.annotation) if field else None
        else:
            value = getattr(value, part, None)
    return "inf" if isinstance(value, float) and math.isinf(value) else value


def checked(model: type[Checked], content: Settings, *, where: str) -> Checked:
    """The config that `content` means; BadInputError naming the setting, the bound and the value otherwise."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(part for part in map(str, first["loc"]) if not part.startswith(UNION_TAG))
        given = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
        message = first["msg"].removeprefix("Value error, ")
        raise BadInputError(f"{where}: {place + ': ' if place else ''}{message}{given}") from error
