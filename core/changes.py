"""What is not as it was when a trial ran: code, packages, hardware, corpora, settings."""

from __future__ import annotations

__all__ = ["Change", "changes_since"]

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config import TrialConfig
from core.corpora.manifest import Manifest
from core.provenance import commit_state, diff_digest, hardware, packages
from core.records import CODE_DIFF, CorpusEntry, Record
from core.resolve import Corpora, meaningful_settings, trial_modules

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that differs."""

    what: str
    then: str
    now: str


def changes_since(
    record: Record, config: TrialConfig, corpora: Corpora, *, key_now: str, folder: Path
) -> tuple[Change, ...]:
    """Everything recorded of a trial that is otherwise now; `folder` is the trial's. Empty when nothing is."""
    then = record.provenance
    pairs = {
        "trial key": (record.trial_key, key_now),
        **{f"package {name}": (then.packages.get(name, "absent"), version) for name, version in packages().items()},
        "hardware": (then.hardware, hardware(config.compute.device)),
        **_corpora(record, corpora),
        "seed": (f"{record.seed} in the record", f"{config.seed} in its config"),
    }
    if record.seed == config.seed:
        del pairs["seed"]
    found = [Change(what=what, then=old, now=new) for what, (old, new) in pairs.items() if old != new]
    return (*found, *_code(record, config, folder), *_settings(record.config, config))


def _corpora(record: Record, corpora: Corpora) -> dict[str, tuple[str, str]]:
    heard = corpora.heard if corpora.heard.fingerprint != corpora.evaluated.fingerprint else None
    roles: dict[str, tuple[CorpusEntry | None, Manifest | None]] = {
        "corpus": (record.corpus, corpora.evaluated),
        "corpus heard": (record.heard, heard),
        "corpus of the intensity model": (record.fit, corpora.fit),
    }
    return {
        role: (
            f"{then.name} {then.fingerprint}, {then.utterances} utterances" if then else "none",
            f"{now.corpus} {now.fingerprint}, {len(now.utterances)} utterances" if now else "none",
        )
        for role, (then, now) in roles.items()
        # Records before schema 2 say nothing of these.
        if then is not None or record.schema_version > 1
    }


def _code(record: Record, config: TrialConfig, folder: Path) -> Iterator[Change]:
    then, (commit, dirty) = record.provenance, commit_state()
    if then.commit != commit:
        yield Change(what="commit", then=then.commit, now=f"{commit}{_distance(then.commit, commit)}")
    mark_then, mark_now = _mark(then.dirty, then.diff), _mark(dirty, diff_digest())
    if mark_then != mark_now:
        yield Change(what="changes beside the commit", then=mark_then, now=mark_now)
    if (then.commit, mark_then) != (commit, mark_now):
        modules = _modules_changed(then.commit, config, folder / CODE_DIFF)
        if modules is not None:
            yield Change(what="modules of the trial", then="as they were", now=", ".join(modules) or "none changed")


def _mark(dirty: bool, diff: str | None) -> str:
    return diff[:12] if diff else "some" if dirty else "none"


def _distance(then: str, now: str) -> str:
    """` (3 commits later)`, where git knows both."""
    later, earlier = (_git("rev-list", "--count", f"{a}..{b}") for a, b in ((then, now), (now, then)))
    if later is None or earlier is None:
        return ""
    words = [f"{n} commits {side}" for n, side in ((later, "later"), (earlier, "earlier")) if n != "0"]
    return f" ({' and '.join(words)})".replace("(1 commits", "(1 commit").replace("and 1 commits", "and 1 commit")


def _modules_changed(then: str, config: TrialConfig, diff_then: Path) -> list[str] | None:
    """Modules in the trial's key whose files differ, or did beside the commit then; None where git cannot say."""
    files = {f"{module.replace('.', '/')}.py": module for module in trial_modules(config.upstream, config.system)}
    names = _git("diff", "--name-only", "--no-renames", "--relative", then, "--", *files)
    if names is None:
        return None
    changed = set(names.splitlines())
    if diff_then.exists():
        lines = diff_then.read_text(encoding="utf-8", errors="replace").splitlines()
        changed |= {line.removeprefix("+++ b/") for line in lines if line.startswith("+++ b/")}
    return [module for file, module in files.items() if file in changed]


def _git(*arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _settings(then: Mapping[str, Any], config: TrialConfig) -> Iterator[Change]:
    """Settings of which the record says nothing: they are new, and have their default now."""
    known = _leaves(then)
    for key, value in _leaves(meaningful_settings(config)).items():
        below = any(key.startswith(f"{name}.") for name in known)
        if key not in known and not below:
            yield Change(what=f"setting {key}", then="did not exist", now=str(value))


def _leaves(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        nested = isinstance(value, Mapping) and value
        flat |= _leaves(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat
