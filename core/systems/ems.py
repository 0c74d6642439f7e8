"""EMS: shared inputs → pretrain → embed → probe; each step an artifact of its own, shared by trials that need it."""

from __future__ import annotations

__all__ = ["artifacts_of", "run", "stages_of"]

import io
import time
from collections.abc import Generator
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from core.audio_states import AudioStates
from core.config import TrialConfig, UpstreamName
from core.embed import utterance_means
from core.features import Features
from core.frames import chosen_layers
from core.identity import code_version
from core.predictions import class_predictions
from core.pretrain import trained_parameters
from core.probe import ProbeResult, fit_probe, fold_index
from core.progress import LogMetrics, Progress
from core.resolve import Corpora, upstream_modules
from core.store import Artifact, Recipe, Workspace, write_atomically
from core.systems.outcome import Outcome, Stages
from core.underway import Tally, Underway
from core.upstreams import (
    SharedInputs,
    pretrain_upstreams,
    settings_of,
    trained_upstream,
    upstream_artifacts,
    upstream_keys,
)


def _embed_modules(upstream: UpstreamName) -> tuple[str, ...]:
    return (*upstream_modules(upstream), "core.embed", "core.systems.ems")


# What makes an artifact is the code imported now, whatever happens to its files while a long trial runs.
for _name in get_args(UpstreamName):
    code_version(_embed_modules(_name))


def artifacts_of(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs
) -> tuple[str, ...]:
    """`<stage>/<key>` of what the chain makes itself, made already or not."""
    own = upstream_artifacts(config, corpora, workspace, shared=shared)
    return (*own, *stages_of(config, corpora, workspace, shared=shared)["embed"])


def stages_of(config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs) -> Stages:
    """Which artifacts the chain makes after its upstreams, by kind."""
    upstreams = upstream_keys(config, corpora, workspace, shared=shared)
    embeddings = [_embed_recipe(config, shared, key).key(workspace.store) for key in upstreams]
    return {"embed": tuple(f"embed/{key}" for key in embeddings)}


def run(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs, log: LogMetrics,
    progress: Progress,
) -> Generator[Underway, None, Outcome]:  # fmt: skip
    """Run the chain, yielding now and then while under way; the generator's value is the outcome."""
    tally = Tally(config=config, parameters=trained_parameters(config, config.features.dims), log=log)
    pretrained = yield from pretrain_upstreams(config, corpora, workspace, shared=shared, tally=tally, log=log)
    means = [_embed(config, workspace, shared, upstream, progress=progress) for upstream in pretrained.upstreams]
    began = time.monotonic()
    probe = _probe(config, corpora, np.stack(means) if len(means) > 1 else means[0], log=log)
    yield tally.spent(time.monotonic() - began)
    return Outcome(
        predictions=class_predictions(corpora, probe.scores_KUC),
        pretrained=pretrained,
        spent=tally.now(),
        interim=tuple(tally.entries),
    )


def _embed_recipe(config: TrialConfig, shared: SharedInputs, upstream: str) -> Recipe:
    settings = settings_of(config, "upstream", config.upstream, "compute")
    if not config.pretrains:
        settings["layers"] = config.transformer.layers
    inputs = (upstream, shared.evaluated.key)
    return Recipe(stage="embed", settings=settings, inputs=inputs, modules=_embed_modules(config.upstream))


def _embed(
    config: TrialConfig, workspace: Workspace, shared: SharedInputs, upstream: Artifact, *, progress: Progress
) -> NDArray[np.float32]:
    with _embed_recipe(config, shared, upstream.key).claim(workspace.store) as claim:
        if not claim.done:
            packed = io.BytesIO()
            np.save(packed, _means(config, shared, upstream, progress=progress))
            write_atomically(claim.out / "means.npy", packed.getvalue())
    means: NDArray[np.float32] = np.load(claim.artifact.path / "means.npy")
    return means


def _means(config: TrialConfig, shared: SharedInputs, upstream: Artifact, *, progress: Progress) -> NDArray[np.float32]:
    """Utterance means of the exposed layers, (U, L, H), in the corpus's order."""
    if config.pretrains:
        features, device = Features.open(shared.evaluated.path), torch.device(config.compute.device)
        return utterance_means(trained_upstream(config, shared, upstream), features, device=device, progress=progress)
    audio = AudioStates(config)
    chosen = list(chosen_layers(config.transformer.layers, exposed=audio.model.layers))
    return np.stack([states_PLH[:, chosen].mean(0) for _, states_PLH in audio.over(shared.corpus, progress=progress)])


def _probe(config: TrialConfig, corpora: Corpora, means: NDArray[np.float32], *, log: LogMetrics) -> ProbeResult:
    utterances = corpora.evaluated.utterances
    order = {utterance.utterance: place for place, utterance in enumerate(utterances)}
    return fit_probe(
        means, [utterance.label for utterance in utterances], [fold_index(fold, order) for fold in corpora.folds.folds],
        corpora.evaluated.classes, config=config.probe, seed=config.seed,
        device=torch.device(config.compute.device), log=log,
    )  # fmt: skip
