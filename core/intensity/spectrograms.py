"""StrengthNet's input: mel spectrograms of a corpus on a 16 ms grid, brought to one level.

Legend: N samples, T frames, F = 80 mel bands, U utterances, S speakers.
"""

from __future__ import annotations

__all__ = ["HOP", "MELS", "WINDOW", "Spectrograms", "magnitude_mel", "make_spectrograms", "peak_level", "speech_frames"]

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from core.audio import read_audio
from core.config import StrengthNetConfig
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
SPEECH_LEVEL = 12.0
"""Speech level (see `_Index.levels`) that every utterance is brought to with level `utterance` (ours): somewhat over
what `REFERENCE_LEVEL` gives."""
SPEECH_RANGE = 1e-3
"""Frames with at least this share (−30 dB) of an utterance's 95th percentile of energy are taken for speech (ours)."""
LOG_GAIN = 100.0
"""The log scale is log(1 + 100 · magnitude): what lies 40 dB or more under 1 fades out instead of growing (ours)."""
MARGIN = 6
"""Frames (about 0.1 s) before the first and after the last speech frame that trimming leaves (ours)."""


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


def speech_frames(energy_T: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Which frames of an utterance are speech, by their energy (linear): those within 30 dB of its loud ones (ours).

    Shape (T,); at least one is True, and all are where all energies are equal.
    """
    return np.asarray(energy_T >= SPEECH_RANGE * np.percentile(energy_T, 95), dtype=np.bool_)


def _band_energy(mel_TF: NDArray[np.float32]) -> NDArray[np.float64]:
    energy_T: NDArray[np.float64] = (mel_TF.astype(np.float64) ** 2).sum(axis=1)
    return energy_T


def make_spectrograms(manifest: Manifest, workspace: Workspace, *, progress: Progress = silent) -> Artifact:
    """Stage `spectrograms`: `mel.npy` float32 (total T, 80) in manifest order as recorded, and `index.json`, from which
    `Spectrograms` makes what a net of some `StrengthNetConfig` hears.

    Recording levels differ between corpora and speakers, and a net's input depends on them: every config brings at
    least each speaker's usual peak level (median over utterances of `peak_level`) to `REFERENCE_LEVEL` (ours; the
    released code takes audio as it is).

    Raises BadInputError for an utterance shorter than one window and for a speaker who is silent.
    """
    with workspace.store.claim("spectrograms", settings={}, inputs=[manifest.fingerprint], modules=MODULES) as claim:
        if claim.done:
            return claim.artifact
        total, lengths, peaks, levels, speech = len(manifest.utterances), [], [], [], []
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
                energy_T = _band_energy(mel_TF)
                speech_T = speech_frames(energy_T)
                lengths.append(len(mel_TF))
                peaks.append(peak_level(samples_N))
                levels.append(float(np.sqrt(energy_T[speech_T].mean())))
                speech.append((int(speech_T.argmax()), len(speech_T) - int(speech_T[::-1].argmax())))
        _refuse_silence(manifest, np.array(peaks))
        index: _Index = {
            "utterances": [utterance.utterance for utterance in manifest.utterances],
            "speakers": [utterance.speaker for utterance in manifest.utterances],
            "frames": lengths,
            "peaks": peaks,
            "levels": levels,
            "speech": speech,
        }
        (claim.out / "index.json").write_text(json.dumps(index))
        progress(f"spectrograms of {manifest.corpus}", total, total)
    return claim.artifact


def _refuse_silence(manifest: Manifest, peaks_U: NDArray[np.float64]) -> None:
    speakers_U = np.array([utterance.speaker for utterance in manifest.utterances])
    for speaker in manifest.speakers:
        if np.median(peaks_U[speakers_U == speaker]) <= 0:
            raise BadInputError(
                f"corpus {manifest.corpus}: speaker {speaker!r} is silent in half of the utterances or more"
            )


class _Index(TypedDict):
    """`index.json`, each list in manifest order."""

    utterances: list[str]
    speakers: list[str]
    frames: list[int]
    peaks: list[float]
    """`peak_level` as recorded."""
    levels: list[float]
    """Root of the mean over speech frames of the sum over bands of squared magnitudes, as recorded."""
    speech: list[tuple[int, int]]
    """First speech frame, and the frame after the last one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Spectrograms:
    """What the net hears of one corpus, memory-mapped, in manifest order.

    `lengths`: int64 (U,), frames heard; `starts`: int64 (U,), frames of the recording before the first one heard.
    """

    utterances: tuple[str, ...]
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]
    _offsets: NDArray[np.int64]
    _gains: NDArray[np.float64]
    _means: NDArray[np.float32] | None
    """Mean of each band over the speaker's speech frames, of every utterance's speaker, (U, 80); log scale only."""
    _packed: NDArray[np.float32]

    @classmethod
    def open(cls, path: Path, config: StrengthNetConfig, *, equal_level: bool = False) -> Spectrograms:
        """The spectrograms in the folder of a `spectrograms` artifact, as a net of this config hears them.

        `equal_level`: each speaker's utterances are brought to one speech level first, whatever `config.level` says.
        """
        index: _Index = json.loads((path / "index.json").read_text())
        frames = np.asarray(index["frames"], dtype=np.int64)
        speech_U2 = np.asarray(index["speech"], dtype=np.int64)
        starts, stops = np.zeros_like(frames), frames
        if config.trim:
            starts, stops = np.maximum(speech_U2[:, 0] - MARGIN, 0), np.minimum(speech_U2[:, 1] + MARGIN, frames)
        own = cls(
            utterances=tuple(index["utterances"]),
            lengths=stops - starts,
            starts=starts,
            _offsets=np.cumsum(frames) - frames + starts,
            _gains=_gains(index, config, equal_level=equal_level),
            _means=None,
            _packed=np.load(path / "mel.npy", mmap_mode="r"),
        )
        return own if config.scale == "magnitude" else replace(own, _means=_band_means(own, index["speakers"]))

    def mel(self, position: int, *, start: int = 0, frames: int | None = None) -> NDArray[np.float32]:
        """Heard frames `start` … `start + frames` (default: to the end) of the utterance at `position`, (T, 80)."""
        length = int(self.lengths[position])
        stop = length if frames is None else min(start + frames, length)
        offset = int(self._offsets[position])
        mel_TF = self._packed[offset + start : offset + stop] * np.float32(self._gains[position])
        return mel_TF if self._means is None else np.log1p(np.float32(LOG_GAIN) * mel_TF) - self._means[position]

    def times(self, position: int) -> NDArray[np.float64]:
        """When each heard frame is centred, in seconds of the recording, shape (T,)."""
        first, count = int(self.starts[position]), int(self.lengths[position])
        centres_T: NDArray[np.float64] = np.arange(first, first + count) * HOP / SAMPLE_RATE
        return centres_T


def _gains(index: _Index, config: StrengthNetConfig, *, equal_level: bool) -> NDArray[np.float64]:
    """Factor of each utterance's magnitudes, shape (U,)."""
    gains_U = np.ones(len(index["utterances"]))
    if equal_level or config.level == "utterance":
        gains_U /= [level or 1.0 for level in index["levels"]]
    if config.level == "utterance":
        return SPEECH_LEVEL * gains_U
    peaks_U, speakers_U = index["peaks"] * gains_U, np.asarray(index["speakers"])
    usual = {name: float(np.median(peaks_U[speakers_U == name])) for name in set(index["speakers"])}
    gains_U *= [REFERENCE_LEVEL / usual[name] for name in index["speakers"]]
    return gains_U


def _band_means(heard: Spectrograms, speakers_U: Sequence[str]) -> NDArray[np.float32]:
    sums, counts = {name: np.zeros(MELS) for name in speakers_U}, dict.fromkeys(speakers_U, 0)
    for position, speaker in enumerate(speakers_U):
        mel_TF = heard.mel(position)
        speech_TF = mel_TF[speech_frames(_band_energy(mel_TF))]
        sums[speaker] += np.log1p(LOG_GAIN * speech_TF.astype(np.float64)).sum(axis=0)
        counts[speaker] += len(speech_TF)
    return np.array([sums[name] / counts[name] for name in speakers_U], dtype=np.float32)
