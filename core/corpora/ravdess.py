"""RAVDESS speech (Livingstone & Russo 2018): 24 actors, 8 emotions, two stated intensities, two statements."""

from __future__ import annotations

__all__ = ["CLASSES", "list_ravdess"]

import re
from collections.abc import Mapping
from pathlib import Path

from core.config import CorpusConfig
from core.corpora.checks import Candidate, Listing
from core.corpora.choices import refuse_choices
from core.corpora.manifest import Reason
from core.corpora.recordings import find_recordings
from core.errors import CorpusError
from core.store import Workspace

CLASSES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")

UTTERANCES = 1440

_STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
_LEVELS = {"01": "normal", "02": "strong"}
_SPEECH = ("03", "01")
"""Modality audio-only, channel speech; the films and songs of the wider corpus are other corpora."""
_NAME = re.compile(r"0[1-3]-0[12]-0[1-8]-0[12]-0[12]-0[12]-(?:0[1-9]|1\d|2[0-4])")
_KNOWN: Mapping[str, Reason] = {"03-01-03-01-02-02-07": "duplicate"}
"""Actor 07's two repetitions of this happy statement are one recording in the published files."""


def list_ravdess(config: CorpusConfig, workspace: Workspace) -> Listing:
    """The audio-only speech files `Actor_*/03-01-….{wav,flac}` below `config.root`; actors are speakers and sessions.

    Raises CorpusError when there is none, and for a name that is not a RAVDESS code or lies in another actor's folder.
    """
    del workspace
    refuse_choices(config)
    assert config.root is not None
    root = config.root.absolute()
    listed = [_read_name(path) for path in find_recordings(root, "Actor_*/*")]
    candidates = tuple(candidate for candidate in listed if candidate)
    if not candidates:
        raise CorpusError(f"{root}: no RAVDESS speech here; expected Actor_01/03-01-01-01-01-01-01.wav and so on")
    short = f"{len(candidates)} of {UTTERANCES} utterances" if len(candidates) != UTTERANCES else None
    return Listing(corpus="ravdess", classes=CLASSES, candidates=candidates, known=_KNOWN, incomplete=short)


def _read_name(path: Path) -> Candidate | None:
    if _NAME.fullmatch(path.stem) is None:
        raise CorpusError(f"{path}: not modality-channel-emotion-intensity-statement-repetition-actor of RAVDESS")
    modality, channel, emotion, level, statement, _, actor = path.stem.split("-")
    if path.parent.name != f"Actor_{actor}":
        raise CorpusError(f"{path}: names actor {actor} but lies in {path.parent.name}")
    if (modality, channel) != _SPEECH:
        return None
    return Candidate(
        utterance=path.stem,
        path=path,
        speaker=f"Actor_{actor}",
        session=f"Actor_{actor}",
        label=CLASSES[int(emotion) - 1],
        transcript=_STATEMENTS[statement],
        level=_LEVELS[level],
    )
