"""Audio files in, scores of an exported model out: needs the exported folder alone (ours)."""

from __future__ import annotations

__all__ = ["LONGEST_S", "Prediction", "Unusable", "audio_files", "predict_files"]

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.audio import HEADERLESS, read_audio
from core.errors import BadInputError
from core.exported import Answer, Predictor
from core.units import SAMPLE_RATE

LONGEST_S = 60.0
"""Longer recordings are refused: the models were trained on utterances, and a Transformer's memory grows with the
square of the length (ours)."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One file that could be scored."""

    path: Path
    duration_s: float
    answer: Answer


@dataclass(frozen=True, kw_only=True)
class Unusable:
    """One file, or folder, that could not."""

    path: Path
    """As it can be shown: a name that is not UTF-8 has its odd bytes escaped."""
    reason: str
    """One line; names the path."""


def audio_files(places: Sequence[Path]) -> list[Path | Unusable]:
    """The files named, and those below the folders named whose ending is that of an audio file, sorted.

    Each once, however its path is spelled. A file named by itself is taken whatever its ending.
    """
    found: dict[str, Path | Unusable] = {}
    for place in places:
        for path in _below(place):
            found.setdefault(os.path.realpath(path.path if isinstance(path, Unusable) else path), path)
    return list(found.values())


def _below(place: Path) -> list[Path | Unusable]:
    """The place itself, or the audio files in it."""
    try:
        inside = _inside(place) if place.is_dir() else [place]
    except OSError as error:
        return [_unusable(place, f"cannot be looked at ({error.strerror})")]
    if not inside:
        return [_unusable(place, "no audio file below this folder")]
    return [path if _shown(path) == str(path) else _unusable(path, "its name is not UTF-8") for path in inside]


def _inside(folder: Path) -> list[Path]:
    import soundfile

    endings = {f".{name.lower()}" for name in soundfile.available_formats()} | {".aif", ".oga", ".opus"}
    endings -= {HEADERLESS}
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings and path.is_file())


def _unusable(path: Path, reason: str) -> Unusable:
    return Unusable(path=Path(_shown(path)), reason=f"{_shown(path)}: {reason}")


def _shown(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def predict_files(predictor: Predictor, places: Sequence[Path]) -> Iterator[Prediction | Unusable]:
    """Score every file, one after the other: what one says depends on no other."""
    for path in audio_files(places):
        if isinstance(path, Unusable):
            yield path
            continue
        try:
            yield _scored(predictor, path)
        except BadInputError as error:
            yield _unusable(path, str(error).removeprefix(f"{path}: "))


def _scored(predictor: Predictor, path: Path) -> Prediction:
    _refuse_long(path)
    samples_N = read_audio(path)
    return Prediction(path=path, duration_s=len(samples_N) / SAMPLE_RATE, answer=predictor.predict(samples_N))


def _refuse_long(path: Path) -> None:
    """From the header: an hour of audio is not decoded to say that it is too long."""
    import soundfile

    try:
        duration_s = soundfile.info(path).duration
    except (soundfile.SoundFileError, OSError, TypeError):
        # Decoding says what is wrong with it.
        return
    if duration_s > LONGEST_S:
        raise BadInputError(
            f"{path}: {duration_s:.1f} s are longer than {LONGEST_S:g} s; cut the recording into utterances"
        )
