"""Utterance vectors from frame states: the plain mean, and attention (Li et al., ICASSP 2024, step 4).

B utterances, P positions, H hidden width.
"""

from __future__ import annotations

__all__ = ["AttentionPooling", "MeanPooling"]

import torch
from torch import Tensor, nn


class AttentionPooling(nn.Module):
    """z = Σ a_p h_p with a = softmax(e) over the positions that are no padding and e_p = tanh(wᵀ h_p).

    w starts as PyTorch starts a linear layer (ours).
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden, 1, bias=False)

    def weights(self, states_BPH: Tensor, padding_BP: Tensor) -> Tensor:
        """a, (B, P): sums to 1 over each row, 0 on padding; at least one position of a row is no padding."""
        energy_BP = torch.tanh(self.score(states_BPH)[..., 0])
        return energy_BP.masked_fill(padding_BP, -torch.inf).softmax(-1)

    def forward(self, states_BPH: Tensor, padding_BP: Tensor) -> Tensor:
        """(B, P, H) to (B, H)."""
        # What stands on padding need not be finite, and 0 · NaN is NaN.
        valid_BPH = states_BPH.masked_fill(padding_BP[..., None], 0.0)
        return torch.einsum("bp,bph->bh", self.weights(valid_BPH, padding_BP), valid_BPH)


class MeanPooling(nn.Module):
    """Mean over the positions that are no padding, at least one of each row."""

    def forward(self, states_BPH: Tensor, padding_BP: Tensor) -> Tensor:
        """(B, P, H) to (B, H)."""
        sums_BH = states_BPH.masked_fill(padding_BP[..., None], 0.0).sum(1)
        return sums_BH / (~padding_BP).sum(1, keepdim=True)
