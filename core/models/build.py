"""The upstream that a trial's config asks for."""

from __future__ import annotations

__all__ = ["build_upstream"]

from core.config import TrialConfig
from core.errors import BadInputError
from core.models.mockingjay import Mockingjay
from core.models.npc import Npc
from core.models.upstream import Upstream


def build_upstream(config: TrialConfig, dims: int) -> Upstream:
    """A freshly initialised model over `dims` features, drawn from torch's generator as it stands.

    Raises BadInputError for an upstream that comes trained: `core.models.transformer.load_transformer` reads it.
    """
    if not config.pretrains:
        raise BadInputError(f"upstream {config.upstream!r} comes trained; there is none to begin anew")
    if config.upstream == "npc":
        return Npc(dims, config.npc, score_head=config.score.head)
    return Mockingjay(dims, config.mockingjay, config.score)
