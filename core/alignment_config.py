"""Settings of Frame-level emotional state alignment (Li et al., ICASSP 2024)."""

from __future__ import annotations

__all__ = ["AlignmentConfig", "TuningConfig", "UnitsConfig"]

from typing import Literal, Self

from pydantic import Field

from core.data_config import Config

STEP_TWO = ("k", "layer")
"""Settings of step 2 alone: without it they mean nothing."""


class UnitsConfig(Config):
    """Masked prediction of pseudo-labels, in task-adaptive pre-training (TAPT) and in the alignment alike.

    One schedule for both (ours): the twin, whose last weights are TAPT's, has had as many updates as the arm, whose
    alignment begins anew at the upstream. The last weights are kept, where the released code keeps those of the lowest
    validation loss (ours: no audio is set aside for it).
    """

    updates: int = Field(default=20_000, ge=1)
    """Published for the alignment."""
    batch: int = Field(default=16, ge=1)
    """Utterances per update (ours: the paper's is in samples per device)."""
    crop_s: float = Field(default=15.0, ge=0.5)
    """Longer utterances are cropped to so many seconds, at a start drawn per update (ours)."""
    lr: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.2, ge=0, lt=1)
    """Share of the updates with linearly rising learning rate (published: 4,000 of 20,000); then it falls to zero."""
    clip: float = Field(default=10.0, gt=0)
    """Largest gradient norm."""
    projection: int = Field(default=256, ge=1)
    """Width in which states and labels are compared (HuBERT's)."""
    temperature: float = Field(default=0.1, gt=0)
    """Divides the cosine between a state and a label."""


class TuningConfig(Config):
    """Supervised fine-tuning on the train part of each fold.

    Unlike the released code it hides nothing of its input (no SpecAugment: `mask_time_prob` is .08 there), and the last
    states go to the pooling without dropout (both ours).
    """

    epochs: int = Field(default=40, ge=1)
    batch: int = Field(default=64, ge=1)
    lr: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=1e-5, ge=0)
    clip: float = Field(default=10.0, gt=0)
    """Largest gradient norm (ours)."""
    crop_s: float = Field(default=6.0, ge=0.5)
    """Longer utterances are cropped to so many seconds in training, at a start drawn per update (ours); validation and
    test hear all."""
    select_by: Literal["ua", "wa"] = "ua"
    """The epoch that is best on validation is kept, the first of equals (ours: so that test chooses nothing)."""


class AlignmentConfig(Config):
    """Frame-level emotional state alignment (Li et al., ICASSP 2024).

    1. TAPT: masked prediction of clusters of the upstream's own states on the target audio, then fine-tuning with mean
       pooling. 2. The fine-tuned states of `layer` are clustered into k. 3. From the upstream again: masked prediction
       of those clusters. 4. Fine-tuning with `pooling`.
    """

    audio: Literal["fold", "transductive"] = "fold"
    """What TAPT, clusters and alignment hear, never with labels: the fold's train part (ours), or all of the corpus,
    the test part included (as published; every table says so). What the upstream heard before is
    `pretraining_audio`'s to say."""
    aligned: bool = True
    """Steps 2 and 3. Without them (the twin) step 4 begins at TAPT's weights."""
    k: int = Field(default=50, ge=2)
    """Clusters of step 2."""
    layer: int = 9
    """Which exposed layer of the fine-tuned model is clustered, from 0 (a Transformer's 0 is its input), negative from
    the end."""
    tapt_k: int = Field(default=500, ge=2)
    """Clusters of TAPT."""
    tapt_layer: int = 9
    """Which exposed layer of the upstream TAPT clusters."""
    units: UnitsConfig = UnitsConfig()
    pooling: Literal["attention", "mean"] = "attention"
    """Of step 4."""
    tuning: TuningConfig = TuningConfig()

    def plain(self) -> Self:
        """The twin's settings: steps 2 and 3 left out, and what only they read at its default; the rest the same."""
        if not self.aligned:
            return self
        unused = {name: type(self).model_fields[name].default for name in STEP_TWO}
        return self.model_copy(update={"aligned": False, **unused})

    def unused(self) -> dict[str, str]:
        """Own settings that can change nothing → why, in words."""
        return {} if self.aligned else dict.fromkeys(STEP_TWO, "without alignment nothing is clustered anew")

    def leaks(self) -> tuple[str, ...]:
        """What of the test part reaches the model, for the record."""
        if self.audio == "fold":
            return ()
        return ("adaptation, clusters and alignment heard the test part's audio (without labels)",)

    def words(self) -> list[str]:
        """The readable name of an arm: what was heard unless the fold alone, clusters and layer, updates, pooling."""
        words: list[str] = [] if self.audio == "fold" else [self.audio]
        words += [f"k{self.k}", f"l{self.layer}"] if self.aligned else ["tapt"]
        return [*words, f"u{self.units.updates}", self.pooling]
