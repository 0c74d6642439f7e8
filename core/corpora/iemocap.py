"""IEMOCAP (Busso et al. 2008): the label sets and subsets the field uses. On-disk format and counts: Session{1..5}/
dialog/EmoEvaluation, …/transcriptions, …/sentences/wav.
"""

from __future__ import annotations

__all__ = ["CLASSES", "LABEL_SETS", "SUBSETS", "labelled", "list_iemocap", "read_turns"]

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from core.config import CorpusConfig, LabelSet
from core.corpora.checks import Candidate, Listing
from core.corpora.choices import refuse_choices
from core.corpora.iemocap_counts import CLASSES, MERGED, PER_TAG, Tally
from core.corpora.recordings import recording_of
from core.corpora.text import read_lines
from core.errors import CorpusError
from core.store import Workspace

LABEL_SETS: Mapping[LabelSet, Mapping[str, str]] = {
    "merged-4": MERGED,
    "plain-4": {"ang": "ang", "hap": "hap", "neu": "neu", "sad": "sad"},
    "excited-5": {"ang": "ang", "exc": "exc", "hap": "hap", "neu": "neu", "sad": "sad"},
    "frustrated-5": {**MERGED, "fru": "fru"},
    "dimensions": dict.fromkeys(PER_TAG, ""),
}
"""Label set → majority tag → class; turns with another tag are not part of the set. The first is the usual one."""

SUBSETS: Mapping[str, str] = {"improvised": "impro", "scripted": "script"}
"""Subset → how the names of its dialogs go on after the first speaker."""

_NUMBER = r"-?\d+(?:\.\d+)?"
_LINE = re.compile(
    rf"\[{_NUMBER} - {_NUMBER}\]\t(?P<turn>\S+)\t(?P<tag>\S+)\t"
    rf"\[(?P<v>{_NUMBER}), (?P<a>{_NUMBER}), (?P<d>{_NUMBER})\]"
)
_TURN = re.compile(r"(?P<dialog>Ses(?P<session>\d\d)[FM]_(?:impro|script)\w+)_(?P<gender>[FM])\w*")
_SAID = re.compile(r"(?P<turn>Ses\d\d[FM]_\S+) \[[^\]]*\]: ?(?P<words>.*)")


def list_iemocap(config: CorpusConfig, workspace: Workspace) -> Listing:
    """The turns of a label set (`merged-4`: four classes, 5,531 turns) and subset below `config.root`.

    `dimensions` are all 10,039 turns, without classes. Raises CorpusError for a folder that is not IEMOCAP, a label
    line that cannot be read, and counts of the whole tree other than the published ones (whatever of them the label set
    depends on; none are published by subset) unless `config.allow_incomplete`.
    """
    del workspace
    refuse_choices(config, subsets=SUBSETS, labels=LABEL_SETS)
    assert config.root is not None
    root, label_set = config.root.absolute(), config.labels or "merged-4"
    turns = read_turns(root)
    candidates = labelled(turns, label_set)
    if not candidates:
        raise CorpusError(
            f"{root}: no IEMOCAP here; expected Session1/dialog/EmoEvaluation/*.txt and "
            "Session1/sentences/wav/<dialog>/<turn>.wav, and so on to Session5"
        )
    tally = Tally(turns, label_set)
    short = tally.differences()
    published = sum(PER_TAG[tag] for tag in LABEL_SETS[label_set])
    if short and not config.allow_incomplete:
        header = f"{root}: {len(candidates)} utterances, not IEMOCAP's {published}; --allow-incomplete accepts that"
        raise CorpusError("\n".join([header, *tally.comparison()]))
    return Listing(
        corpus="iemocap",
        classes=None if label_set == "dimensions" else tuple(sorted({*LABEL_SETS[label_set].values()})),
        candidates=_of_subset(candidates, config.subset, root=root),
        incomplete=f"{len(candidates)} of {published} utterances ({'; '.join(short)})" if short else None,
    )


def labelled(turns: tuple[Candidate, ...], label_set: LabelSet) -> tuple[Candidate, ...]:
    """The turns of a label set, with its classes in place of their majority tags."""
    class_of = LABEL_SETS[label_set]
    return tuple(replace(turn, label=class_of[turn.label]) for turn in turns if turn.label in class_of)


def _of_subset(turns: tuple[Candidate, ...], subset: str | None, *, root: Path) -> tuple[Candidate, ...]:
    if subset is None:
        return turns
    kept = tuple(turn for turn in turns if turn.utterance.split("_")[1].startswith(SUBSETS[subset]))
    if not kept:
        raise CorpusError(f"{root}: none of its {len(turns)} utterances is {subset}")
    return kept


def read_turns(root: Path) -> tuple[Candidate, ...]:
    """All turns in `Session*/dialog/EmoEvaluation/Ses*.txt`, labelled with their majority tags; with transcripts where
    there are any.
    """
    found: list[Candidate] = []
    for labels in sorted(root.glob("Session*/dialog/EmoEvaluation/Ses*.txt")):
        session = labels.parents[2]
        said = _transcripts(session / "dialog" / "transcriptions" / labels.name)
        for number, line in enumerate(read_lines(labels), start=1):
            if line.startswith("["):
                found.append(_read_line(line, place=f"{labels}:{number}", session=session, said=said))
    return tuple(found)


def _read_line(line: str, *, place: str, session: Path, said: Mapping[str, str]) -> Candidate:
    match = _LINE.fullmatch(line.rstrip())
    if match is None:
        raise CorpusError(f"{place}: not '[start - end] TAB turn TAB label TAB [v, a, d]': {line.strip()!r}")
    turn, tag = match["turn"], match["tag"]
    name = _TURN.fullmatch(turn)
    if name is None or f"Session{int(name['session'])}" != session.name:
        raise CorpusError(f"{place}: {turn!r} is not the name of a turn of {session.name}")
    if tag not in PER_TAG:
        raise CorpusError(f"{place}: label {tag!r} is none of {', '.join(PER_TAG)}")
    return Candidate(
        utterance=turn,
        path=recording_of(session / "sentences" / "wav" / name["dialog"] / turn),
        speaker=f"Ses{name['session']}{name['gender']}",
        session=session.name,
        label=tag,
        transcript=said.get(turn),
        valence=float(match["v"]),
        activation=float(match["a"]),
        dominance=float(match["d"]),
    )


def _transcripts(path: Path) -> dict[str, str]:
    """Turn → words. Lines of other shapes (the distribution has stray ones) belong to no turn."""
    if not path.exists():
        return {}
    said = (_SAID.fullmatch(line.rstrip()) for line in read_lines(path))
    return {match["turn"]: match["words"].strip() for match in said if match}
