"""How well an upstream rebuilds frames of speakers it never trained on, by emotional intensity (ours).

B utterances, T frames, D feature dims.
"""

from __future__ import annotations

__all__ = ["QUARTERS", "HeldOut", "Quality", "quarters_of", "to_device"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.batches import Batch, Utterance, collate, model_score
from core.config import MaskingConfig, TrialConfig
from core.errors import BadInputError
from core.features import Features
from core.masking import draw_mask
from core.models.upstream import FrameBatch, Upstream, frame_errors
from core.seeding import stream

QUARTERS = 4


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Mean absolute error per feature value over the measured frames, and over those of each quarter of intensity."""

    loss: float
    by_quartile: tuple[float, float, float, float]
    frames: int
    utterances: int

    def as_metrics(self) -> dict[str, float]:
        quartiles = {f"pretrain/validation_loss_q{place}": loss for place, loss in enumerate(self.by_quartile, start=1)}
        return {"pretrain/validation_loss": self.loss} | quartiles


def to_device(batch: Batch, rows: slice, device: torch.device) -> FrameBatch:
    """Some rows of a batch as tensors, cut to their longest."""
    longest = int(batch.lengths_B[rows].max())

    def on_device(array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)

    return FrameBatch(
        clean_BTD=on_device(batch.clean_BTD[rows, :longest]),
        seen_BTD=on_device(batch.seen_BTD[rows, :longest]),
        score_BT=on_device(batch.score_BT[rows, :longest]),
        seen_score_BT=on_device(batch.seen_score_BT[rows, :longest]),
        lengths_B=on_device(batch.lengths_B[rows]),
    )


def quarters_of(intensity_T: NDArray[np.float32]) -> NDArray[np.int64]:
    """Quarter of each frame within its utterance, (T,): 0 the least intense quarter, 3 the most; ties by time.

    >>> quarters_of(np.array([0.3, 0.1, 0.9, 0.5], dtype=np.float32)).tolist()
    [1, 0, 3, 2]
    """
    ranks = np.empty(len(intensity_T), dtype=np.int64)
    ranks[np.argsort(intensity_T, kind="stable")] = np.arange(len(intensity_T))
    return ranks * QUARTERS // len(intensity_T)


class HeldOut:
    """A fixed sample of the held-out speakers' utterances with fixed masks: every look measures the same frames.

    The masks are drawn by policy `random` with the arm's ratio and span whatever the arm's own policy, and hidden
    frames are always zeroed: an arm, its twin and its controls are measured on the same frames. Of NPC, whose input
    hides nothing, every frame is measured. Utterances over `max_frames` are cut to their first `max_frames`.

    Args:
        track: what the arm takes for intensity, a control's or the source's; enters the model with `config.score`.
        source: the track that is not a control's; it orders the frames into quarters.

    Raises BadInputError when there is no utterance, or no measured frame in a quarter.
    """

    def __init__(
        self, features: Features, utterances: Sequence[str], config: TrialConfig, *, track: NDArray[np.float32],
        source: NDArray[np.float32],
    ) -> None:  # fmt: skip
        if not utterances:
            raise BadInputError("pretraining_audio.held_out_speakers: they have no utterance to validate on")
        wanted = set(utterances)
        found = np.array([place for place, name in enumerate(features.utterances) if name in wanted], dtype=np.int64)
        random = stream(config.seed, "validation-sample")
        chosen = random.permutation(found)[: config.pretrain.validation_utterances]
        self._config = config
        self._features, self._source = features, source
        self._places = chosen[np.argsort(features.lengths[chosen], kind="stable")]
        self._rows = [self._row(int(place), track) for place in self._places]
        self._quarters = [quarters_of(np.asarray(source[self._part(int(place))])) for place in self._places]
        self._check_quarters()

    def _check_quarters(self) -> None:
        measured = zip(self._rows, self._quarters, strict=True)
        counts = sum(np.bincount(quarters_T[row.mask_T], minlength=QUARTERS) for row, quarters_T in measured)
        if not np.all(counts):
            raise BadInputError(
                f"pretrain.validation_utterances: {len(self._rows)} utterances have no measured frame in one quarter "
                f"of their intensity ({np.sum(counts)} frames in all); more utterances or a higher masking.ratio needed"
            )

    def _part(self, place: int) -> slice:
        start = int(self._features.offsets[place])
        return slice(start, start + min(int(self._features.lengths[place]), self._config.pretrain.max_frames))

    def _row(self, place: int, track: NDArray[np.float32]) -> Utterance:
        part = self._part(place)
        count, position = (stream(self._config.seed, f"validation-{name}", place) for name in ("count", "place"))
        return Utterance(
            clean_TD=self._features.frames_at(part).astype(np.float32),
            score_T=model_score(track, self._features, part, self._config),
            mask_T=draw_mask(np.asarray(track[part]), self._masking, count=count, place=position),
        )

    @property
    def _masking(self) -> MaskingConfig:
        own = self._config.masking
        policy = "all" if self._config.upstream == "npc" else "random"
        return MaskingConfig(policy=policy, ratio=own.ratio, span=own.span, zero=1.0, replace=0.0)

    def _batch(self, rows: Sequence[Utterance]) -> Batch:
        fates = [stream(self._config.seed, "validation-fate", place) for place in range(len(rows))]
        return collate(rows, self._config, masking=self._masking, fates=fates)

    @torch.no_grad()
    def measure(self, model: Upstream, device: torch.device) -> Quality:
        """The loss of the features' head in evaluation mode and float32; changes nothing in the model."""
        was_training = model.training
        model.eval()
        sums, counts = np.zeros(QUARTERS), np.zeros(QUARTERS, dtype=np.int64)
        size = self._config.pretrain.micro_batch or self._config.pretrain.batch
        for start in range(0, len(self._rows), size):
            rows = self._rows[start : start + size]
            batch = to_device(self._batch(rows), slice(None), device)
            errors_BT, _ = frame_errors(model.rebuild(batch), batch)
            for row, quarters_T, errors_T in zip(rows, self._quarters[start:], errors_BT.double().cpu(), strict=False):
                hidden, of = errors_T.numpy()[: len(row.mask_T)][row.mask_T], quarters_T[row.mask_T]
                sums += np.bincount(of, weights=hidden, minlength=QUARTERS)
                counts += np.bincount(of, minlength=QUARTERS)
        model.train(was_training)
        q1, q2, q3, q4 = (float(loss) for loss in sums / counts)
        return Quality(
            loss=float(sums.sum() / counts.sum()),
            by_quartile=(q1, q2, q3, q4),
            frames=int(counts.sum()),
            utterances=len(self._rows),
        )

    @torch.no_grad()
    def example(self, model: Upstream, device: torch.device) -> dict[str, Any]:
        """What the model makes of the sample's utterance of median length.

        clean, seen, rebuilt: mel bands without deltas, (T, n_mels); mask and intensity (T,); hop_ms, utterance,
        upstream.
        """
        model.eval()
        middle = len(self._rows) // 2
        row, place = self._rows[middle], int(self._places[middle])
        numbers = self._batch([row])
        rebuilt = model.rebuild(to_device(numbers, slice(None), device))
        mels = slice(self._config.features.n_mels)
        return {
            "clean": row.clean_TD[:, mels],
            "seen": numbers.seen_BTD[0, :, mels],
            "rebuilt": rebuilt.features_BTD[0, :, mels].float().cpu().numpy(),
            "mask": row.mask_T,
            "intensity": np.asarray(self._source[self._part(place)], dtype=np.float32),
            "hop_ms": self._config.features.hop_ms,
            "utterance": self._features.utterances[place],
            "upstream": self._config.upstream,
        }
