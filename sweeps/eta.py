"""How long a sweep still takes, from what its own trials took (ours): honest where arms cost differently."""

from __future__ import annotations

__all__ = ["Eta", "Leg", "Pace", "Planned", "duration_text", "search_progress", "shape"]

import heapq
import json
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sweeps.settings import within

CHEAP = ("masking", "intensity")
"""Settings that change what is learnt and not how long it takes."""
RECENT = 8
"""Trials of one kind that count: the machine may be busier, or the lanes fewer, than when the sweep began."""
OWN_PACE_FROM = 0.1
"""Share of its work after which a running trial's own pace says more than the others'."""


class Planned(Protocol):
    """A trial of a plan, whether planned here or read from `plan.json`."""

    @property
    def trial_key(self) -> str: ...
    @property
    def arm(self) -> str: ...
    @property
    def arm_key(self) -> str: ...
    @property
    def twin_key(self) -> str | None: ...
    @property
    def seed(self) -> int: ...
    @property
    def axes(self) -> dict[str, Any]: ...
    @property
    def control(self) -> str: ...
    @property
    def upstream(self) -> str: ...


def shape(trial: Planned) -> str:
    """What a trial's cost follows from, as far as the sweep varies it: trials of one shape take equally long."""
    axes = {key: value for key, value in trial.axes.items() if not any(within(key, part) for part in CHEAP)}
    return json.dumps([trial.upstream, axes], sort_keys=True)


def search_progress(trials: Iterable[Planned]) -> int:
    """How many points the trials of a search stand for: its arms without twins and controls."""
    spread = list(trials)
    twins = {trial.twin_key for trial in spread}
    return len({trial.arm_key for trial in spread if trial.control == "none" and trial.arm_key not in twins})


@dataclass(frozen=True, kw_only=True)
class Eta:
    """Seconds until the last trial ends. `rough`: some of what is left is of a kind that was not measured yet."""

    seconds: float
    rough: bool


@dataclass(frozen=True, kw_only=True)
class Leg:
    """What a running trial has done since it was last started. Shares lie in [0, 1]."""

    trial_key: str
    seconds: float
    share_begun: float
    """Where its checkpoint let it go on."""
    share: float

    def whole(self) -> float | None:
        """Seconds of the whole trial at the pace of this leg; None before it has moved."""
        gained = self.share - self.share_begun
        return self.seconds / gained if gained > 0 else None


class Pace:
    """Remembers what trials took, and says how long a queue takes in `slots` lanes."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._shapes: dict[str, tuple[str, str]] = {}
        """Trial key → its shape and upstream."""
        self._taken: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT))
        """Shape, upstream, or nothing for all → seconds of the latest trials."""

    def plan(self, trials: Iterable[Planned]) -> None:
        """These trials are part of the sweep."""
        for trial in trials:
            self._shapes.setdefault(trial.trial_key, (shape(trial), trial.upstream))

    def took(self, trial_key: str, seconds: float) -> None:
        """A trial has occupied its lane for so long in all."""
        for group in (*self._shapes[trial_key], ""):
            self._taken[group].append(seconds)

    def left(self, waiting: Sequence[str], running: Sequence[Leg], *, more: int = 0) -> Eta | None:
        """Until all trials have ended, each taken by the lane that is free first; None while nothing can be said.

        Args:
            waiting: keys of trials in the order in which they start.
            more: trials that are still to be thought of, by a search.
        """
        rough = more > 0
        of_shape = self._paces_of_shapes(running)
        lanes: list[float] = []
        for leg in running:
            expected, known = self._expected(leg.trial_key, of_shape)
            seconds = _seconds_left(leg, expected)
            if seconds is None:
                return None
            lanes.append(seconds)
            rough |= not known
        lanes += [0.0] * (self._slots - len(lanes))
        heapq.heapify(lanes)
        for trial_key in [*waiting, *[None] * more]:
            expected, known = self._expected(trial_key, of_shape)
            if expected is None:
                return None
            heapq.heapreplace(lanes, lanes[0] + expected)
            rough |= not known
        return Eta(seconds=max(lanes, default=0.0), rough=rough)

    def _paces_of_shapes(self, running: Sequence[Leg]) -> dict[str, float]:
        """Shape → seconds by the trials that run now, for shapes of which none has ended."""
        paces: dict[str, list[float]] = defaultdict(list)
        for leg in running:
            whole = leg.whole()
            if whole is not None and leg.share - leg.share_begun >= OWN_PACE_FROM:
                for group in (*self._shapes[leg.trial_key], ""):
                    paces[group].append(whole)
        return {group: sum(seconds) / len(seconds) for group, seconds in paces.items()}

    def _expected(self, trial_key: str | None, of_running: dict[str, float]) -> tuple[float | None, bool]:
        """Seconds of a whole trial, and whether its own kind was measured; else by its upstream's, else by any."""
        groups = (*self._shapes[trial_key], "") if trial_key else ("",)
        for group in groups:
            taken = self._taken.get(group)
            if taken:
                return sum(taken) / len(taken), group == groups[0]
            if group in of_running:
                return of_running[group], group == groups[0]
        return None, False


def _seconds_left(leg: Leg, expected: float | None) -> float | None:
    whole = leg.whole()
    if whole is not None and (expected is None or leg.share - leg.share_begun >= OWN_PACE_FROM):
        return whole * (1 - leg.share)
    if expected is None:
        return None
    return max(expected * (1 - leg.share_begun) - leg.seconds, 0.0)


def duration_text(seconds: float) -> str:
    """
    >>> duration_text(75), duration_text(3 * 3600 + 65), duration_text(30 * 3600)
    ('1:15', '3:01:05', '1 d 6 h')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
