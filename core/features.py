"""Kaldi-compatible filter banks with time derivatives, normalised, packed into one memory-mapped array.

Legend: N samples, T frames of one utterance, M mel bands, D = M · (1 + deltas) dimensions.
"""

from __future__ import annotations

__all__ = ["Features", "FrameFile", "analysis_window", "compute_features", "make_features", "write_index"]

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from core.audio import read_audio
from core.config import FeaturesConfig
from core.corpora.manifest import Manifest, Utterance
from core.errors import BadInputError
from core.progress import Progress, silent
from core.store import Artifact, Workspace
from core.torchaudio_import import import_torchaudio
from core.units import SAMPLE_RATE, frame_count

MODULES = ("core.audio", "core.features", "core.torchaudio_import", "core.units")
DELTA_WINDOW = 5
"""Frames over which a time derivative is regressed (Kaldi's `delta-window` of 2 to each side)."""
FIXED = ((-8.0, 4.0), (0.0, 0.7), (0.0, 0.3))
"""Centre and scale of log filter banks, Δ and ΔΔ under `normalise: fixed`: the mean and deviation over all frames of
speech recordings, rounded. Measured on the demo corpus's part `intensity`, EmoDB and RAVDESS: -7.3, -5.0 and -11.8;
2.9, 4.1 and 4.6; 0.67, 0.93 and 0.53; 0.28, 0.39 and 0.21 (ours)."""


def analysis_window(config: FeaturesConfig) -> tuple[int, int]:
    """Window and hop in samples, cut to whole samples as Kaldi does.

    Raises BadInputError when that leaves less than 2 samples of window or less than 1 of hop.
    """
    window, hop = (int(SAMPLE_RATE * milliseconds * 0.001) for milliseconds in (config.frame_length_ms, config.hop_ms))
    if window < 2 or hop < 1:
        raise BadInputError(
            f"features: a window of {window} samples (frame_length_ms {config.frame_length_ms}) every {hop} samples "
            f"(hop_ms {config.hop_ms}) is too short; at least 2 and 1 samples at {SAMPLE_RATE} Hz are needed"
        )
    return window, hop


def compute_features(
    samples_N: NDArray[np.float32], config: FeaturesConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Normalised features, shape (T, D), and raw log energy before normalisation, shape (T,), of one signal.

    Log mel filter banks of `torchaudio.compliance.kaldi.fbank` (Povey window, no dither, Kaldi's defaults) on samples
    of full scale ±1, then Δ and ΔΔ, then under `normalise: utterance` every dimension to zero mean and unit
    (population) deviation over the utterance's frames; one that never changes becomes 0. Under `fixed` (value − centre)
    / scale of `FIXED`. T is 0 for a signal shorter than one window.
    Raises BadInputError naming the first frame whose filter bank is not finite (samples far beyond full scale).
    """
    import torch

    torchaudio = import_torchaudio()
    from torchaudio.compliance.kaldi import fbank

    window, hop = analysis_window(config)
    if frame_count(len(samples_N), window=window, hop=hop) == 0:
        return np.empty((0, config.dims), dtype=np.float32), np.empty(0, dtype=np.float32)
    energy_and_fbank_TM = fbank(
        torch.from_numpy(samples_N)[None],
        sample_frequency=float(SAMPLE_RATE),
        frame_length=config.frame_length_ms,
        frame_shift=config.hop_ms,
        num_mel_bins=config.n_mels,
        dither=0.0,
        use_energy=True,
        energy_floor=0.0,
    )
    finite_T = torch.isfinite(energy_and_fbank_TM).all(dim=1)
    if not finite_T.all():
        raise BadInputError(f"features of frame {int(finite_T.int().argmin())} are not finite")
    orders_MT = [energy_and_fbank_TM[:, 1:].T]
    for _ in range(config.deltas):
        orders_MT.append(torchaudio.functional.compute_deltas(orders_MT[-1][None], win_length=DELTA_WINDOW)[0])
    features_TD = torch.cat(orders_MT).T.numpy()
    fixed = config.normalise == "fixed"
    normal_TD = _to_fixed_scale(features_TD, config) if fixed else _normalise(features_TD)
    return normal_TD, energy_and_fbank_TM[:, 0].numpy()


def _to_fixed_scale(features_TD: NDArray[np.float32], config: FeaturesConfig) -> NDArray[np.float32]:
    centre_D, scale_D = np.repeat(np.array(FIXED[: 1 + config.deltas], dtype=np.float32), config.n_mels, axis=0).T
    return np.asarray((features_TD - centre_D) / scale_D, dtype=np.float32)


def _normalise(features_TD: NDArray[np.float32]) -> NDArray[np.float32]:
    mean_D = features_TD.mean(axis=0, dtype=np.float64)
    deviation_D = features_TD.std(axis=0, dtype=np.float64)
    # below float32 resolution a "deviation" is rounding noise, which dividing would blow up to full size
    constant_D = deviation_D <= 1e-6 * np.maximum(np.abs(mean_D), 1.0)
    centred_TD = np.where(constant_D, 0.0, features_TD - mean_D)
    normal_TD: NDArray[np.float32] = (centred_TD / np.where(constant_D, 1.0, deviation_D)).astype(np.float32)
    return normal_TD


def make_features(
    manifest: Manifest, config: FeaturesConfig, workspace: Workspace, *, progress: Progress = silent
) -> Artifact:
    """Stage `features`: all utterances of a corpus, in manifest order, in one artifact for `Features.open`.

    `features.npy` float16 (total T, D), `energy.npy` float32 (total T,) natural log of each window's energy at full
    scale ±1 before normalisation, `index.parquet` (utterance, offset, frames). One utterance is in memory at a time.
    Raises BadInputError for an utterance shorter than one window and for non-finite features.
    """
    settings = {"features": config.model_dump(mode="json")}
    with workspace.store.claim("features", settings=settings, inputs=[manifest.fingerprint], modules=MODULES) as claim:
        if claim.done:
            return claim.artifact
        total = len(manifest.utterances)
        lengths: list[int] = []
        with (
            FrameFile(claim.out / "features.npy", dtype=np.float16, dims=config.dims) as features,
            FrameFile(claim.out / "energy.npy", dtype=np.float32) as energy,
        ):
            for done, utterance in enumerate(manifest.utterances):
                progress(f"features of {manifest.corpus}", done, total)
                samples_N = read_audio(utterance.path, start=utterance.start, end=utterance.end)
                features_TD, energy_T = _checked(utterance, samples_N, config)
                features.append(features_TD)
                energy.append(energy_T)
                lengths.append(len(features_TD))
        write_index(claim.out / "index.parquet", [utterance.utterance for utterance in manifest.utterances], lengths)
        progress(f"features of {manifest.corpus}", total, total)
    return claim.artifact


def _checked(
    utterance: Utterance, samples_N: NDArray[np.float32], config: FeaturesConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    try:
        features_TD, energy_T = compute_features(samples_N, config)
    except BadInputError as error:
        raise BadInputError(f"{utterance.path}: {error}") from error
    if len(features_TD) == 0:
        raise BadInputError(
            f"{utterance.path}: {len(samples_N)} samples ({len(samples_N) / SAMPLE_RATE:.4f} s) are shorter than one "
            f"analysis window ({analysis_window(config)[0]} samples), utterance {utterance.utterance!r} has no frames"
        )
    return features_TD, energy_T


class FrameFile:
    """A `.npy` file that grows by whole frames, so that a corpus needs no more memory than one utterance (ours).

    NumPy pads the header so that the first axis can grow in place; it is written once more at the end.
    """

    def __init__(self, path: Path, *, dtype: type[np.floating[Any]], dims: int | None = None) -> None:
        self._dtype, self._tail, self._frames = np.dtype(dtype), () if dims is None else (dims,), 0
        self._file = path.open("w+b")
        self._write_header()
        self._start = self._file.tell()

    def append(self, frames: NDArray[np.floating[Any]]) -> None:
        """Add frames, shape (T, dims) or (T,) without dims; ValueError for another shape."""
        if frames.shape[1:] != self._tail:
            raise ValueError(f"frames of shape {frames.shape} do not fit a file of (any, {self._tail})")
        self._file.write(np.ascontiguousarray(frames, dtype=self._dtype).tobytes())
        self._frames += len(frames)

    def _write_header(self) -> None:
        description = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": description, "fortran_order": False, "shape": (self._frames, *self._tail)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                self._write_header()
                if self._file.tell() != self._start:
                    raise OSError(f"{self._file.name}: the array header changed its length while the file grew")


def write_index(path: Path, utterances: list[str], lengths: list[int]) -> None:
    """Where each utterance lies in a packed array: columns utterance, offset, frames (both in frames)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    frames = np.asarray(lengths, dtype=np.int64)
    offsets = np.cumsum(frames) - frames
    pq.write_table(
        pa.table({"utterance": pa.array(utterances, pa.string()), "offset": offsets, "frames": frames}), path
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """The features of one corpus, memory-mapped: one copy per machine, shared by all processes.

    `offsets`, `lengths`: int64 (U,), in frames, in the order of `utterances`. `energy`: float32 (total T,).
    """

    utterances: tuple[str, ...]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    energy: NDArray[np.float32]
    packed: NDArray[np.float16]

    @classmethod
    def open(cls, path: Path) -> Features:
        """The features in the folder of a `features` artifact; BadInputError if its files do not fit together."""
        import pyarrow.parquet as pq

        try:
            index = pq.read_table(path / "index.parquet").to_pydict()
            packed = np.load(path / "features.npy", mmap_mode="r")
            energy = np.load(path / "energy.npy", mmap_mode="r")
        except (OSError, ValueError) as error:
            raise BadInputError(f"{path}: is no features artifact ({' '.join(str(error).split())})") from error
        lengths = np.asarray(index["frames"], dtype=np.int64)
        if not len(packed) == len(energy) == lengths.sum():
            counts = f"{len(packed)} frames, {len(energy)} energies, {lengths.sum()} frames in the index"
            raise BadInputError(f"{path}: its files do not fit together ({counts})")
        offsets = np.asarray(index["offset"], dtype=np.int64)
        return cls(utterances=tuple(index["utterance"]), offsets=offsets, lengths=lengths, energy=energy, packed=packed)

    @property
    def dims(self) -> int:
        return int(self.packed.shape[1])

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {utterance: position for position, utterance in enumerate(self.utterances)}

    def slice_of(self, utterance: str) -> slice:
        """Where the utterance's frames lie in every array packed like this one; BadInputError for an unknown one."""
        if utterance not in self._positions:
            raise BadInputError(f"utterance {utterance!r}: not among the {len(self.utterances)} of these features")
        position = self._positions[utterance]
        offset = int(self.offsets[position])
        return slice(offset, offset + int(self.lengths[position]))

    def frames_at(self, part: slice) -> NDArray[np.float16]:
        """Frames at positions of the packed array, shape (T, D), a view."""
        return self.packed[part]

    def frames(self, utterance: str) -> NDArray[np.float16]:
        """All frames of one utterance, shape (T, D), a view."""
        return self.frames_at(self.slice_of(utterance))
