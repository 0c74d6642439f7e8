"""CREMA-D (Cao et al. 2014): 91 actors, twelve sentences, six emotions; one sentence at three stated intensities."""

from __future__ import annotations

__all__ = ["CLASSES", "UTTERANCES", "list_crema_d"]

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

_EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
CLASSES = tuple(_EMOTIONS.values())

UTTERANCES = 7442

_SENTENCES = {
    "DFA": "Don't forget a jacket",
    "IEO": "It's eleven o'clock",
    "IOM": "I'm on my way to the meeting",
    "ITH": "I think I have a doctor's appointment",
    "ITS": "I think I've seen this before",
    "IWL": "I would like a new alarm clock",
    "IWW": "I wonder what this is about",
    "MTI": "Maybe tomorrow it will be cold",
    "TAI": "The airplane is almost full",
    "TIE": "That is exactly what happened",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
_LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": None, "X": None}
"""`X`: one published file, 1040_ITH_SAD_X, lacks the second letter."""

_NAME = re.compile(
    rf"(?P<actor>10(?!00)[0-8]\d|109[01])_(?P<sentence>{'|'.join(_SENTENCES)})_(?P<emotion>{'|'.join(_EMOTIONS)})_"
    rf"(?P<level>{'|'.join(_LEVELS)})"
)
_KNOWN: Mapping[str, Reason] = {"1076_MTI_SAD_XX": "silent"}
"""All its published samples are zero."""


def list_crema_d(config: CorpusConfig, workspace: Workspace) -> Listing:
    """The files `AudioWAV/<actor>_<sentence>_<emotion>_<level>.{wav,flac}` below `config.root`.

    Labels are the acted emotions; actors are speakers and sessions. Raises CorpusError when there is no file, and for a
    name of another shape.
    """
    del workspace
    refuse_choices(config)
    assert config.root is not None
    root = config.root.absolute()
    candidates = tuple(_read_name(path) for path in find_recordings(root, "AudioWAV/*"))
    if not candidates:
        raise CorpusError(f"{root}: no CREMA-D here; expected AudioWAV/1001_DFA_ANG_XX.wav and so on")
    short = f"{len(candidates)} of {UTTERANCES} utterances" if len(candidates) != UTTERANCES else None
    return Listing(corpus="crema-d", classes=CLASSES, candidates=candidates, known=_KNOWN, incomplete=short)


def _read_name(path: Path) -> Candidate:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise CorpusError(f"{path}: not actor, sentence, emotion and level of CREMA-D (1001_DFA_ANG_XX)")
    return Candidate(
        utterance=path.stem,
        path=path,
        speaker=match["actor"],
        session=match["actor"],
        label=_EMOTIONS[match["emotion"]],
        transcript=_SENTENCES[match["sentence"]],
        level=_LEVELS[match["level"]],
    )
