"""ESD, the Emotional Speech Database (Zhou et al. 2021): ten Mandarin and ten English speakers, five emotions, 350
parallel sentences each.
"""

from __future__ import annotations

__all__ = ["CLASSES", "PER_EMOTION", "SUBSETS", "list_esd"]

import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from core.config import CorpusConfig
from core.corpora.checks import Candidate, Listing
from core.corpora.choices import refuse_choices
from core.corpora.recordings import find_recordings
from core.corpora.text import read_lines
from core.errors import CorpusError
from core.store import Workspace

_EMOTIONS = {"Angry": "angry", "Happy": "happy", "Neutral": "neutral", "Sad": "sad", "Surprise": "surprise"}
CLASSES = tuple(_EMOTIONS.values())

PER_EMOTION = 350
"""Utterances of each speaker in each emotion."""

SUBSETS: Mapping[str, tuple[str, ...]] = {
    "mandarin": tuple(f"{number:04d}" for number in range(1, 11)),
    "english": tuple(f"{number:04d}" for number in range(11, 21)),
}
"""Language → its speakers."""

_LEGACY = {"mandarin": "GB18030", "english": "CP1252"}
"""The published transcripts are in UTF-8, UTF-16 and the old encodings of their language, speaker by speaker."""

_PARTS = ("train", "evaluation", "test")
"""The published division of each emotion; not by speaker, so of no use for folds. Some copies come without it."""

_NAME = re.compile(r"(?P<speaker>\d{4})_\d{6}")
_SAID = re.compile(r"(?P<utterance>\d{4}_\d{6})\t(?P<words>[^\t]*)(?:\t.*)?")


def list_esd(config: CorpusConfig, workspace: Workspace) -> Listing:
    """The files `<speaker>/<Emotion>/[train|evaluation|test/]<speaker>_<number>.{wav,flac}` below `config.root`.

    Speakers are sessions. Subsets: `mandarin` (speakers 0001–0010), `english` (0011–0020). Transcripts are those of
    `<speaker>/<speaker>.txt`. Raises CorpusError when there is no recording, for one that lies elsewhere or is named
    otherwise, and for transcripts in an encoding of neither the language nor Unicode.
    """
    del workspace
    refuse_choices(config, subsets=SUBSETS)
    assert config.root is not None
    root = config.root.absolute()
    chosen = SUBSETS[config.subset] if config.subset else [name for names in SUBSETS.values() for name in names]
    candidates: list[Candidate] = []
    for folder in sorted(path for path in root.glob("[0-9]" * 4) if path.is_dir()):
        language = next((name for name, speakers in SUBSETS.items() if folder.name in speakers), None)
        if language is None:
            raise CorpusError(f"{folder}: speaker {folder.name} is none of ESD's 0001 to 0020")
        if folder.name in chosen:
            candidates += _read_speaker(folder, legacy=_LEGACY[language])
    if not candidates:
        what = f"no {config.subset} ESD" if config.subset else "no ESD"
        raise CorpusError(f"{root}: {what} here; expected {chosen[0]}/Angry/train/{chosen[0]}_000351.wav and so on")
    return Listing(
        corpus="esd",
        classes=CLASSES,
        candidates=tuple(candidates),
        incomplete=_shortfall(candidates, chosen),
    )


def _read_speaker(folder: Path, *, legacy: str) -> list[Candidate]:
    said = _transcripts(folder / f"{folder.name}.txt", legacy=legacy)
    return [
        Candidate(
            utterance=path.stem,
            path=path,
            speaker=folder.name,
            session=folder.name,
            label=_read_emotion(path, folder),
            transcript=said.get(path.stem),
        )
        for path in find_recordings(folder, "**/*")
    ]


def _read_emotion(path: Path, folder: Path) -> str:
    emotion, *parts = path.relative_to(folder).parts[:-1] or ("",)
    if emotion not in _EMOTIONS or len(parts) > 1 or not set(parts) <= set(_PARTS):
        raise CorpusError(
            f"{path}: not in <Emotion>/ or <Emotion>/<part>/ of speaker {folder.name}; emotions are "
            f"{', '.join(_EMOTIONS)}, parts {', '.join(_PARTS)}"
        )
    name = _NAME.fullmatch(path.stem)
    if name is None or name["speaker"] != folder.name:
        raise CorpusError(f"{path}: not {folder.name}_ and six digits")
    return _EMOTIONS[emotion]


def _transcripts(path: Path, *, legacy: str) -> dict[str, str]:
    """Utterance → words, from lines "utterance TAB words TAB emotion". Lines of other shapes (some published files have
    such) belong to no utterance.
    """
    if not path.exists():
        return {}
    said = (_SAID.fullmatch(line.strip()) for line in read_lines(path, legacy=legacy))
    return {match["utterance"]: match["words"].strip() for match in said if match and match["words"].strip()}


def _shortfall(candidates: list[Candidate], speakers: Collection[str]) -> str | None:
    have = Counter((candidate.speaker, candidate.label) for candidate in candidates)
    cells = [(speaker, label) for speaker in speakers for label in CLASSES]
    wrong = [f"{cell[0]} {cell[1]} {have[cell]} of {PER_EMOTION}" for cell in cells if have[cell] != PER_EMOTION]
    more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    total = f"{len(candidates)} of {len(cells) * PER_EMOTION} utterances"
    return f"{total} ({'; '.join(wrong[:3])}{more})" if wrong else None
