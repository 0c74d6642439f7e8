"""Which utterances, and which part of each, a pre-training step sees: a pure function of (seed, step).

B utterances, T frames, D feature dims.
"""

from __future__ import annotations

__all__ = ["Batch", "Batches"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core.bucketing import epoch_batches
from core.config import MaskingConfig, PretrainConfig
from core.errors import BadInputError
from core.features import Features
from core.masking import MaskAudit, corrupt, draw_mask
from core.seeding import stream

BUCKET_BATCHES = 20
"""Batches that are cut from one pool sorted by length: padding stays low, order stays random (ours)."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one optimizer step sees; padding is zero and False."""

    clean_BTD: NDArray[np.float32]
    seen_BTD: NDArray[np.float32]
    mask_BT: NDArray[np.bool_]
    lengths_B: NDArray[np.int64]


class Batches:
    """Length-bucketed batches with masks drawn on the fly.

    Attributes:
        used: positions in `features.utterances` of the utterances that are trained on, in order.
        left_out: how many of the requested utterances are shorter than `min_frames`.
    """

    def __init__(
        self,
        features: Features,
        track: NDArray[np.float32],
        utterances: Sequence[str],
        *,
        pretrain: PretrainConfig,
        seed: int,
    ) -> None:
        wanted = set(utterances)
        chosen = np.array([i for i, name in enumerate(features.utterances) if name in wanted], dtype=np.int64)
        long_enough = features.lengths[chosen] >= pretrain.min_frames
        self.used = chosen[long_enough]
        self.left_out = int((~long_enough).sum())
        if len(self.used) == 0:
            raise BadInputError(
                f"pretrain.min_frames: none of {len(chosen)} utterances has at least {pretrain.min_frames} frames"
            )
        self._features, self._track = features, track
        self._pretrain, self._seed = pretrain, seed
        self._order = lru_cache(maxsize=2)(self._epoch_order)

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.used) // self._pretrain.batch)

    def _epoch_order(self, epoch: int) -> list[NDArray[np.int64]]:
        rng = stream(self._seed, "data-order", epoch)
        return epoch_batches(self.used, self._features.lengths, size=self._pretrain.batch, pool=BUCKET_BATCHES, rng=rng)

    def crops(self, step: int) -> list[slice]:
        """Frames (in the packed array) of each utterance of step `step` (from 0); long ones cropped at random."""
        epoch, place = divmod(step, self.steps_per_epoch)
        crop = stream(self._seed, "crop", step)
        slices = []
        for position in self._order(epoch)[place]:
            length, offset = int(self._features.lengths[position]), int(self._features.offsets[position])
            kept = min(length, self._pretrain.max_frames)
            start = offset + int(crop.integers(0, length - kept + 1))
            slices.append(slice(start, start + kept))
        return slices

    def at(self, step: int, *, masking: MaskingConfig, audit: MaskAudit) -> Batch:
        """The batch of step `step` (from 0), its masks drawn under `masking` and counted in `audit`."""
        slices = self.crops(step)
        lengths_B = np.array([part.stop - part.start for part in slices], dtype=np.int64)
        shape = (len(slices), int(lengths_B.max()))
        clean_BTD = np.zeros((*shape, self._features.dims), dtype=np.float32)
        seen_BTD = np.zeros_like(clean_BTD)
        mask_BT = np.zeros(shape, dtype=np.bool_)
        count, place = (stream(self._seed, f"mask-{name}", step) for name in ("count", "place"))
        for row, part in enumerate(slices):
            length = lengths_B[row]
            clean_TD = self._features.frames_at(part).astype(np.float32)
            intensity_T = np.asarray(self._track[part], dtype=np.float32)
            mask_T = draw_mask(intensity_T, masking, count=count, place=place)
            audit.count(mask_T, intensity_T)
            # One stream each: what replacing consumes depends on the mask, and must not reach the next utterance.
            fate = stream(self._seed, "mask-fate", step, row)
            clean_BTD[row, :length] = clean_TD
            seen_BTD[row, :length] = corrupt(clean_TD, mask_T, masking, fate=fate)
            mask_BT[row, :length] = mask_T
        return Batch(clean_BTD=clean_BTD, seen_BTD=seen_BTD, mask_BT=mask_BT, lengths_B=lengths_B)
