"""EMS (Liu & Ma 2024) as a chain of stages: features → intensity → pretrain → embed → probe."""

from __future__ import annotations

__all__ = ["SharedInputs", "StageResult", "artifacts_of", "prepare", "run", "write_examples"]

import io
import json
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from core.interim import looks_modules, looks_of
from core.masking import MaskAudit, draw_mask
from core.models.build import build_upstream
from core.models.upstream import Upstream
from core.pretrain import Looks, Reached, pretrain, replay, trained_parameters
from core.probe import FoldIndex, ProbeResult, fit_probe
from core.progress import LogMetrics, Progress
from core.records import MASK_EXAMPLE, RECONSTRUCTION, InterimEntry
from core.references import reachable, rendered
from core.resolve import Corpora, meaningful_settings, trial_modules, upstream_modules
from core.seeding import stream
from core.store import Artifact, Claim, Recipe, Workspace, write_atomically
from core.underway import Tally, Underway
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
    for _modules in (_pretrain_modules(_name), _embed_modules(_name), trial_modules(_name), looks_modules(_name)):
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
    parameters: int
    """Trained ones of one upstream."""
    flops: float
    interim: tuple[InterimEntry, ...]


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


def artifacts_of(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs
) -> tuple[str, ...]:
    """`<stage>/<key>` of all that the trial needs, made already or not, sorted."""
    store = workspace.store
    made_from = reachable(store, (shared.evaluated, shared.heard, shared.track, shared.source))
    manifests = [manifest for manifest in (corpora.evaluated, corpora.heard, corpora.fit) if manifest]
    own = []
    for part in heard_parts(config, corpora.heard, corpora.folds):
        upstream = _pretrain_recipe(config, shared, part).key(store)
        own += [f"pretrain/{upstream}", f"embed/{_embed_recipe(config, shared, upstream).key(store)}"]
    return tuple(sorted({*made_from, *rendered(store, manifests), *own}))


def run(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs, log: LogMetrics,
    progress: Progress,
) -> Generator[Underway, None, StageResult]:  # fmt: skip
    """Run the chain, yielding now and then while under way; the generator's value is the result.

    With `fold` as pre-training audio each fold gets an upstream of its own, which heard its train part only.
    """
    upstreams, means = [], []
    parts = heard_parts(config, corpora.heard, corpora.folds)
    tally = Tally(config=config, parameters=trained_parameters(config, config.features.dims), log=log)
    for place, part in enumerate(parts):
        looks = looks_of(config, corpora, shared.evaluated, place=place, upstreams=len(parts))
        upstream = yield from _upstream(
            config, workspace, shared, part, looks=looks, tally=tally, log=_named(log, part.name)
        )
        upstreams.append(upstream)
        means.append(_embed(config, workspace, shared, upstream, progress=progress))
        yield tally.now()
    began = time.monotonic()
    probe = _probe(config, corpora, shared, np.stack(means) if len(means) > 1 else means[0], log=log)
    yield tally.probed(time.monotonic() - began)
    return _result(probe, upstreams, parts, tally=tally)


def _result(
    probe: ProbeResult, upstreams: Sequence[Artifact], parts: Sequence[HeardPart], *, tally: Tally
) -> StageResult:
    audit, notes = MaskAudit(), [_pretraining_notes(upstream) for upstream in upstreams]
    for note in notes:
        audit.add(MaskAudit.from_json(note["audit"]))
    spent = tally.now()
    return StageResult(
        probe=probe,
        audit=audit,
        steps=spent.step,
        frames=spent.frames,
        train_loss=float(np.mean([note["final_loss"] for note in notes])),
        qualities=tuple(Quality(**note["quality"]) for note in notes),
        held_out_speakers=len({speaker for part in parts for speaker in part.speakers}),
        reconstruction=upstreams[0].path / RECONSTRUCTION,
        left_out=sum(note["left_out"] for note in notes),
        seconds=spent.seconds,
        parameters=spent.parameters,
        flops=spent.flops,
        interim=tuple(tally.entries),
    )


def _named(log: LogMetrics, name: str) -> LogMetrics:
    """Curves of fold-wise upstreams carry the fold's number: its name may hold what no metric name may."""
    if name == WHOLE:
        return log
    return lambda values, step: log({f"{metric}/{name}": value for metric, value in values.items()}, step)


def _pretrain_recipe(config: TrialConfig, shared: SharedInputs, part: HeardPart) -> Recipe:
    settings: dict[str, Json] = {
        "utterances": digest(list(part.train)),
        "held_out": digest(list(part.held_out)),
        **_settings(config, "upstream", config.upstream, "masking", "score", "pretrain", "compute", "seed"),
    }
    inputs = (shared.heard.key, shared.track.key, shared.source.key)
    return Recipe(stage="pretrain", settings=settings, inputs=inputs, modules=_pretrain_modules(config.upstream))


def _embed_recipe(config: TrialConfig, shared: SharedInputs, upstream: str) -> Recipe:
    settings = _settings(config, "upstream", config.upstream, "compute")
    inputs = (upstream, shared.evaluated.key)
    return Recipe(stage="embed", settings=settings, inputs=inputs, modules=_embed_modules(config.upstream))


def _upstream(
    config: TrialConfig, workspace: Workspace, shared: SharedInputs, part: HeardPart, *, looks: Looks, tally: Tally,
    log: LogMetrics,
) -> Generator[Underway, None, Artifact]:  # fmt: skip
    """Pre-train one upstream, or find it; the generator's value is its artifact.

    Found, it was trained for another trial, or before an interruption: this one's curve is the same. Looks that were
    not made then are left out, but for that through the last weights, which are still there.
    """
    with _pretrain_recipe(config, shared, part).claim(workspace.store) as claim:
        if claim.done:
            notes = _pretraining_notes(claim.artifact)
            replay(notes["curve"], log)
            yield from (tally.at(Reached.of(look)) for look in looks.known(notes["looks"]))
        else:
            yield from _train(config, shared, part, claim, looks=looks, tally=tally, log=log)
    notes = _pretraining_notes(claim.artifact)
    seen = {look["step"]: look["ua"] for look in looks.known(notes["looks"])}
    last = Reached(step=notes["steps"], frames=notes["frames"], seconds=notes["seconds"], ua=seen.get(notes["steps"]))
    if last.step in looks.at and last.ua is None:
        last = replace(last, ua=looks.look(_trained(config, shared, claim.artifact)))
        yield tally.at(last)
    tally.end(last)
    return claim.artifact


def _train(
    config: TrialConfig, shared: SharedInputs, part: HeardPart, claim: Claim, *, looks: Looks, tally: Tally,
    log: LogMetrics,
) -> Generator[Underway, None, None]:  # fmt: skip
    """Make the artifact of an upstream: `weights.pt`, `pretraining.json` (`Pretraining.to_json`, left_out) and
    `reconstruction.npz`, an example.
    """
    features, track = Features.open(shared.heard.path), _scores(shared.track)
    batches = Batches(features, track, part.train, config=config)
    held_out = HeldOut(features, part.held_out, config, track=track, source=_scores(shared.source))
    checkpoint = claim.scratch / "checkpoint.pt"
    state = yield from tally.follow(
        pretrain(batches, held_out, config, dims=features.dims, checkpoint=checkpoint, log=log, looks=looks)
    )
    example = held_out.example(state.model, torch.device(config.compute.device))
    _write_images(claim.out / RECONSTRUCTION, example)
    # Through memory: on a full disk torch and NumPy name no reason when they write themselves.
    weights = io.BytesIO()
    torch.save({name: value.cpu() for name, value in state.model.state_dict().items()}, weights)
    write_atomically(claim.out / "weights.pt", weights.getvalue())
    notes = state.to_json(config.pretrain) | {"left_out": batches.left_out}
    write_atomically(claim.out / "pretraining.json", json.dumps(notes).encode())


def _write_images(path: Path, content: Mapping[str, Any]) -> None:
    packed = io.BytesIO()
    np.savez_compressed(packed, **content)
    write_atomically(path, packed.getvalue())


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


def _trained(config: TrialConfig, shared: SharedInputs, upstream: Artifact) -> Upstream:
    """A finished upstream with its last weights, on the CPU."""
    model = build_upstream(config, Features.open(shared.heard.path).dims)
    model.load_state_dict(torch.load(upstream.path / "weights.pt", map_location="cpu", weights_only=True))
    return model


def _embed(
    config: TrialConfig, workspace: Workspace, shared: SharedInputs, upstream: Artifact, *, progress: Progress
) -> NDArray[np.float32]:
    with _embed_recipe(config, shared, upstream.key).claim(workspace.store) as claim:
        if not claim.done:
            features = Features.open(shared.evaluated.path)
            device = torch.device(config.compute.device)
            model = _trained(config, shared, upstream)
            means_ULH = utterance_means(model, features, device=device, progress=progress)
            packed = io.BytesIO()
            np.save(packed, means_ULH)
            write_atomically(claim.out / "means.npy", packed.getvalue())
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
    example = {
        "fbank": fbank_TD[:, : config.features.n_mels],
        "intensity": intensity_T,
        "mask": mask_T,
        "hop_ms": config.features.hop_ms,
        "utterance": features.utterances[place],
        "upstream": config.upstream,
    }
    _write_images(folder / MASK_EXAMPLE, example)
