"""`-o key=value`: what it changes in a definition, and the YAML in which definitions and values are written."""

from __future__ import annotations

__all__ = ["apply_overrides", "overridden_keys", "read_yaml"]

import copy
import difflib
import re
from collections.abc import Iterable
from typing import Any

import yaml
from pydantic import BaseModel

from core.errors import BadInputError
from core.presets import Settings
from sweeps.settings import check_key, get, is_corpus, put
from sweeps.strategy import LimitsConfig, RacingConfig, SearchConfig, StopConfig

SWEEP_KEYS = ("preset", "seeds", "twins", "controls", "arms", "when", "contrasts", "objective")
"""Parts of a definition that an override replaces as a whole."""
STRATEGIES: dict[str, type[BaseModel]] = {
    "search": SearchConfig,
    "stop": StopConfig,
    "racing": RacingConfig,
    "limits": LimitsConfig,
}
"""Parts that an override changes key by key (`search.points=8`), or takes away (`search=null`)."""


class _Loader(yaml.SafeLoader):
    """PyYAML follows YAML 1.1, where `1e-4` is text: here it is a number, as everyone who types it means."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(text: str) -> Any:
    """The value that a YAML text means. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)


def apply_overrides(content: Settings, overrides: Iterable[str]) -> Settings:
    """The content of a definition with `key=value` overrides applied; BadInputError for keys that do not exist.

    `axes.KEY=` replaces the axis of that name wherever it stands, at the top or in a branch of `when`; `KEY=` does the
    same with a fixed setting. One that stands nowhere is added at the top, or, when it belongs to one upstream (as
    `npc.hidden` does), in the branch for that upstream where there is one.
    """
    changed = copy.deepcopy(content)
    pairs = [_split(override) for override in overrides]
    changed |= {key: value for key, value in pairs if key in SWEEP_KEYS or key in STRATEGIES}
    for key, value in pairs:
        if _is_of_strategy(key):
            _set_strategy(changed, key, value)
    pairs = [(key, value) for key, value in pairs if key not in STRATEGIES and not _is_of_strategy(key)]
    # A corpus's name goes first: naming another corpus drops what was said of the old one.
    for key, value in sorted(pairs, key=lambda pair: not pair[0].endswith(".name")):
        if key.startswith("axes."):
            _set_axis(changed, key.removeprefix("axes."), value if isinstance(value, list | dict) else [value])
        elif key not in SWEEP_KEYS:
            _set_setting(changed, key, value)
    return changed


def overridden_keys(overrides: Iterable[str]) -> set[str]:
    """The dotted trial settings that overrides give, as axes or fixed."""
    keys = {_split(override)[0].removeprefix("axes.") for override in overrides}
    return {key for key in keys if key not in SWEEP_KEYS and key not in STRATEGIES and not _is_of_strategy(key)}


def _is_of_strategy(key: str) -> bool:
    return key.partition(".")[0] in STRATEGIES and "." in key


def _set_strategy(content: Settings, key: str, value: Any) -> None:
    part, _, field = key.partition(".")
    known = list(STRATEGIES[part].model_fields)
    if field not in known:
        near = difflib.get_close_matches(field, known, n=1, cutoff=0.0)
        raise BadInputError(f"-o: unknown setting {key!r}; the nearest is {f'{part}.{near[0]}'!r}")
    put(content, key, value)


def _set_axis(content: Settings, axis: str, values: list[Any] | dict[str, Any]) -> None:
    check_key(axis, where=f"-o axes.{axis}")
    places = _places(content, "axes")
    for place in [each for each in places if axis in each] or [_home(content, "axes", axis)]:
        place[axis] = values


def _set_setting(content: Settings, key: str, value: Any) -> None:
    check_key(key, where="-o", besides=[*SWEEP_KEYS, *STRATEGIES])
    owner, _, field = key.rpartition(".")
    of_corpus = bool(owner) and is_corpus(owner)
    places = _places(content, "settings")
    standing = [each for each in places if get(each, key) is not None]
    if not standing and of_corpus:
        standing = [each for each in places if get(each, owner) is not None][:1]
    for place in standing or [_home(content, "settings", key)]:
        if of_corpus and field == "name":
            put(place, owner, {})
        put(place, key, value)


def _places(content: Settings, part: str) -> list[Settings]:
    """The `axes` or `settings` at the top, made if need be, and those of the branches that have some."""
    of_branches = [branch[part] for branch in _branches(content) if isinstance(branch.get(part), dict)]
    return [content.setdefault(part, {}), *of_branches]


def _home(content: Settings, part: str, key: str) -> Settings:
    """Where a key goes that stands nowhere yet."""
    upstream, dot, _ = key.partition(".")
    of_upstream = [branch for branch in _branches(content) if dot and branch.get("if") == {"upstream": upstream}]
    home: Settings = (of_upstream or [content])[0].setdefault(part, {})
    return home


def _branches(content: Settings) -> list[Settings]:
    when = content.get("when")
    # What else may stand there is refused when the definition is made.
    return [branch for branch in when if isinstance(branch, dict)] if isinstance(when, list) else []


def _split(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise BadInputError(f"-o {override}: expected key=value")
    try:
        return key.strip(), read_yaml(text)
    except yaml.YAMLError as error:
        raise BadInputError(f"-o {override}: the value is not YAML ({str(error).splitlines()[0]})") from error
