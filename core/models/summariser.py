"""Frozen frame states (and a text embedding) → activation, valence and dominance, through a GRU.

Srinivasan, Huang, Kirchhoff, ICASSP 2022; sizes are settings.

B utterances, P positions, L layers, H hidden width of the upstream, E width of the text encoder, D dimensions.
"""

from __future__ import annotations

__all__ = ["Summariser"]

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from core.records import DIMENSIONS
from core.teacher_config import TeacherConfig


class Summariser(nn.Module):
    """Softmax-weighted layers → Linear → GRU, whose last state is the summary → one head for each dimension.

    With `text` (the teacher) the words stand beside the summary: embedding → LayerNorm → Linear. The way in which both
    are joined was not found; this one is ours. The student is the same model without them.
    """

    def __init__(self, *, layers: int, width: int, text: int | None, config: TeacherConfig) -> None:
        super().__init__()
        self.layer_logits_L = nn.Parameter(torch.zeros(layers))
        self.project = nn.Linear(width, config.projection)
        self.gru = nn.GRU(config.projection, config.hidden, batch_first=True)
        self.read = None if text is None else nn.Sequential(nn.LayerNorm(text), nn.Linear(text, config.projection))
        joined = config.hidden + (0 if text is None else config.projection)
        self.heads = nn.Sequential(
            nn.Linear(joined, config.hidden), nn.ReLU(), nn.Dropout(config.dropout),
            nn.Linear(config.hidden, len(DIMENSIONS)),
        )  # fmt: skip

    def forward(self, states_BPLH: Tensor, lengths_B: Tensor, text_BE: Tensor | None) -> Tensor:
        """Outputs (B, D) in the unit of the training targets; positions from `lengths_B` on are not looked at."""
        mixed_BPH = torch.einsum("l,bplh->bph", self.layer_logits_L.softmax(0), states_BPLH)
        packed = pack_padded_sequence(
            self.project(mixed_BPH).relu(), lengths_B.cpu(), batch_first=True, enforce_sorted=False
        )
        summary_BG: Tensor = self.gru(packed)[1][0]
        if self.read is not None:
            assert text_BE is not None
            summary_BG = torch.cat([summary_BG, self.read(text_BE).relu()], dim=1)
        outputs_BD: Tensor = self.heads(summary_BG)
        return outputs_BD
