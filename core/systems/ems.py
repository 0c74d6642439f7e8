"""EMS (Liu & Ma 2024) as a chain of stages: features → intensity → pretrain → embed → probe."""

from __future__ import annotations

__all__ = ["SharedInputs", "StageResult", "prepare", "run", "write_mask_example"]

import json
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.batches import Batches
from core.config import TrialConfig
from core.corpora.folds import Fold
from core.embed import utterance_means
from core.features import Features, make_features
from core.identity import Json, code_version, digest
from core.intensity.tracks import make_track
from core.masking import MaskAudit, draw_mask
from core.models.mockingjay import Mockingjay
from core.pretrain import pretrain, replay
from core.probe import FoldIndex, ProbeResult, fit_probe
from core.progress import LogMetrics, Progress
from core.resolve import TRIAL_MODULES, Corpora
from core.seeding import stream
from core.store import Artifact, Workspace, write_atomically

MODEL_MODULES = ("core.models.mockingjay", "core.seeding")
PRETRAIN_MODULES = (
    *MODEL_MODULES,
    "core.batches",
    "core.bucketing",
    "core.masking",
    "core.pretrain",
    "core.systems.ems",
)
EMBED_MODULES = (*MODEL_MODULES, "core.embed", "core.systems.ems")
# What makes an artifact is the code imported now, whatever happens to its files while a long trial runs.
for _modules in (PRETRAIN_MODULES, EMBED_MODULES, TRIAL_MODULES):
    code_version(_modules)
WHOLE = "all"
"""Name of the one upstream that serves every fold."""


@dataclass(frozen=True, kw_only=True)
class SharedInputs:
    """What all trials of a grid share: features of both corpora and the intensity track of the heard one."""

    evaluated: Artifact
    heard: Artifact
    track: Artifact


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What the chain leaves for the record."""

    probe: ProbeResult
    audit: MaskAudit
    steps: int
    frames: int
    left_out: int
    """Utterances shorter than `min_frames`, over all upstreams."""
    seconds: float
    """Time on the device for training upstreams and probe, over all legs."""


def prepare(config: TrialConfig, corpora: Corpora, workspace: Workspace, *, progress: Progress) -> SharedInputs:
    """Make (or find) the features and the intensity track."""
    evaluated = make_features(corpora.evaluated, config.features, workspace, progress=progress)
    heard = make_features(corpora.heard, config.features, workspace, progress=progress)
    track = make_track(
        corpora.heard, heard, config.intensity, config.features, workspace, threads=config.intensity.threads,
        progress=progress,
    )  # fmt: skip
    return SharedInputs(evaluated=evaluated, heard=heard, track=track)


def run(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs, log: LogMetrics,
    progress: Progress,
) -> Generator[None, None, StageResult]:  # fmt: skip
    """Run the chain, yielding now and then while under way; the generator's value is the result.

    With `fold` as pre-training audio each fold gets an upstream of its own, which heard its train part only.
    """
    audit, notes, means = MaskAudit(), [], []
    for name, utterances in _pretraining_parts(config, corpora):
        model_artifact = yield from _pretrain_stage(config, workspace, shared, utterances, log=_named(log, name))
        notes.append(_pretraining_notes(model_artifact))
        audit.add(MaskAudit.from_json(notes[-1]["audit"]))
        means.append(_embed_stage(config, workspace, shared, model_artifact, progress=progress))
        yield
    began = time.monotonic()
    probe = _probe(config, corpora, shared, np.stack(means) if len(means) > 1 else means[0], log=log)
    return StageResult(
        probe=probe,
        audit=audit,
        steps=sum(note["steps"] for note in notes),
        frames=sum(note["frames"] for note in notes),
        left_out=sum(note["left_out"] for note in notes),
        seconds=sum(note["seconds"] for note in notes) + time.monotonic() - began,
    )


def _pretraining_parts(config: TrialConfig, corpora: Corpora) -> list[tuple[str, tuple[str, ...]]]:
    if config.pretraining_audio.source == "fold":
        return [(f"fold{place}", fold.train) for place, fold in enumerate(corpora.folds.folds, start=1)]
    return [(WHOLE, tuple(utterance.utterance for utterance in corpora.heard.utterances))]


def _named(log: LogMetrics, name: str) -> LogMetrics:
    """Curves of fold-wise upstreams carry the fold's number: its name may hold what no metric name may."""
    if name == WHOLE:
        return log
    return lambda values, step: log({f"{metric}/{name}": value for metric, value in values.items()}, step)


def _pretrain_stage(
    config: TrialConfig, workspace: Workspace, shared: SharedInputs, utterances: Sequence[str], *, log: LogMetrics
) -> Generator[None, None, Artifact]:
    """Pre-train one upstream, or find it; the generator's value is its artifact (`weights.pt`, `pretraining.json`)."""
    settings: dict[str, Json] = {
        "utterances": digest(list(utterances)),
        "masking": config.masking.model_dump(mode="json"),
        "mockingjay": config.mockingjay.model_dump(mode="json"),
        "pretrain": config.pretrain.model_dump(mode="json", exclude={"report_every", "checkpoint_every"}),
        "compute": config.compute.model_dump(mode="json"),
        "seed": config.seed,
    }
    inputs = [shared.heard.key, shared.track.key]
    with workspace.store.claim("pretrain", settings=settings, inputs=inputs, modules=PRETRAIN_MODULES) as claim:
        if claim.done:
            # Trained for another trial, or before an interruption: this one's curve is the same.
            replay(_pretraining_notes(claim.artifact)["curve"], log)
        else:
            features = Features.open(shared.heard.path)
            batches = Batches(
                features, _track(shared), utterances, pretrain=config.pretrain, seed=config.seed
            )  # fmt: skip
            checkpoint = claim.scratch / "checkpoint.pt"
            state = yield from pretrain(batches, config, dims=features.dims, checkpoint=checkpoint, log=log)
            torch.save(
                {name: value.cpu() for name, value in state.model.state_dict().items()}, claim.out / "weights.pt"
            )
            notes = state.to_json() | {"left_out": batches.left_out}
            write_atomically(claim.out / "pretraining.json", json.dumps(notes).encode())
    return claim.artifact


def _pretraining_notes(upstream: Artifact) -> dict[str, Any]:
    """`Pretraining.to_json` of the finished upstream, and how many utterances were left out."""
    notes: dict[str, Any] = json.loads((upstream.path / "pretraining.json").read_text())
    return notes


def _track(shared: SharedInputs) -> NDArray[np.float32]:
    track: NDArray[np.float32] = np.load(shared.track.path / "track.npy", mmap_mode="r")
    return track


def _embed_stage(
    config: TrialConfig, workspace: Workspace, shared: SharedInputs, upstream: Artifact, *, progress: Progress
) -> NDArray[np.float32]:
    settings: dict[str, Json] = {
        "mockingjay": config.mockingjay.model_dump(mode="json"),
        "compute": config.compute.model_dump(mode="json"),
    }
    inputs = [upstream.key, shared.evaluated.key]
    with workspace.store.claim("embed", settings=settings, inputs=inputs, modules=EMBED_MODULES) as claim:
        if not claim.done:
            features = Features.open(shared.evaluated.path)
            model = Mockingjay(features.dims, config.mockingjay)
            model.load_state_dict(torch.load(upstream.path / "weights.pt", map_location="cpu", weights_only=True))
            device = torch.device(config.compute.device)
            means_ULH = utterance_means(model, features, device=device, progress=progress)
            np.save(claim.out / "means.npy", means_ULH)
    means: NDArray[np.float32] = np.load(claim.artifact.path / "means.npy")
    return means


def _probe(
    config: TrialConfig, corpora: Corpora, shared: SharedInputs, means: NDArray[np.float32], *, log: LogMetrics
) -> ProbeResult:
    order = {name: place for place, name in enumerate(Features.open(shared.evaluated.path).utterances)}
    label_of = {utterance.utterance: utterance.label for utterance in corpora.evaluated.utterances}
    return fit_probe(
        means, [label_of[name] for name in order], [_positions(fold, order) for fold in corpora.folds.folds],
        corpora.evaluated.classes, config=config.probe, seed=config.seed,
        device=torch.device(config.compute.device), log=log,
    )  # fmt: skip


def _positions(fold: Fold, order: dict[str, int]) -> FoldIndex:
    def positions(part: Sequence[str]) -> NDArray[np.int64]:
        return np.array([order[name] for name in part], dtype=np.int64)

    return FoldIndex(
        name=fold.name,
        train=positions(fold.train),
        validation=positions(fold.validation),
        test=positions(fold.test),
    )


def write_mask_example(config: TrialConfig, shared: SharedInputs, path: Path) -> None:
    """One utterance with its intensity and the mask this trial's policy draws on it, for the picture in MLflow."""
    features, track = Features.open(shared.heard.path), _track(shared)
    longest_first = np.argsort(-features.lengths, kind="stable")
    place = int(longest_first[len(longest_first) // 2])
    start, length = int(features.offsets[place]), int(features.lengths[place])
    intensity_T = np.asarray(track[start : start + length], dtype=np.float32)
    count, position = (stream(config.seed, f"mask-example-{name}", place) for name in ("count", "place"))
    mask_T = draw_mask(intensity_T, config.masking, count=count, place=position)
    fbank_TD = features.frames_at(slice(start, start + length)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path, fbank=fbank_TD[:, : config.features.n_mels], intensity=intensity_T, mask=mask_T,
        hop_ms=config.features.hop_ms, utterance=features.utterances[place],
    )  # fmt: skip
