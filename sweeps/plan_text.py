"""A plan as text: each arm with its twin and its controls, what of it is still to run, and what is compared."""

from __future__ import annotations

__all__ = ["plan_rows", "plan_text"]

from collections.abc import Set as AbstractSet
from typing import Any

from sweeps.plan import Plan, PlannedTrial

ROLE_WIDTH = 12


def plan_rows(plan: Plan, open_keys: AbstractSet[str]) -> list[dict[str, Any]]:
    """One row per trial, for machines. `open_keys`: the trials that have no complete record yet."""
    names = {trial.arm_key: trial.arm for trial in plan.trials}
    return [
        {
            "trial_key": trial.trial_key,
            "arm": trial.arm,
            "seed": trial.seed,
            "upstream": trial.upstream,
            "control": trial.control,
            "twin": names.get(trial.twin_key or ""),
            "open": trial.trial_key in open_keys,
        }
        for trial in plan.trials
    ]


def plan_text(plan: Plan, open_keys: AbstractSet[str]) -> str:
    """Arms in the order of the plan, each over its twin and controls; a tick marks what is complete.

    An arm is shown once: where it is also another arm's twin, its name alone is repeated.
    """
    arms: dict[str, list[PlannedTrial]] = {}
    for trial in plan.trials:
        arms.setdefault(trial.arm_key, []).append(trial)
    controls: dict[str, list[tuple[str, str]]] = {}
    for contrast in plan.contrasts:
        if contrast.kind == "control":
            controls.setdefault(contrast.arm_key, []).append((contrast.name, contrast.against_key))
    width = max((len(trials[0].arm) for trials in arms.values()), default=0) + ROLE_WIDTH
    shown: set[str] = set()

    def line(key: str, role: str) -> str:
        again = key in shown
        shown.add(key)
        name = f"{role:{ROLE_WIDTH}}{arms[key][0].arm}" if role else arms[key][0].arm
        return f"  {name:{width}}  {'(shown above)' if again else _seeds(arms[key], open_keys)}"

    followers = {trial.twin_key for trial in plan.trials} | {key for of in controls.values() for _, key in of}
    lines = [_head(plan, open_keys)]
    for key, trials in arms.items():
        if key in followers and key in shown:
            continue
        lines.append(line(key, ""))
        twin = trials[0].twin_key
        members = [("twin", twin)] if twin else []
        lines += [line(member, f"  {role}") for role, member in [*members, *controls.get(key, [])]]
    named = [contrast for contrast in plan.contrasts if contrast.kind == "contrast"]
    if named:
        lines.append("also compared")
        lines += [f"  {each.name}: {arms[each.arm_key][0].arm} − {arms[each.against_key][0].arm}" for each in named]
    return "\n".join(lines)


def _head(plan: Plan, open_keys: AbstractSet[str]) -> str:
    definition = plan.definition
    head = f"sweep {definition.name} (preset {definition.preset})"
    if definition.search is None and definition.racing is None:
        return f"{head}: {len(plan.trials)} trials, {len(open_keys)} to run"
    if definition.search is not None:
        more = f"{definition.search.method} chooses {definition.search.points} points"
    else:
        more = "the race adds seeds"
    return f"{head}: {len(plan.trials)} trials so far, {len(open_keys)} to run; {more} as it goes"


def _seeds(trials: list[PlannedTrial], open_keys: AbstractSet[str]) -> str:
    marked = [f"{trial.seed}{'' if trial.trial_key in open_keys else '✓'}" for trial in trials]
    return f"seeds {' '.join(marked)}"
