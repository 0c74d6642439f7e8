"""EMS (Liu & Ma 2024) as a chain of stages: features → intensity → pretrain → embed → probe."""

from __future__ import annotations

__all__ = ["SharedInputs", "StageResult", "prepare", "run", "write_examples"]

import json
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from core.batches import Batches
from core.config import IntensityConfig, TrialConfig, UpstreamName
from core.corpora.folds import Fold
from core.embed import utterance_means
from core.features import Features, make_features
from core.heard import WHOLE, HeardPart, heard_parts
from core.identity import Json, code_version, digest
from core.intensity.tracks import make_track
from core.masking import MaskAudit, draw_mask
from core.models.build import build_upstream
from core.pretrain import pretrain, replay
from core.probe import FoldIndex, ProbeResult, fit_probe
from core.progress import LogMetrics, Progress
from core.records import MASK_EXAMPLE, RECONSTRUCTION
from core.resolve import Corpora, meaningful_settings, trial_modules, upstream_modules
from core.seeding import stream
from core.store import Artifact, Workspace, write_atomically
from core.validation import HeldOut, Quality

LOOP_MODULES = (
    "core.batches", "core.bucketing", "core.masking", "core.pretrain", "core.seeding", "core.systems.ems",
    "core.validation",
)  # fmt: skip


def _pretrain_modules(upstream: UpstreamName) -> tuple[str, ...]:
    return (*upstream_modules(upstream), *LOOP_MODULES)


def _embed_modules(upstream: UpstreamName) -> tuple[str, ...]:
    return (*upstream_modules(upstream), "core.embed", "core.systems.ems")


# What makes an artifact is the code imported now, whatever happens to its files while a long trial runs.
for _name in get_args(UpstreamName):
    for _modules in (_pretrain_modules(_name), _embed_modules(_name), trial_modules(_name)):
        code_version(_modules)


@dataclass(frozen=True, kw_only=True)
class SharedInputs:
    """What all trials of a grid share: features of both corpora and the intensity of the heard one.

    `source`: the track that is not a control's; `track` itself but for control arms.
    """

    evaluated: Artifact
    heard: Artifact
    track: Artifact
    source: Artifact


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What the chain leaves for the record."""

    probe: ProbeResult
    audit: MaskAudit
    steps: int
    frames: int
    train_loss: float
    """Of the features, over the last tenth of the steps; mean over upstreams."""
    qualities: tuple[Quality, ...]
    """How each upstream rebuilds its held-out speakers."""
    held_out_speakers: int
    """How many different ones, over all upstreams."""
    reconstruction: Path
    """The first upstream's example for the picture."""
    left_out: int
    """Utterances shorter than `min_frames`, over all upstreams."""
    seconds: float
    """Time on the device for training upstreams and probe, over all legs."""


def prepare(config: TrialConfig, corpora: Corpora, workspace: Workspace, *, progress: Progress) -> SharedInputs:
    """Make (or find) the features and the intensity track."""
    evaluated = make_features(corpora.evaluated, config.features, workspace, progress=progress)
    heard = make_features(corpora.heard, config.features, workspace, progress=progress)

    def track(intensity: IntensityConfig) -> Artifact:
        return make_track(
            corpora.heard, heard, intensity, config.features, workspace, threads=intensity.threads, progress=progress
        )

    source = track(config.intensity.model_copy(update={"control": "none"}))
    own = source if config.intensity.control == "none" else track(config.intensity)
    return SharedInputs(evaluated=evaluated, heard=heard, track=own, source=source)


def run(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs, log: LogMetrics,
    progress: Progress,
) -> Generator[None, None, StageResult]:  # fmt: skip
    """Run the chain, yielding now and then while under way; the generator's value is the result.

    With `fold` as pre-training audio each fold gets an upstream of its own, which heard its train part only.
    """
    upstreams, means = [], []
    parts = heard_parts(config, corpora.heard, corpora.folds)
    for part in parts:
        upstream = yield from _pretrain_stage(config, workspace, shared, part, log=_named(log, part.name))
        upstreams.append(upstream)
        means.append(_embed_stage(config, workspace, shared, upstream, progress=progress))
        yield
    began = time.monotonic()
    probe = _probe(config, corpora, shared, np.stack(means) if len(means) > 1 else means[0], log=log)
    return _result(probe, upstreams, parts, seconds=time.monotonic() - began)


def _result(
    probe: ProbeResult, upstreams: Sequence[Artifact], parts: Sequence[HeardPart], *, seconds: float
) -> StageResult:
    audit, notes = MaskAudit(), [_pretraining_notes(upstream) for upstream in upstreams]
    for note in notes:
        audit.add(MaskAudit.from_json(note["audit"]))
    return StageResult(
        probe=probe,
        audit=audit,
        steps=sum(note["steps"] for note in notes),
        frames=sum(note["frames"] for note in notes),
        train_loss=float(np.mean([note["final_loss"] for note in notes])),
        qualities=tuple(Quality(**note["quality"]) for note in notes),
        held_out_speakers=len({speaker for part in parts for speaker in part.speakers}),
        reconstruction=upstreams[0].path / RECONSTRUCTION,
        left_out=sum(note["left_out"] for note in notes),
        seconds=sum(note["seconds"] for note in notes) + seconds,
    )


def _named(log: LogMetrics, name: str) -> LogMetrics:
    """Curves of fold-wise upstreams carry the fold's number: its name may hold what no metric name may."""
    if name == WHOLE:
        return log
    return lambda values, step: log({f"{metric}/{name}": value for metric, value in values.items()}, step)


def _pretrain_stage(
    config: TrialConfig, workspace: Workspace, shared: SharedInputs, part: HeardPart, *, log: LogMetrics
) -> Generator[None, None, Artifact]:
    """Pre-train one upstream, or find it; the generator's value is its artifact.

    In it: `weights.pt`, `pretraining.json` (`Pretraining.to_json`, left_out) and `reconstruction.npz`, an example.
    """
    settings: dict[str, Json] = {
        "utterances": digest(list(part.train)),
        "held_out": digest(list(part.held_out)),
        **_settings(config, "upstream", config.upstream, "masking", "score", "pretrain", "compute", "seed"),
    }
    inputs = [shared.heard.key, shared.track.key, shared.source.key]
    modules = _pretrain_modules(config.upstream)
    with workspace.store.claim("pretrain", settings=settings, inputs=inputs, modules=modules) as claim:
        if claim.done:
            # Trained for another trial, or before an interruption: this one's curve is the same.
            replay(_pretraining_notes(claim.artifact)["curve"], log)
        else:
            features, track = Features.open(shared.heard.path), _scores(shared.track)
            batches = Batches(features, track, part.train, config=config)
            held_out = HeldOut(features, part.held_out, config, track=track, source=_scores(shared.source))
            checkpoint = claim.scratch / "checkpoint.pt"
            state = yield from pretrain(
                batches, held_out, config, dims=features.dims, checkpoint=checkpoint, log=log
            )  # fmt: skip
            example = held_out.example(state.model, torch.device(config.compute.device))
            np.savez_compressed(claim.out / RECONSTRUCTION, **example)
            torch.save(
                {name: value.cpu() for name, value in state.model.state_dict().items()}, claim.out / "weights.pt"
            )
            notes = state.to_json(config.pretrain) | {"left_out": batches.left_out}
            write_atomically(claim.out / "pretraining.json", json.dumps(notes).encode())
    return claim.artifact


def _settings(config: TrialConfig, *names: str) -> dict[str, Json]:
    content = meaningful_settings(config)
    return {name: content[name] for name in names}


def _pretraining_notes(upstream: Artifact) -> dict[str, Any]:
    """`Pretraining.to_json` of the finished upstream, and how many utterances were left out."""
    notes: dict[str, Any] = json.loads((upstream.path / "pretraining.json").read_text())
    return notes


def _scores(track: Artifact) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = np.load(track.path / "track.npy", mmap_mode="r")
    return scores


def _embed_stage(
    config: TrialConfig, workspace: Workspace, shared: SharedInputs, upstream: Artifact, *, progress: Progress
) -> NDArray[np.float32]:
    settings = _settings(config, "upstream", config.upstream, "compute")
    inputs = [upstream.key, shared.evaluated.key]
    with workspace.store.claim(
        "embed", settings=settings, inputs=inputs, modules=_embed_modules(config.upstream)
    ) as claim:
        if not claim.done:
            features = Features.open(shared.evaluated.path)
            model = build_upstream(config, features.dims)
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


def write_examples(config: TrialConfig, shared: SharedInputs, result: StageResult, folder: Path) -> None:
    """Write what the pictures in MLflow show: `RECONSTRUCTION`, and `MASK_EXAMPLE`, one heard utterance with its
    intensity and the mask this trial's policy draws on it.
    """
    write_atomically(folder / RECONSTRUCTION, result.reconstruction.read_bytes())
    features, track = Features.open(shared.heard.path), _scores(shared.track)
    longest_first = np.argsort(-features.lengths, kind="stable")
    place = int(longest_first[len(longest_first) // 2])
    start, length = int(features.offsets[place]), int(features.lengths[place])
    intensity_T = np.asarray(track[start : start + length], dtype=np.float32)
    count, position = (stream(config.seed, f"mask-example-{name}", place) for name in ("count", "place"))
    mask_T = draw_mask(intensity_T, config.masking, count=count, place=position)
    fbank_TD = features.frames_at(slice(start, start + length)).astype(np.float32)
    np.savez_compressed(
        folder / MASK_EXAMPLE, fbank=fbank_TD[:, : config.features.n_mels], intensity=intensity_T, mask=mask_T,
        hop_ms=config.features.hop_ms, utterance=features.utterances[place], upstream=config.upstream,
    )  # fmt: skip
