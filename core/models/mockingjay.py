"""Mockingjay: a Transformer encoder over acoustic frames that reconstructs hidden ones (Liu et al., ICASSP 2020).

B utterances, T frames, D feature dims, P positions (= ⌈T/stack⌉), H hidden width.
"""

from __future__ import annotations

__all__ = ["Mockingjay"]

import math

import torch
from torch import Tensor, nn

from core.config import MockingjayConfig, ScoreConfig
from core.models.upstream import FrameBatch, Rebuilt, Upstream


class Mockingjay(Upstream):
    """Linear input + sinusoidal positions → LayerNorm → post-LN Transformer layers; reconstruction head on top.

    With `score.added_to_input` and `score.head` the model of EMS as released (Liu & Ma 2024): the score is added to
    every feature of its frame, and the same Transformer, run a second time on the hidden score alone (broadcast over
    the features), rebuilds the score through a head of its own.
    """

    def __init__(self, dims: int, config: MockingjayConfig, score: ScoreConfig) -> None:
        super().__init__()
        self.config, self.score = config, score
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
        self.head = _head(config.hidden, width)
        self.apply(_initialise)
        # Last, so that a twin without it starts from the same weights.
        self.score_head = _head(config.hidden, width).apply(_initialise) if score.head else None

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

    def rebuild(self, batch: FrameBatch) -> Rebuilt:
        """Reconstructed features, and with the second head the reconstructed score, whose target is the score."""
        seen_BTD = batch.seen_BTD
        if self.score.added_to_input:
            seen_BTD = seen_BTD + batch.seen_score_BT[..., None]
        features_BTD = self._decode(self.head, seen_BTD, batch.lengths_B)
        if self.score_head is None:
            return Rebuilt(features_BTD=features_BTD)
        score_BTD = batch.seen_score_BT[..., None].expand_as(seen_BTD)
        return Rebuilt(
            features_BTD=features_BTD,
            score_BTD=self._decode(self.score_head, score_BTD, batch.lengths_B),
            score_target_BTD=batch.score_BT[..., None].expand_as(seen_BTD),
        )

    def _decode(self, head: nn.Module, seen_BTD: Tensor, lengths_B: Tensor) -> Tensor:
        states, _ = self.hidden_states(seen_BTD, lengths_B)
        batch, frames, dims = seen_BTD.shape
        rebuilt_BTD: Tensor = head(states[-1]).reshape(batch, -1, dims)[:, :frames]
        return rebuilt_BTD


def _head(hidden: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden), nn.Linear(hidden, width))


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
