"""The poolings of segmental average pooling: one vector per utterance from its frame states.

B utterances, P positions, H hidden width.
"""

from __future__ import annotations

__all__ = ["AttendedMean", "Pooling"]

from typing import Literal

import torch
from torch import Tensor, nn

from core.errors import BadInputError
from core.models.attention_pooling import AttentionPooling, MeanPooling
from core.sap_config import PoolingName

Over = Literal["valid", "speech"]


class AttendedMean(nn.Module):
    """Multi-head self-attention among the positions that count, added to their states, then the mean over them.

    That SAP has such an attention is known at third hand only; where it stands, its residual path, and that it has
    neither dropout nor normalisation are ours.
    """

    def __init__(self, hidden: int, *, heads: int) -> None:
        super().__init__()
        if hidden % heads:
            raise BadInputError(f"sap.heads: {heads} does not divide the upstream's hidden width {hidden}")
        self.attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.mean = MeanPooling()

    def forward(self, states_BPH: Tensor, padding_BP: Tensor) -> Tensor:
        """(B, P, H) to (B, H); at least one position of each row is no padding."""
        seen_BPH, _ = self.attention(
            states_BPH, states_BPH, states_BPH, key_padding_mask=padding_BP, need_weights=False
        )
        pooled_BH: Tensor = self.mean(states_BPH + seen_BPH, padding_BP)
        return pooled_BH


class Pooling(nn.Module):
    """A pooling of `SapConfig` by its name: the vectors of its parts side by side, `width` in all (ours)."""

    def __init__(self, name: PoolingName, hidden: int, *, heads: int) -> None:
        super().__init__()
        parts = _parts(name, hidden, heads)
        self.parts = nn.ModuleList(part for part, _ in parts)
        self._over = tuple(over for _, over in parts)
        self.width = hidden * len(parts)

    def forward(self, states_BPH: Tensor, valid_BP: Tensor, speech_BP: Tensor) -> Tensor:
        """(B, width); both masks bool, with at least one True per row."""
        left_out = {"valid": ~valid_BP, "speech": ~speech_BP}
        pooled = [part(states_BPH, left_out[over]) for part, over in zip(self.parts, self._over, strict=True)]
        return torch.cat(pooled, dim=-1)


def _parts(name: PoolingName, hidden: int, heads: int) -> tuple[tuple[nn.Module, Over], ...]:
    """What is pooled how, and over which positions: GAP over the valid ones, SAP over those with speech."""
    gap: tuple[nn.Module, Over] = (MeanPooling(), "valid")
    sap: tuple[nn.Module, Over] = (MeanPooling(), "speech")
    match name:
        case "gap":
            return (gap,)
        case "sap":
            return (sap,)
        case "gap+sap":
            return (gap, sap)
        case "gap+sap+attention":
            return (gap, (AttendedMean(hidden, heads=heads), "speech"))
        case "attention":
            return ((AttentionPooling(hidden), "valid"),)
