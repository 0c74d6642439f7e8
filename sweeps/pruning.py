"""`sweep prune`: frees what nothing refers to, after showing it."""

from __future__ import annotations

__all__ = [
    "Candidate",
    "Prunable",
    "Pruned",
    "candidate_of",
    "evict",
    "find_prunable",
    "left_over",
    "megabytes",
    "prune",
    "prune_text",
    "size_of",
]

import shutil
import time
import uuid
from collections.abc import Iterator, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from core.store import Workspace
from sweeps.driver import is_held
from sweeps.references import MADE_ANEW, Kept, Known, StoredArtifact, survey

PART_AGE_S = 3600.0
"""A half-written file without a lock is left alone until it is this old (ours): writing one takes a moment."""
SHOWN = 20
"""Candidates of one kind that are listed one by one."""
VERDICT = "verdict.json"
"""In the folder of a replay that was kept on purpose."""

Kind = Literal["artifact", "left over", "lock", "trial"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something that nothing refers to."""

    kind: Kind
    path: Path
    why: str
    size: int
    """Bytes."""
    made: float
    """When, in seconds since the epoch."""
    lock: Path | None = None
    """Held by whoever uses it."""


@dataclass(frozen=True, kw_only=True)
class Prunable:
    """What may go, and why more must stay than trials name."""

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]

    def chosen(self, *, trials: bool) -> tuple[Candidate, ...]:
        """All candidates, or all but the results of trials."""
        return tuple(each for each in self.candidates if trials or each.kind != "trial")

    def as_json(self) -> dict[str, Any]:
        rows = [{"kind": x.kind, "path": str(x.path), "why": x.why, "bytes": x.size} for x in self.candidates]
        return {"candidates": rows, "notes": list(self.notes)}


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What went."""

    removed: int
    freed: int
    """Bytes."""
    in_use: tuple[str, ...]
    """Paths that somebody had taken up meanwhile: left alone."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def find_prunable(workspace: Workspace, *, busy: Set[str] | None = None) -> Prunable:
    """What no plan refers to, largest first within its kind; nothing is removed.

    `busy`: trials that may be running; None: all open ones of sweeps whose driver is at work. Raises BadInputError for
    a plan or record that cannot be read: who refers to what is then not known.
    """
    known = survey(workspace)
    kept = known.kept(busy=known.unfinished(known.at_work) if busy is None else busy)
    notes = list(kept.notes)
    if known.at_work:
        notes.append(f"at work: {', '.join(known.at_work)}; what was made since it began is kept")
    found = [
        *_artifacts(known, kept.names),
        *_abandoned(workspace, known, kept),
        *_replays(workspace),
        *_trials(workspace, known),
    ]
    kinds: tuple[Kind, ...] = ("artifact", "left over", "lock", "trial")
    found.sort(key=lambda each: (kinds.index(each.kind), -each.size, each.path))
    return Prunable(candidates=tuple(found), notes=tuple(notes))


def prune(workspace: Workspace, shown: Sequence[Candidate]) -> Pruned:
    """Remove what was shown and is still referred to by nothing; what is in use is left."""
    still = {each.path: each for each in find_prunable(workspace).candidates}
    removed, freed, in_use = 0, 0, []
    for candidate in shown:
        now = still.get(candidate.path)
        if now is None or not evict(now):
            in_use.append(str(candidate.path))
            continue
        removed, freed = removed + 1, freed + now.size
    return Pruned(removed=removed, freed=freed, in_use=tuple(in_use))


def evict(candidate: Candidate) -> bool:
    """Remove one; False when somebody holds its lock. Whoever has its files open keeps them.

    Its lock goes too, while it is held: who waits for it sees that it is no longer the file of that name (filelock 4).
    """
    if candidate.lock is None:
        _remove(candidate.path)
        return True
    try:
        with FileLock(candidate.lock, timeout=0):
            _remove(candidate.path)
            candidate.lock.unlink(missing_ok=True)
    except Timeout:
        return False
    return True


def _remove(path: Path) -> None:
    """A folder first leaves its name, so that nobody finds it half empty; the store clears what is left of it."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    going = path.with_name(f".{path.name.lstrip('.').partition('.')[0]}.part.{uuid.uuid4().hex}")
    path.rename(going)
    shutil.rmtree(going)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; what vanishes meanwhile counts nothing."""
    files = [path] if path.is_symlink() or not path.is_dir() else path.rglob("*")
    total = 0
    for file in files:
        try:
            status = file.lstat()
        except FileNotFoundError:
            continue
        total += 0 if file.is_dir() else status.st_size
    return total


def _lock_of(stage: Path, key: str) -> Path:
    return stage / f".{key}.lock"


def candidate_of(artifact: StoredArtifact, why: str) -> Candidate:
    """The artifact as something that may go."""
    return Candidate(
        kind="artifact",
        path=artifact.path,
        why=why,
        size=size_of(artifact.path),
        made=artifact.made,
        lock=_lock_of(artifact.path.parent, artifact.key),
    )


def _artifacts(known: Known, kept: Set[str]) -> Iterator[Candidate]:
    began = min(known.at_work.values(), default=float("inf"))
    of_others = known.closure(name for trial in known.trials.values() for name in trial.listed or ())
    for artifact in known.artifacts.values():
        if artifact.name not in kept and artifact.made < began:
            why = "only trials in no plan refer to it" if artifact.name in of_others else "no trial refers to it"
            yield candidate_of(artifact, why)


def _abandoned(workspace: Workspace, known: Known, kept: Kept) -> Iterator[Candidate]:
    """Parts, scratch folders and locks in the store, and half-written files beside records."""
    for stage in sorted(workspace.root.glob("store/[!.]*")):
        for path in sorted(stage.glob(".*.*")):
            key, _, what = path.name[1:].partition(".")
            name, lock = f"{stage.name}/{key}", _lock_of(stage, key)
            finished = name in known.artifacts
            if not path.is_dir() and what != "lock":
                continue
            if is_held(lock):
                continue
            if (
                what == "lock"
                and not known.at_work
                and not known.replaying
                and (finished or not _scratch(path).exists())
            ):
                yield left_over(path, "lock of something finished", kind="lock", lock=path)
            elif what.startswith("part."):
                yield left_over(path, "left by a killed process", lock=lock)
            elif what == "scratch" and (finished or not _may_go_on(name, kept)):
                yield left_over(path, "checkpoint that nobody continues from", lock=lock)
    for pattern in ("store/*/.*.part.*", "trials/*/.*.part.*"):
        for path in sorted(workspace.root.glob(pattern)):
            if path.is_file() and time.time() - path.stat().st_mtime > PART_AGE_S:
                yield left_over(path, "left by a killed process")


def _may_go_on(name: str, kept: Kept) -> bool:
    """Whether somebody may continue from the checkpoint of this unfinished artifact."""
    return kept.everything or name in kept.names or (kept.shared and not name.startswith(MADE_ANEW))


def _scratch(lock: Path) -> Path:
    return lock.with_suffix(".scratch")


def _replays(workspace: Workspace) -> Iterator[Candidate]:
    for path in sorted(workspace.root.glob("replays/[!.]*")):
        lock = _lock_of(path.parent, path.name)
        if not (path / VERDICT).exists() and not is_held(lock):
            yield left_over(path, "replay that did not finish", lock=lock)


def left_over(path: Path, why: str, *, kind: Kind = "left over", lock: Path | None = None) -> Candidate:
    """A path that is no artifact as something that may go."""
    return Candidate(kind=kind, path=path, why=why, size=size_of(path), made=path.lstat().st_mtime, lock=lock)


def _trials(workspace: Workspace, known: Known) -> Iterator[Candidate]:
    for trial in known.trials.values():
        if trial.plans:
            continue
        folder = workspace.trial(trial.key)
        if trial.record is None and time.time() - folder.stat().st_mtime < PART_AGE_S:
            continue
        state = f"{trial.record.arm}, seed {trial.record.seed}, {trial.record.status}" if trial.record else "unfinished"
        kind: Kind = "trial" if trial.record else "left over"
        yield left_over(folder, f"in no plan: {state}", kind=kind)


def prune_text(found: Prunable, *, trials: bool) -> str:
    """What would go, kind by kind, and what stays although no trial names it."""
    lines = []
    for kind, title in (("artifact", "artifacts"), ("left over", "left over"), ("lock", "locks")):
        lines += _section(title, [each for each in found.candidates if each.kind == kind])
    results = [each for each in found.candidates if each.kind == "trial"]
    title = "results of trials in no plan" + ("" if trials else " (kept; --trials removes them)")
    lines += _section(title, results)
    lines += [f"note: {note}" for note in found.notes]
    chosen = found.chosen(trials=trials)
    total = sum(each.size for each in chosen)
    return "\n".join([*lines, f"{len(chosen)} to remove, {megabytes(total)}" if chosen else "nothing to remove"])


def _section(title: str, candidates: Sequence[Candidate]) -> list[str]:
    if not candidates:
        return []
    lines = [f"{title}: {len(candidates)}, {megabytes(sum(each.size for each in candidates))}"]
    if candidates[0].kind == "lock":
        return lines
    for each in candidates[:SHOWN]:
        lines.append(f"  {megabytes(each.size):>10}  {each.path.parent.name}/{each.path.name}  {each.why}")
    rest = candidates[SHOWN:]
    if rest:
        lines.append(f"  {megabytes(sum(each.size for each in rest)):>10}  {len(rest)} more, smaller ones")
    return lines


def megabytes(size: int) -> str:
    """Bytes for people.

    >>> megabytes(1_234_567), megabytes(12)
    ('1.2 MB', '12 B')
    """
    if size < 10_000:
        return f"{size} B"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
