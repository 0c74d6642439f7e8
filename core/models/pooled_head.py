"""SUPERB's emotion head with a pooling between the layers and the projection.

B utterances, P positions, L layers, H hidden width, C classes.
"""

from __future__ import annotations

__all__ = ["PooledHead"]

import torch
from torch import Tensor, nn

from core.models.pooling import Pooling
from core.sap_config import SapConfig


class PooledHead(nn.Module):
    """Softmax-weighted layers → pooling → Linear → Linear: with a linear pooling the same as `core.probe.Heads`."""

    def __init__(self, *, layers: int, hidden: int, projection: int, classes: int, config: SapConfig) -> None:
        super().__init__()
        self.layer_logits_L = nn.Parameter(torch.zeros(layers))
        self.pooling = Pooling(config.pooling, hidden, heads=config.heads)
        self.project = nn.Linear(self.pooling.width, projection)
        self.classify = nn.Linear(projection, classes)

    def forward(self, states_BPLH: Tensor, valid_BP: Tensor, speech_BP: Tensor) -> Tensor:
        """Logits (B, C); both masks bool, with at least one True per row."""
        mixed_BPH = torch.einsum("l,bplh->bph", self.layer_logits_L.softmax(-1), states_BPLH)
        logits_BC: Tensor = self.classify(self.project(self.pooling(mixed_BPH, valid_BP, speech_BP)))
        return logits_BC
