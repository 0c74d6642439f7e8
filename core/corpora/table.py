"""Any corpus from one CSV file: a row per utterance, paths relative to the CSV's folder."""

from __future__ import annotations

__all__ = ["OPTIONAL", "REQUIRED", "list_table"]

import math
from pathlib import Path

from core.config import CorpusConfig
from core.corpora.checks import Candidate, Listing
from core.corpora.choices import refuse_choices
from core.corpora.text import read_table
from core.errors import CorpusError
from core.store import Workspace

REQUIRED = ("path", "utterance", "speaker", "label")
OPTIONAL = ("session", "transcript", "activation", "valence", "dominance", "start", "end")

_NUMERIC = ("activation", "valence", "dominance", "start", "end")
"""Finite numbers; start and end in seconds."""


def list_table(config: CorpusConfig, workspace: Workspace) -> Listing:
    """The rows of the CSV `config.root`. Without a session column each speaker is a session; classes are sorted.

    A row with an empty label is unlabelled; but a table without any label whose rows all have activation, valence and
    dominance is a corpus without classes. Raises CorpusError naming the line for unknown, missing or repeated
    columns, a row of another width, an empty path, utterance or speaker, a repeated utterance, and a value that is
    not a finite number.
    """
    del workspace
    refuse_choices(config)
    assert config.root is not None
    file = config.root.absolute()
    rows = _read_rows(file)
    _check_columns(file, rows)
    candidates = tuple(_read_row(file, number, dict(zip(rows[0][1], row, strict=True))) for number, row in rows[1:])
    _refuse_repeats(file, candidates, [number for number, _ in rows[1:]])
    classes = tuple(sorted({candidate.label for candidate in candidates if candidate.label}))
    rated = all(None not in (each.activation, each.valence, each.dominance) for each in candidates)
    return Listing(corpus="table", classes=None if rated and not classes else classes, candidates=candidates)


def _read_rows(file: Path) -> list[tuple[int, list[str]]]:
    """Line number (of the row's end) and cells of each row that is not blank, header first."""
    if not file.is_file():
        raise CorpusError(f"{file}: no such table; expected a CSV file with the columns {', '.join(REQUIRED)}")
    rows = read_table(file)
    if len(rows) < 2:
        raise CorpusError(f"{file}: no utterance; expected a row per utterance below the header")
    return rows


def _check_columns(file: Path, rows: list[tuple[int, list[str]]]) -> None:
    number, header = rows[0]
    place = f"{file}:{number}"
    allowed = f"allowed: {', '.join((*REQUIRED, *OPTIONAL))}"
    for name in header:
        if name not in REQUIRED + OPTIONAL:
            raise CorpusError(f"{place}: unknown column {name!r}; {allowed}")
        if header.count(name) > 1:
            raise CorpusError(f"{place}: column {name!r} is there twice")
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise CorpusError(f"{place}: missing column {', '.join(missing)}; {allowed}")
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise CorpusError(f"{file}:{line}: {len(row)} cells, the header has {len(header)}")


def _read_row(file: Path, number: int, row: dict[str, str]) -> Candidate:
    place = f"{file}:{number}"
    for name in ("path", "utterance", "speaker"):
        if not row[name]:
            raise CorpusError(f"{place}: {name} is empty")
    numbers = {name: _read_number(row.get(name, ""), place=f"{place}: {name}") for name in _NUMERIC}
    start, end = numbers["start"], numbers["end"]
    if (start is not None and start < 0) or (end is not None and end <= (start or 0.0)):
        raise CorpusError(f"{place}: start {start} s must be at least 0 and before end {end} s")
    return Candidate(
        utterance=row["utterance"],
        path=file.parent / row["path"],
        speaker=row["speaker"],
        session=row.get("session") or row["speaker"],
        label=row["label"],
        transcript=row.get("transcript") or None,
        activation=numbers["activation"],
        valence=numbers["valence"],
        dominance=numbers["dominance"],
        start=start,
        end=end,
    )


def _read_number(text: str, *, place: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CorpusError(f"{place} {text!r} is not a finite number")
    return value


def _refuse_repeats(file: Path, candidates: tuple[Candidate, ...], numbers: list[int]) -> None:
    first: dict[str, int] = {}
    for candidate, number in zip(candidates, numbers, strict=True):
        earlier = first.setdefault(candidate.utterance, number)
        if earlier != number:
            raise CorpusError(f"{file}:{number}: utterance {candidate.utterance!r} is already on line {earlier}")
