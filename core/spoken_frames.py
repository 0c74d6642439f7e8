"""Frame states of an upstream with the positions that are speech: what the poolings of SAP read.

U utterances, F positions of all utterances together, B utterances of a batch, P positions of one, L layers, H hidden
width.
"""

from __future__ import annotations

__all__ = ["FrameStates", "SpokenFrames", "everywhere", "spoken"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import BadInputError
from core.frames import Frames
from core.models.pooling import Pooling
from core.sap_config import LINEAR_POOLINGS, PoolingName
from core.vad import Speech, speech_flags


@dataclass(frozen=True, kw_only=True)
class FrameStates:
    """A padded batch; the states of padding are zero."""

    states_BPLH: Tensor
    valid_BP: Tensor
    speech_BP: Tensor
    """Within the valid positions; at least one per utterance."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SpokenFrames:
    """The states of one corpus and which of their positions a pooling over speech takes."""

    frames: Frames
    speech_F: NDArray[np.bool_]
    """Packed as `frames.packed_FLH`; all positions of an utterance in which none is speech."""
    speechless: int
    """Utterances in which no position is speech."""
    left_out: int
    """Positions that are not taken."""

    def batch(self, places: Sequence[int] | NDArray[np.int64], device: torch.device) -> FrameStates:
        """The utterances at `places` of the corpus, side by side, in float32."""
        longest = int(self.frames.lengths[np.asarray(places)].max())
        states_BPLH = np.zeros((len(places), longest, *self.frames.packed_FLH.shape[1:]), dtype=np.float32)
        valid_BP = np.zeros((len(places), longest), dtype=np.bool_)
        speech_BP = np.zeros_like(valid_BP)
        for row, place in enumerate(places):
            part = self.frames.slice_of(int(place))
            length = part.stop - part.start
            states_BPLH[row, :length] = self.frames.packed_FLH[part]
            valid_BP[row, :length] = True
            speech_BP[row, :length] = self.speech_F[part]
        return FrameStates(
            states_BPLH=torch.from_numpy(states_BPLH).to(device),
            valid_BP=torch.from_numpy(valid_BP).to(device),
            speech_BP=torch.from_numpy(speech_BP).to(device),
        )

    def pooled(self, pooling: PoolingName) -> NDArray[np.float32]:
        """Every utterance's vector of each layer under a linear pooling, (U, L, H) or (U, L, 2·H).

        Pooling each layer before the head mixes them is the same: both are linear. Raises BadInputError for a pooling
        that is not.
        """
        if pooling not in LINEAR_POOLINGS:
            raise BadInputError(f"sap.pooling: {pooling!r} is not linear in the frames; {LINEAR_POOLINGS} are")
        module = Pooling(pooling, self.frames.packed_FLH.shape[2], heads=1)
        return np.stack([self._pooled(module, place) for place in range(len(self.frames.utterances))])

    def _pooled(self, pooling: Pooling, place: int) -> NDArray[np.float32]:
        # Layers are the rows of the batch; in double precision, as the longest utterance has thousands of positions.
        states_LPH = torch.from_numpy(self.frames.states(place).astype(np.float64)).transpose(0, 1)
        speech_P = torch.from_numpy(self.speech_F[self.frames.slice_of(place)])
        valid_LP = torch.ones(states_LPH.shape[:2], dtype=torch.bool)
        return np.asarray(pooling(states_LPH, valid_LP, speech_P.expand_as(valid_LP)).float().numpy())


def everywhere(frames: Frames) -> SpokenFrames:
    """For a pooling that does not look at speech: every position is taken."""
    return SpokenFrames(
        frames=frames, speech_F=np.ones(len(frames.packed_FLH), dtype=np.bool_), speechless=0, left_out=0
    )


def spoken(frames: Frames, speech: Speech, *, threshold: float) -> SpokenFrames:
    """The states with their speech flags; an utterance without any falls back to all its positions (ours).

    Raises BadInputError for an utterance that `speech` does not have.
    """
    speech_F, speechless = np.zeros(len(frames.packed_FLH), dtype=np.bool_), 0
    for place, utterance in enumerate(frames.utterances):
        flags_P = speech_flags(
            speech.probabilities(utterance), threshold=threshold, hop_s=frames.hop_s,
            positions=int(frames.lengths[place]),
        )  # fmt: skip
        speechless += not flags_P.any()
        speech_F[frames.slice_of(place)] = flags_P if flags_P.any() else True
    return SpokenFrames(
        frames=frames, speech_F=speech_F, speechless=speechless, left_out=int(len(speech_F) - speech_F.sum())
    )
