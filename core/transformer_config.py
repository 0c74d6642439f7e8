"""Settings of HuBERT-family upstreams, read through transformers."""

from __future__ import annotations

__all__ = ["TransformerConfig"]

from pathlib import PurePath

from pydantic import Field

from core.data_config import Config, ModelName


class TransformerConfig(Config):
    """HuBERT-family upstreams, read through transformers."""

    model: ModelName | None = None
    """A folder with `config.json`, `preprocessor_config.json` and the weights, or the name of a model on the Hugging
    Face hub. None: the base model that its authors released (`core.model_files`). What the files hold, not
    their place, is in the trial key."""
    layers: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Which of its layers are read: 0 is the input of the first Transformer layer, negative counts from the end. None:
    all, among which SUPERB's probe learns a weighting."""
    gradient_checkpointing: bool = False
    """`frame_alignment` only: recompute the inside of each layer in the backward pass instead of keeping it. Less
    memory, more time, the same result to the bit (dropout is drawn anew from the same state), so it is in no key."""

    def words(self) -> list[str]:
        """The readable name of an arm: the model's last name unless it is the released base, layers unless all."""
        words = [] if self.model is None else [PurePath(self.model).name]
        return words if self.layers is None else [*words, "l" + ",".join(map(str, self.layers))]
