"""The upstream that a trial's config asks for."""

from __future__ import annotations

__all__ = ["build_upstream"]

from core.config import TrialConfig
from core.models.mockingjay import Mockingjay
from core.models.npc import Npc
from core.models.upstream import Upstream


def build_upstream(config: TrialConfig, dims: int) -> Upstream:
    """A freshly initialised model over `dims` features, drawn from torch's generator as it stands."""
    if config.upstream == "npc":
        return Npc(dims, config.npc, score_head=config.score.head)
    return Mockingjay(dims, config.mockingjay, config.score)
