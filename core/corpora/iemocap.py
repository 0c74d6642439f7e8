"""IEMOCAP (Busso et al. 2008) as the field uses it: the 5,531 utterances of four classes, excitement counted as
happiness. On-disk format and counts: Session{1..5}/dialog/EmoEvaluation, …/transcriptions, …/sentences/wav.
"""

from __future__ import annotations

__all__ = ["CLASSES", "PUBLISHED", "list_iemocap", "read_sessions"]

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from core.config import CorpusConfig
from core.corpora.checks import Candidate, Listing
from core.errors import CorpusError
from core.store import Workspace

CLASSES = ("ang", "hap", "neu", "sad")

PUBLISHED: Mapping[str, tuple[int, int, int, int]] = {
    "Session1": (229, 278, 384, 194),
    "Session2": (137, 327, 362, 197),
    "Session3": (240, 286, 320, 305),
    "Session4": (327, 303, 258, 143),
    "Session5": (170, 442, 384, 245),
}
"""Utterances per session, in the order of CLASSES (`hap` holds `exc`)."""

_CLASS_OF = {"ang": "ang", "hap": "hap", "exc": "hap", "neu": "neu", "sad": "sad"}
_TAGS = frozenset({*_CLASS_OF, "xxx", "fru", "sur", "fea", "oth", "dis"})
_NUMBER = r"-?\d+(?:\.\d+)?"
_LINE = re.compile(
    rf"\[{_NUMBER} - {_NUMBER}\]\t(?P<turn>\S+)\t(?P<tag>\S+)\t"
    rf"\[(?P<v>{_NUMBER}), (?P<a>{_NUMBER}), (?P<d>{_NUMBER})\]"
)
_TURN = re.compile(r"(?P<dialog>Ses(?P<session>\d\d)[FM]_\w+)_(?P<gender>[FM])\w*")
_SAID = re.compile(r"(?P<turn>Ses\d\d[FM]_\S+) \[[^\]]*\]: ?(?P<words>.*)")


def list_iemocap(config: CorpusConfig, workspace: Workspace) -> Listing:
    """The four-class utterances in the label files below `config.root`.

    Raises CorpusError for a folder that is not IEMOCAP, a label line that cannot be read, and counts other than the
    published ones (per session and class) unless `config.allow_incomplete`.
    """
    del workspace
    assert config.root is not None
    root = config.root.absolute()
    candidates = read_sessions(root)
    if not candidates:
        raise CorpusError(
            f"{root}: no IEMOCAP here; expected Session1/dialog/EmoEvaluation/*.txt and "
            "Session1/sentences/wav/<dialog>/<turn>.wav, and so on to Session5"
        )
    counts = Counter((candidate.session, candidate.label) for candidate in candidates)
    differences = _differences(counts)
    if differences and not config.allow_incomplete:
        header = f"{root}: {len(candidates)} utterances, not IEMOCAP's 5531; --allow-incomplete accepts that"
        raise CorpusError("\n".join([header, *_comparison(counts)]))
    incomplete = f"{len(candidates)} of 5531 utterances ({'; '.join(differences)})" if differences else None
    return Listing(corpus="iemocap", classes=CLASSES, candidates=candidates, incomplete=incomplete)


def read_sessions(root: Path) -> tuple[Candidate, ...]:
    """All four-class turns in `Session*/dialog/EmoEvaluation/Ses*.txt`, with their transcripts where there are any."""
    found: list[Candidate] = []
    for labels in sorted(root.glob("Session*/dialog/EmoEvaluation/Ses*.txt")):
        session = labels.parents[2]
        said = _transcripts(session / "dialog" / "transcriptions" / labels.name)
        for number, line in enumerate(_lines(labels), start=1):
            if line.startswith("["):
                candidate = _read_line(line, place=f"{labels}:{number}", session=session, said=said)
                found += [candidate] if candidate else []
    return tuple(found)


def _read_line(line: str, *, place: str, session: Path, said: Mapping[str, str]) -> Candidate | None:
    """One label line: None for a turn whose majority label is none of the four classes."""
    match = _LINE.fullmatch(line.rstrip())
    if match is None:
        raise CorpusError(f"{place}: not '[start - end] TAB turn TAB label TAB [v, a, d]': {line.strip()!r}")
    turn, tag = match["turn"], match["tag"]
    name = _TURN.fullmatch(turn)
    if name is None or f"Session{int(name['session'])}" != session.name:
        raise CorpusError(f"{place}: {turn!r} is not the name of a turn of {session.name}")
    if tag not in _TAGS:
        raise CorpusError(f"{place}: label {tag!r} is none of {', '.join(sorted(_TAGS))}")
    if tag not in _CLASS_OF:
        return None
    return Candidate(
        utterance=turn,
        path=_audio_path(session / "sentences" / "wav" / name["dialog"] / turn),
        speaker=f"Ses{name['session']}{name['gender']}",
        session=session.name,
        label=_CLASS_OF[tag],
        transcript=said.get(turn),
        valence=float(match["v"]),
        activation=float(match["a"]),
        dominance=float(match["d"]),
    )


def _audio_path(stem: Path) -> Path:
    flac = stem.with_name(stem.name + ".flac")
    return flac if flac.exists() else stem.with_name(stem.name + ".wav")


def _transcripts(path: Path) -> dict[str, str]:
    """Turn → words. Lines of other shapes (the distribution has stray ones) belong to no turn."""
    if not path.exists():
        return {}
    said = (_SAID.fullmatch(line.rstrip()) for line in _lines(path))
    return {match["turn"]: match["words"].strip() for match in said if match}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: not UTF-8 text (byte {error.start})") from error


def _differences(counts: Mapping[tuple[str, str], int]) -> list[str]:
    sessions = sorted({*PUBLISHED, *(session for session, _ in counts)})
    expected = {(s, c): n for s, row in PUBLISHED.items() for c, n in zip(CLASSES, row, strict=True)}
    cells = [(session, label) for session in sessions for label in CLASSES]
    pairs = [(cell, counts.get(cell, 0), expected.get(cell, 0)) for cell in cells]
    return [f"{session} {label} {have} of {want}" for (session, label), have, want in pairs if have != want]


def _comparison(counts: Mapping[tuple[str, str], int]) -> list[str]:
    rows = [f"{'found/published':<16}" + "".join(f"{label:>10}" for label in CLASSES) + f"{'all':>12}"]
    for session in sorted({*PUBLISHED, *(session for session, _ in counts)}):
        have = [counts.get((session, label), 0) for label in CLASSES]
        want = PUBLISHED.get(session, (0, 0, 0, 0))
        cells = [f"{h}/{w}" for h, w in zip(have, want, strict=True)]
        rows.append(f"{session:<16}" + "".join(f"{cell:>10}" for cell in cells) + f"{f'{sum(have)}/{sum(want)}':>12}")
    return rows
