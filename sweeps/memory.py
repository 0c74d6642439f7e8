"""What follows when a trial runs out of memory: a smaller micro-batch where pre-training did, else advice (ours)."""

from __future__ import annotations

__all__ = ["PRETRAINING", "advice", "smaller_helps"]

from core.config import TrialConfig, UpstreamName
from core.relevance import unused_settings

PRETRAINING = "pretrain.micro_batch"
"""What `core.failures.batch_setting` says of pre-training."""
CHECKPOINTING = "transformer.gradient_checkpointing"


def smaller_helps(config: TrialConfig, *, pretraining: bool) -> tuple[UpstreamName, int] | None:
    """Upstream and the micro-batch that did not fit, where half of it may; None where halving it changes nothing.

    `pretraining`: whether that is where memory ran out. The loops after it have batches of their own, which belong to
    the result, and an upstream that comes trained has no pre-training.
    """
    pretrain = config.pretrain
    size = min(pretrain.micro_batch or pretrain.batch, pretrain.batch)
    return (config.upstream, size) if pretraining and config.pretrains and size > 1 else None


def advice(setting: str, config: TrialConfig) -> str:
    """What a person may do about a training loop that does not fit, in one line. `setting`: of its batch."""
    meaningless = {"transformer", CHECKPOINTING} & unused_settings(config).keys()
    if setting.startswith("alignment.") and not meaningless and not config.transformer.gradient_checkpointing:
        return f"less memory with {CHECKPOINTING}=true or a smaller {setting}"
    return f"less memory with a smaller {setting}"
