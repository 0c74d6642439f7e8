"""Real recordings small enough to build a whole corpus from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def write_recording(path: Path, number: int) -> Path:
    """0.2 s at 8 kHz whose first samples spell the number: distinct content. WAV or FLAC, going by the name."""
    samples = np.full(1600, 500, dtype=np.int16)
    samples[::2] = -500
    samples[:16] = [1000 if number >> bit & 1 else -1000 for bit in range(16)]
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, 8000, subtype="PCM_16")
    return path


def as_flac(root: Path) -> None:
    """The same recordings below a folder in the other format."""
    for path in sorted(root.rglob("*.wav")):
        samples, rate = soundfile.read(path, dtype="int16")
        soundfile.write(path.with_suffix(".flac"), samples, rate)
        path.unlink()
