"""Settings of Segmental average pooling (Hyeon, Oh, Choi, ICASSP 2024)."""

from __future__ import annotations

__all__ = ["LINEAR_POOLINGS", "SPEECH_POOLINGS", "PoolingName", "SapConfig"]

from typing import Annotated, Literal, Self

from pydantic import Field

from core.data_config import Config

PoolingName = Literal["gap", "sap", "gap+sap", "gap+sap+attention", "attention"]

LINEAR_POOLINGS: tuple[PoolingName, ...] = ("gap", "sap", "gap+sap")
"""Linear in the frames: the head can be trained on utterance means, with the same result."""
SPEECH_POOLINGS: tuple[PoolingName, ...] = ("sap", "gap+sap", "gap+sap+attention")
"""Those that look at which positions are speech."""


class SapConfig(Config):
    """Segmental average pooling (Hyeon, Oh, Choi, ICASSP 2024). The head over it is that of `ProbeConfig`.

    Published is that means over all frames (GAP) and over speech frames (SAP) are used together; how they are combined,
    which voice activity detector and all numbers are ours.
    """

    pooling: PoolingName = "gap+sap"
    """`gap`: mean over all positions (the twin). `sap`: mean over those with speech. `gap+sap`: both side by side.
    `gap+sap+attention`: with multi-head self-attention among the speech positions before their mean. `attention`:
    weighted mean over all positions, softmax of tanh(w·h), as frame-level alignment has it (Li et al. 2024)."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Probability of silero-vad from which a stretch of 32 ms is speech (its own default)."""
    layers: Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    """Which of the upstream's exposed layers, from 0, negative from the end; None: all, with learnt weights."""
    heads: int = Field(default=4, ge=1)
    """Of `gap+sap+attention`; divides the upstream's hidden width."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps of a pooling that is learnt with its head; None: as many as the probe has."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """Learning rate of the same; None: the probe's."""

    def plain(self) -> Self:
        """The twin's settings: GAP alone over the same layers. What means nothing there is put back to its default."""
        if self.pooling == "gap":
            return self
        return type(self)(pooling="gap", layers=self.layers)

    def words(self) -> list[str]:
        """The readable name of an arm: pooling, threshold where it counts, layers where not all, heads.

        >>> SapConfig(pooling="gap+sap+attention", layers=(-1,)).words()
        ['gap+sap+attention', 'v0.5', 'l-1', 'h4']
        """
        words: list[str] = [self.pooling]
        if self.pooling in SPEECH_POOLINGS:
            words.append(f"v{self.threshold:g}")
        if self.layers is not None:
            words.append("l" + ",".join(map(str, self.layers)))
        if self.pooling == "gap+sap+attention":
            words.append(f"h{self.heads}")
        return words

    def unused(self) -> dict[str, str]:
        """Setting of this part that can change nothing → why, in words."""
        unused = {}
        if self.pooling not in SPEECH_POOLINGS:
            unused["threshold"] = f"pooling {self.pooling!r} does not look at speech"
        if self.pooling != "gap+sap+attention":
            unused["heads"] = f"pooling {self.pooling!r} has no self-attention"
        if self.pooling in LINEAR_POOLINGS:
            for key in ("steps", "lr"):
                unused[key] = f"pooling {self.pooling!r} learns nothing: its head is the probe"
        return unused
