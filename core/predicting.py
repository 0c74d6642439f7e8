"""Audio files in, scores of an exported model out: needs the exported folder alone (ours)."""

from __future__ import annotations

__all__ = ["LONGEST_S", "Prediction", "Unusable", "audio_files", "predict_files"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.audio import read_audio
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
    reason: str
    """One line; names the path."""


def audio_files(places: Sequence[Path]) -> list[Path | Unusable]:
    """The files named, and those below the folders named whose ending is that of an audio file, sorted; each once.

    A file named by itself is taken whatever its ending.
    """
    found: dict[Path, Path | Unusable] = {}
    for place in places:
        inside = _inside(place) if place.is_dir() else [place]
        if not inside:
            found[place] = Unusable(path=place, reason=f"{place}: no audio file below this folder")
        for path in inside:
            found.setdefault(path, path)
    return list(found.values())


def _inside(folder: Path) -> list[Path]:
    import soundfile

    endings = {f".{name.lower()}" for name in soundfile.available_formats()} | {".aif", ".oga", ".opus"}
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings and path.is_file())


def predict_files(predictor: Predictor, places: Sequence[Path]) -> Iterator[Prediction | Unusable]:
    """Score every file, one after the other: what one says depends on no other."""
    for path in audio_files(places):
        if isinstance(path, Unusable):
            yield path
            continue
        try:
            yield _scored(predictor, path)
        except BadInputError as error:
            reason = str(error)
            yield Unusable(path=path, reason=reason if reason.startswith(str(path)) else f"{path}: {reason}")


def _scored(predictor: Predictor, path: Path) -> Prediction:
    _refuse_long(path)
    samples_N = read_audio(path)
    return Prediction(path=path, duration_s=len(samples_N) / SAMPLE_RATE, answer=predictor.predict(samples_N))


def _refuse_long(path: Path) -> None:
    """From the header: an hour of audio is not decoded to say that it is too long."""
    import soundfile

    try:
        duration_s = soundfile.info(path).duration
    except (soundfile.SoundFileError, OSError):
        # Decoding says what is wrong with it.
        return
    if duration_s > LONGEST_S:
        raise BadInputError(
            f"{path}: {duration_s:.1f} s are longer than {LONGEST_S:g} s; cut the recording into utterances"
        )
