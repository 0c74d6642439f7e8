"""Which stretches an update of masked prediction hears and what of them is hidden: a function of (seed, step).

B stretches, T grid frames, P positions.
"""

from __future__ import annotations

__all__ = ["UnitBatch", "UnitBatches", "UnitLabels"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.batches import BUCKET_BATCHES
from core.bucketing import epoch_batches
from core.config import MaskingConfig
from core.errors import BadInputError
from core.listening import Listener, Stretch
from core.masking import MaskAudit, draw_mask
from core.seeding import stream


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitLabels:
    """The pseudo-label of every position of the utterances that were clustered, packed one after the other."""

    offset_of: dict[str, int]
    length_of: dict[str, int]
    packed: NDArray[np.int32]

    @classmethod
    def open(cls, path: Path) -> UnitLabels:
        """The labels in the folder of a `clusters` artifact."""
        import pyarrow.parquet as pq

        index = pq.read_table(path / "index.parquet").to_pydict()
        return cls(
            offset_of=dict(zip(index["utterance"], index["offset"], strict=True)),
            length_of=dict(zip(index["utterance"], index["frames"], strict=True)),
            packed=np.load(path / "labels.npy"),
        )

    def of(self, utterance: str) -> NDArray[np.int32]:
        """Labels of one utterance, (P,)."""
        start = self.offset_of[utterance]
        return self.packed[start : start + self.length_of[utterance]]


@dataclass(frozen=True, kw_only=True)
class UnitBatch:
    """What one update hears. `fates`: a stream for each stretch, of what stands in the place of hidden frames."""

    stretches: tuple[Stretch, ...]
    masks: tuple[NDArray[np.bool_], ...]
    fates: tuple[np.random.Generator, ...]
    labels: tuple[NDArray[np.int32], ...]
    """Label of each position, (P,) each."""
    audit: MaskAudit
    """Of what is hidden, in positions."""


class UnitBatches:
    """Length-bucketed stretches of the heard utterances, their masks drawn by the trial's policy.

    Masks are drawn on positions, whole ones: one of which a part is heard counts for nothing, and scattered spans would
    have more of these. Where a position stacks frames its intensity is their mean, and a span so many positions as are
    nearest to `masking.span` frames, at least one; of a Transformer over audio a span is in its positions (ours).
    An utterance longer than `longest` grid frames is cut at a start drawn per update. A cut that does not begin with a
    position takes, for each of its positions, the label of the one in which its middle lies (ours). `track`: over all
    feature frames; None where nothing looks at it.
    """

    def __init__(
        self, listener: Listener, track: NDArray[np.float32] | None, labels: UnitLabels, utterances: Sequence[str], *,
        masking: MaskingConfig, batch: int, longest: int, seed: int,
    ) -> None:  # fmt: skip
        wanted = set(utterances)
        self._places = np.array([i for i, name in enumerate(listener.utterances) if name in wanted], dtype=np.int64)
        if len(self._places) != len(wanted):
            missing = min(wanted - set(listener.utterances))
            raise BadInputError(f"utterance {missing!r}: not among the {len(listener.utterances)} that are heard")
        self._listener, self._track, self._labels = listener, track, labels
        self._batch, self._longest, self._seed = batch, longest, seed
        self._masking = masking.model_copy(update={"span": max(1, round(masking.span / listener.stack))})
        self._order = lru_cache(maxsize=2)(self._epoch)

    def _epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        rng = stream(self._seed, "units-order", epoch)
        return epoch_batches(self._places, self._listener.lengths_U, size=self._batch, pool=BUCKET_BATCHES, rng=rng)

    def at(self, step: int) -> UnitBatch:
        """The batch of update `step`, from 0."""
        epoch, place = divmod(step, -(-len(self._places) // self._batch))
        crop = stream(self._seed, "units-crop", step)
        count = stream(self._seed, "units-mask-count", step)
        stretches = tuple(self._cut(int(where), crop) for where in self._order(epoch)[place])
        masks, audit = [], MaskAudit()
        for row, stretch in enumerate(stretches):
            intensity_P = self._of_positions(self._intensity(stretch))
            # One stream each: what a policy consumes depends on the utterance, and must not reach the next one.
            drawn = stream(self._seed, "units-mask-place", step, row)
            mask_P = draw_mask(intensity_P, self._masking, count=count, place=drawn)
            audit.count(mask_P, intensity_P)
            masks.append(np.repeat(mask_P, self._listener.stack)[: stretch.length])
        return UnitBatch(
            stretches=stretches,
            masks=tuple(masks),
            fates=tuple(stream(self._seed, "units-mask-fate", step, row) for row in range(len(stretches))),
            labels=tuple(self._labels_of(stretch) for stretch in stretches),
            audit=audit,
        )

    def _intensity(self, stretch: Stretch) -> NDArray[np.float32]:
        if self._track is None:
            return np.zeros(stretch.length, dtype=np.float32)
        return self._listener.on_grid(self._track, stretch.place)[stretch.start : stretch.start + stretch.length]

    def _of_positions(self, intensity_T: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean over the frames of each position, the last of which may have fewer, (P,)."""
        if self._listener.stack == 1:
            return intensity_T
        starts_P = np.arange(0, len(intensity_T), self._listener.stack)
        frames_P = np.diff([*starts_P, len(intensity_T)])
        return np.asarray(np.add.reduceat(intensity_T, starts_P) / frames_P, dtype=np.float32)

    def _cut(self, place: int, crop: np.random.Generator) -> Stretch:
        length = int(self._listener.lengths_U[place])
        kept = min(length, self._longest)
        return Stretch(place=place, start=int(crop.integers(0, length - kept + 1)), length=kept)

    def _labels_of(self, stretch: Stretch) -> NDArray[np.int32]:
        labels_P = self._labels.of(self._listener.utterances[stretch.place])
        stack = self._listener.stack
        middles = stretch.start + np.arange(self._listener.positions(stretch.length)) * stack + stack // 2
        return labels_P[np.minimum(middles // stack, len(labels_P) - 1)]
