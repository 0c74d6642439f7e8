"""Where a corpus's recordings lie: WAV as published, or the same as FLAC."""

from __future__ import annotations

__all__ = ["find_recordings", "recording_of"]

from pathlib import Path

from core.errors import CorpusError


def find_recordings(folder: Path, pattern: str) -> tuple[Path, ...]:
    """The WAV and FLAC files that match a glob pattern below a folder, sorted; hidden ones (`._name`) are none."""
    return tuple(
        path
        for path in sorted(folder.glob(pattern))
        if path.suffix.lower() in (".wav", ".flac") and not path.name.startswith(".")
    )


def recording_of(stem: Path) -> Path:
    """The recording of this path without its ending: the FLAC where there is one, else the WAV, there or not.

    Raises CorpusError when both are there: which of the two is meant cannot be known.
    """
    flac, wav = stem.with_name(stem.name + ".flac"), stem.with_name(stem.name + ".wav")
    if not flac.exists():
        return wav
    if wav.exists():
        raise CorpusError(f"{wav}: its FLAC lies beside it; keep one of the two")
    return flac
