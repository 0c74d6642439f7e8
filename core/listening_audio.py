"""A Transformer over the waveform together with a corpus, for the loops that adapt its weights (ours).

The grid is that of the model's positions. B stretches, T samples, P positions, F feature frames.
"""

from __future__ import annotations

__all__ = ["AudioListener", "FeatureGrid", "Waveforms"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.audio import read_audio
from core.audio_states import utterance_audio
from core.corpora.manifest import Manifest
from core.errors import BadInputError
from core.features import Features
from core.listening import Heard, Listener, Mask, Stretch, spread_rows
from core.models.transformer import Transformer
from core.units import SAMPLE_RATE, frame_times


@dataclass(frozen=True, kw_only=True, eq=False)
class Waveforms:
    """The recordings of a corpus. They stay on disk; `samples_U` holds their lengths."""

    manifest: Manifest
    samples_U: NDArray[np.int64]

    @classmethod
    def of(cls, manifest: Manifest) -> Waveforms:
        """Decodes every recording once, for its length after resampling."""
        counts = [
            len(read_audio(utterance.path, start=utterance.start, end=utterance.end))
            for utterance in manifest.utterances
        ]
        return cls(manifest=manifest, samples_U=np.array(counts, dtype=np.int64))


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureGrid:
    """Where the frames of a track lie in time: the features it was made on, their window and hop in seconds."""

    features: Features
    window_s: float
    hop_s: float

    def track_of(self, track: NDArray[np.float32], utterance: str) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Times of an utterance's frames and the track there, (F,) each."""
        part_F = np.asarray(track[self.features.slice_of(utterance)], dtype=np.float32)
        return frame_times(len(part_F), window_s=self.window_s, hop_s=self.hop_s), part_F


class AudioListener(Listener):
    """HuBERT and its family; hidden positions become the model's own mask embedding.

    Each stretch is cut from the normalised utterance with the samples that its positions reach. The penalty on the
    features of the convolutions is left out: they are frozen (published), so it is a constant of the loss.
    """

    def __init__(self, model: Transformer, waveforms: Waveforms, *, grid: FeatureGrid | None) -> None:
        self.model, self._transformer, self._waveforms, self._grid = model, model, waveforms, grid
        self._utterances = waveforms.manifest.utterances
        self.utterances = tuple(utterance.utterance for utterance in self._utterances)
        self.lengths_U = np.array([model.positions(int(count)) for count in waveforms.samples_U], dtype=np.int64)
        if self.lengths_U.min() < 1:
            short = int(self.lengths_U.argmin())
            samples = waveforms.samples_U[short]
            raise BadInputError(f"utterance {self.utterances[short]!r}: {samples} samples are too short for a position")
        self.hop_s, self.stack, self.hidden = model.hop_s, 1, model.hidden

    def hear(
        self, stretches: Sequence[Stretch], *, masks: Sequence[Mask] | None = None,
        fates: Sequence[np.random.Generator] = (),
    ) -> Heard:  # fmt: skip
        """As `Listener.hear`; nothing is drawn for what is hidden."""
        del fates
        rows = [self._samples(stretch) for stretch in stretches]
        masks = masks if masks is not None else [np.zeros(stretch.length, dtype=np.bool_) for stretch in stretches]
        hidden_BP = torch.from_numpy(spread_rows(masks)).to(self.device)
        layers, positions_B = self._transformer.states(
            torch.from_numpy(spread_rows(rows)).to(self.device), torch.tensor([len(row) for row in rows]),
            mask_BP=hidden_BP if hidden_BP.any() else None,
        )  # fmt: skip
        valid_BP = torch.arange(layers[0].shape[1], device=self.device) < positions_B[:, None]
        return Heard(layers=layers, valid_BP=valid_BP, hidden_BP=hidden_BP & valid_BP)

    def on_grid(self, track: NDArray[np.float32], place: int) -> NDArray[np.float32]:
        """As `Listener.on_grid`: interpolated to the middle of what each position hears, held at the edges."""
        assert self._grid is not None, "a track without the features it was made on"
        times_F, track_F = self._grid.track_of(track, self.utterances[place])
        length = int(self.lengths_U[place])
        middles_P = (np.arange(length) * self._transformer.hop + self._reach(1) / 2) / SAMPLE_RATE
        return np.interp(middles_P, times_F, track_F).astype(np.float32)

    def _samples(self, stretch: Stretch) -> NDArray[np.float32]:
        audio_T = utterance_audio(self._transformer, self._utterances[stretch.place])
        if stretch.length == self.lengths_U[stretch.place]:
            return audio_T
        start = stretch.start * self._transformer.hop
        return audio_T[start : start + self._reach(stretch.length)]

    def _reach(self, positions: int) -> int:
        """Samples that so many positions hear."""
        config: Any = self._transformer.model.config
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            positions = (positions - 1) * stride + kernel
        return positions
