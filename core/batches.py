"""Which utterances, and which part of each, a pre-training step sees: a pure function of (seed, step).

B utterances, T frames, D feature dims.
"""

from __future__ import annotations

__all__ = ["Batch", "Batches", "Utterance", "collate", "model_score"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core.bucketing import epoch_batches
from core.config import MaskingConfig, TrialConfig
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
    score_BT: NDArray[np.float32]
    seen_score_BT: NDArray[np.float32]
    """The score under the draw that corrupted the features (EMS as released)."""
    mask_BT: NDArray[np.bool_]
    lengths_B: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One row of a batch before padding."""

    clean_TD: NDArray[np.float32]
    score_T: NDArray[np.float32]
    mask_T: NDArray[np.bool_]


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
        config: TrialConfig,
    ) -> None:
        pretrain = config.pretrain
        wanted = set(utterances)
        chosen = np.array([i for i, name in enumerate(features.utterances) if name in wanted], dtype=np.int64)
        long_enough = features.lengths[chosen] >= pretrain.min_frames
        self.used = chosen[long_enough]
        self.left_out = int((~long_enough).sum())
        if len(self.used) == 0:
            raise BadInputError(
                f"pretrain.min_frames: none of {len(chosen)} utterances has at least {pretrain.min_frames} frames"
            )
        self._features, self._track, self._config = features, track, config
        self._pretrain, self._seed = pretrain, config.seed
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

    def at(self, step: int, *, audit: MaskAudit) -> Batch:
        """The batch of step `step` (from 0), its masks drawn by the trial's policy and counted in `audit`."""
        count = stream(self._seed, "mask-count", step)
        rows, fates = [], []
        for row, part in enumerate(self.crops(step)):
            intensity_T = np.asarray(self._track[part], dtype=np.float32)
            # One stream each: what a policy consumes depends on the utterance, and must not reach the next one.
            place = stream(self._seed, "mask-place", step, row)
            mask_T = draw_mask(intensity_T, self._config.masking, count=count, place=place)
            audit.count(mask_T, intensity_T)
            clean_TD = self._features.frames_at(part).astype(np.float32)
            score_T = model_score(self._track, self._features, part, self._config)
            rows.append(Utterance(clean_TD=clean_TD, score_T=score_T, mask_T=mask_T))
            fates.append(stream(self._seed, "mask-fate", step, row))
        return collate(rows, self._config, masking=self._config.masking, fates=fates)


def model_score(
    track: NDArray[np.float32], features: Features, part: slice, config: TrialConfig
) -> NDArray[np.float32]:
    """The score of a stretch of one utterance as a model with `config.score` takes it, shape (T,).

    Scores enter as they are, StrengthNet's about in [0, 1] (published). The loudness control has the unit of log
    energy: it is scaled to [0, 1] within the whole utterance (ours), which changes no mask; a constant one becomes 0.
    """
    score_T = np.asarray(track[part], dtype=np.float32)
    if config.intensity.control != "loudness":
        return score_T
    place = int(np.searchsorted(features.offsets, part.start, side="right")) - 1
    whole = track[int(features.offsets[place]) : int(features.offsets[place] + features.lengths[place])]
    low, high = whole.min(), whole.max()
    return np.zeros_like(score_T) if high == low else (score_T - low) / (high - low)


def collate(
    rows: Sequence[Utterance], config: TrialConfig, *, masking: MaskingConfig, fates: Sequence[np.random.Generator]
) -> Batch:
    """Pad utterances to one batch; for Mockingjay their hidden frames are corrupted, score and features by one draw.

    NPC sees its input whole: its mask is a hole in the kernels, and `mask` says which frames enter the loss.
    """
    lengths_B = np.array([len(row.mask_T) for row in rows], dtype=np.int64)
    shape = (len(rows), int(lengths_B.max()))
    clean_BTW = np.zeros((*shape, rows[0].clean_TD.shape[1] + 1), dtype=np.float32)
    seen_BTW = np.zeros_like(clean_BTW)
    mask_BT = np.zeros(shape, dtype=np.bool_)
    for place, (row, length) in enumerate(zip(rows, lengths_B, strict=True)):
        clean_TW = np.concatenate([row.clean_TD, row.score_T[:, None]], axis=1)
        clean_BTW[place, :length] = clean_TW
        corrupted = config.upstream == "mockingjay"
        seen_BTW[place, :length] = corrupt(clean_TW, row.mask_T, masking, fate=fates[place]) if corrupted else clean_TW
        mask_BT[place, :length] = row.mask_T
    return Batch(
        clean_BTD=clean_BTW[..., :-1], seen_BTD=seen_BTW[..., :-1], score_BT=clean_BTW[..., -1],
        seen_score_BT=seen_BTW[..., -1], mask_BT=mask_BT, lengths_B=lengths_B,
    )  # fmt: skip
