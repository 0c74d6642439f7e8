"""Frame scores made elsewhere: CSV `file_path,score`, the scores of one utterance separated by spaces.

Legend: K imported scores of an utterance, T feature frames.
"""

from __future__ import annotations

__all__ = ["ExternalScores", "place_in_time", "read_external"]

import csv
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from core.corpora.manifest import Manifest, Utterance
from core.errors import BadInputError

COLUMNS = ("file_path", "score")
TOLERANCE_S = 0.1
"""How far K · hop may lie from the utterance's duration: analysis windows cut or pad the ends (ours)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ExternalScores:
    """Scores of every utterance of a corpus, and how many rows of the file belonged to none of them."""

    by_utterance: dict[str, NDArray[np.float64]]
    unused_rows: int


def read_external(path: Path, manifest: Manifest, *, hop_ms: float) -> ExternalScores:
    """Read and match imported scores: by the utterance's path as given, else by file stem or utterance id.

    Raises BadInputError for a file without the two columns, an utterance without a row or with two, a stem that several
    utterances share, a score that is no finite number (naming file and frame), and a count that does not fit the
    utterance's duration at this hop to within `TOLERANCE_S` or two hops, whichever is more.
    """
    by_path = {str(utterance.path): utterance for utterance in manifest.utterances if utterance.start is None}
    by_stem = _by_stem(manifest)
    scores: dict[str, NDArray[np.float64]] = {}
    unused = 0
    for line, file_path, text in _rows(path):
        found = [by_path[file_path]] if file_path in by_path else by_stem.get(PurePath(file_path).stem, [])
        if not found:
            unused += 1
            continue
        if len(found) > 1:
            names = f"{found[0].utterance!r} and {found[1].utterance!r}"
            raise BadInputError(
                f"{path}, line {line}: {file_path} could be utterance {names}; give utterance ids instead"
            )
        utterance = found[0]
        if utterance.utterance in scores:
            raise BadInputError(f"{path}, line {line}: a second row for utterance {utterance.utterance!r}")
        scores[utterance.utterance] = _parse(text, file_path, where=f"{path}, line {line}")
        _check_count(len(scores[utterance.utterance]), utterance, hop_ms, where=f"{path}, line {line}")
    missing = [utterance.utterance for utterance in manifest.utterances if utterance.utterance not in scores]
    if missing:
        raise BadInputError(
            f"{path}: no scores for {len(missing)} of {len(manifest.utterances)} utterances of {manifest.corpus} "
            f"(first: {missing[0]!r})"
        )
    return ExternalScores(by_utterance=scores, unused_rows=unused)


def place_in_time(count: int, *, hop_ms: float, duration_s: float) -> NDArray[np.float64]:
    """When each of `count` scores holds, in seconds, shape (K,): a hop apart and centred on the utterance (ours)."""
    hop_s = hop_ms / 1000
    centres_K = (np.arange(count, dtype=np.float64) + 0.5) * hop_s
    return np.asarray(centres_K + (duration_s - count * hop_s) / 2, dtype=np.float64)


def _by_stem(manifest: Manifest) -> dict[str, list[Utterance]]:
    named: defaultdict[str, list[Utterance]] = defaultdict(list)
    for utterance in manifest.utterances:
        for name in {utterance.utterance, utterance.path.stem}:
            named[name].append(utterance)
    return {name: _exact(name, found) for name, found in named.items()}


def _exact(name: str, found: list[Utterance]) -> list[Utterance]:
    """An utterance's own id wins over a stem that it shares with others."""
    return [utterance for utterance in found if utterance.utterance == name] or found


def _rows(path: Path) -> list[tuple[int, str, str]]:
    csv.field_size_limit(sys.maxsize)  # an hour of frame scores is one field
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise BadInputError(f"{path}: has no column {missing[0]!r}; found {', '.join(reader.fieldnames or ())}")
            return [(reader.line_num, row["file_path"] or "", row["score"] or "") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error


def _parse(text: str, file_path: str, *, where: str) -> NDArray[np.float64]:
    words = text.split()
    if not words:
        raise BadInputError(f"{where}: {file_path} has no scores")
    scores_K = np.empty(len(words))
    for frame, word in enumerate(words):
        try:
            scores_K[frame] = float(word)
        except ValueError:
            scores_K[frame] = np.nan
        if not np.isfinite(scores_K[frame]):
            raise BadInputError(f"{where}: {file_path}, frame {frame}: score {word!r} is not a finite number")
    return scores_K


def _check_count(count: int, utterance: Utterance, hop_ms: float, *, where: str) -> None:
    tolerance_s = max(TOLERANCE_S, 2 * hop_ms / 1000)
    span_s = count * hop_ms / 1000
    if abs(span_s - utterance.duration_s) > tolerance_s:
        raise BadInputError(
            f"{where}: {count} scores at hop_ms {hop_ms:g} last {span_s:.3f} s, but utterance {utterance.utterance!r} "
            f"lasts {utterance.duration_s:.3f} s (allowed difference {tolerance_s:.3f} s)"
        )
