"""Mockingjay: a Transformer encoder over acoustic frames that reconstructs hidden ones (Liu et al., ICASSP 2020).

B utterances, T frames, D feature dims, P positions (= ⌈T/stack⌉), H hidden width.
"""

from __future__ import annotations

__all__ = ["Mockingjay"]

import math

import torch
from torch import Tensor, nn

from core.config import MockingjayConfig


class Mockingjay(nn.Module):
    """Linear input + sinusoidal positions → LayerNorm → post-LN Transformer layers; reconstruction head on top."""

    def __init__(self, dims: int, config: MockingjayConfig) -> None:
        super().__init__()
        self.config = config
        width = dims * config.stack
        self.project = nn.Linear(width, config.hidden)
        self.norm = nn.LayerNorm(config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.hidden, config.heads, config.ffn, config.dropout, activation="gelu", batch_first=True
            )
            for _ in range(config.layers)
        )
        self.head = nn.Sequential(
            nn.Linear(config.hidden, config.hidden),
            nn.GELU(),
            nn.LayerNorm(config.hidden),
            nn.Linear(config.hidden, width),
        )
        self.apply(_initialise)

    def hidden_states(self, fbank_BTD: Tensor, lengths_B: Tensor) -> tuple[list[Tensor], Tensor]:
        """Embedding and each layer's output, (B, P, H) each, and which positions are padding, (B, P) bool."""
        stack = self.config.stack
        batch, frames, dims = fbank_BTD.shape
        short = -frames % stack
        stacked_BPW = nn.functional.pad(fbank_BTD, (0, 0, 0, short)).reshape(batch, -1, dims * stack)
        positions = stacked_BPW.shape[1]
        steps_P = torch.arange(positions, device=fbank_BTD.device)
        padding_BP = steps_P[None] * stack >= lengths_B[:, None]
        state_BPH = self.project(stacked_BPW) + _sinusoids(steps_P, self.config.hidden)
        state_BPH = self.dropout(self.norm(state_BPH))
        states = [state_BPH]
        for layer in self.layers:
            state_BPH = layer(state_BPH, src_key_padding_mask=padding_BP)
            states.append(state_BPH)
        return states, padding_BP

    def forward(self, fbank_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        """Reconstructed features, (B, T, D), of (partly hidden) features (B, T, D) with valid lengths (B,)."""
        states, _ = self.hidden_states(fbank_BTD, lengths_B)
        rebuilt_BPW = self.head(states[-1])
        batch, frames, dims = fbank_BTD.shape
        rebuilt_BTD: Tensor = rebuilt_BPW.reshape(batch, -1, dims)[:, :frames]
        return rebuilt_BTD


def _sinusoids(steps_P: Tensor, width: int) -> Tensor:
    """Sinusoidal positions (Vaswani et al. 2017), shape (P, width)."""
    rates = torch.exp(torch.arange(0, width, 2, device=steps_P.device) * (-math.log(10_000.0) / width))
    angles = steps_P[:, None] * rates[None]
    return torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(len(steps_P), width)


def _initialise(module: nn.Module) -> None:
    """BERT's initialisation, which Mockingjay uses: weights N(0, 0.02²), biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
        nn.init.normal_(module.in_proj_weight, std=0.02)
