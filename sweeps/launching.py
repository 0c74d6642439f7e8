"""How a sweep was launched: what `sweep resume` and `sweep retry` need besides the records (ours)."""

from __future__ import annotations

__all__ = ["Launching", "failed_trials", "reopen_failed", "sample_plan"]

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from core.config import UpstreamName
from core.errors import BadInputError, FailureKind
from core.progress import Progress, silent
from core.provenance import now
from core.records import read_record
from core.seeding import stream
from core.store import Workspace, write_atomically
from sweeps.cluster import Resources
from sweeps.definition import SweepDefinition
from sweeps.earlier_upstream import with_earlier_upstreams
from sweeps.plan import Plan, PlannedTrial, Planner
from sweeps.racing import RacingSource
from sweeps.search import SearchSource
from sweeps.settings import checked
from sweeps.sources import FixedSource, TrialSource
from sweeps.space import Point, point_at
from sweeps.strategy import Range

FILE = "launch.json"
HISTORY = "retried.jsonl"
"""Beside it: what failed and was then run again."""


@dataclass(frozen=True, kw_only=True)
class Launching:
    """A definition, what its trials get, and what was learnt about this machine's memory."""

    definition: SweepDefinition
    resources: Resources
    micro_batch: dict[UpstreamName, int] = field(default_factory=dict)
    """Utterances per forward pass that fitted into memory, where the definition's did not."""

    @classmethod
    def of(cls, definition: SweepDefinition, resources: Resources, workspace: Workspace) -> Launching:
        """A new launch, or one of a sweep that was launched here before with the same resources."""
        path = workspace.sweep(definition.name) / FILE
        earlier = cls.read(definition.name, workspace) if path.exists() else None
        known = earlier.micro_batch if earlier and earlier.resources == resources else {}
        return cls(definition=with_earlier_upstreams(definition, workspace), resources=resources, micro_batch=known)

    @classmethod
    def read(cls, name: str, workspace: Workspace) -> Launching:
        """How the sweep was last launched. Raises BadInputError when it never was in this workspace."""
        path = workspace.sweep(name) / FILE
        try:
            content = json.loads(path.read_bytes())
            resources = TypeAdapter(Resources).validate_python(content["resources"])
            micro_batch = TypeAdapter(dict[UpstreamName, int]).validate_python(content["micro_batch"])
        except FileNotFoundError as error:
            known = sorted(each.parent.name for each in workspace.root.glob(f"sweeps/*/{FILE}"))
            raise BadInputError(
                f"sweep {name!r}: not launched in {workspace.root} (there: {', '.join(known) or 'none'})"
            ) from error
        except (OSError, ValueError, KeyError, ValidationError) as error:
            raise BadInputError(f"{path}: does not say how the sweep was launched ({type(error).__name__})") from error
        definition = checked(SweepDefinition, content["definition"], where=str(path))
        return cls(definition=definition, resources=resources, micro_batch=micro_batch)

    def write(self, workspace: Workspace) -> None:
        """Write `sweeps/<name>/launch.json`."""
        content = {
            "definition": self.definition.model_dump(mode="json", by_alias=True),
            "resources": self.resources.as_json(),
            "micro_batch": self.micro_batch,
        }
        write_atomically(workspace.sweep(self.definition.name) / FILE, json.dumps(content, indent=1).encode())

    def planner(self, workspace: Workspace, *, progress: Progress = silent) -> Planner:
        return Planner(
            self.definition,
            workspace,
            compute=self.resources.compute_settings(),
            micro_batch=self.micro_batch,
            progress=progress,
        )

    @property
    def grows(self) -> bool:
        """Whether its trials follow from results."""
        return self.definition.search is not None or self.definition.racing is not None

    def known_plan(self, workspace: Workspace, *, progress: Progress = silent) -> Plan:
        """The trials that have come up so far; of a search that has not begun, none."""
        if self.definition.search is not None and not (workspace.sweep(self.definition.name) / FILE).exists():
            # To ask the search would begin it.
            return Plan(definition=self.definition, trials=())
        return self.source(self.planner(workspace, progress=progress), workspace).plan

    def source(self, planner: Planner, workspace: Workspace) -> TrialSource:
        """Where the trials come from; a search keeps its memory in `sweeps/<name>/optuna.db`."""
        if self.definition.search is not None:
            storage = workspace.sweep(self.definition.name) / "optuna.db"
            return SearchSource(planner, workspace, storage=storage)
        if self.definition.racing is not None:
            return RacingSource(planner, workspace)
        return FixedSource(planner.whole())


def sample_plan(planner: Planner) -> Plan:
    """What a sweep can come to, to estimate it by: all seeds of a race, random points of a search (one stream)."""
    definition = planner.definition
    if definition.search is None:
        return planner.whole()
    random = stream(definition.search.seed, "sample-plan")

    def pick(name: str, values: Sequence[Any] | Range) -> Any:
        del name
        if not isinstance(values, Range):
            return values[int(random.integers(len(values)))]
        drawn = random.uniform(values.low, values.high)
        return round(drawn) if values.whole else float(drawn)

    found: list[Point] = []
    for _ in range(definition.search.points):
        try:
            found.append(point_at(definition, pick, planner.compute))
        except BadInputError:
            # A point that the settings refuse is never run.
            continue
    return planner.plan([(point, definition.seeds) for point in found])


def failed_trials(plan: Plan, workspace: Workspace, *, kinds: Collection[FailureKind]) -> tuple[PlannedTrial, ...]:
    """The trials of a plan that failed for one of these reasons.

    Failures of records before schema 3 are of no known kind and count as `error`.
    """
    records = [read_record(workspace.trial(trial.trial_key)) for trial in plan.trials]
    return tuple(
        trial
        for trial, record in zip(plan.trials, records, strict=True)
        if record is not None and record.status == "failed" and (record.failure or "error") in kinds
    )


def reopen_failed(launching: Launching, workspace: Workspace, *, kinds: Collection[FailureKind]) -> None:
    """Make trials that failed for one of these reasons open again; their reasons are kept in `HISTORY`.

    For the driver of the sweep only.
    """
    history = workspace.sweep(launching.definition.name) / HISTORY
    for trial in failed_trials(launching.known_plan(workspace), workspace, kinds=kinds):
        folder = workspace.trial(trial.trial_key)
        record = read_record(folder)
        assert record is not None
        line = {"at": now(), "trial_key": trial.trial_key, "failure": record.failure, "reason": record.reason}
        with history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        (folder / "record.json").unlink()
