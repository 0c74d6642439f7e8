"""An upstream together with the corpus as it hears it: what the loops that adapt its weights work on (ours).

The grid is what stretches are cut on: feature frames of our own upstreams, positions of Transformers over audio.

U utterances, B stretches of a batch, T grid frames, D feature dims, P positions, H hidden width.
"""

from __future__ import annotations

__all__ = ["Heard", "Listener", "Stretch", "UpstreamListener", "spread_rows"]

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.config import MaskingConfig
from core.features import Features
from core.masking import corrupt
from core.models.upstream import Upstream

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Part of the utterance at `place`; `start` and `length` in grid frames."""

    place: int
    start: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What each exposed layer made of a batch, (B, P, H) each."""

    layers: list[Tensor]
    valid_BP: Tensor
    hidden_BP: Tensor
    """Valid positions of which the model saw nothing."""


class Listener(ABC):
    """A model and the material it hears.

    Attributes:
        model: what is trained; parameters that do not require a gradient stay as they are.
        utterances: the corpus in its order, (U,).
        lengths_U: their lengths in grid frames.
        hop_s: seconds from one grid frame to the next.
        stack: grid frames of one position.
        hidden: width of the states.
    """

    model: nn.Module
    utterances: tuple[str, ...]
    lengths_U: NDArray[np.int64]
    hop_s: float
    stack: int
    hidden: int

    @abstractmethod
    def hear(
        self, stretches: Sequence[Stretch], *, masks: Sequence[Mask] | None = None,
        fates: Sequence[np.random.Generator] = (),
    ) -> Heard:  # fmt: skip
        """Run the model over a batch, in the mode it is in; gradients flow.

        `masks`: hidden grid frames of each stretch, (T,) bool; None hides nothing. `fates`: one stream per stretch,
        for what is to stand in their place.
        """

    @abstractmethod
    def on_grid(self, track: NDArray[np.float32], place: int) -> NDArray[np.float32]:
        """The part of a track over all feature frames that belongs to one utterance, on the grid, (T,)."""

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def whole(self, place: int) -> Stretch:
        """All of one utterance."""
        return Stretch(place=place, start=0, length=int(self.lengths_U[place]))

    def positions(self, length: int) -> int:
        """Positions of a stretch of so many grid frames."""
        return -(-length // self.stack)


def spread_rows(rows: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    """Rows of different lengths as one array, zero (False) beyond each one's end."""
    padded = np.zeros((len(rows), max(map(len, rows)), *rows[0].shape[1:]), dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded


class UpstreamListener(Listener):
    """Mockingjay or NPC over filter banks; the grid is that of the features.

    Hidden frames become what the masking policy says (`zero`, `replace`), zeros for NPC, which pre-training never shows
    a hidden frame (ours). A position is hidden when all its frames are: no part of what it has to tell was seen.
    """

    def __init__(
        self, model: Upstream, features: Features, *, masking: MaskingConfig, stack: int, hop_s: float
    ) -> None:
        self.model, self.utterances, self.lengths_U = model, features.utterances, features.lengths
        self.stack, self.hop_s = stack, hop_s
        self._upstream, self._features, self._masking = model, features, masking
        self.hidden = self._width()

    def hear(
        self, stretches: Sequence[Stretch], *, masks: Sequence[Mask] | None = None,
        fates: Sequence[np.random.Generator] = (),
    ) -> Heard:  # fmt: skip
        """As `Listener.hear`."""
        masks = masks if masks is not None else [np.zeros(stretch.length, dtype=np.bool_) for stretch in stretches]
        rows = [self._frames(stretch) for stretch in stretches]
        if fates:
            rows = [
                corrupt(frames_TD, mask_T, self._masking, fate=fate)
                for frames_TD, mask_T, fate in zip(rows, masks, fates, strict=True)
            ]
        seen_BTD = torch.from_numpy(spread_rows(rows)).to(self.device)
        lengths_B = torch.tensor([stretch.length for stretch in stretches], device=self.device)
        layers, padding_BP = self._upstream.hidden_states(seen_BTD, lengths_B)
        hidden_BP = torch.from_numpy(spread_rows([self._of_positions(mask_T) for mask_T in masks])).to(self.device)
        return Heard(layers=layers, valid_BP=~padding_BP, hidden_BP=hidden_BP & ~padding_BP)

    def on_grid(self, track: NDArray[np.float32], place: int) -> NDArray[np.float32]:
        """As `Listener.on_grid`: the grid is the track's own."""
        start = int(self._features.offsets[place])
        return np.asarray(track[start : start + int(self.lengths_U[place])], dtype=np.float32)

    @torch.no_grad()
    def _width(self) -> int:
        was_training = self.model.training
        self._upstream.eval()
        silence_BTD = torch.zeros(1, self.stack, self._features.dims, device=self.device)
        states, _ = self._upstream.hidden_states(silence_BTD, torch.tensor([self.stack], device=self.device))
        self._upstream.train(was_training)
        return int(states[-1].shape[-1])

    def _frames(self, stretch: Stretch) -> NDArray[np.float32]:
        start = int(self._features.offsets[stretch.place]) + stretch.start
        return self._features.frames_at(slice(start, start + stretch.length)).astype(np.float32)

    def _of_positions(self, mask_T: Mask) -> Mask:
        short = -len(mask_T) % self.stack
        padded_T = np.concatenate([mask_T, np.ones(short, dtype=np.bool_)])
        return np.asarray(padded_T.reshape(-1, self.stack).all(axis=1))
