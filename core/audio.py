"""Decode audio: WAV or FLAC, any rate, any number of channels, whole files or stretches of them."""

from __future__ import annotations

__all__ = ["END_TOLERANCE_S", "HEADERLESS", "decode", "read_audio", "resample"]

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from core.units import SAMPLE_RATE

END_TOLERANCE_S = 0.01
"""A stretch may end this much after the file does: annotations are written with two or three decimals (ours)."""
HEADERLESS = ".raw"
"""Ending of files of bare samples: nothing in them tells their rate."""


def read_audio(path: Path, *, start: float | None = None, end: float | None = None) -> NDArray[np.float32]:
    """Samples of a recording, or of its stretch `start`–`end` (seconds), at `core.units.SAMPLE_RATE`.

    Shape (samples,), full scale ±1 (resampling may overshoot it slightly). Channels are averaged, then the rate is
    changed by windowed-sinc interpolation. Raises BadInputError as `decode` does.
    """
    samples_TC, rate = decode(path, start=start, end=end)
    mono_T = samples_TC[:, 0] if samples_TC.shape[1] == 1 else samples_TC.mean(axis=1, dtype=np.float32)
    return resample(np.ascontiguousarray(mono_T), rate=rate)


def resample(samples_T: NDArray[np.float32], *, rate: int) -> NDArray[np.float32]:
    """The signal at `core.units.SAMPLE_RATE` instead of `rate` samples per second, both shape (samples,).

    Result has ceil(samples · SAMPLE_RATE / rate) samples; at equal rates it is the input itself.
    """
    if rate == SAMPLE_RATE or not len(samples_T):
        return samples_T
    import torch

    from core.torchaudio_import import import_torchaudio

    import_torchaudio()
    from torchaudio.functional import resample as change_rate

    changed: NDArray[np.float32] = change_rate(torch.from_numpy(samples_T), rate, SAMPLE_RATE).numpy()
    return changed


def decode(path: Path, *, start: float | None = None, end: float | None = None) -> tuple[NDArray[np.float32], int]:
    """Samples as they are in the file, shape (samples, channels), full scale ±1, and their rate per second.

    Raises BadInputError for a file that is missing, cannot be decoded, is cut short or holds non-finite samples, and
    for a stretch that is empty or not inside the file.
    """
    import soundfile

    if path.suffix.lower() == HEADERLESS:
        raise BadInputError(f"{path}: bare samples, without a header that tells their rate; make it a WAV or FLAC file")
    try:
        if not path.is_file():
            raise BadInputError(f"{path}: no such file")
        with soundfile.SoundFile(path) as file:
            first, last = _stretch(path, start=start, end=end, frames=file.frames, rate=file.samplerate)
            _refuse_cut(path, file.extra_info)
            file.seek(first)
            samples_TC: NDArray[np.float32] = file.read(last - first, dtype="float32", always_2d=True)
            rate: int = file.samplerate
    except (soundfile.SoundFileError, OSError) as error:
        reason = " ".join(str(getattr(error, "error_string", error)).split())
        raise BadInputError(f"{path}: cannot be decoded ({reason})") from error
    if len(samples_TC) < last - first:
        raise BadInputError(f"{path}: is cut short ({len(samples_TC)} of {last - first} samples could be decoded)")
    if not np.isfinite(samples_TC).all():
        raise BadInputError(f"{path}: holds samples that are NaN or infinite")
    return samples_TC, rate


def _stretch(path: Path, *, start: float | None, end: float | None, frames: int, rate: int) -> tuple[int, int]:
    duration = frames / rate
    first_s, last_s = 0.0 if start is None else start, duration if end is None else end
    if not (0 <= first_s < last_s or (start is None and end is None)):
        raise BadInputError(f"{path}: start {first_s} s must be at least 0 and before end {last_s:.3f} s")
    if last_s > duration + END_TOLERANCE_S:
        raise BadInputError(f"{path}: end {last_s} s is after the end of the file at {duration:.3f} s")
    return round(first_s * rate), min(round(last_s * rate), frames)


def _refuse_cut(path: Path, header_log: str) -> None:
    """libsndfile quietly shortens a WAV whose header promises more than the file holds; its log tells."""
    cut = re.search(r"^\s*data : (\d+) \(should be (\d+)\)", header_log, re.MULTILINE)
    if cut and int(cut[1]) > int(cut[2]) and int(cut[1]) < 0x7FFFF000:  # larger: "length unknown" of streamed files
        raise BadInputError(f"{path}: is cut short ({cut[2]} of {cut[1]} bytes of samples are there)")
