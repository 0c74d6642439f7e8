"""Berlin EmoDB (Burkhardt et al. 2005): ten German speakers; the four-class part that compares with IEMOCAP."""

from __future__ import annotations

__all__ = ["CLASSES", "list_emodb"]

import re
from pathlib import Path

from core.config import CorpusConfig
from core.corpora.checks import Candidate, Listing
from core.corpora.choices import refuse_choices
from core.corpora.recordings import find_recordings
from core.errors import CorpusError
from core.store import Workspace

CLASSES = ("anger", "happiness", "neutral", "sadness")

UTTERANCES = 339
"""Of the four classes, in the published 535."""

_EMOTIONS = {
    "W": "anger",
    "F": "happiness",
    "N": "neutral",
    "T": "sadness",
    "L": "boredom",
    "A": "fear",
    "E": "disgust",
}
_NAME = re.compile(r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<emotion>[WFNTLAE])(?P<take>[a-z])")


def list_emodb(config: CorpusConfig, workspace: Workspace) -> Listing:
    """The files `wav/<speaker><text><emotion><take>.{wav,flac}` below `config.root`; speakers are sessions too.

    Boredom, fear and disgust are listed as known to be unlabelled in the four-class part. Raises CorpusError when
    there is no file, and for a name of another shape.
    """
    del workspace
    refuse_choices(config)
    assert config.root is not None
    root = config.root.absolute()
    candidates = tuple(_read_name(path) for path in find_recordings(root, "wav/*"))
    if not candidates:
        raise CorpusError(f"{root}: no EmoDB here; expected wav/03a01Wa.wav and so on")
    known = {candidate.utterance for candidate in candidates if candidate.label not in CLASSES}
    used = len(candidates) - len(known)
    return Listing(
        corpus="emodb",
        classes=CLASSES,
        candidates=candidates,
        known=dict.fromkeys(known, "unlabelled"),
        incomplete=f"{used} of {UTTERANCES} utterances" if used != UTTERANCES else None,
    )


def _read_name(path: Path) -> Candidate:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise CorpusError(f"{path}: not speaker, text code, emotion letter and take of EmoDB (03a01Wa)")
    speaker = match["speaker"]
    label = _EMOTIONS[match["emotion"]]
    return Candidate(utterance=path.stem, path=path, speaker=speaker, session=speaker, label=label)
