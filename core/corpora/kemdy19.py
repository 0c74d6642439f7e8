"""KEMDy19 (Noh et al. 2021): Korean voice actors, a woman and a man in each of twenty sessions, labelled by ten raters.

The layout was never tried on the real files, which are given out to who has signed for them. It is put together from
the provider's page "Korean Emotion Multimodal Database in 2019" (folders, raters, scales, 20 sessions of 2 speakers)
and from public programs that read it, where several agree (names, both header rows, UTF-8, both speakers' segments in
either's file, labels such as `neutral;sad`); the spelling `disqust` is known from one of them. What does not fit is an
error.
"""

from __future__ import annotations

__all__ = ["EMOTIONS", "LABEL_SETS", "SPEAKERS", "SUBSETS", "list_kemdy19"]

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.config import CorpusConfig, LabelSet
from core.corpora.checks import Candidate, Listing
from core.corpora.choices import refuse_choices
from core.corpora.manifest import Reason
from core.corpora.recordings import recording_of
from core.corpora.text import read_score, read_table, read_transcript
from core.errors import CorpusError
from core.store import Workspace

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")

LABEL_SETS: Mapping[LabelSet, tuple[str, ...]] = {
    "plain-4": ("angry", "happy", "neutral", "sad"),
    "all": EMOTIONS,
    "dimensions": (),
}
"""Label set → its classes. The first is the usual one (ours: which classes Hyeon et al. 2024 used was not found)."""

SUBSETS: Mapping[str, str] = {"improvised": "impro", "scripted": "script"}
"""Subset → how the names of its dialogs begin after the session."""

SPEAKERS = 40

_SPELT = {"disqust": "disgust"}
_FILE = re.compile(r"Session(?P<session>\d\d)_(?P<gender>[FM])_res\.csv")
_SEGMENT = re.compile(r"(?P<dialog>Sess(?P<session>\d\d)_(?:impro|script)\d\d)_(?P<gender>[FM])\d{3}")
_SEGMENT_ID, _EVALUATION = "Segment ID", "Total Evaluation"
_EVALUATED = ["Emotion", "Valence", "Arousal"]
_LOWEST, _HIGHEST = 1.0, 5.0


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One segment as its speaker's file has it. `emotions`: more than one where raters drew."""

    segment: str
    emotions: tuple[str, ...]
    valence: float
    arousal: float


def list_kemdy19(config: CorpusConfig, workspace: Workspace) -> Listing:
    """The segments of `annotation/Session<nn>_<F|M>_res.csv` below `config.root`, of a subset (or of both).

    Each file goes through the whole session beside one speaker's bio-signals; only that speaker's segments are taken
    from it. Recordings are `wav/Session<nn>/<dialog>/<segment>.wav`, transcripts the same with `.txt` where there are
    any (noise marks such as `b/` stay). Labels are the raters' majority; a draw (`neutral;sad`), and in `plain-4` an
    emotion that is not in the set, is listed as known to be unlabelled, so the ledger counts it. `dimensions` are all
    segments, without classes, with valence and activation (arousal), 1 to 5; there is no dominance. Raises CorpusError
    for a folder that is not KEMDy19, a name of another shape and a row that cannot be read.
    """
    del workspace
    refuse_choices(config, subsets=SUBSETS, labels=LABEL_SETS)
    assert config.root is not None
    root, label_set = config.root.absolute(), config.labels or "plain-4"
    files = sorted(path for path in (root / "annotation").glob("*.csv") if not path.name.startswith("."))
    if not files or not (root / "wav").is_dir():
        raise CorpusError(
            f"{root}: no KEMDy19 here; expected annotation/Session01_F_res.csv and "
            "wav/Session01/Sess01_impro01/Sess01_impro01_F001.wav, and so on to Session20"
        )
    every = [row for file in files for row in _read_rows(file)]
    rows = [row for row in every if _is_of(row, config.subset)]
    if not rows:
        raise CorpusError(f"{root}: none of its segments is {config.subset or 'labelled'}")
    classes = LABEL_SETS[label_set]
    known: dict[str, Reason] = (
        {row.segment: "unlabelled" for row in rows if _label(row) not in classes} if classes else {}
    )
    return Listing(
        corpus="kemdy19",
        classes=classes or None,
        candidates=tuple(_candidate(row, root, with_class=bool(classes)) for row in rows),
        known=known,
        incomplete="; ".join([*_speakers_short(files), *_without_row(root, every)]) or None,
    )


def _speakers_short(files: Sequence[Path]) -> list[str]:
    return [f"{len(files)} of {SPEAKERS} speakers"] if len(files) != SPEAKERS else []


def _without_row(root: Path, rows: Sequence[_Row]) -> list[str]:
    """Recordings that no speaker's own file names, as when a segment is misspelt there."""
    known = {row.segment for row in rows}
    stray = sorted(path.stem for path in (root / "wav").glob("*/*/*.wav") if path.stem not in known)
    return [f"{len(stray)} recordings without a row of labels ({stray[0]} first)"] if stray else []


def _is_of(row: _Row, subset: str | None) -> bool:
    return subset is None or row.segment.split("_")[1].startswith(SUBSETS[subset])


def _label(row: _Row) -> str:
    return ";".join(row.emotions)


def _candidate(row: _Row, root: Path, *, with_class: bool) -> Candidate:
    session, dialog, own = row.segment.split("_")
    number = session.removeprefix("Sess")
    stem = root / "wav" / f"Session{number}" / f"{session}_{dialog}" / row.segment
    return Candidate(
        utterance=row.segment,
        path=recording_of(stem),
        speaker=f"{session}{own[0]}",
        session=f"Session{number}",
        label=_label(row) if with_class else "",
        # Public programs read UTF-8; the sister corpus KEMDy20 has the older Korean encoding.
        transcript=read_transcript(stem.with_name(f"{row.segment}.txt"), legacy="CP949"),
        activation=row.arousal,
        valence=row.valence,
    )


def _read_rows(file: Path) -> list[_Row]:
    """The segments of the speaker whose file it is."""
    name = _FILE.fullmatch(file.name)
    if name is None:
        raise CorpusError(f"{file}: not the name of KEMDy19's labels of a speaker (Session01_F_res.csv)")
    table = read_table(file)
    id_column, first = _columns(file, table)
    rows = []
    for number, cells in table[2:]:
        place = f"{file}:{number}"
        if not any(cells):
            continue
        if len(cells) < first + len(_EVALUATED):
            raise CorpusError(f"{place}: {len(cells)} cells, {_EVALUATION} ends at {first + len(_EVALUATED)}")
        segment = _SEGMENT.fullmatch(cells[id_column])
        if segment is None or segment["session"] != name["session"]:
            raise CorpusError(f"{place}: {cells[id_column]!r} is not a segment of Session{name['session']}")
        if segment["gender"] == name["gender"]:
            rows.append(_read_row(place, segment[0], cells[first : first + len(_EVALUATED)]))
    if not rows:
        raise CorpusError(f"{file}: no segment of its speaker Sess{name['session']}{name['gender']}")
    return rows


def _columns(file: Path, table: list[tuple[int, list[str]]]) -> tuple[int, int]:
    """Column of the segment, and the first of the three that evaluate it; the second header row names the three."""
    above, below = table[0][1] if table else [], table[1][1] if len(table) > 1 else []
    for name in (_SEGMENT_ID, _EVALUATION):
        if above.count(name) != 1:
            raise CorpusError(f"{file}:1: {above.count(name)} columns {name!r}, not one; has {', '.join(above)}")
    first = above.index(_EVALUATION)
    if below[first : first + len(_EVALUATED)] != _EVALUATED:
        found = ", ".join(below[first : first + len(_EVALUATED)]) or "nothing"
        raise CorpusError(f"{file}:2: below {_EVALUATION} stands {found}; expected {', '.join(_EVALUATED)}")
    return above.index(_SEGMENT_ID), first


def _read_row(place: str, segment: str, cells: list[str]) -> _Row:
    emotions = tuple(_SPELT.get(each.strip(), each.strip()) for each in cells[0].split(";"))
    unknown = [each for each in emotions if each not in EMOTIONS]
    if unknown:
        raise CorpusError(f"{place}: Emotion {cells[0]!r}: {unknown[0]!r} is none of {', '.join(EMOTIONS)}")
    return _Row(
        segment=segment,
        emotions=emotions,
        valence=read_score(cells[1], lowest=_LOWEST, highest=_HIGHEST, place=f"{place}: Valence"),
        arousal=read_score(cells[2], lowest=_LOWEST, highest=_HIGHEST, place=f"{place}: Arousal"),
    )
