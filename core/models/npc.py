"""NPC: predict a frame from its neighbours, the centre hidden by holes in the kernels (Liu, Chung, Glass 2021).

B utterances, T frames, N valid frames of the batch one after the other, D feature dims, H hidden width, K codes.
"""

from __future__ import annotations

__all__ = ["Npc"]

import math
from dataclasses import dataclass
from functools import reduce
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, gumbel_softmax, one_hot, pad

from core.config import NpcConfig
from core.models.upstream import FrameBatch, Rebuilt, Upstream


@dataclass(frozen=True, kw_only=True)
class _Frames:
    """Where the valid frames of a padded batch are."""

    padding_BT: Tensor
    rows_N: Tensor
    """Index of each valid frame in the batch flattened to (B·T)."""

    @classmethod
    def of(cls, lengths_B: Tensor, frames: int) -> Self:
        padding_BT = torch.arange(frames, device=lengths_B.device) >= lengths_B[:, None]
        return cls(padding_BT=padding_BT, rows_N=(~padding_BT).flatten().nonzero().squeeze(1))

    def pack(self, state_BTH: Tensor) -> Tensor:
        """The valid frames, (N, H)."""
        return state_BTH.flatten(0, 1).index_select(0, self.rows_N)

    def spread(self, state_NH: Tensor) -> Tensor:
        """Valid frames back in their places, (B, T, H), zero elsewhere."""
        batch, frames = self.padding_BT.shape
        empty = state_NH.new_zeros(batch * frames, state_NH.shape[1])
        return empty.index_copy(0, self.rows_N, state_NH).reshape(batch, frames, -1)


class Npc(Upstream):
    """Convolution blocks, a masked convolution on each, their sum quantised; one linear head (or two) on the codes.

    As published, but for the padding (ours): convolutions see zeros beyond an utterance's end and everything between
    them runs on valid frames only, batch-norm statistics included, so padding changes no result. Those statistics are
    of the frames of one forward pass: a smaller micro-batch is another normalisation in training.
    """

    def __init__(self, dims: int, config: NpcConfig, *, score_head: bool) -> None:
        super().__init__()
        self.config = config
        width = config.hidden
        self.blocks = nn.ModuleList(
            _Block(width if block else dims, width, dropout=config.dropout, residual=block > 0)
            for block in range(config.blocks)
        )
        # A block sees one frame more on either side than the one before it: its hole is two taps wider.
        self.masked = nn.ModuleList(
            _MaskedConvolution(width, kernel=config.kernel, hole=config.mask_size + 2 * block)
            for block in range(1, config.blocks + 1)
        )
        self.quantiser = _Quantiser(width, config.codebooks, temperature=config.gumbel_temperature)
        self.feature_head = nn.Linear(width, dims)
        # Drawn last: with or without it, all other weights start the same.
        self.score_head = nn.Linear(width, dims) if score_head else None

    def hidden_states(self, fbank_BTD: Tensor, lengths_B: Tensor) -> tuple[list[Tensor], Tensor]:
        """What `config.probed` names, (B, T, H) each and zero on padding; and which frames are padding, (B, T) bool.

        `last-block`: the unmasked output of the last block (the better feature, as published). `all`: the outputs of
        the blocks in their order, then those of the masked convolutions.
        """
        frames = _Frames.of(lengths_B, fbank_BTD.shape[1])
        spread = self._run_blocks(fbank_BTD, frames)
        if self.config.probed == "last-block":
            return spread[-1:], frames.padding_BT
        return spread + [frames.spread(state_NH) for state_NH in self._look_around(spread, frames)], frames.padding_BT

    def rebuild(self, batch: FrameBatch) -> Rebuilt:
        """Every frame of `batch.seen_BTD` from its neighbours, (B, T, D), zero on padding; `batch` needs no mask.

        With a second head also the frame's score plus its clean features, score the same in all D dims (published).
        """
        frames = _Frames.of(batch.lengths_B, batch.seen_BTD.shape[1])
        around = self._look_around(self._run_blocks(batch.seen_BTD, frames), frames)
        codes_NH = self.quantiser(reduce(torch.add, around))
        features_BTD = frames.spread(self.feature_head(codes_NH))
        if self.score_head is None:
            return Rebuilt(features_BTD=features_BTD)
        return Rebuilt(
            features_BTD=features_BTD,
            score_BTD=frames.spread(self.score_head(codes_NH)),
            score_target_BTD=batch.clean_BTD + batch.score_BT[..., None],
        )

    def _run_blocks(self, fbank_BTD: Tensor, frames: _Frames) -> list[Tensor]:
        """Output of each block, (B, T, H), zero on padding."""
        states_BTH: list[Tensor] = []
        state_NH = frames.pack(fbank_BTD)
        for block in self.blocks:
            state_NH = block(state_NH, frames)
            states_BTH.append(frames.spread(state_NH))
        return states_BTH

    def _look_around(self, blocks_BTH: list[Tensor], frames: _Frames) -> list[Tensor]:
        """Output of each masked convolution on the valid frames, (N, H)."""
        return [frames.pack(masked(state)) for masked, state in zip(self.masked, blocks_BTH, strict=True)]


class _Block(nn.Module):
    """Convolution over 3 frames → batch norm → ReLU → linear → batch norm → dropout (→ + input) → ReLU."""

    def __init__(self, dims: int, width: int, *, dropout: float, residual: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(dims, width, kernel_size=3, padding=1)
        self.first_norm = nn.BatchNorm1d(width)
        self.linear = nn.Linear(width, width)
        self.second_norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(dropout)
        self.residual = residual

    def forward(self, input_ND: Tensor, frames: _Frames) -> Tensor:
        """Valid frames (N, D) to (N, H)."""
        wide_BHT = self.convolution(frames.spread(input_ND).transpose(1, 2))
        state_NH = torch.relu(self.first_norm(frames.pack(wide_BHT.transpose(1, 2))))
        state_NH = self.dropout(self.second_norm(self.linear(state_NH)))
        return torch.relu(state_NH + input_ND if self.residual else state_NH)


class _MaskedConvolution(nn.Module):
    """tanh of a convolution whose centre taps are absent, as its two one-sided parts: no work is done on the hole.

    Weights start as PyTorch starts those of the full kernel, uniform within ±1/√(H·kernel).
    """

    def __init__(self, width: int, *, kernel: int, hole: int) -> None:
        super().__init__()
        self.reach, self.side = kernel // 2, (kernel - hole) // 2
        self.before_HHS = nn.Parameter(torch.empty(width, width, self.side))
        self.after_HHS = nn.Parameter(torch.empty(width, width, self.side))
        self.bias_H = nn.Parameter(torch.empty(width))
        bound = 1 / math.sqrt(width * kernel)
        for weight in (self.before_HHS, self.after_HHS, self.bias_H):
            nn.init.uniform_(weight, -bound, bound)

    def forward(self, state_BTH: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H); `state_BTH` is zero on padding."""
        padded_BHW = pad(state_BTH.transpose(1, 2), (self.reach, self.reach))
        used = state_BTH.shape[1] + self.side - 1
        before_BHT = conv1d(padded_BHW[..., :used], self.before_HHS, self.bias_H)
        after_BHT = conv1d(padded_BHW[..., -used:], self.after_HHS)
        return torch.tanh(before_BHT + after_BHT).transpose(1, 2)


class _Quantiser(nn.Module):
    """Grouped Gumbel vector quantiser: each group turns its own slice of the state into one of its codes.

    In training the code is drawn by Gumbel noise, one-hot with the gradient of the softmax (straight-through); in
    evaluation it is the likeliest.
    """

    def __init__(self, width: int, codebooks: tuple[int, ...], *, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        slice_width = width // len(codebooks)
        self.logits = nn.ModuleList(nn.Linear(slice_width, codes) for codes in codebooks)
        self.codes = nn.ModuleList(nn.Linear(codes, slice_width, bias=False) for codes in codebooks)

    def choose(self, state_NH: Tensor) -> list[Tensor]:
        """Each group's choice among its codes, (N, K), one-hot; drawn in float32 at least, also under autocast."""
        slices = state_NH.chunk(len(self.logits), dim=1)
        return [self._choose(logits(part)) for logits, part in zip(self.logits, slices, strict=True)]

    def forward(self, state_NH: Tensor) -> Tensor:
        """The chosen codes, groups side by side, (N, H)."""
        return torch.cat([codes(one) for codes, one in zip(self.codes, self.choose(state_NH), strict=True)], dim=1)

    def _choose(self, logits_NK: Tensor) -> Tensor:
        logits_NK = logits_NK.to(torch.promote_types(logits_NK.dtype, torch.float32))
        if not self.training:
            return one_hot(logits_NK.argmax(1), logits_NK.shape[1]).to(logits_NK.dtype)
        soft_NK = gumbel_softmax(logits_NK, tau=self.temperature)
        hard_NK = one_hot(soft_NK.argmax(1), logits_NK.shape[1]).to(soft_NK.dtype)
        return hard_NK + (soft_NK - soft_NK.detach())
