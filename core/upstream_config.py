"""Sizes of the upstreams that are trained here; part of the config tree of `core.config`."""

from __future__ import annotations

__all__ = ["MockingjayConfig", "NpcConfig"]

from typing import Literal, Self

from pydantic import Field, model_validator

from core.data_config import Config


class MockingjayConfig(Config):
    """Mockingjay (Liu et al., ICASSP 2020), post-LN Transformer encoder over acoustic frames."""

    hidden: int = Field(default=768, ge=8)
    layers: int = Field(default=3, ge=1)
    heads: int = Field(default=12, ge=1)
    ffn: int = Field(default=3072, ge=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    stack: int = Field(default=1, ge=1, le=10)
    """Consecutive frames joined into one position (Mockingjay's downsampling); masking stays on the frame grid."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"heads: {self.heads} does not divide hidden {self.hidden}")
        if self.hidden % 2:
            raise ValueError(f"hidden: {self.hidden} is odd, sinusoidal positions need an even width")
        return self


class NpcConfig(Config):
    """NPC, non-autoregressive predictive coding (Liu, Chung, Glass, Interspeech 2021). Defaults are the published ones:
    receptive field 23 frames = kernel + 2 · blocks."""

    hidden: int = Field(default=512, ge=8)
    blocks: int = Field(default=4, ge=1, le=20)
    kernel: int = Field(default=15, ge=3, le=99)
    """Taps of each masked convolution, odd."""
    mask_size: int = Field(default=5, ge=1)
    """Input frames around the predicted one that no prediction sees, odd. The hole of block i's masked convolution is
    mask_size + 2·i taps wide and must be narrower than the kernel (EMS's released 7 needs a kernel of 17)."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    codebooks: tuple[int, ...] = Field(default=(64, 64, 64, 64), min_length=1)
    """Codes of each group of the vector quantiser; each group codes hidden/len(codebooks) dimensions."""
    gumbel_temperature: float = Field(default=1.0, gt=0)
    probed: Literal["last-block", "all"] = "last-block"
    """What the probe sees: the unmasked output of the last block (the better one, as published), or the outputs of all
    blocks and of all masked convolutions."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("kernel", "mask_size"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name}: {getattr(self, name)} is even, it has no centre")
        widest = self.mask_size + 2 * self.blocks
        if widest >= self.kernel:
            raise ValueError(
                f"mask_size: {self.mask_size} with {self.blocks} blocks makes a hole of {widest} taps, which must be "
                f"narrower than kernel {self.kernel}"
            )
        if self.hidden % len(self.codebooks):
            raise ValueError(f"codebooks: {len(self.codebooks)} groups do not divide hidden {self.hidden}")
        return self
