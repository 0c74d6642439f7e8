"""What every upstream offers: hidden states for the probe, and reconstructions for its loss.

B utterances, T frames, D feature dims, P positions (T or fewer), H hidden width.
"""

from __future__ import annotations

__all__ = ["FrameBatch", "Rebuilt", "Upstream", "frame_errors"]

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class FrameBatch:
    """Frames as an upstream trains on them; zero beyond `lengths_B`."""

    clean_BTD: Tensor
    seen_BTD: Tensor
    """The features with hidden frames corrupted; NPC, whose mask is in its kernels, sees them clean."""
    score_BT: Tensor
    """Emotional intensity of each frame."""
    seen_score_BT: Tensor
    """The same, corrupted by the draw that corrupted the features."""
    lengths_B: Tensor


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """What the heads made of a batch, (B, T, D) each. `score` and its target: the second head's, None without one."""

    features_BTD: Tensor
    score_BTD: Tensor | None = None
    score_target_BTD: Tensor | None = None


class Upstream(nn.Module, ABC):
    """A self-supervised model over acoustic frames."""

    @abstractmethod
    def hidden_states(self, fbank_BTD: Tensor, lengths_B: Tensor) -> tuple[list[Tensor], Tensor]:
        """What the probe may see: each exposed layer's output, (B, P, H), and which positions are padding, (B, P)."""

    @abstractmethod
    def rebuild(self, batch: FrameBatch) -> Rebuilt:
        """Reconstruct the features (and the score, with a second head) of a batch."""


def frame_errors(rebuilt: Rebuilt, batch: FrameBatch) -> tuple[Tensor, Tensor | None]:
    """Absolute error of each frame, mean over its D dims, (B, T): of the features, and of the second head."""
    features_BT = (rebuilt.features_BTD.float() - batch.clean_BTD).abs().mean(-1)
    if rebuilt.score_BTD is None or rebuilt.score_target_BTD is None:
        return features_BT, None
    return features_BT, (rebuilt.score_BTD.float() - rebuilt.score_target_BTD).abs().mean(-1)
