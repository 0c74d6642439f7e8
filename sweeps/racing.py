"""Replicate racing as a source of trials: every arm starts with few seeds, and gets more while its sign is open.

A pure function of the records: nothing is kept, and each look at them retells the race from its start.
"""

from __future__ import annotations

__all__ = ["ArmRace", "RacingSource", "paired_interval"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, variance
from typing import Literal

from core.errors import BadInputError
from core.store import Workspace
from sweeps.objective import Validation, fold_differences, read_validation
from sweeps.plan import Plan, PlannedTrial, Planner
from sweeps.space import Point, Role, contrast_pairs, points

Wanted = tuple[Point, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class ArmRace:
    """How one arm stands in the race."""

    arm: str
    arm_key: str
    twin_key: str
    state: Literal["for", "against", "undecided"]
    """The interval lies above zero, below it, or straddles it."""
    difference: float | None
    """Validation UA less that of the twin in [-1, 1], mean over seeds and folds; None without a pair."""
    interval: tuple[float, float] | None
    """None with fewer than two differences."""
    seeds: tuple[int, ...]
    """Those it was given so far."""
    pairs: int
    """Seeds under which both it and its twin are complete, of those it was last judged by."""
    lost: int
    """Seeds under which one of the two failed."""


class RacingSource:
    """Gives each arm, with its twin and controls, the seeds of the sweep one by one while its sign is open.

    Arms are looked at together, when all trials of arms and twins under the seeds given so far have ended. A seed under
    which a trial failed makes no pair and is counted; the arm goes on with its next seed, and stays undecided when
    there is none left (ours). A trial that is its own twin gets the first seeds only, and what others need of it.

    Raises BadInputError for a definition without racing.
    """

    def __init__(self, planner: Planner, workspace: Workspace) -> None:
        definition = planner.definition
        if definition.racing is None:
            raise BadInputError(f"sweep {definition.name}: racing: not given")
        self._planner, self._workspace, self._racing = planner, workspace, definition.racing
        self._seeds = tuple(dict.fromkeys(definition.seeds))
        self._points = points(definition, planner.compute)
        self._named = contrast_pairs(definition, self._points)
        self._members: dict[tuple[int, int], Mapping[Role, PlannedTrial]] = {}
        self._run()

    @property
    def plan(self) -> Plan:
        return self._plan

    @property
    def races(self) -> tuple[ArmRace, ...]:
        """Of each arm that has a twin, at the last `advance`."""
        return tuple(self._races.values())

    def advance(self) -> bool:
        before = len(self._plan.trials)
        self._run()
        return len(self._plan.trials) > before

    def _run(self) -> None:
        """Retell the race: rounds in order, as far as their trials have ended."""
        first = self._seeds[: self._racing.start]
        wanted: list[Wanted] = [(point, first) for point in self._points]
        given = [first for _ in self._points]
        self._races = {at: self._open(at, first) for at in range(len(self._points)) if self._twin(at) is not None}
        racing = list(self._races)
        while racing and all(self._has_ended(at, given[at]) for at in racing):
            for at in racing:
                self._races[at] = self._judge(at, given[at])
            racing = [at for at in racing if self._races[at].state == "undecided" and len(given[at]) < len(self._seeds)]
            for at in racing:
                following = self._seeds[len(given[at])]
                given[at] = (*given[at], following)
                self._races[at] = replace(self._races[at], seeds=given[at])
                wanted.append((self._points[at], (following,)))
        self._plan = self._planner.plan(wanted, self._named)

    def _pair(self, at: int, seed: int) -> Mapping[Role, PlannedTrial]:
        if (at, seed) not in self._members:
            self._members[at, seed] = self._planner.members(self._points[at], seed)
        return self._members[at, seed]

    def _twin(self, at: int) -> PlannedTrial | None:
        return self._pair(at, self._seeds[0]).get("twin")

    def _read(self, at: int, seed: int) -> tuple[Validation | None, Validation | None]:
        members = self._pair(at, seed)
        arm, twin = members["arm"].trial_key, members["twin"].trial_key
        return read_validation(self._workspace, arm), read_validation(self._workspace, twin)

    def _has_ended(self, at: int, seeds: Sequence[int]) -> bool:
        """A trial that another sweep stopped early is run to its end here."""
        return all(side is not None and side.status != "pruned" for seed in seeds for side in self._read(at, seed))

    def _open(self, at: int, seeds: tuple[int, ...]) -> ArmRace:
        members = self._pair(at, self._seeds[0])
        return ArmRace(
            arm=members["arm"].arm,
            arm_key=members["arm"].arm_key,
            twin_key=members["twin"].arm_key,
            state="undecided",
            difference=None,
            interval=None,
            seeds=seeds,
            pairs=0,
            lost=0,
        )

    def _judge(self, at: int, seeds: tuple[int, ...]) -> ArmRace:
        pairs = [
            (arm, twin)
            for arm, twin in (self._read(at, seed) for seed in seeds)
            if arm is not None and twin is not None and arm.status == twin.status == "complete"
        ]
        differences = [each for arm, twin in pairs for each in fold_differences(arm, twin).values()]
        looks = len(self._seeds) - self._racing.start + 1
        interval = None
        if len(differences) > 1:
            ratio = fmean(_validated_per_trained(arm) for arm, _ in pairs)
            interval = paired_interval(differences, ratio=ratio, level=1 - self._racing.alpha / looks)
        return replace(
            self._open(at, seeds),
            state=_state(interval),
            difference=fmean(differences) if differences else None,
            interval=interval,
            pairs=len(pairs),
            lost=len(seeds) - len(pairs),
        )


def paired_interval(differences: Sequence[float], *, ratio: float, level: float) -> tuple[float, float]:
    """Corrected resampled t interval of a mean difference (Nadeau & Bengio, Machine Learning 52, 2003, section 4).

    Cells of a cross-validation share their training data, so their mean varies more than that of as many independent
    ones: its variance is (1/J + n₂/n₁)·s², with J cells, n₁ utterances trained on and n₂ evaluated on in each. More
    seeds shrink the first part only, as they should: they bring no new speakers. That cells are folds × seeds is ours.

    Args:
        differences: J ≥ 2 of them, one for each fold under each seed.
        ratio: n₂/n₁.

    >>> low, high = paired_interval([0.01, 0.02, 0.03, 0.01, 0.02], ratio=1 / 3, level=0.95)
    >>> round(low, 4), round(high, 4)
    (0.001, 0.035)
    """
    from scipy import stats

    spread = math.sqrt((1 / len(differences) + ratio) * variance(differences))
    half = float(stats.t.ppf((1 + level) / 2, df=len(differences) - 1)) * spread
    return fmean(differences) - half, fmean(differences) + half


def _validated_per_trained(arm: Validation) -> float:
    """Utterances validated on, by those the probe learnt from; means over folds.

    A fold's train part is what is neither validated nor tested in it. How many are tested follows without a look at
    that part: every utterance is tested in exactly one fold.
    """
    validated = fmean(score.n for score in arm.folds.values())
    return validated / (arm.utterances * (1 - 1 / len(arm.folds)) - validated)


def _state(interval: tuple[float, float] | None) -> Literal["for", "against", "undecided"]:
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "undecided"
    return "for" if interval[0] > 0 else "against"
