"""The upstreams of a trial: what they are trained from, trained or found, one for all folds or one per fold.

Every system begins with these stages, so a trial of any system shares its upstreams with the EMS trials that have the
same settings.
"""

from __future__ import annotations

__all__ = [
    "LOOP_MODULES", "Pretrained", "SharedInputs", "Training", "pretrain_modules", "pretrain_recipe",
    "pretrain_upstreams", "prepare", "settings_of", "shared_artifacts", "trained_upstream", "upstream_artifacts",
    "upstream_keys", "write_examples",
]  # fmt: skip

import io
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from core.batches import Batches
from core.config import TRANSFORMERS, IntensityConfig, TrialConfig, UpstreamName
from core.corpora.manifest import Manifest
from core.features import Features, make_features
from core.heard import WHOLE, HeardPart, heard_parts
from core.identity import Json, code_version, digest
from core.intensity.tracks import make_track
from core.interim import looks_modules, looks_of
from core.masking import MaskAudit, draw_mask
from core.model_files import model_fingerprint, model_of
from core.models.build import build_upstream
from core.models.upstream import Upstream
from core.pretrain import Looks, Reached, pretrain, replay
from core.progress import LogMetrics, Progress
from core.records import MASK_EXAMPLE, RECONSTRUCTION
from core.references import reachable, rendered
from core.resolve import Corpora, meaningful_settings, upstream_modules
from core.seeding import stream
from core.store import Artifact, Claim, Recipe, Workspace, write_atomically
from core.underway import Tally, Underway
from core.validation import HeldOut, Quality

LOOP_MODULES = (
    "core.batches", "core.bucketing", "core.masking", "core.pretrain", "core.seeding", "core.upstreams",
    "core.validation",
)  # fmt: skip


def pretrain_modules(upstream: UpstreamName) -> tuple[str, ...]:
    """Code that makes the weights of this upstream."""
    return (*upstream_modules(upstream), *LOOP_MODULES)


# What makes an artifact is the code imported now, whatever happens to its files while a long trial runs.
for _name in get_args(UpstreamName):
    for _modules in (pretrain_modules(_name), looks_modules(_name)):
        code_version(_modules)


@dataclass(frozen=True, kw_only=True)
class SharedInputs:
    """What all trials of a grid share: features of both corpora and the intensity of the heard one.

    An upstream that hears the waveform itself needs no features of the evaluated corpus: `evaluated` then stands for
    the corpus, by its fingerprint, and is no folder; the others are None unless intensity chooses what is hidden.
    """

    corpus: Manifest
    """The evaluated one."""
    evaluated: Artifact
    heard: Artifact | None
    track: Artifact | None
    source: Artifact | None
    """The track that is not a control's; `track` itself but for control arms."""

    @property
    def pretraining(self) -> tuple[Artifact, Artifact, Artifact]:
        """`heard`, `track` and `source`, of a trial that trains its upstreams itself."""
        assert self.heard is not None
        assert self.track is not None
        assert self.source is not None
        return self.heard, self.track, self.source


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the upstreams of a trial were trained."""

    audit: MaskAudit
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


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """The finished upstreams of a trial."""

    upstreams: tuple[Artifact, ...]
    """One for all folds, or one per fold in their order. One that came trained stands for the model's files, by what
    they hold, and is no folder."""
    training: Training | None
    """None of an upstream that came trained."""


def prepare(config: TrialConfig, corpora: Corpora, workspace: Workspace, *, progress: Progress) -> SharedInputs:
    """Make (or find) the features and the intensity track, as far as the trial needs them."""
    corpus = corpora.evaluated
    if config.pretrains:
        evaluated = make_features(corpus, config.features, workspace, progress=progress)
    else:
        evaluated = _standing_for("corpus", corpus.fingerprint, workspace)
    if not config.needs_intensity:
        return SharedInputs(corpus=corpus, evaluated=evaluated, heard=None, track=None, source=None)
    heard = make_features(corpora.heard, config.features, workspace, progress=progress)

    def track(intensity: IntensityConfig) -> Artifact:
        return make_track(
            corpora.heard, heard, intensity, config.features, workspace, threads=intensity.threads, progress=progress
        )

    source = track(config.intensity.model_copy(update={"control": "none"}))
    own = source if config.intensity.control == "none" else track(config.intensity)
    return SharedInputs(corpus=corpus, evaluated=evaluated, heard=heard, track=own, source=source)


def _standing_for(kind: str, key: str, workspace: Workspace) -> Artifact:
    """A name among artifacts for what lies outside the store."""
    return Artifact(stage=kind, key=key, path=workspace.store.root / kind / key)


def shared_artifacts(corpora: Corpora, workspace: Workspace, *, shared: SharedInputs) -> tuple[str, ...]:
    """`<stage>/<key>` of what trials share, and of all that it was made from."""
    manifests = [manifest for manifest in (corpora.evaluated, corpora.heard, corpora.fit) if manifest]
    inputs = (shared.heard, shared.track, shared.source)
    made = [artifact for artifact in (shared.evaluated, *inputs) if artifact and artifact.path.exists()]
    return (*reachable(workspace.store, made), *rendered(workspace.store, manifests))


def pretrain_upstreams(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs, tally: Tally, log: LogMetrics,
) -> Generator[Underway, None, Pretrained]:  # fmt: skip
    """Train the upstreams of a trial, or find them; the generator's value says what came out.

    With `fold` as pre-training audio each fold gets an upstream of its own, which heard its train part only. One that
    came trained serves all folds.
    """
    if not config.pretrains:
        return Pretrained(upstreams=(_published(config, workspace),), training=None)
    upstreams: list[Artifact] = []
    parts = heard_parts(config, corpora.heard, corpora.folds)
    for place, part in enumerate(parts):
        looks = looks_of(config, corpora, shared.evaluated, place=place, upstreams=len(parts))
        upstream = yield from _upstream(
            config, workspace, shared, part, looks=looks, tally=tally, log=_named(log, part.name)
        )
        upstreams.append(upstream)
        yield tally.now()
    return _pretrained(upstreams, parts)


def upstream_artifacts(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs
) -> tuple[str, ...]:
    """`<stage>/<key>` of the upstreams that the trial trains, or finds; one that came trained is no artifact."""
    if not config.pretrains:
        return ()
    return tuple(f"pretrain/{key}" for key in upstream_keys(config, corpora, workspace, shared=shared))


def upstream_keys(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs
) -> tuple[str, ...]:
    """Keys of the upstreams that `pretrain_upstreams` will give, trained already or not."""
    if not config.pretrains:
        return (_published(config, workspace).key,)
    parts = heard_parts(config, corpora.heard, corpora.folds)
    return tuple(pretrain_recipe(config, shared, part).key(workspace.store) for part in parts)


def _published(config: TrialConfig, workspace: Workspace) -> Artifact:
    key = digest([config.upstream, model_fingerprint(model_of(config))])
    return _standing_for("published", key, workspace)


def _pretrained(upstreams: Sequence[Artifact], parts: Sequence[HeardPart]) -> Pretrained:
    audit, notes = MaskAudit(), [_pretraining_notes(upstream) for upstream in upstreams]
    for note in notes:
        audit.add(MaskAudit.from_json(note["audit"]))
    training = Training(
        audit=audit,
        train_loss=float(np.mean([note["final_loss"] for note in notes])),
        qualities=tuple(Quality(**note["quality"]) for note in notes),
        held_out_speakers=len({speaker for part in parts for speaker in part.speakers}),
        reconstruction=upstreams[0].path / RECONSTRUCTION,
        left_out=sum(note["left_out"] for note in notes),
    )
    return Pretrained(upstreams=tuple(upstreams), training=training)


def _named(log: LogMetrics, name: str) -> LogMetrics:
    """Curves of fold-wise upstreams carry the fold's number: its name may hold what no metric name may."""
    if name == WHOLE:
        return log
    return lambda values, step: log({f"{metric}/{name}": value for metric, value in values.items()}, step)


def pretrain_recipe(config: TrialConfig, shared: SharedInputs, part: HeardPart) -> Recipe:
    """What one upstream is made from, and with which code."""
    config = _as_trained(config)
    settings: dict[str, Json] = {
        "utterances": digest(list(part.train)),
        "held_out": digest(list(part.held_out)),
        **settings_of(config, "upstream", config.upstream, "masking", "score", "pretrain", "compute", "seed"),
    }
    inputs = [artifact.key for artifact in shared.pretraining]
    return Recipe(stage="pretrain", settings=settings, inputs=inputs, modules=pretrain_modules(config.upstream))


def _as_trained(config: TrialConfig) -> TrialConfig:
    """The config of the trial whose upstreams these are: they know one seed, wherever it is written."""
    pretrain = config.pretrain.model_copy(update={"seed": None})
    return config.model_copy(update={"seed": config.pretraining_seed, "pretrain": pretrain})


def _upstream(
    config: TrialConfig, workspace: Workspace, shared: SharedInputs, part: HeardPart, *, looks: Looks, tally: Tally,
    log: LogMetrics,
) -> Generator[Underway, None, Artifact]:  # fmt: skip
    """Pre-train one upstream, or find it; the generator's value is its artifact.

    Found, it was trained for another trial, or before an interruption: this one's curve is the same. Looks that were
    not made then are left out, but for that through the last weights, which are still there.
    """
    with pretrain_recipe(config, shared, part).claim(workspace.store) as claim:
        if claim.done:
            notes = _pretraining_notes(claim.artifact)
            replay(notes["curve"], log)
            yield from (tally.at(Reached.of(look)) for look in looks.known(notes["looks"]))
        else:
            yield from _train(_as_trained(config), shared, part, claim, looks=looks, tally=tally, log=log)
    notes = _pretraining_notes(claim.artifact)
    seen = {look["step"]: look["ua"] for look in looks.known(notes["looks"])}
    last = Reached(step=notes["steps"], frames=notes["frames"], seconds=notes["seconds"], ua=seen.get(notes["steps"]))
    if last.step in looks.at and last.ua is None:
        last = replace(last, ua=looks.look(trained_upstream(config, shared, claim.artifact)))
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
    heard, own_track, source = shared.pretraining
    features, track = Features.open(heard.path), _scores(own_track)
    batches = Batches(features, track, part.train, config=config)
    held_out = HeldOut(features, part.held_out, config, track=track, source=_scores(source))
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


def settings_of(config: TrialConfig, *names: str) -> dict[str, Json]:
    """These parts of the config, as far as they mean something, for the key of a stage.

    The name of an upstream that came trained says nothing here: its own part names a place, its key what lies there.
    """
    content = meaningful_settings(config)
    return {name: content[name] for name in names if name == "upstream" or name not in TRANSFORMERS}


def _pretraining_notes(upstream: Artifact) -> dict[str, Any]:
    """`Pretraining.to_json` of the finished upstream, and how many utterances were left out."""
    notes: dict[str, Any] = json.loads((upstream.path / "pretraining.json").read_text())
    return notes


def _scores(track: Artifact) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = np.load(track.path / "track.npy", mmap_mode="r")
    return scores


def trained_upstream(config: TrialConfig, shared: SharedInputs, upstream: Artifact) -> Upstream:
    """A finished upstream that was trained here, with its last weights, on the CPU."""
    model = build_upstream(config, Features.open(shared.pretraining[0].path).dims)
    model.load_state_dict(torch.load(upstream.path / "weights.pt", map_location="cpu", weights_only=True))
    return model


def write_examples(config: TrialConfig, shared: SharedInputs, result: Training, folder: Path) -> None:
    """Write what the pictures in MLflow show: `RECONSTRUCTION`, and `MASK_EXAMPLE`, one heard utterance with its
    intensity and the mask this trial's policy draws on it.
    """
    write_atomically(folder / RECONSTRUCTION, result.reconstruction.read_bytes())
    heard, own_track, _ = shared.pretraining
    features, track = Features.open(heard.path), _scores(own_track)
    longest_first = np.argsort(-features.lengths, kind="stable")
    place = int(longest_first[len(longest_first) // 2])
    start, length = int(features.offsets[place]), int(features.lengths[place])
    intensity_T = np.asarray(track[start : start + length], dtype=np.float32)
    count, position = (stream(config.pretraining_seed, f"mask-example-{name}", place) for name in ("count", "place"))
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
