"""The checked list of a corpus's utterances, and the ledger of what was set aside."""

from __future__ import annotations

__all__ = ["Manifest", "Quarantined", "Reason", "Utterance"]

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from core.identity import digest

Reason = Literal["missing", "unreadable", "silent", "too-short", "duplicate", "unlabelled", "unknown-speaker"]


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One recording, or the stretch `start`–`end` (seconds) of one."""

    utterance: str
    path: Path
    speaker: str
    session: str
    label: str
    """Its class; empty in a corpus without classes."""
    duration_s: float
    content: str
    """Hash of the decoded samples and their rate: the same for a WAV and its FLAC."""
    transcript: str | None = None
    activation: float | None = None
    """This and the two below on the corpus's own scale (IEMOCAP: about 1–5, KEMDy19: 1–5, MSP-Podcast: 1–7)."""
    valence: float | None = None
    dominance: float | None = None
    start: float | None = None
    end: float | None = None
    level: str | None = None
    """The intensity the corpus itself states (RAVDESS: normal, strong; CREMA-D: low, medium, high); None where it
    states none."""


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """One recording that is not used, and why. `known`: a documented quirk of the published corpus."""

    utterance: str
    path: Path
    speaker: str
    session: str
    label: str
    reason: Reason
    detail: str
    known: bool = False


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A corpus as it will be used: utterances sorted by id, labels in a fixed class order, and the ledger.

    `classes` is empty for a corpus, or a label set, without classes: audio only, or activation, valence and dominance.
    """

    corpus: str
    part: str
    classes: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    ledger: tuple[Quarantined, ...] = ()
    incomplete: str | None = None
    """How the counts differ from the published corpus, when the user allowed that."""

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything in the corpus that can change a result; where it lies on disk is not part of it."""
        rows = []
        for utterance in self.utterances:
            row = asdict(utterance)
            del row["path"]
            rows.append(row)
        return digest({"corpus": self.corpus, "part": self.part, "classes": list(self.classes), "utterances": rows})

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(sorted({utterance.speaker for utterance in self.utterances}))
