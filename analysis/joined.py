"""Several sweeps in one report: their plans as one plan, in a folder of its own, over the trials they share.

A trial that several have counts once; an arm that several have is one arm with all its replicates; arms that only have
a name in common are told apart by their sweep's name. Corpora are compared when the records are read.
"""

from __future__ import annotations

__all__ = ["JOINED", "PlanAt", "join_plans", "write_counted", "write_joined"]

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.imported import ImportedSystem, imported_folder, read_imports
from analysis.openings import CountedIn, count_in
from analysis.plan import Plan, PlannedTrial, read_plan
from core.errors import BadInputError

JOINED = " + "
"""Between the names of the sweeps in that of their report."""


@dataclass(frozen=True, kw_only=True)
class PlanAt:
    """A plan on disk, and the log in which looks at its test part are counted."""

    plan_path: Path
    log: Path


def join_plans(plans: Sequence[Plan]) -> Plan:
    """One plan of several, in the order given; `definition` holds theirs by name.

    Where plans give one arm different readable names or axes, the first's stand; its twin is the one that any of them
    names. Raises BadInputError for fewer than two plans, two of one name, or an arm with two different twins.
    """
    names = [plan.sweep for plan in plans]
    if len(plans) < 2 or len(set(names)) < len(names):
        raise BadInputError(f"sweeps to join: at least two, each once; got {', '.join(names)}")
    first: dict[str, PlannedTrial] = {}
    owner: dict[str, str] = {}
    for plan in plans:
        for trial in plan.trials:
            known = first.setdefault(trial.arm_key, trial)
            owner.setdefault(trial.arm_key, plan.sweep)
            if known.twin_key is None and trial.twin_key is not None:
                first[trial.arm_key] = known.model_copy(update={"twin_key": trial.twin_key})
            elif trial.twin_key not in (None, known.twin_key):
                raise BadInputError(
                    f"arm {known.arm!r}: its twin is {known.twin_key} in sweep {owner[trial.arm_key]!r} and "
                    f"{trial.twin_key} in sweep {plan.sweep!r}"
                )
    times = Counter(trial.arm for trial in first.values())
    trials: dict[str, PlannedTrial] = {}
    for trial in (trial for plan in plans for trial in plan.trials):
        known = first[trial.arm_key]
        name = known.arm if times[known.arm] == 1 else f"{known.arm} ({owner[trial.arm_key]})"
        of_arm = {"arm": name, "twin_key": known.twin_key, "axes": known.axes}
        trials.setdefault(trial.trial_key, trial.model_copy(update=of_arm))
    return Plan(
        schema_version=2,
        sweep=JOINED.join(names),
        definition={plan.sweep: plan.definition for plan in plans},
        trials=tuple(trials.values()),
        contrasts=tuple(dict.fromkeys(contrast for plan in plans for contrast in plan.contrasts)),
    )


def write_joined(sources: Sequence[PlanAt], *, folder: Path, trials_root: Path) -> Path:
    """Write the joined plan and the sweeps' imported systems to `folder`; returns the plan's path.

    Looks at its test part count with each of the sweeps. Raises BadInputError as `join_plans` does, for a plan that
    cannot be read, and for two different imported systems of one name.
    """
    plans = [read_plan(source.plan_path) for source in sources]
    joined = join_plans(plans)
    path = folder / "plan.json"
    shutil.rmtree(imported_folder(path), ignore_errors=True)
    systems: dict[str, tuple[ImportedSystem, str]] = {}
    for plan, source in zip(plans, sources, strict=True):
        for key, system in read_imports(source.plan_path).items():
            known = systems.setdefault(key, (system, plan.sweep))
            if (known[0].sha256, known[0].runs) != (system.sha256, system.runs):
                raise BadInputError(
                    f"imported system {system.name!r}: not the same in sweeps {known[1]!r} and {plan.sweep!r}"
                )
            place = imported_folder(path) / system.name
            shutil.copytree(imported_folder(source.plan_path) / system.name, place, dirs_exist_ok=True)
            both = tuple(dict.fromkeys((*known[0].against, *system.against)))
            systems[key] = (known[0].model_copy(update={"against": both}), known[1])
            (place / "import.json").write_text(systems[key][0].model_dump_json(indent=1), encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(joined.model_dump_json(), encoding="utf-8")
    write_counted(sources, folder=folder, trials_root=trials_root)
    return path


def write_counted(sources: Sequence[PlanAt], *, folder: Path, trials_root: Path) -> None:
    """Looks at the plan in `folder` count with these sweeps, each with its trials that left predictions."""
    counted = []
    for source in sources:
        plan = read_plan(source.plan_path)
        left = sum((trials_root / trial.trial_key / "predictions.parquet").exists() for trial in plan.trials)
        counted.append(CountedIn(sweep=plan.sweep, log=str(source.log.absolute()), trials=left))
    count_in(folder, counted)
