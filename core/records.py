"""What a finished trial leaves on disk: `record.json` and `predictions.parquet`. The contract with `analysis`.

Shares lie in [0, 1]. Change the layout only together with SCHEMA_VERSION.
"""

from __future__ import annotations

__all__ = [
    "CLASS_METRICS",
    "CODE_DIFF",
    "DIMENSIONS",
    "DIMENSION_METRICS",
    "MASK_EXAMPLE",
    "RECONSTRUCTION",
    "SCHEMA_VERSION",
    "CorpusEntry",
    "CostEntry",
    "FoldMetrics",
    "InterimEntry",
    "MaskEntry",
    "MetricsEntry",
    "PretrainingEntry",
    "ProtocolEntry",
    "ProvenanceEntry",
    "Record",
    "read_predictions",
    "read_record",
    "write_record",
]

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from filelock import FileLock
from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from core.errors import BadInputError, FailureKind
from core.store import write_atomically

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION: Literal[4] = 4

CODE_DIFF = "code.diff"
"""Beside the record of a trial whose code was not that of its commit: the difference, for `git apply`."""

MASK_EXAMPLE = "mask_example.npz"
RECONSTRUCTION = "reconstruction.npz"
"""In a complete trial's folder, for the pictures in MLflow: one utterance and what the trial's policy chooses in it
(fbank); one of a held-out speaker and what the upstream makes of it (clean, seen, rebuilt). Images (T, n_mels); both
also hold intensity (T,), mask (T,), hop_ms, utterance, upstream.
"""

Split = Literal["validation", "test"]

DIMENSIONS = ("activation", "valence", "dominance")
"""What a system without classes predicts: columns `true_<dimension>` and `predicted_<dimension>`."""

CLASS_METRICS = ("ua", "wa", "macro_f1")
DIMENSION_METRICS = ("ccc_activation", "ccc_valence", "ccc_dominance", "ccc_mean")


class Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CorpusEntry(Entry):
    name: str
    fingerprint: str
    utterances: int
    quarantined: dict[str, int]
    """Reason → number of recordings set aside."""
    classes: tuple[str, ...]
    incomplete: str | None


class ProtocolEntry(Entry):
    folds: str
    """Scheme of the folds, e.g. `leave-one-session-out`."""
    n_folds: int
    validation: str
    pretraining_audio: Literal["fold", "external", "transductive"]
    pretraining_corpus: str
    transductive: bool
    leaks: tuple[str, ...]
    """Every known way in which information flows where it should not; empty when there is none."""


class MaskEntry(Entry):
    """The audit of what was really hidden during pre-training, over all folds."""

    policy: str
    nominal_ratio: float | None
    """None with policy `all`, which has neither ratio nor span."""
    realised_ratio: float
    span: int | None
    temperature: float | str | None
    intensity_share: float
    """Share of the intensity mass (minimum-shifted score) that was hidden; equals realised_ratio when uninformed."""
    intensity_z: float
    """Mean standardised intensity of the hidden frames (0 when uninformed)."""
    runs: dict[str, int]
    """Length of a contiguous hidden run in frames → how often it occurred."""
    hidden_frames: int
    valid_frames: int


class PretrainingEntry(Entry):
    """How well the finished upstreams rebuild hidden frames of speakers they never heard, without labels.

    Losses are mean absolute errors per feature value (features have unit variance within an utterance). The frames are
    drawn by the rule of policy `random` whatever the arm's own policy, so an arm and its twin are measured on the same
    ones; of NPC, which hides nothing in its input, every frame is measured. Over all upstreams, weighted by frames.
    """

    train_loss: float
    """Training loss of the features over the last tenth of the steps, under the arm's own policy."""
    validation_loss: float
    validation_by_quartile: tuple[float, float, float, float]
    """The same for the quarters of each utterance's frames from least to most intense: for control arms too by the
    track that is no control's, so an arm, its twin and its controls are measured on the same frames. Weighted by all
    frames of an upstream, not by those of the quarter."""
    speakers: int
    utterances: int
    frames: int
    """Frames the validation loss was measured on."""


class FoldMetrics(Entry):
    """The metrics of one fold's predictions: those of classes, or those of dimensions; the others are not in a file."""

    fold: str
    split: Split
    n: int
    ua: float | None = None
    wa: float | None = None
    macro_f1: float | None = None
    ccc_activation: float | None = None
    ccc_valence: float | None = None
    ccc_dominance: float | None = None
    ccc_mean: float | None = None
    """Mean of the three."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if set(self.scores) not in (set(CLASS_METRICS), set(DIMENSION_METRICS)):
            kinds = f"{', '.join(CLASS_METRICS)} or {', '.join(DIMENSION_METRICS)}"
            raise ValueError(f"metrics of a fold are {kinds}, not {', '.join(self.scores) or 'none'}")
        return self

    @model_serializer(mode="wrap")
    def _without_the_other_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {name: value for name, value in content.items() if value is not None}

    @property
    def scores(self) -> dict[str, float]:
        """Name → value of the metrics there are, in the order of `CLASS_METRICS` or `DIMENSION_METRICS`."""
        values = {name: getattr(self, name) for name in (*CLASS_METRICS, *DIMENSION_METRICS)}
        return {name: value for name, value in values.items() if value is not None}


class MetricsEntry(Entry):
    folds: tuple[FoldMetrics, ...]
    mean: dict[Split, dict[str, float]]
    """split → metric → mean over folds; `CLASS_METRICS`, or `DIMENSION_METRICS`."""
    pooled: dict[Split, dict[str, float]]
    """split → metric → over all folds' predictions at once: in one confusion matrix, or in one CCC."""


class CostEntry(Entry):
    steps: int
    frames: int
    left_out: int
    """Utterances shorter than `pretrain.min_frames`, which no upstream heard; summed over upstreams."""
    device_seconds: float
    """Training of upstreams and probe, over all legs of an interrupted trial; waiting and interim probes are not in
    it."""
    parameters: int | None = None
    """Trained parameters of one upstream; None in records before schema 3."""
    flops: float | None = None
    """Training cost by 6·N·D (Kaplan et al. 2020, §2.1): N parameters, D positions that went through them in all
    steps. The same on every machine."""


class InterimEntry(Entry):
    """A look at validation while an upstream was still in training, for early stopping."""

    step: int
    """Optimizer steps so far, over all upstreams of the trial."""
    ua: dict[str, float]
    """Fold → UA on its validation part; of folds whose upstream has not begun there is none."""

    @property
    def mean(self) -> float:
        """Mean over the folds looked at."""
        return sum(self.ua.values()) / len(self.ua)


class ProvenanceEntry(Entry):
    commit: str
    dirty: bool
    diff: str | None = None
    """SHA-256 of `code.diff` beside the record: what the files differ from the commit by; None where they do not."""
    packages: dict[str, str]
    hardware: str
    started: str
    ended: str


class Record(Entry):
    schema_version: Literal[1, 2, 3, 4] = SCHEMA_VERSION
    """2 added `pretraining`, `heard` and `fit`, and masks without ratio and span; 3 `failure`, `interim`, `artifacts`,
    costs that no clock measures, and the code's diff; 4 `counts`, and dimensions instead of classes."""
    trial_key: str
    status: Literal["complete", "pruned", "failed"]
    reason: str | None = None
    """Why it failed or was pruned."""
    failure: FailureKind | None = None
    """None unless `failed`; also None in records before schema 3."""
    system: str
    upstream: str
    arm: str
    """Readable name of the arm, e.g. `ems r0.15 t1 s7`."""
    arm_key: str
    """The trial key without its seed."""
    twin_key: str | None
    """Arm key of the twin; None for a twin itself."""
    seed: int
    corpus: CorpusEntry
    protocol: ProtocolEntry
    config: dict[str, Any]
    heard: CorpusEntry | None = None
    """What the upstream was pre-trained on, where that is another corpus."""
    fit: CorpusEntry | None = None
    """What the intensity model learnt from; None for imported scores."""
    mask: MaskEntry | None = None
    pretraining: PretrainingEntry | None = None
    metrics: MetricsEntry | None = None
    counts: dict[str, int] = {}
    """What the system set aside, hid or fell back on (`utterances without speech`), over all folds."""
    interim: tuple[InterimEntry, ...] = ()
    """In the order of steps; also of a pruned trial, up to where it was stopped."""
    cost: CostEntry | None = None
    """Of a pruned trial: up to where it was stopped, without `left_out` (0)."""
    artifacts: tuple[str, ...] = ()
    """`<stage>/<key>` in the store, of all that the trial was made from or has made."""
    provenance: ProvenanceEntry


def read_record(folder: Path) -> Record | None:
    """The record in `trials/<trial_key>/`, or None when the trial has not finished.

    Raises BadInputError when the file is there but is not a record of this schema.
    """
    path = folder / "record.json"
    if not path.exists():
        return None
    try:
        return Record.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadInputError(f"{path}: not a record of schema {SCHEMA_VERSION} ({place}: {first['msg']})") from error


def write_record(folder: Path, record: Record, predictions: pd.DataFrame | None, *, code_diff: bytes = b"") -> Record:
    """Write `predictions.parquet` and `code.diff` first, `record.json` last: a record on disk is a whole one.

    Columns of `predictions`: utterance, speaker, session, fold, split; then label, predicted, `score_<class>`, or, of a
    system that predicts dimensions, `true_<dimension>`, `predicted_<dimension>` on the corpus's scale. Returns the
    record that stands: a complete one stays when another is to say that the trial failed or was pruned, as when a
    worker that was given up for lost has ended well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".record.lock"):
        if record.status != "complete" and (earlier := _complete(folder)) is not None:
            return earlier
        if predictions is not None:
            write_atomically(folder / "predictions.parquet", predictions.to_parquet(index=False))
        if code_diff:
            write_atomically(folder / CODE_DIFF, code_diff)
        write_atomically(folder / "record.json", record.model_dump_json(indent=1).encode())
        if not code_diff:
            # Of an earlier end of this trial.
            (folder / CODE_DIFF).unlink(missing_ok=True)
    return record


def _complete(folder: Path) -> Record | None:
    """The record there if it is a complete one; what cannot be read is none."""
    try:
        record = read_record(folder)
    except BadInputError:
        return None
    return record if record is not None and record.status == "complete" else None


def read_predictions(folder: Path, *, split: Split) -> pd.DataFrame:
    """The per-utterance predictions of one split. Raises BadInputError when the trial left none."""
    import pandas as pd

    path = folder / "predictions.parquet"
    if not path.exists():
        raise BadInputError(f"{path}: no predictions; the trial is not complete")
    return pd.read_parquet(path, filters=[("split", "=", split)])
