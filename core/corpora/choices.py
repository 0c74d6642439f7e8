"""Which subset and which label set of a corpus is meant; one it does not have is refused before any file is decoded."""

from __future__ import annotations

__all__ = ["refuse_choices"]

from collections.abc import Collection

from core.config import CorpusConfig
from core.errors import CorpusError


def refuse_choices(config: CorpusConfig, *, subsets: Collection[str] = (), labels: Collection[str] = ()) -> None:
    """Raise CorpusError when `config.subset` or `config.labels` is set to something the corpus does not have.

    `subsets`, `labels`: what it has; empty when there is nothing to choose.
    """
    for field, chosen, allowed in (("subset", config.subset, subsets), ("labels", config.labels, labels)):
        if chosen is None or chosen in allowed:
            continue
        why = f"is none of {', '.join(allowed)}" if allowed else "cannot be chosen, this corpus has no such choice"
        raise CorpusError(f"corpus {config.name}: {field} {chosen!r} {why}")
