"""A search as a source of trials: batches of points, each chosen when all points of the batch before have ended.

The memory of a search is its Optuna study on disk. A point is written there in one transaction when it is chosen, and
its value in another when it has ended; everything between is worked out anew from the study and the records. So a
driver that is killed anywhere goes on as if nothing had happened.
"""

from __future__ import annotations

__all__ = ["SearchSource"]

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from core.errors import BadInputError
from core.identity import digest
from core.seeding import stream
from core.store import Workspace
from sweeps.definition import SweepDefinition
from sweeps.draws import Draft, Kept, draft, drafts
from sweeps.objective import Outcome, outcome_of
from sweeps.plan import Plan, Planner
from sweeps.samplers import directions, distribution_of, sobol, suggested, uniform
from sweeps.space import Point
from sweeps.strategy import Range

ASKED = 20
"""How often the method is asked for a point that is new (ours)."""
DRAWN = 200
"""How often one is then drawn evenly, before those that are left are counted out (ours)."""
INFORMATIVE = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
"""What a sampler gets to see: a point that failed or was refused says nothing about its value."""


@dataclass(kw_only=True)
class _Tried:
    """A point of the study."""

    point: Point
    arm_key: str
    batch: int
    number: int | None
    """Its place in the quasi-random sequence."""
    trial: FrozenTrial


class SearchSource:
    """Trials of the points that a search tries, with their twins and controls.

    No point comes twice. A point that the method repeats is neither stored nor told, and the method asked again from
    the next random stream: a repeat has no new value, and telling the old one again would count it double. A point that
    the settings refuse is stored as FAIL, does not count as tried and never comes back. After ASKED suggestions
    in vain points are drawn evenly, and where even that finds none, out of those that are left.

    A point with a failed trial is told FAIL, which the samplers pass over; a point that was stopped early is told
    PRUNED with the value of its last look: TPE ranks it behind all complete points, among its like by how far it came.

    Args:
        storage: SQLite file of the studies. A study belongs to what may not change while it goes on: the space, what
            is fixed in it, the objective, the method, its seed and batch, and the sweep's seeds. With more `points` it
            goes on; with another space, or where corpora or code have given its arms other keys, a new one is begun in
            the same file, and complete trials still count, for their keys are what they are.

    Raises BadInputError for a definition without search, a batch of one with `nsga2`, and a space of which no point
    can be made.
    """

    def __init__(self, planner: Planner, workspace: Workspace, *, storage: Path) -> None:
        definition = planner.definition
        if definition.search is None:
            raise BadInputError(f"sweep {definition.name}: search: not given")
        if definition.search.method == "nsga2" and definition.search.batch < 2:
            raise BadInputError(f"sweep {definition.name}: search.batch: nsga2 needs a population of at least 2, got 1")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._planner, self._workspace = planner, workspace
        self._definition, self._search = definition, definition.search
        self._seeds = tuple(dict.fromkeys(definition.seeds))
        self._storage = _open(storage)
        self._tried: list[_Tried] = []
        self._refused: dict[str, str] = {}
        """Digest of the values of a point → why the settings refuse it."""
        self._known: set[str] = set()
        """Digests of the values of points that were tried, or are the same arm as one that was."""
        self._study = self._find_study()
        parts = (definition, *definition.when)
        self._is_finite = not any(isinstance(values, Range) for part in parts for values in part.axes.values())
        self._counted_out = False
        self._exhausted: str | None = None
        self._plan = self._make_plan()

    @property
    def plan(self) -> Plan:
        return self._plan

    @property
    def exhausted(self) -> str | None:
        """Why fewer points are tried than the definition asks for; None while that is not so."""
        return self._exhausted

    def advance(self) -> bool:
        before = len(self._plan.trials)
        while self._end_batch():
            pass
        if not self._tried:
            raise BadInputError(f"sweep {self._definition.name}: search: no point can be tried{self._refusals()}")
        self._plan = self._make_plan()
        return len(self._plan.trials) > before

    @property
    def _counted(self) -> list[_Tried]:
        """Those within `points`, which may have been lowered."""
        return self._tried[: self._search.points]

    def _make_plan(self) -> Plan:
        return self._planner.plan([(each.point, self._seeds) for each in self._counted])

    def _end_batch(self) -> bool:
        """Choose what the current batch lacks; tell what all its points came to, once all have ended; whether told."""
        self._fill()
        running = [each for each in self._counted if each.trial.state == TrialState.RUNNING]
        outcomes = [self._outcome(each.point) for each in running]
        if not running or any(outcome.state == "open" for outcome in outcomes):
            return False
        for each, outcome in zip(running, outcomes, strict=True):
            self._tell(each, outcome)
        return True

    def _fill(self) -> None:
        batch = self._tried[-1].batch if self._tried else 0
        if self._tried and not any(each.trial.state == TrialState.RUNNING for each in self._tried):
            batch += 1
        self._exhausted = None
        while len(self._tried) < self._search.points:
            place = sum(each.batch == batch for each in self._tried)
            if place >= self._search.batch:
                return
            if not self._choose(batch, place):
                self._exhausted = f"no new point was found after {len(self._tried)}" + self._refusals()
                return

    def _refusals(self) -> str:
        if not self._refused:
            return ""
        return f"; the settings refuse {len(self._refused)}, the last: {[*self._refused.values()][-1]}"

    def _choose(self, batch: int, place: int) -> bool:
        """Store the next new point; False when there is none."""
        if self._counted_out:
            return False
        candidates = itertools.chain(self._asked(batch, place), self._drawn(batch, place), self._left(batch, place))
        found = any(self._take(found, batch, place, notes, number) for found, notes, number in candidates)
        self._counted_out = not found and self._is_finite
        return found

    def _asked(self, batch: int, place: int) -> Iterator[tuple[Draft, dict[str, Any], int | None]]:
        first = max((each.number + 1 for each in self._tried if each.number is not None), default=0)
        known = [each.trial for each in self._tried if each.trial.state in INFORMATIVE]
        fixed = self._planner.compute
        for attempt in range(ASKED):
            if self._search.method == "quasi-random":
                yield sobol(self._definition, fixed, number=first + attempt), {}, first + attempt
            elif self._search.method == "random":
                yield uniform(self._definition, fixed, batch, place, attempt), {}, None
            else:
                yield *suggested(self._definition, fixed, known, batch, place, attempt), None

    def _drawn(self, batch: int, place: int) -> Iterator[tuple[Draft, dict[str, Any], int | None]]:
        for attempt in range(DRAWN):
            yield uniform(self._definition, self._planner.compute, "unseen", batch, place, attempt), {}, None

    def _left(self, batch: int, place: int) -> Iterator[tuple[Draft, dict[str, Any], int | None]]:
        """All points of a space of lists, in a random order."""
        if not self._is_finite:
            return
        everything = list(drafts(self._definition, self._planner.compute))
        random = stream(self._search.seed, "search-left", batch, place)
        for at in random.permutation(len(everything)):
            yield everything[at], {}, None

    def _take(self, found: Draft, batch: int, place: int, notes: dict[str, Any], number: int | None) -> bool:
        name = digest(dict(found.kept))
        if name in self._refused or name in self._known:
            return False
        if found.point is None:
            self._refused[name] = found.refused or ""
            self._store(found, TrialState.FAIL, {"refused": found.refused}, {})
            return False
        self._known.add(name)
        # Other values may still be the same arm, where one of them means nothing.
        arm_key = self._arm_key(found.point)
        if any(each.arm_key == arm_key for each in self._tried):
            return False
        about = {"batch": batch, "place": place, "number": number, "arm_key": arm_key}
        trial = self._store(found, TrialState.RUNNING, about, notes)
        self._tried.append(_Tried(point=found.point, arm_key=arm_key, batch=batch, number=number, trial=trial))
        return True

    def _store(self, found: Draft, state: TrialState, about: dict[str, Any], notes: dict[str, Any]) -> FrozenTrial:
        template = optuna.trial.create_trial(
            state=state,
            params=dict(found.kept),
            distributions={name: distribution_of(values) for name, values in found.axes.items()},
            user_attrs=about,
            system_attrs=notes,
        )
        return self._storage.get_trial(self._storage.create_new_trial(self._study, template_trial=template))

    def _tell(self, each: _Tried, outcome: Outcome) -> None:
        trial_id = each.trial._trial_id
        values = [outcome.value, outcome.flops][: len(directions(self._definition))]
        if outcome.state == "complete" and None not in values:
            self._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, values)
        elif outcome.state == "pruned":
            if outcome.value is not None and outcome.step is not None:
                self._storage.set_trial_intermediate_value(trial_id, outcome.step, outcome.value)
            value = None if outcome.value is None else [outcome.value]
            self._storage.set_trial_state_values(trial_id, TrialState.PRUNED, value)
        else:
            self._storage.set_trial_user_attr(trial_id, "reason", outcome.reason or "no training cost in its record")
            self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        each.trial = self._storage.get_trial(trial_id)

    def _outcome(self, point: Point) -> Outcome:
        replicates = []
        for seed in self._seeds:
            members = self._planner.members(point, seed)
            twin = members.get("twin")
            replicates.append((members["arm"].trial_key, twin.trial_key if twin else None))
        definition = self._definition
        return outcome_of(
            self._workspace, replicates, objective=definition.objective, stopping=definition.stop is not None
        )

    def _arm_key(self, point: Point) -> str:
        return self._planner.members(point, self._seeds[0])["arm"].arm_key

    def _find_study(self) -> int:
        """The study whose points are still the same arms; a new one where there is none."""
        name = _study_name(self._definition)
        known = {study.study_name: study._study_id for study in self._storage.get_all_studies()}
        for turn in itertools.count():
            study = known.get(f"{name}-{turn}")
            if study is None:
                return int(self._storage.create_new_study(list(directions(self._definition)), f"{name}-{turn}"))
            if self._adopt(self._storage.get_all_trials(study)):
                return int(study)
        raise AssertionError("unreachable")

    def _adopt(self, trials: Sequence[FrozenTrial]) -> bool:
        """Take up the points of a study; False, and none of them, where one is another arm by now."""
        tried, refused = [], {}
        for trial in trials:
            found = draft(self._definition, _kept_of(trial), self._planner.compute)
            about = trial.user_attrs
            if "refused" in about:
                refused[digest(dict(trial.params))] = str(about["refused"])
            elif found.point is None or self._arm_key(found.point) != about["arm_key"]:
                return False
            else:
                batch, number = about["batch"], about["number"]
                tried.append(
                    _Tried(point=found.point, arm_key=about["arm_key"], batch=batch, number=number, trial=trial)
                )
        self._tried, self._refused = tried, refused
        return True


def _kept_of(trial: FrozenTrial) -> Any:
    def choose(name: str, values: Sequence[Any] | Range) -> Kept:
        del values
        kept: Kept = trial.params[name]
        return kept

    return choose


def _study_name(definition: SweepDefinition) -> str:
    fixed = {"preset", "settings", "axes", "arms", "when", "objective", "seeds"}
    assert definition.search is not None
    content = definition.model_dump(mode="json", by_alias=True, include=fixed)
    search = definition.search.model_dump(mode="json", exclude={"points"})
    return f"{definition.name} {digest(content | {'search': search})}"


def _open(path: Path) -> RDBStorage:
    """The storage in a file. A new one is made under another name, so that a file of that name is a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)
        storage = RDBStorage(f"sqlite:///{part}")
        storage.remove_session()
        storage.engine.dispose()
        part.replace(path)
    return RDBStorage(f"sqlite:///{path}")
