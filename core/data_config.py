"""What a trial hears: corpora, folds, features, pre-training audio; and the root of the config tree.

Fields are documented where they stand, as in `core.config`. Nothing may name a path or a machine except
`CorpusConfig.root` and `FoldsConfig.file`, which are replaced by content fingerprints before the trial key is made.
"""

from __future__ import annotations

__all__ = [
    "AbsolutePath",
    "Config",
    "CorpusConfig",
    "CorpusName",
    "FeaturesConfig",
    "FoldsConfig",
    "LabelSet",
    "ModelName",
    "PretrainingAudioConfig",
]

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from core.units import SAMPLE_RATE


class Config(BaseModel):
    """Root of the config tree: immutable, unknown keys and numbers that are not finite refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
"""A path as the user's shell sees it: workers run in folders of their own."""


def _anchor_folder(name: str) -> str:
    # Unlike Path.expanduser it raises for no user that is unknown.
    path = Path(os.path.expanduser(name))  # noqa: PTH111
    return str(path.absolute()) if name.startswith((".", "/", "~")) or path.is_dir() else name


ModelName = Annotated[str, Field(min_length=1), AfterValidator(_anchor_folder)]
"""A folder as the user's shell sees it, where the name begins with `.`, `/` or `~` or there is such a folder; else
whatever the setting calls its models by (a name on the Hugging Face hub)."""

CorpusName = Literal[
    "demo", "iemocap", "ravdess", "emodb", "esd", "crema-d", "msp-podcast", "kemdy19", "librispeech", "table"
]  # fmt: skip
LabelSet = Literal["merged-4", "plain-4", "excited-5", "frustrated-5", "all", "dimensions"]


class CorpusConfig(Config):
    """One corpus on disk."""

    name: CorpusName = "demo"
    root: AbsolutePath | None = None
    """Folder of the corpus (for `table`: the CSV file); None only for `demo`, which is rendered into the workspace."""
    part: Literal["main", "intensity", "noisy", "pauses"] = "main"
    """`demo` only: the evaluated part, or the disjoint part with other voices for fitting intensity models. With other
    utterances of the first part's voices: `noisy`, whose dimensions one careless rater labelled, and `pauses`, in which
    some utterances are nearly all speech and others nearly all silence."""
    subset: str | None = None
    """Only a part of the corpus, by its own name for it: `improvised` or `scripted` (IEMOCAP, KEMDy19), `english`
    or `mandarin` (ESD), a split such as `Train` (MSP-Podcast), a folder such as `train-clean-360` (LibriSpeech). None:
    all of it."""
    labels: LabelSet | None = None
    """Which label set, where the corpus has several; None is the usual one (the loader of the corpus says which).
    `dimensions` keeps every utterance with activation, valence and dominance (not KEMDy19's), and no class."""
    allow_incomplete: bool = False
    """Accept an IEMOCAP whose counts are not the published ones; every table then says so."""
    allow_quarantined: bool = False
    """Accept files in the ledger that are not known quirks of the published corpus."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name == "demo" and self.root is not None:
            raise ValueError(f"root: the demo corpus is rendered, it has no folder (got {self.root})")
        if self.name != "demo" and self.root is None:
            raise ValueError(f"root: corpus {self.name!r} needs its folder")
        if self.name != "demo" and self.part != "main":
            raise ValueError(f"part: only the demo corpus has parts (got {self.part!r} for {self.name!r})")
        return self


class FoldsConfig(Config):
    """How speakers are divided into train, validation and test."""

    scheme: Literal["leave-one-session-out", "leave-one-speaker-out", "speaker-folds", "file"] = "leave-one-session-out"
    k: int = Field(default=5, ge=3)
    """Number of folds of `speaker-folds`."""
    file: AbsolutePath | None = None
    """`file` only: JSON that maps fold name to its test speakers; all other speakers are training."""
    validation: Literal["next-fold", "superb"] = "next-fold"
    """`next-fold`: the speakers tested in the next fold (ours). `superb`: 20 % of the training utterances at random,
    same speakers (SUPERB; leaky, and labelled so)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.scheme == "file") != (self.file is not None):
            raise ValueError(
                f"file: needed by scheme 'file' and by no other (scheme {self.scheme!r}, file {self.file})"
            )
        return self


class FeaturesConfig(Config):
    """Kaldi filter banks; the defaults are those of Mockingjay's toolkit version (papers: 240 dimensions)."""

    n_mels: int = Field(default=80, ge=4, le=128)
    frame_length_ms: float = Field(default=25.0, gt=0, le=100)
    hop_ms: float = Field(default=10.0, gt=0, le=50)
    """A whole number of samples: what it lasts is then what is said everywhere of a frame's time."""
    deltas: Literal[0, 1, 2] = 2
    """How many orders of time derivatives are appended."""
    normalise: Literal["utterance", "fixed"] = "utterance"
    """`utterance`: each dimension to zero mean and unit deviation over all frames of the utterance, pauses included
    (the toolkit's): the more pause, the higher all speech stands, and the mean over all frames is 0 whatever was said.
    `fixed`: by constants, so that a frame is the same whatever surrounds it (ours; see `core.features.FIXED`)."""

    @field_validator("hop_ms")
    @classmethod
    def _whole_samples(cls, hop_ms: float) -> float:
        samples = hop_ms * SAMPLE_RATE / 1000
        if samples != round(samples):
            nearest = max(round(samples), 1) * 1000 / SAMPLE_RATE
            raise ValueError(
                f"{hop_ms:g} ms are {samples:g} samples at {SAMPLE_RATE} Hz; only whole samples, so multiples of "
                f"{1000 / SAMPLE_RATE:g} ms, can be hopped (nearest: {nearest:g})"
            )
        return hop_ms

    @property
    def dims(self) -> int:
        return self.n_mels * (1 + self.deltas)


class PretrainingAudioConfig(Config):
    """What the upstream hears before the probe."""

    source: Literal["fold", "external", "transductive"] = "fold"
    """`fold`: only the train part, one upstream per fold. `external`: another corpus. `transductive`: the audio of the
    evaluated corpus, the test part's included; every table says so. The last two leave `held_out_speakers` out."""
    corpus: CorpusConfig | None = None
    """`external` only."""
    held_out_speakers: int = Field(default=1, ge=1)
    """Speakers of the heard corpus that are never trained on and on which the reconstruction is validated (ours). With
    `fold` and `next-fold` they are the fold's validation speakers instead."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.source == "external") != (self.corpus is not None):
            raise ValueError(f"corpus: needed by source 'external' and by no other (source {self.source!r})")
        return self
