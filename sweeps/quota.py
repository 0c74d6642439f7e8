"""Disk quota of a running sweep: what can be computed again goes, pair by pair, before the disk is full."""

from __future__ import annotations

__all__ = ["Freed", "free_for_quota"]

from collections.abc import Iterator, Set
from dataclasses import dataclass

from core.store import Workspace
from sweeps.pruning import Candidate, candidate_of, evict, find_prunable, left_over, size_of
from sweeps.references import MADE_ANEW, Known, survey


@dataclass(frozen=True, kw_only=True)
class Freed:
    """What was done to get the store under its limit."""

    freed: int
    """Bytes."""
    removed: int
    """Artifacts and left-overs."""
    trials: tuple[str, ...]
    """Finished trials whose embeddings or weights went; their records and predictions stay."""
    size: int
    """Bytes in the store now."""
    over: bool
    """Whether that is still over the limit: nothing more may go."""


def free_for_quota(workspace: Workspace, *, limit_bytes: int, running: Set[str]) -> Freed:
    """Bring the store to `limit_bytes`, if that can be done without touching open work.

    In this order, oldest first, until it fits: what nothing refers to; the embeddings of closed families (an arm, its
    twin, controls and contrasts under one seed, all of them complete or pruned and none running), a family at once;
    their weights and checkpoints. All can be computed again, and records and predictions never go. What an open trial
    uses as well stays.

    Args:
        running: keys of the trials that run now; one that has not yet said what it uses may use anything.
    """
    size = size_of(workspace.store.root)
    freed, removed = 0, 0
    trials: dict[str, None] = {}
    if size > limit_bytes:
        known = survey(workspace)
        others = [name for name in known.at_work if not any(name in _plans(known, key) for key in running)]
        busy = running | (known.unfinished(others) if running else frozenset())
        for owners, candidates in _steps(workspace, known, busy):
            for candidate in candidates:
                if evict(candidate):
                    freed, removed = freed + candidate.size, removed + 1
                    trials |= dict.fromkeys(owners)
            if size - freed <= limit_bytes:
                break
    size = size_of(workspace.store.root)
    return Freed(freed=freed, removed=removed, trials=tuple(trials), size=size, over=size > limit_bytes)


def _plans(known: Known, key: str) -> tuple[str, ...]:
    return known.trials[key].plans if key in known.trials else ()


def _steps(workspace: Workspace, known: Known, busy: Set[str]) -> Iterator[tuple[tuple[str, ...], list[Candidate]]]:
    """What may go, in the order in which it goes; each step goes as a whole. With it the trials it was made for."""
    store = workspace.store.root
    unused = [each for each in find_prunable(workspace, busy=busy).candidates if store in each.path.parents]
    for candidate in sorted(unused, key=lambda each: each.made):
        if candidate.size:
            yield (), [candidate]
    if not known.kept(busy=busy).everything:
        closed = sorted(_closed_families(known, busy), key=lambda family: _ended(known, family))
        needed = known.closure(
            name
            for trial in known.planned
            if not any(trial.key in family for family in closed)
            for name in trial.listed or ()
        )
        for stage in MADE_ANEW:
            for family in closed:
                yield from _of_family(workspace, known, family, stage, needed)


def _closed_families(known: Known, busy: Set[str]) -> list[frozenset[str]]:
    return [
        family
        for family in known.families
        if all(known.trials[key].closed and known.trials[key].listed for key in family) and not family & busy
    ]


def _ended(known: Known, family: Set[str]) -> str:
    """When the last of a family ended, ISO 8601."""
    return max(record.provenance.ended for key in family if (record := known.trials[key].record))


def _of_family(
    workspace: Workspace, known: Known, family: Set[str], stage: str, needed: Set[str]
) -> Iterator[tuple[tuple[str, ...], list[Candidate]]]:
    names = {name for key in family for name in known.trials[key].listed or () if name.startswith(f"{stage}/")}
    why = "can be computed again, and its pairs are complete"
    going = []
    for name in sorted(names - needed):
        scratch = workspace.store.root / stage / f".{name.partition('/')[2]}.scratch"
        if name in known.artifacts and known.artifacts[name].path.exists():
            going.append(candidate_of(known.artifacts[name], why))
        elif scratch.exists():
            # Of a trial that was stopped early.
            going.append(left_over(scratch, why, lock=scratch.with_suffix(".lock")))
    if going:
        yield tuple(sorted(family)), going
