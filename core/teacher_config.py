"""Settings of Cross-modal conditional teacher–student training (Srinivasan, Huang, Kirchhoff, ICASSP 2022)."""

from __future__ import annotations

__all__ = ["PACKAGED_TEXT_MODEL", "TeacherConfig"]

import math
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer

from core.data_config import AbsolutePath, Config, ModelName

PACKAGED_TEXT_MODEL = "minilm"
"""all-MiniLM-L6-v2 out of the Python package that carries it: needs no network and no path."""


def _read_infinity(value: object) -> object:
    return math.inf if value in ("inf", ".inf", "infinity", "∞") else value


def _width(name: str, value: float) -> str:
    return "unconditional" if math.isinf(value) else f"{name}{value:g}"


Width = Annotated[
    float,
    Field(gt=0, allow_inf_nan=True),
    BeforeValidator(_read_infinity),
    PlainSerializer(lambda value: "inf" if math.isinf(value) else value, when_used="json"),
]
"""In standard deviations of the training labels, so that one value means the same on every scale (ours)."""

TextModel = Annotated[Literal["minilm"] | ModelName, Field(union_mode="left_to_right")]
"""`minilm` stays that even where a folder has its name."""


class TeacherConfig(Config):
    """A teacher that hears the speech and reads the words; a student that only hears. Both regress the dimensions.

    The published weighting was not found: both rules here are ours, after Meng et al. 2019.
    """

    weighting: Literal["none", "soft", "hard", "teacher"] = "soft"
    """How far the student follows the teacher. `soft`: beside its own 1 − CCC, pulled towards each output of the
    teacher by exp(−|t − y| / sigma). `hard`: learns t where |t − y| ≤ tau, else the label y. `none`: no teacher (the
    twin). `teacher`: no student; the teacher itself is tested, with the transcripts: a reference without twin, since it
    knows more at test than any student."""
    modality: Literal["speech+text", "speech"] = "speech+text"
    """What the teacher is given. With `speech` it knows nothing that the student does not hear: what such a student
    gains is not the words', but that of learning from another model's outputs (ours)."""
    sigma: Width = 1.0
    """`soft` only; `inf` trusts the teacher everywhere (unconditional)."""
    tau: Width = 1.0
    """`hard` only; `inf` trusts the teacher everywhere (unconditional)."""
    weight: float = Field(default=1.0, gt=0)
    """`soft` only: λ, the weight of the mean of q · (s − t)² over batch and dimensions."""
    outputs: Literal["out-of-fold", "in-sample"] = "out-of-fold"
    """What the teacher says of a training utterance: `out-of-fold`, by a teacher that knows no label of its speaker;
    `in-sample`, by one that was trained on its label, and every table says so."""
    inner_folds: int = Field(default=3, ge=2)
    """`out-of-fold` only: speaker-disjoint parts of the train part, each left out by one teacher."""
    text_model: TextModel = PACKAGED_TEXT_MODEL
    """Frozen text encoder: `minilm`, a folder (`./minilm` where it has that name), or a name on the hub."""
    transcripts: AbsolutePath | None = None
    """CSV `utterance,transcript`; None: the corpus's own."""
    projection: int = Field(default=256, ge=1)
    """Width of speech positions before the GRU, and of the words beside its summary."""
    hidden: int = Field(default=256, ge=1)
    """Units of the GRU that summarises the positions (published: a GRU; its size was not found)."""
    reduce: int = Field(default=1, ge=1)
    """Consecutive positions of the upstream that are averaged before the GRU (ours, for its cost)."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Before the last layer."""
    steps: int = Field(default=10_000, ge=1)
    """Of each teacher and each student."""
    batch: int = Field(default=32, ge=2)
    """Utterances; CCC is taken over the batch."""
    lr: float = Field(default=3e-4, gt=0)
    clip: float = Field(default=1.0, gt=0)
    """Largest gradient norm."""
    evaluate_every: int = Field(default=250, ge=1)
    """Steps between two looks at the validation part; the best mean CCC of them (first on ties) is kept."""

    @property
    def reads(self) -> bool:
        """Whether there is a teacher who reads the words."""
        return self.weighting != "none" and self.modality == "speech+text"

    def plain(self) -> Self:
        """The twin's settings: a student without teacher, everything else the same. A tested teacher has no twin."""
        return self if self.weighting == "teacher" else self.model_copy(update={"weighting": "none"})

    def words(self) -> list[str]:
        """The readable name of an arm of this system.

        >>> TeacherConfig(weighting="soft", sigma=0.5).words()
        ['soft', 'sigma0.5', 'weight1']
        >>> TeacherConfig(weighting="hard", tau=math.inf).words()
        ['hard', 'unconditional']
        """
        own = {
            "soft": [_width("sigma", self.sigma), f"weight{self.weight:g}"],
            "hard": [_width("tau", self.tau)],
        }.get(self.weighting, [])
        seen = ["in-sample"] if self.weighting in ("soft", "hard") and self.outputs == "in-sample" else []
        heard = ["speech-teacher"] if self.weighting != "none" and not self.reads else []
        return ["no-teacher" if self.weighting == "none" else self.weighting, *own, *heard, *seen]

    def unused(self) -> dict[str, str]:
        """Settings of this part that can change nothing, by name → why."""
        unused: dict[str, str] = {}
        if self.weighting != "soft":
            unused |= dict.fromkeys(("sigma", "weight"), f"weighting {self.weighting!r} weighs no teacher softly")
        if self.weighting != "hard":
            unused["tau"] = f"weighting {self.weighting!r} has no threshold"
        if self.weighting == "none":
            unused["modality"] = "weighting 'none' has no teacher"
        if not self.reads:
            unused |= dict.fromkeys(("text_model", "transcripts"), "there is no teacher who reads words")
        if self.weighting in ("none", "teacher"):
            unused["outputs"] = f"weighting {self.weighting!r} teaches no student"
        if "outputs" in unused or self.outputs == "in-sample":
            unused["inner_folds"] = "no teacher is trained without a part of the speakers"
        return unused

    def leaks(self) -> tuple[str, ...]:
        """What a record must say of where information flows."""
        if self.outputs == "in-sample" and "outputs" not in self.unused():
            return ("the teacher was trained on the labels of the utterances it teaches (in-sample)",)
        if self.weighting == "teacher" and self.reads:
            return ("the tested teacher (a reference) reads the transcripts of the test part, as no student does",)
        return ()
