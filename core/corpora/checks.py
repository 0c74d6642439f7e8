"""Candidates → Manifest: every file is decoded once, and what cannot be used goes into the ledger with its reason."""

from __future__ import annotations

__all__ = ["MIN_DURATION_S", "SILENCE_PEAK", "Candidate", "Listing", "check_files"]

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from core.audio import decode
from core.corpora.manifest import Manifest, Quarantined, Reason, Utterance
from core.errors import BadInputError, CorpusError
from core.identity import code_version, digest
from core.progress import Progress
from core.store import Workspace, write_atomically

MIN_DURATION_S = 0.2
"""Shorter recordings are quarantined (ours: about eighteen 25 ms frames)."""

SILENCE_PEAK = 3e-4
"""A recording whose samples all stay this near their mean is quarantined as silent: ten 16-bit steps (ours)."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One utterance as the corpus lists it, before its audio has been looked at.

    `speaker` is empty where the corpus does not say who speaks: such an utterance cannot be kept out of the test part
    by speaker, and goes into the ledger (ours).
    """

    utterance: str
    path: Path
    speaker: str
    session: str
    label: str
    transcript: str | None = None
    activation: float | None = None
    valence: float | None = None
    dominance: float | None = None
    start: float | None = None
    end: float | None = None
    level: str | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a corpus folder holds, going by names and label files alone.

    `classes`: in order; a candidate with another label is unlabelled. None for a corpus without classes: there all
    labels are empty and nobody is unlabelled. `known`: quirks of the published corpus, as utterance → reason.
    `incomplete`: how the listed counts differ from the published ones.
    """

    corpus: str
    part: str = "main"
    classes: tuple[str, ...] | None
    candidates: tuple[Candidate, ...]
    known: Mapping[str, Reason] = field(default_factory=dict)
    incomplete: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """What decoding one recording showed; `reason` None means it can be used."""

    duration_s: float = 0.0
    content: str = ""
    reason: Reason | None = None
    detail: str = ""


def check_files(listing: Listing, workspace: Workspace, *, progress: Progress) -> Manifest:
    """Decode every candidate (or recall what that showed, for files that have not changed) and sort it in.

    Of several recordings with the same decoded samples the first by utterance id is used. Raises CorpusError when two
    candidates share an id.
    """
    utterances: list[Utterance] = []
    ledger: list[Quarantined] = []
    first_with: dict[str, str] = {}
    for candidate, finding in _findings(listing, workspace, progress):
        found = _refuse_duplicate(candidate.utterance, finding, first_with)
        if found.reason is None:
            facts = {name: getattr(candidate, name) for name in Candidate.__dataclass_fields__}
            utterances.append(Utterance(duration_s=found.duration_s, content=found.content, **facts))
        else:
            ledger.append(_quarantine(candidate, found.reason, found.detail, listing.known))
    return Manifest(
        corpus=listing.corpus,
        part=listing.part,
        classes=listing.classes or (),
        utterances=tuple(utterances),
        ledger=tuple(ledger),
        incomplete=listing.incomplete,
    )


def _refuse_duplicate(utterance: str, finding: _Finding, first_with: dict[str, str]) -> _Finding:
    if finding.reason is not None:
        return finding
    first = first_with.setdefault(finding.content, utterance)
    return finding if first == utterance else _Finding(reason="duplicate", detail=f"same samples as {first}")


def _quarantine(candidate: Candidate, reason: Reason, detail: str, known: Mapping[str, Reason]) -> Quarantined:
    return Quarantined(
        utterance=candidate.utterance,
        path=candidate.path,
        speaker=candidate.speaker,
        session=candidate.session,
        label=candidate.label,
        reason=reason,
        detail=detail,
        known=known.get(candidate.utterance) == reason,
    )


def _findings(listing: Listing, workspace: Workspace, progress: Progress) -> Iterator[tuple[Candidate, _Finding]]:
    candidates = sorted(listing.candidates, key=lambda candidate: candidate.utterance)
    what = f"checking {listing.corpus}"
    with _recalled(listing, workspace) as recalled:
        previous = None
        for done, candidate in enumerate(candidates):
            if candidate.utterance == previous:
                raise CorpusError(f"{candidate.path}: utterance {previous!r} is listed twice")
            previous = candidate.utterance
            progress(what, done, len(candidates))
            yield candidate, _look(candidate, listing.classes, recalled)
    progress(what, len(candidates), len(candidates))


def _look(candidate: Candidate, classes: tuple[str, ...] | None, recalled: dict[str, _Finding]) -> _Finding:
    if not candidate.speaker:
        return _Finding(reason="unknown-speaker", detail="the corpus does not say who speaks")
    if classes is not None and candidate.label not in classes:
        what = f"label {candidate.label!r} is none of {', '.join(classes)}" if candidate.label else "no label"
        return _Finding(reason="unlabelled", detail=what)
    try:
        facts = candidate.path.stat()
    except FileNotFoundError:
        return _Finding(reason="missing", detail=f"{candidate.path}: no such file")
    except OSError as error:
        return _Finding(reason="unreadable", detail=f"{candidate.path}: {error.strerror}")
    key = f"{candidate.path.resolve()}|{facts.st_size}|{facts.st_mtime_ns}|{candidate.start}|{candidate.end}"
    if key not in recalled:
        recalled[key] = _listen(candidate)
    return recalled[key]


def _listen(candidate: Candidate) -> _Finding:
    try:
        samples_TC, rate = decode(candidate.path, start=candidate.start, end=candidate.end)
    except BadInputError as error:
        return _Finding(reason="unreadable", detail=str(error))
    duration = len(samples_TC) / rate
    if duration < MIN_DURATION_S:
        return _Finding(reason="too-short", detail=f"{duration:.6g} s is under {MIN_DURATION_S} s")
    peak = float(np.abs(samples_TC - samples_TC.mean(axis=0)).max())
    if peak < SILENCE_PEAK:
        return _Finding(reason="silent", detail=f"no sample is {SILENCE_PEAK} of full scale from the mean")
    hashed = hashlib.sha256(f"{rate} {samples_TC.shape[1]} ".encode())
    hashed.update(np.ascontiguousarray(samples_TC, dtype="<f4").data)
    return _Finding(duration_s=duration, content=hashed.hexdigest()[:32])


@contextmanager
def _recalled(listing: Listing, workspace: Workspace) -> Iterator[dict[str, _Finding]]:
    """What earlier checks of this corpus found, by file and time of change; kept also when this check is broken off."""
    folders = sorted({str(candidate.path.parent) for candidate in listing.candidates})
    code = code_version(("core.audio", "core.corpora.checks"))
    path = workspace.root / "store" / "file-checks" / f"{digest([listing.corpus, folders, code])}.json"
    try:
        rows = json.loads(path.read_text()) if path.exists() else {}
        recalled = {key: _Finding(**row) for key, row in rows.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path}: not a list of file checks; delete it ({error})") from error
    size = len(recalled)
    try:
        yield recalled
    finally:
        if len(recalled) > size:
            content = json.dumps({key: asdict(finding) for key, finding in recalled.items()})
            write_atomically(path, content.encode())
