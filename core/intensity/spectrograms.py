"""StrengthNet's input: magnitude mel spectrograms of a corpus on a 16 ms grid, levelled by speaker.

Legend: N samples, T frames, F = 80 mel bands.
"""

from __future__ import annotations

__all__ = ["HOP", "MELS", "WINDOW", "Spectrograms", "magnitude_mel", "make_spectrograms", "peak_level"]

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.audio import read_audio
from core.corpora.manifest import Manifest
from core.errors import BadInputError
from core.features import FrameFile
from core.progress import Progress, silent
from core.store import Artifact, Workspace
from core.torchaudio_import import import_torchaudio
from core.units import SAMPLE_RATE

MODULES = ("core.audio", "core.features", "core.intensity.spectrograms", "core.torchaudio_import", "core.units")
WINDOW, HOP, MELS = 512, 256, 80
REFERENCE_LEVEL = 4.0
"""RMS that the loudest frame of a speaker's median utterance is brought to (ours): mel magnitudes of speech then have
a root mean square near 1, which the net needs to learn from a corpus of hundreds, not ten thousands, of utterances."""


def magnitude_mel(samples_N: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mel-weighted STFT magnitudes (not power, no log), shape (1 + N // 256, 80): StrengthNet's input.

    As in its released code: Hamming window of 512 samples centred on every 256th sample, the signal reflected at its
    ends; area-normalised (Slaney) mel filters from 0 to 8 kHz. N must be over 256.
    """
    import torch

    torchaudio = import_torchaudio()
    filters_KF = torchaudio.functional.melscale_fbanks(
        WINDOW // 2 + 1, 0.0, SAMPLE_RATE / 2, MELS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    window = torch.hamming_window(WINDOW, periodic=False)
    signal_N = torch.from_numpy(samples_N)
    spectrum_KT = torch.stft(signal_N, WINDOW, HOP, window=window, pad_mode="reflect", return_complex=True)
    mel_TF: NDArray[np.float32] = (spectrum_KT.abs().T @ filters_KF).numpy()
    return mel_TF


def peak_level(samples_N: NDArray[np.float32]) -> float:
    """Largest RMS of any 512-sample stretch taken every 256 samples: a level that silence does not dilute (ours)."""
    stretches = np.lib.stride_tricks.sliding_window_view(samples_N.astype(np.float64), WINDOW)[::HOP]
    return float(np.sqrt((stretches**2).mean(axis=1)).max())


def make_spectrograms(manifest: Manifest, workspace: Workspace, *, progress: Progress = silent) -> Artifact:
    """Stage `spectrograms`: `mel.npy` float32 (total T, 80) in manifest order, and `index.json`, for `Spectrograms`.

    Recording levels differ between corpora and the net's input is linear in them, so each speaker's spectrograms are
    multiplied by one gain that brings the speaker's usual peak level (median over utterances of `peak_level`) to
    `REFERENCE_LEVEL` (ours; the released code takes audio as it is). Within a speaker, louder stays louder.
    Raises BadInputError for an utterance shorter than one window and for a speaker who is silent.
    """
    with workspace.store.claim("spectrograms", settings={}, inputs=[manifest.fingerprint], modules=MODULES) as claim:
        if claim.done:
            return claim.artifact
        total, lengths, peaks = len(manifest.utterances), [], []
        with FrameFile(claim.out / "mel.npy", dtype=np.float32, dims=MELS) as file:
            for done, utterance in enumerate(manifest.utterances):
                progress(f"spectrograms of {manifest.corpus}", done, total)
                samples_N = read_audio(utterance.path, start=utterance.start, end=utterance.end)
                if len(samples_N) < WINDOW:
                    raise BadInputError(
                        f"{utterance.path}: {len(samples_N)} samples, StrengthNet needs at least {WINDOW}"
                    )
                mel_TF = magnitude_mel(samples_N)
                file.append(mel_TF)
                lengths.append(len(mel_TF))
                peaks.append(peak_level(samples_N))
        index = {
            "utterances": [utterance.utterance for utterance in manifest.utterances],
            "frames": lengths,
            "gains": _gains(manifest, np.array(peaks)).tolist(),
        }
        (claim.out / "index.json").write_text(json.dumps(index))
        progress(f"spectrograms of {manifest.corpus}", total, total)
    return claim.artifact


def _gains(manifest: Manifest, peaks_U: NDArray[np.float64]) -> NDArray[np.float64]:
    speakers_U = np.array([utterance.speaker for utterance in manifest.utterances])
    gains_U = np.empty(len(peaks_U))
    for speaker in manifest.speakers:
        usual = float(np.median(peaks_U[speakers_U == speaker]))
        if usual <= 0:
            raise BadInputError(
                f"corpus {manifest.corpus}: speaker {speaker!r} is silent in half of the utterances or more"
            )
        gains_U[speakers_U == speaker] = REFERENCE_LEVEL / usual
    return gains_U


@dataclass(frozen=True, kw_only=True, eq=False)
class Spectrograms:
    """The spectrograms of one corpus, memory-mapped. `lengths`: int64 (U,), frames, in manifest order."""

    utterances: tuple[str, ...]
    lengths: NDArray[np.int64]
    _offsets: NDArray[np.int64]
    _gains: NDArray[np.float64]
    _packed: NDArray[np.float32]

    @classmethod
    def open(cls, path: Path) -> Spectrograms:
        """The spectrograms in the folder of a `spectrograms` artifact."""
        index = json.loads((path / "index.json").read_text())
        lengths = np.asarray(index["frames"], dtype=np.int64)
        return cls(
            utterances=tuple(index["utterances"]),
            lengths=lengths,
            _offsets=np.cumsum(lengths) - lengths,
            _gains=np.asarray(index["gains"], dtype=np.float64),
            _packed=np.load(path / "mel.npy", mmap_mode="r"),
        )

    def mel(self, position: int, *, start: int = 0, frames: int | None = None) -> NDArray[np.float32]:
        """Levelled frames `start` … `start + frames` (default: to the end) of the utterance at `position`, (T, 80)."""
        length = int(self.lengths[position])
        stop = length if frames is None else min(start + frames, length)
        offset = int(self._offsets[position])
        return self._packed[offset + start : offset + stop] * np.float32(self._gains[position])
