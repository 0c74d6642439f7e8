"""Who refers to what in a workspace: plans to trials, trials to artifacts, artifacts to what they were made from."""

from __future__ import annotations

__all__ = ["MADE_ANEW", "Kept", "Known", "StoredArtifact", "TrialEntry", "find_trial", "survey"]

import json
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from core.errors import BadInputError
from core.records import Record, read_record
from core.references import read_references
from core.store import Workspace
from sweeps.driver import DRIVER_LOCK, is_held

MADE_ANEW = ("embed", "pretrain")
"""Stages that belong to single trials; every other stage is shared by all trials of a grid."""
CORPORA = "demo-corpus"
"""Stage that artifacts know by its content only: it is nobody's input and kept while there is a planned trial."""


@dataclass(frozen=True, kw_only=True)
class StoredArtifact:
    """One finished artifact in the store."""

    name: str
    """`<stage>/<key>`."""
    path: Path
    inputs: tuple[str, ...]
    """Keys of what it was made from."""
    made: float
    """When, in seconds since the epoch."""

    @property
    def stage(self) -> str:
        return self.name.partition("/")[0]

    @property
    def key(self) -> str:
        return self.name.partition("/")[2]


@dataclass(frozen=True, kw_only=True)
class TrialEntry:
    """A trial that a plan names, or that has a folder."""

    key: str
    record: Record | None
    listed: frozenset[str] | None
    """Artifacts it is made from, has made or would make; None where nothing on disk says so."""
    plans: tuple[str, ...] = ()
    """Sweeps whose plan names it."""

    @property
    def closed(self) -> bool:
        """Whether it ended with a result: complete or pruned. A failed one may be tried again."""
        return self.record is not None and self.record.status != "failed"

    @property
    def begun(self) -> bool:
        """Whether it can have made anything; a failed record of schema 3 without a list says that it has not."""
        if self.record is None:
            return self.listed is not None
        return self.closed or self.record.schema_version < 3 or self.listed is not None


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Artifacts that must stay."""

    names: frozenset[str]
    """`<stage>/<key>`, also of some that are not made yet: their checkpoints stay."""
    everything: bool
    """Whether that is all there are, because what somebody uses is not known."""
    shared: bool
    """Whether that is all of the stages that trials share, because a trial has yet to run."""
    notes: tuple[str, ...]
    """Why more of them must stay than trials name."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """Everything there is in a workspace and who refers to it."""

    trials: dict[str, TrialEntry]
    artifacts: dict[str, StoredArtifact]
    families: tuple[frozenset[str], ...]
    """Trials that are compared with each other under one seed: arm, twin, controls, contrasts; keys of all plans."""
    at_work: dict[str, float]
    """Sweeps whose driver is at work → when it began at the latest, in seconds since the epoch."""
    replaying: bool
    """Whether a replay is at work: it uses shared artifacts of the store."""

    @property
    def planned(self) -> list[TrialEntry]:
        return [trial for trial in self.trials.values() if trial.plans]

    def closure(self, names: Iterable[str]) -> set[str]:
        """The named artifacts, and all that they were made from."""
        by_key: dict[str, list[StoredArtifact]] = {}
        for artifact in self.artifacts.values():
            by_key.setdefault(artifact.key, []).append(artifact)
        reached: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                inputs = self.artifacts[name].inputs if name in self.artifacts else ()
                todo += [each.name for key in inputs for each in by_key.get(key, ())]
        return reached

    def kept(self, *, busy: Set[str]) -> Kept:
        """Artifacts that planned trials need.

        `busy`: trials that may be running. One that has not said what it uses may use anything.
        """
        planned = self.planned
        silent = [trial.key for trial in planned if trial.begun and trial.listed is None]
        unsaid = [trial.key for trial in planned if trial.listed is None and trial.key in busy]
        waiting = [trial.key for trial in planned if not trial.begun]
        notes = []
        if silent:
            notes.append(f"{_trials(silent)} from before records listed artifacts: every artifact is kept")
        if unsaid:
            notes.append(f"{_trials(unsaid)} about to run, and may use any artifact: every artifact is kept")
        if self.replaying:
            notes.append("a replay is at work, and may use any artifact: every artifact is kept")
        if notes:
            return Kept(names=frozenset(self.artifacts), everything=True, shared=True, notes=tuple(notes))
        names = self.closure(name for trial in planned for name in trial.listed or ())
        if waiting:
            notes.append(f"{_trials(waiting)} yet to run: artifacts that trials share are kept")
            names |= {each.name for each in self.artifacts.values() if each.stage not in MADE_ANEW}
        if planned:
            names |= {each.name for each in self.artifacts.values() if each.stage == CORPORA}
        return Kept(names=frozenset(names), everything=False, shared=bool(waiting), notes=tuple(notes))

    def unfinished(self, sweeps: Iterable[str]) -> set[str]:
        """Trials of these sweeps that have no record yet."""
        names = set(sweeps)
        return {trial.key for trial in self.planned if trial.record is None and names & set(trial.plans)}


def _trials(keys: Sequence[str]) -> str:
    return f"{len(keys)} trial{'' if len(keys) == 1 else 's'} (first {keys[0]})"


def survey(workspace: Workspace) -> Known:
    """Look through the whole workspace. Raises BadInputError for a plan, record or list that cannot be read."""
    plans = {path.parent.name: _planned(path) for path in sorted(workspace.root.glob("sweeps/*/plan.json"))}
    of_trial: dict[str, list[str]] = {}
    for name, (keys, _) in plans.items():
        for key in keys:
            of_trial.setdefault(key, []).append(name)
    folders = {path.name for path in workspace.root.glob("trials/[!.]*") if path.is_dir()}
    trials = {}
    for key in [*of_trial, *sorted(folders - set(of_trial))]:
        record = read_record(workspace.trial(key))
        listed = _listed(workspace.trial(key), record)
        trials[key] = TrialEntry(key=key, record=record, listed=listed, plans=tuple(of_trial.get(key, ())))
    descriptions = sorted(workspace.root.glob("store/[!.]*/[!.]*/artifact.json"))
    return Known(
        trials=trials,
        artifacts={each.name: each for each in map(_artifact, descriptions)},
        families=_joined([family for _, families in plans.values() for family in families]),
        at_work=_at_work(workspace, plans),
        replaying=any(map(is_held, workspace.root.glob("replays/.*.lock"))),
    )


def _planned(path: Path) -> tuple[list[str], list[set[str]]]:
    """Trial keys of a plan, and those that belong together under one seed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = {(trial["arm_key"], trial["seed"]): trial["trial_key"] for trial in content["trials"]}
        links = [(trial["arm_key"], trial["twin_key"]) for trial in content["trials"] if trial["twin_key"]]
        links += [(contrast["arm_key"], contrast["against_key"]) for contrast in content.get("contrasts", ())]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path}: not a plan ({type(error).__name__}: {error})") from error
    families = [{key} for key in cells.values()]
    for arm, other in links:
        families += [
            {key, cells[other, seed]} for (own, seed), key in cells.items() if own == arm and (other, seed) in cells
        ]
    return list(cells.values()), families


def _joined(families: Sequence[set[str]]) -> tuple[frozenset[str], ...]:
    """Sets that have a trial in common, also by way of others, become one."""
    of: dict[str, set[str]] = {}
    for family in families:
        union = set(family).union(*(of[key] for key in family if key in of))
        for key in union:
            of[key] = union
    return tuple({id(family): frozenset(family) for family in of.values()}.values())


def _listed(folder: Path, record: Record | None) -> frozenset[str] | None:
    """What record and list name: the list of an unfinished trial also names what is still to be made."""
    try:
        names = [*(record.artifacts if record else ()), *read_references(folder)]
        if not all(isinstance(name, str) for name in names):
            raise ValueError("names that are no text")
    except (OSError, ValueError, TypeError) as error:
        raise BadInputError(f"{folder}: its artifacts.json is no list of artifacts ({error})") from error
    return frozenset(names) if names else None


def _artifact(description: Path) -> StoredArtifact:
    folder = description.parent
    try:
        inputs = json.loads(description.read_text(encoding="utf-8"))["inputs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{description}: describes no artifact ({error})") from error
    name = f"{folder.parent.name}/{folder.name}"
    return StoredArtifact(name=name, path=folder, inputs=tuple(inputs), made=description.stat().st_mtime)


def _at_work(workspace: Workspace, plans: Iterable[str]) -> dict[str, float]:
    """The earlier of when the lock was made and when the plan was written: nothing of this driver's is older."""
    found = {}
    for name in plans:
        lock, plan = workspace.sweep(name) / DRIVER_LOCK, workspace.sweep(name) / "plan.json"
        if is_held(lock):
            found[name] = min(lock.stat().st_mtime, plan.stat().st_mtime)
    return found


def find_trial(text: str, workspace: Workspace) -> str:
    """The key of the trial that `text` names: a key, the beginning of one, or `SWEEP:ARM:SEED`.

    Raises BadInputError when it names none, or several.
    """
    if ":" in text:
        return _by_place(text, workspace)
    folders = [path for path in workspace.root.glob("trials/[!.]*") if path.is_dir()]
    keys = sorted(path.name for path in folders if path.name.startswith(text))
    if not text or not keys:
        raise BadInputError(f"trial {text!r}: none of that key in {workspace.root / 'trials'}")
    if text not in keys and len(keys) > 1:
        raise BadInputError(f"trial {text!r}: {len(keys)} keys begin so ({keys[0]}, {keys[1]} …); give more of it")
    return text if text in keys else keys[0]


def _by_place(text: str, workspace: Workspace) -> str:
    sweep, _, rest = text.partition(":")
    arm, _, seed = rest.rpartition(":")
    path = workspace.sweep(sweep) / "plan.json"
    if not path.exists():
        raise BadInputError(f"trial {text!r}: sweep {sweep!r} was not launched in {workspace.root}")
    _planned(path)
    trials = json.loads(path.read_text(encoding="utf-8"))["trials"]
    found = [trial["trial_key"] for trial in trials if (trial["arm"], str(trial["seed"])) == (arm, seed)]
    if not found:
        arms = ", ".join(dict.fromkeys(trial["arm"] for trial in trials))
        raise BadInputError(f"trial {text!r}: sweep {sweep!r} has no arm {arm!r} with seed {seed!r}; its arms: {arms}")
    return str(found[0])
