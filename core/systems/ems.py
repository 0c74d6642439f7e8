"""EMS: shared inputs → pretrain → embed → probe; each step an artifact of its own, shared by trials that need it."""

from __future__ import annotations

__all__ = ["artifacts_of", "run"]

import io
import time
from collections.abc import Generator
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from core.config import TrialConfig, UpstreamName
from core.embed import utterance_means
from core.features import Features
from core.heard import heard_parts
from core.identity import code_version
from core.predictions import class_predictions
from core.pretrain import trained_parameters
from core.probe import ProbeResult, fit_probe, fold_index
from core.progress import LogMetrics, Progress
from core.resolve import Corpora, upstream_modules
from core.store import Artifact, Recipe, Workspace, write_atomically
from core.systems.outcome import Outcome
from core.underway import Tally, Underway
from core.upstreams import SharedInputs, pretrain_recipe, pretrain_upstreams, settings_of, trained_upstream


def _embed_modules(upstream: UpstreamName) -> tuple[str, ...]:
    return (*upstream_modules(upstream), "core.embed", "core.systems.ems")


# What makes an artifact is the code imported now, whatever happens to its files while a long trial runs.
for _name in get_args(UpstreamName):
    code_version(_embed_modules(_name))


def artifacts_of(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs
) -> tuple[str, ...]:
    """`<stage>/<key>` of what the chain makes itself, made already or not."""
    store, own = workspace.store, []
    for part in heard_parts(config, corpora.heard, corpora.folds):
        upstream = pretrain_recipe(config, shared, part).key(store)
        own += [f"pretrain/{upstream}", f"embed/{_embed_recipe(config, shared, upstream).key(store)}"]
    return tuple(own)


def run(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs, log: LogMetrics,
    progress: Progress,
) -> Generator[Underway, None, Outcome]:  # fmt: skip
    """Run the chain, yielding now and then while under way; the generator's value is the outcome."""
    tally = Tally(config=config, parameters=trained_parameters(config, config.features.dims), log=log)
    pretrained = yield from pretrain_upstreams(config, corpora, workspace, shared=shared, tally=tally, log=log)
    means = [_embed(config, workspace, shared, upstream, progress=progress) for upstream in pretrained.upstreams]
    began = time.monotonic()
    probe = _probe(config, corpora, shared, np.stack(means) if len(means) > 1 else means[0], log=log)
    yield tally.spent(time.monotonic() - began)
    return Outcome(
        predictions=class_predictions(corpora, probe.scores_KUC),
        pretrained=pretrained,
        spent=tally.now(),
        interim=tuple(tally.entries),
    )


def _embed_recipe(config: TrialConfig, shared: SharedInputs, upstream: str) -> Recipe:
    settings = settings_of(config, "upstream", config.upstream, "compute")
    inputs = (upstream, shared.evaluated.key)
    return Recipe(stage="embed", settings=settings, inputs=inputs, modules=_embed_modules(config.upstream))


def _embed(
    config: TrialConfig, workspace: Workspace, shared: SharedInputs, upstream: Artifact, *, progress: Progress
) -> NDArray[np.float32]:
    with _embed_recipe(config, shared, upstream.key).claim(workspace.store) as claim:
        if not claim.done:
            features = Features.open(shared.evaluated.path)
            device = torch.device(config.compute.device)
            model = trained_upstream(config, shared, upstream)
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
        means, [label_of[name] for name in order], [fold_index(fold, order) for fold in corpora.folds.folds],
        corpora.evaluated.classes, config=config.probe, seed=config.seed,
        device=torch.device(config.compute.device), log=log,
    )  # fmt: skip
