"""What a definition says, before any corpus is looked at: for `sweep show`."""

from __future__ import annotations

__all__ = ["summarise", "summary_text"]

import itertools
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from core.config import CorpusConfig, TrialConfig
from core.errors import BadInputError
from core.presets import preset_settings
from core.resolve import meaningful_settings
from sweeps.definition import Axes, Branch, SweepDefinition
from sweeps.draws import drafts
from sweeps.settings import leaves, merge, overlap
from sweeps.space import Point, Role, contrast_pairs, family, points
from sweeps.strategy import RacingConfig, Range, SearchConfig, StopConfig

COMPARED = ("features", "intensity.ranking", "intensity.strengthnet", "mockingjay", "npc", "pretrain", "probe")
"""Settings for which `paper` holds published sizes and schedules."""
LOOKED_AT = 4096
"""At most so many points of a search's space are looked at."""


def summarise(definition: SweepDefinition) -> dict[str, Any]:
    """Everything `sweep show` says, as JSON values.

    `arms` and `trials` count what is known to differ by its settings, twins and controls included: no corpus is looked
    at. `at_most`: a search may share twins, and a race ends early, so that there are no more than these. Raises
    BadInputError for a definition that makes no plan.
    """
    spread = _spread(definition)
    pairs = contrast_pairs(definition, spread)
    arms = _count_arms(definition, spread)
    upstreams = {point.config.upstream: point for point in reversed(spread)}
    return {
        "name": definition.name,
        "description": definition.description,
        "preset": definition.preset,
        "corpora": list(dict.fromkeys(_corpora(point.config) for point in spread)),
        "settings": leaves(definition.settings),
        "axes": _axes(definition.axes),
        "named_arms": definition.arms,
        "when": [_branch(branch) for branch in definition.when],
        "twins": definition.twins,
        "controls": definition.controls,
        "contrasts": {
            name: {**contrast.model_dump(), "pairs": sum(name == found for found, _, _ in pairs)}
            for name, contrast in definition.contrasts.items()
        },
        "seeds": definition.seeds,
        "objective": definition.objective,
        "search": _as_json(definition.search),
        "stop": _as_json(definition.stop),
        "racing": _as_json(definition.racing),
        "at_most": bool(definition.search or definition.racing),
        "arms": arms,
        "trials": arms * len(set(definition.seeds)),
        "unlike_paper": {name: _unlike_paper(upstreams[name]) for name in sorted(upstreams)},
    }


def _spread(definition: SweepDefinition, *, of_range: Sequence[float] = (0, 1)) -> tuple[Point, ...]:
    """All points; of a search those that the settings allow, with a range at both of its ends, or where said."""
    if definition.search is None:
        return points(definition)
    found = list(itertools.islice(drafts(definition, {}, of_range=of_range), LOOKED_AT))
    allowed = tuple(each.point for each in found if each.point is not None)
    if not allowed:
        raise BadInputError(found[-1].refused or f"sweep {definition.name}: no point can be tried")
    return allowed


def _count_arms(definition: SweepDefinition, spread: Sequence[Point]) -> int:
    """Different arms, twins and controls; of a search the most that its points can come to."""
    kinds = _identities(definition, spread)
    if definition.search is None:
        return len(set().union(*kinds.values()))
    most = definition.search.points
    if len(spread) == LOOKED_AT:
        return most * len(kinds)
    low = _identities(definition, _spread(definition, of_range=(0,)))
    # A twin knows no temperature: what is no more at both ends of the ranges than at one does not depend on them.
    return sum(min(most, len(known)) if len(low.get(role, ())) == len(known) else most for role, known in kinds.items())


def _identities(definition: SweepDefinition, spread: Sequence[Point]) -> dict[Role, set[str]]:
    kinds: dict[Role, set[str]] = {}
    for point in spread:
        for role, config in family(point.config, definition):
            kinds.setdefault(role, set()).add(_identity(config))
    return kinds


def _axes(axes: Axes) -> dict[str, Any]:
    return {key: values.model_dump() if isinstance(values, Range) else values for key, values in axes.items()}


def _as_json(strategy: SearchConfig | StopConfig | RacingConfig | None) -> dict[str, Any] | None:
    return None if strategy is None else strategy.model_dump(mode="json")


def _identity(config: TrialConfig) -> str:
    return json.dumps(meaningful_settings(config), sort_keys=True)


def _branch(branch: Branch) -> dict[str, Any]:
    return {
        "if": branch.condition,
        "settings": leaves(branch.settings),
        "axes": _axes(branch.axes),
        "named_arms": branch.arms,
    }


def _corpora(config: TrialConfig) -> str:
    parts = [f"{_corpus(config.corpus)} evaluated"]
    source, heard = config.pretraining_audio.source, config.pretraining_audio.corpus
    if not config.pretrains:
        parts.append(f"{config.upstream} as published")
    else:
        parts.append(f"{_corpus(heard)} heard in pre-training" if heard else f"pre-training hears: {source}")
    if not config.needs_intensity:
        return ", ".join(parts)
    if config.intensity.fit:
        parts.append(f"intensity learnt from {_corpus(config.intensity.fit)}")
    else:
        parts.append(f"intensity from {config.intensity.file}")
    return ", ".join(parts)


def _corpus(corpus: CorpusConfig) -> str:
    part = corpus.subset or (corpus.part if corpus.part != "main" else None)
    return f"{corpus.name} ({part})" if part else corpus.name


def _unlike_paper(point: Point) -> list[dict[str, Any]]:
    """Sizes and schedules of a point that are not the published ones; what its axes and arms set is left out."""
    config = point.config
    published = TrialConfig.model_validate(merge(*preset_settings("paper", config.upstream))).model_dump(mode="json")
    paper = leaves(published)
    return [
        {"setting": key, "here": value, "paper": paper[key]}
        for key, value in leaves(meaningful_settings(config)).items()
        if any(key.startswith(f"{part}.") for part in COMPARED)
        and not any(overlap(key, varied) for varied in point.varied)
        and value != paper[key]
    ]


def summary_text(summary: Mapping[str, Any], arguments: Sequence[str]) -> str:
    """The same for people. `arguments`: name and overrides, with which `sweep launch` starts it."""
    lines = [": ".join(filter(None, (summary["name"], summary["description"]))), ""]
    lines.append(f"preset    {summary['preset']}")
    lines += [f"corpora   {corpora}" for corpora in summary["corpora"]]
    lines.append(f"seeds     {' '.join(map(str, summary['seeds']))}")
    lines.append(f"twins     {'one for each arm that uses intensity' if summary['twins'] else 'none'}")
    lines.append(f"controls  {' '.join(summary['controls']) or 'none'}")
    lines += _strategy_lines(summary)
    lines += _space_lines(summary, "")
    for branch in summary["when"]:
        condition = ", ".join(f"{key} = {_value(value)}" for key, value in branch["if"].items())
        lines += ["", f"when {condition}", *_space_lines(branch, "  ")]
    if summary["contrasts"]:
        width = max(map(len, summary["contrasts"]))
        lines += ["", "also compared"]
        lines += [f"  {name:{width}}  {each['arm']} − {each['against']}" for name, each in summary["contrasts"].items()]
    most = " at most" if summary["at_most"] else ""
    lines += ["", f"{summary['arms']} arms, {summary['trials']} trials{most}, before corpora are looked at"]
    for upstream, rows in summary["unlike_paper"].items():
        verdict = "not as published" if rows else "sizes and schedules as published, but for what axes and arms set"
        lines += ["", f"{upstream}: {verdict}", *_table(rows)]
    lines += ["", f"start it: sweep launch {shlex.join(arguments)}"]
    return "\n".join(lines)


def _strategy_lines(summary: Mapping[str, Any]) -> list[str]:
    """How the sweep spends its budget, where it does not simply run all of it."""
    search, stop, racing = (summary[name] for name in ("search", "stop", "racing"))
    objective = "UA on validation, arm less twin" if summary["objective"] == "difference" else "UA on validation"
    lines = []
    if search:
        cost = " and the least training cost" if search["method"] == "nsga2" else ""
        lines.append(
            f"search    {search['method']}: {search['points']} points, {search['batch']} at a time, seed "
            f"{search['seed']}; for the highest {objective}{cost}"
        )
    if stop and stop["rule"] == "asha":
        lines.append(
            f"stop      asha: looks at step {stop['first']}, then at {stop['factor']:g} times the last one; one of "
            f"{stop['factor']:g} arms goes on, by {objective}"
        )
    if stop and stop["rule"] == "median":
        every = stop["every"] or stop["first"]
        lines.append(
            f"stop      median: looks from step {stop['first']}, every {every} steps; arms below the median end, by "
            f"{objective}"
        )
    if racing:
        lines.append(
            f"racing    {racing['start']} seeds for every arm; further ones while its interval straddles zero, at "
            f"alpha {racing['alpha']:g} over all looks"
        )
    return lines


def _space_lines(part: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for title, rows in (
        ("settings", [(key, _value(value)) for key, value in part["settings"].items()]),
        ("axes", [(key, _value(values)) for key, values in part["axes"].items()]),
        ("arms", [(name, _bundle(bundle)) for name, bundle in part["named_arms"].items()]),
    ):
        if rows:
            width = max(len(key) for key, _ in rows)
            lines += [f"{indent}{title}", *(f"{indent}  {key:{width}}  {value}" for key, value in rows)]
    return lines


def _bundle(bundle: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_value(value)}" for key, value in bundle.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(Range.model_validate(value))
    if isinstance(value, list | tuple):
        return " ".join(map(_value, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    values = [(row["setting"], _value(row["here"]), _value(row["paper"])) for row in rows]
    cells = [("setting", "here", "paper"), *values]
    first, second = (max(len(cell[i]) for cell in cells) for i in (0, 1))
    return [f"  {setting:{first}}  {here:>{second}}  {paper}" for setting, here, paper in cells]
