"""The whole configuration of one trial: nested, frozen, checked at the field, unknown keys refused.

Fields are documented where they stand: what they mean, their unit, and the source of their default. `paper` values are
those of `core.presets`. Nothing here may name a path or a machine except `IntensityConfig.file` and what
`core.data_config` has, which content fingerprints replace before the trial key is made.
"""

from __future__ import annotations

__all__ = [
    "TRANSFORMERS",
    "ComputeConfig",
    "Config",
    "ControlName",
    "CorpusConfig",
    "CorpusName",
    "FeaturesConfig",
    "FoldsConfig",
    "IntensityConfig",
    "InterimConfig",
    "LabelSet",
    "MaskingConfig",
    "MockingjayConfig",
    "NpcConfig",
    "PretrainConfig",
    "PretrainingAudioConfig",
    "ProbeConfig",
    "RankingConfig",
    "ScoreConfig",
    "StrengthNetConfig",
    "SystemName",
    "TrialConfig",
    "UpstreamName",
]

import math
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from core.alignment_config import AlignmentConfig
from core.data_config import (
    AbsolutePath,
    Config,
    CorpusConfig,
    CorpusName,
    FeaturesConfig,
    FoldsConfig,
    LabelSet,
    PretrainingAudioConfig,
)
from core.sap_config import SapConfig
from core.teacher_config import TeacherConfig
from core.transformer_config import TransformerConfig
from core.upstream_config import MockingjayConfig, NpcConfig


def _read_infinity(value: object) -> object:
    return math.inf if value in ("inf", ".inf", "infinity", "∞") else value


ControlName = Literal["loudness", "shuffled", "rolled", "inverse"]

Temperature = Annotated[
    float,
    Field(gt=0, allow_inf_nan=True),
    BeforeValidator(_read_infinity),
    PlainSerializer(lambda value: "inf" if math.isinf(value) else value, when_used="json"),
]

UpstreamName = Literal["mockingjay", "npc", "hubert", "wavlm", "wav2vec2", "data2vec"]
TRANSFORMERS: tuple[UpstreamName, ...] = ("hubert", "wavlm", "wav2vec2", "data2vec")
"""Upstreams that come trained and hear the waveform itself."""

SystemName = Literal["ems", "sap", "frame_alignment", "teacher_student"]


class RankingConfig(Config):
    """Relative attributes (Parikh & Grauman 2011): the labels StrengthNet learns."""

    feature_set: Literal["IS09", "eGeMAPSv02"] = "IS09"
    """openSMILE functionals (StrengthNet: IS09, 384 dimensions)."""
    c: float = Field(default=1e-5, gt=0)
    """Weight of the violated order against the norm of the ranking direction (ours). Much larger values make strength
    an indicator of the class; at this one it keeps a spread within each emotion like that of the published scores."""
    pairs_per_class: int = Field(default=2000, ge=10)
    """Ordered pairs (emotional, neutral) and as many similar pairs drawn for each emotion (ours)."""
    strength: Literal["own", "any"] = "own"
    """An utterance's strength by the ranking of its own emotion (published), or the largest by any emotion's (ours)."""


class StrengthNetConfig(Config):
    """StrengthNet (Liu et al., Interspeech 2022)."""

    channels: tuple[int, int, int, int] = (16, 32, 64, 128)
    lstm: int = Field(default=128, ge=1)
    """Units per direction of each branch's BiLSTM."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    lr: float = Field(default=1e-4, gt=0)
    batch: int = Field(default=64, ge=1)
    max_epochs: int = Field(default=100, ge=1)
    patience: int = Field(default=30, ge=1)
    """Epochs without a better validation loss before training stops."""
    crop_s: float | None = Field(default=None, gt=0.2)
    """Longest stretch per utterance and epoch, in seconds; None trains on whole utterances (published)."""
    validation_speakers: int = Field(default=2, ge=1)
    """Speakers held out of the fit to stop by (ours: the paper's split is by utterance)."""
    level: Literal["speaker", "utterance"] = "speaker"
    """What is brought to one level before the net hears it (both ours; the released code takes audio as it is): each
    speaker, so that louder stays louder, or each utterance, so that only voice, pitch and timing tell."""
    scale: Literal["magnitude", "log"] = "magnitude"
    """Mel magnitudes (published), or their compressed logarithm less the speaker's mean of each band (ours)."""
    trim: bool = False
    """Whether silence before and after the speech is cut off for the net; scores are held there (ours)."""


class IntensityConfig(Config):
    """Where each frame's emotional intensity comes from."""

    source: Literal["strengthnet", "external"] = "strengthnet"
    fit: CorpusConfig | None = None
    """`strengthnet` only: the corpus whose labels the model learns. Where it is also the corpus that is scored, two
    models are fitted on disjoint halves of its speakers and each scores the other half (ours)."""
    file: AbsolutePath | None = None
    """`external` only: CSV `file_path,score`, scores separated by spaces."""
    hop_ms: float | None = Field(default=None, gt=0)
    """`external` only: hop of the imported scores."""
    control: Literal["none"] | ControlName = "none"
    """A deliberately uninformed track in place of the source's: log energy; within each utterance the source shuffled
    in time, or rolled in time by a random offset (ours: as smooth as the source, so what is hidden has as long runs);
    or one minus the source."""
    ranking: RankingConfig = RankingConfig()
    strengthnet: StrengthNetConfig = StrengthNetConfig()
    seed: int = Field(default=0, ge=0)
    """Seed of the intensity model: one track serves all trials."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of the fit, which runs once for all trials: sums are split by thread, so it belongs to the key."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.source == "external") != (self.file is not None and self.hop_ms is not None):
            raise ValueError("file, hop_ms: both are needed by source 'external' and by no other")
        if (self.source == "strengthnet") != (self.fit is not None):
            raise ValueError(
                f"fit: the corpus to learn from is needed by source 'strengthnet' and by no other ({self.source!r})"
            )
        return self


class MaskingConfig(Config):
    """Which frames are hidden (Mockingjay), or enter the loss (NPC, whose mask is a hole in its convolutions; ours)."""

    policy: Literal["random", "ems", "ems_topk", "random_nominal", "random_as_topk", "all"] = "ems"
    """`ems` and its twin `random` hide exactly the share `ratio` in disjoint spans (ours). `ems_topk` is the published
    emotional rule and `random_nominal` the toolkits' usual one, both with overlapping spans that hide less than `ratio`
    says; `random_as_topk` hides the runs that `ems_topk` would, at random places (ours). `all`: no choice, every
    frame enters the loss (NPC as published; refused for Mockingjay)."""
    ratio: float = Field(default=0.15, gt=0, lt=1)
    """Share of the valid frames that is hidden: realised by `random` and `ems`, nominal for the others."""
    span: int = Field(default=7, ge=1, le=200)
    """Length of one hidden span, in feature frames; where `frame_alignment` adapts a model, `core.unit_batches` says in
    what."""
    temperature: Temperature | None = None
    """`ems` only, and needed there: spans are drawn with probability ∝ exp(z/temperature); `inf` is random masking."""
    zero: float = Field(default=0.8, ge=0, le=1)
    """Mockingjay: share of utterances whose hidden frames become zero (published: 80 %)."""
    replace: float = Field(default=0.1, ge=0, le=1)
    """Mockingjay: share of utterances whose hidden frames are replaced by other spans (published: 10 %); the rest is
    left as is."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.policy == "ems") != (self.temperature is not None):
            raise ValueError(f"temperature: needed by policy 'ems' and by no other (policy {self.policy!r})")
        if self.zero + self.replace > 1:
            raise ValueError(f"zero + replace: {self.zero + self.replace} is over 1")
        return self


class ScoreConfig(Config):
    """Intensity inside the upstream, as EMS was released; both off is plain masked reconstruction. Whatever is on, the
    probe sees plain features."""

    added_to_input: bool = False
    """Mockingjay: the score of each frame, hidden where the frame is, is added to all its features (published)."""
    head: bool = False
    """A second reconstruction loss of equal weight. Mockingjay: the same Transformer runs on the hidden score alone and
    a second, identical head rebuilds the score. NPC: a second linear head predicts score + features (published)."""

    @property
    def used(self) -> bool:
        return self.added_to_input or self.head


class PretrainConfig(Config):
    """The pre-training loop (defaults: the toolkit version of Mockingjay; NPC's are in `core.presets`)."""

    steps: int = Field(default=1_000_000, ge=1)
    batch: int = Field(default=16, ge=1)
    """Utterances per optimizer step."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Utterances per forward pass; None: the whole batch at once. Gradients are accumulated."""
    max_frames: int = Field(default=1500, ge=20)
    """Longer utterances are cropped to this many frames, at a start drawn per step."""
    min_frames: int = Field(default=200, ge=10)
    """Shorter utterances are left out of pre-training and counted in the record."""
    lr: float = Field(default=2e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.07, ge=0, lt=1)
    """Share of the steps with linearly rising learning rate."""
    decay: Literal["linear", "none"] = "linear"
    """After the warm-up the learning rate falls linearly to zero (BERT, Mockingjay), or stays (NPC)."""
    clip: float = Field(default=5.0, gt=0)
    """Largest gradient norm."""
    validation_utterances: int = Field(default=64, ge=1)
    """At most this many utterances of the held-out speakers, drawn once, measure the validation loss (ours)."""
    report_every: int = Field(default=1000, ge=1)
    """Steps between two reported losses, training and validation."""
    checkpoint_every: int = Field(default=5000, ge=1)
    """Steps between two checkpoints."""
    seed: int | None = Field(default=None, ge=0)
    """Seed of the upstreams, where they are those of an earlier trial; None: the trial's own."""


class ProbeConfig(Config):
    """SUPERB's emotion head on frozen features."""

    projection: int = Field(default=256, ge=1)
    steps: int = Field(default=30_000, ge=1)
    batch: int = Field(default=32, ge=1)
    lr: float = Field(default=1e-4, gt=0)
    evaluate_every: int = Field(default=500, ge=1)
    """Steps between two looks at the validation part; the best of them (first on ties) is tested."""
    select_by: Literal["ua", "wa"] = "ua"


class InterimConfig(Config):
    """Looks at validation while upstreams train, for early stopping. They change no result: no part of the key."""

    at: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Optimizer steps, counted over all upstreams of the trial, after which the probe is fitted on the weights as they
    are and looks at validation only."""
    probe_steps: int = Field(default=200, ge=1)
    """Steps of such a probe."""


class ComputeConfig(Config):
    """What of the machine can change a result's last digits, and therefore belongs to the trial key."""

    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(default=1, ge=1)
    """CPU threads of one trial: sums are split by thread."""
    autocast: Literal["auto", "off"] = "auto"
    """Of pre-training; everything else is in float32. `auto`: bfloat16 where the device has it in hardware (CUDA),
    float32 elsewhere."""


class TrialConfig(Config):
    """One trial: one arm under one seed."""

    system: SystemName = "ems"
    upstream: UpstreamName = "mockingjay"
    corpus: CorpusConfig = CorpusConfig()
    folds: FoldsConfig = FoldsConfig()
    features: FeaturesConfig = FeaturesConfig()
    intensity: IntensityConfig = IntensityConfig(fit=CorpusConfig(name="demo", part="intensity"))
    pretraining_audio: PretrainingAudioConfig = PretrainingAudioConfig()
    masking: MaskingConfig = MaskingConfig(policy="ems", temperature=1.0)
    score: ScoreConfig = ScoreConfig()
    mockingjay: MockingjayConfig = MockingjayConfig()
    """Upstream `mockingjay` only."""
    npc: NpcConfig = NpcConfig()
    """Upstream `npc` only."""
    transformer: TransformerConfig = TransformerConfig()
    """Upstreams `hubert`, `wavlm`, `wav2vec2` and `data2vec` only."""
    pretrain: PretrainConfig = PretrainConfig()
    probe: ProbeConfig = ProbeConfig()
    sap: SapConfig = SapConfig()
    """System `sap` only."""
    alignment: AlignmentConfig = AlignmentConfig()
    """System `frame_alignment` only."""
    teacher: TeacherConfig = TeacherConfig()
    """System `teacher_student` only."""
    interim: InterimConfig = InterimConfig()
    compute: ComputeConfig = ComputeConfig()
    seed: int = Field(default=0, ge=0)

    @property
    def pretrains(self) -> bool:
        """Whether the trial trains its upstreams itself, from features, by hiding frames of them."""
        return self.upstream not in TRANSFORMERS

    @property
    def pretraining_seed(self) -> int:
        """Of everything that is drawn for the upstreams: weights, masks, order, held-out speakers."""
        return self.seed if self.pretrain.seed is None else self.pretrain.seed

    @property
    def masks(self) -> bool:
        """Whether anything is hidden from the upstream; `frame_alignment` hides positions of any."""
        return self.pretrains or self.system == "frame_alignment"

    @property
    def looks_at_intensity(self) -> bool:
        """Whether emotional intensity chooses the hidden frames or enters the upstream."""
        masking = self.masking
        weighed = masking.policy == "ems" and masking.temperature is not None and not math.isinf(masking.temperature)
        return self.masks and (weighed or masking.policy == "ems_topk" or (self.pretrains and self.score.used))

    @property
    def needs_intensity(self) -> bool:
        """Whether a track is made: always where an upstream is trained, whose audit needs one."""
        return self.pretrains or self.looks_at_intensity or (self.masks and self.masking.policy == "random_as_topk")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.masks:
            return self
        if self.upstream != "npc" and self.masking.policy == "all":
            hidden_from = "Mockingjay" if self.upstream == "mockingjay" else self.upstream
            raise ValueError(f"masking.policy: 'all' would hide every frame from {hidden_from}; it is a policy of npc")
        if self.upstream == "npc" and self.score.added_to_input:
            raise ValueError("score.added_to_input: how the score enters NPC was never published; mockingjay only")
        fit = self.intensity.fit
        if self.needs_intensity and fit is not None and fit.name == "demo" and self.corpus.name != "demo":
            raise ValueError(
                f"intensity.fit.name: the demo corpus is synthetic; name the real corpus whose labels the intensity "
                f"model for {self.corpus.name!r} shall learn"
            )
        return self
