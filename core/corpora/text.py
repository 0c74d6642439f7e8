"""Text files of published corpora, whose encodings differ from corpus to corpus and from file to file."""

from __future__ import annotations

__all__ = ["read_lines", "read_score", "read_table", "read_transcript"]

import codecs
import csv
import math
from pathlib import Path

from core.errors import CorpusError


def read_lines(path: Path, *, legacy: str | None = None) -> list[str]:
    """The lines of a text file, without their ends.

    A byte order mark says what the encoding is. Without one it is UTF-16 if one of the first two bytes is zero (the
    files begin with an ASCII character), else UTF-8, else `legacy`. Raises CorpusError when none of them fits.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror})") from error
    tried = _encodings(content, legacy)
    place = 0
    for encoding in tried:
        try:
            return content.decode(encoding).splitlines()
        except UnicodeDecodeError as error:
            place = error.start
    raise CorpusError(f"{path}: not {' or '.join(tried)} text (byte {place})")


def _encodings(content: bytes, legacy: str | None) -> tuple[str, ...]:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ("UTF-16",)
    if content.startswith(codecs.BOM_UTF8):
        return ("UTF-8-SIG",)
    if 0 in content[:2]:
        return ("UTF-16-LE",) if content[0] else ("UTF-16-BE",)
    return ("UTF-8", legacy) if legacy else ("UTF-8",)


def read_table(path: Path) -> list[tuple[int, list[str]]]:
    """Line number (of the row's end) and stripped cells of each row of a CSV file that is not blank, header first.

    Raises CorpusError for a file that is not there, and for one that is not CSV in UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            return [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror})") from error


def read_score(text: str, *, lowest: float, highest: float, place: str) -> float:
    """A number of a scale. Raises CorpusError that begins with `place` for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not lowest <= value <= highest:
        raise CorpusError(f"{place} {text!r} is not a number from {lowest:g} to {highest:g}")
    return value


def read_transcript(path: Path, *, legacy: str) -> str | None:
    """The words of a file, with single spaces; None where there is no file or no word. Raises as `read_lines`."""
    if not path.exists():
        return None
    return " ".join(" ".join(read_lines(path, legacy=legacy)).split()) or None
