"""SAP: upstreams → frame states, speech flags → pooling with the probe over it; each step an artifact of its own.

A linear pooling on a frozen upstream is exact on utterance means, so its head is the probe of EMS on pooled vectors,
all folds in one solve; a pooling that is learnt is trained with its head on frame states, one fold after the other.

U utterances, C classes.
"""

from __future__ import annotations

__all__ = ["artifacts_of", "run", "stages_of"]

import io
import json
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.config import TrialConfig
from core.corpora.folds import Fold
from core.errors import BadInputError
from core.frames import Frames, chosen_layers, frames_keys, make_frames
from core.identity import Json, code_version, digest
from core.model_files import model_folder, model_of, model_settings
from core.models.build import build_upstream
from core.models.pooling import Pooling
from core.pooled_probe import fit_pooled_head
from core.predictions import class_predictions
from core.pretrain import replay, trained_parameters
from core.probe import fit_probe, fold_index
from core.progress import LogMetrics, Progress
from core.resolve import Corpora
from core.sap_config import LINEAR_POOLINGS, SPEECH_POOLINGS
from core.spoken_frames import SpokenFrames, everywhere, spoken
from core.store import Claim, Recipe, Workspace, write_atomically
from core.systems.outcome import Outcome, Stages
from core.underway import Tally, Underway
from core.upstreams import SharedInputs, pretrain_upstreams, settings_of, upstream_artifacts
from core.vad import Speech, make_speech, speech_recipe

_HEAD_MODULES = (
    "core.bucketing", "core.metrics", "core.models.attention_pooling", "core.models.pooled_head", "core.models.pooling",
    "core.pooled_probe", "core.sap_config", "core.seeding", "core.spoken_frames", "core.systems.segmental_pooling",
    "core.vad",
)  # fmt: skip
_FRAMES = 100
"""Enough of silence for every upstream to have a position, whatever it stacks."""
# What makes an artifact is the code imported now, whatever happens to its files while a long trial runs.
code_version(_HEAD_MODULES)


def artifacts_of(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs
) -> tuple[str, ...]:
    """`<stage>/<key>` of what the chain makes itself, made already or not. Raises BadInputError as `run` does."""
    _check(config)
    own = upstream_artifacts(config, corpora, workspace, shared=shared)
    return (*own, *chain.from_iterable(stages_of(config, corpora, workspace, shared=shared).values()))


def stages_of(config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs) -> Stages:
    """Which artifacts the chain makes after its upstreams, by kind."""
    frames = frames_keys(config, corpora, workspace, shared=shared, layers=config.sap.layers)
    speech = _speech_keys(config, corpora, workspace)
    stages = {"frames": tuple(f"frames/{key}" for key in frames)}
    if speech:
        stages["vad"] = tuple(f"vad/{key}" for key in speech)
    if config.sap.pooling not in LINEAR_POOLINGS:
        heads = [
            _head_recipe(config, corpora, fold, (frames[place % len(frames)], *speech)).key(workspace.store)
            for place, fold in enumerate(corpora.folds.folds)
        ]
        stages["pooled"] = tuple(f"pooled/{key}" for key in heads)
    return stages


def run(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs, log: LogMetrics,
    progress: Progress,
) -> Generator[Underway, None, Outcome]:  # fmt: skip
    """Run the chain, yielding now and then while under way; the generator's value is the outcome.

    Raises BadInputError for layers and heads that the upstream cannot serve, before anything is trained.
    """
    _check(config)
    tally = Tally(config=config, parameters=trained_parameters(config, config.features.dims), log=log)
    pretrained = yield from pretrain_upstreams(config, corpora, workspace, shared=shared, tally=tally, log=log)
    keys, states = [], []
    for upstream in pretrained.upstreams:
        made = make_frames(config, workspace, shared, upstream, progress=progress, layers=config.sap.layers)
        keys.append(made.key)
        states.append(_with_speech(config, corpora, workspace, Frames.open(made.path), progress=progress))
    trial = _Trial(config=config, corpora=corpora, workspace=workspace, keys=keys, states=states)
    if config.sap.pooling in LINEAR_POOLINGS:
        began = time.monotonic()
        scores_KUC = _probe(trial, log=log)
        yield tally.spent(time.monotonic() - began)
    else:
        scores_KUC = yield from _learn(trial, tally=tally, log=log)
    return Outcome(
        predictions=class_predictions(corpora, scores_KUC),
        pretrained=pretrained,
        spent=tally.now(),
        interim=tuple(tally.entries),
        counts=_counts(config, states[0]),
    )


def _check(config: TrialConfig) -> None:
    """Before anything is trained."""
    if config.sap.layers is None and config.sap.pooling != "gap+sap+attention":
        # Every upstream can serve that, and a large one takes a while to build.
        return
    exposed, hidden = _size(config)
    try:
        chosen_layers(config.sap.layers, exposed=exposed)
    except BadInputError as error:
        raise BadInputError(f"sap.layers: {error}") from error
    with torch.device("meta"):
        Pooling(config.sap.pooling, hidden, heads=config.sap.heads)


def _size(config: TrialConfig) -> tuple[int, int]:
    """How many layers the upstream exposes, and how wide they are."""
    if not config.pretrains:
        settings = model_settings(model_folder(model_of(config)), "config.json")
        try:
            return int(settings["num_hidden_layers"]) + 1, int(settings["hidden_size"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadInputError(f"transformer.model: {model_of(config)}: config.json without {error}") from error
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        states, _ = (
            build_upstream(config, config.features.dims)
            .eval()
            .hidden_states(torch.zeros(1, _FRAMES, config.features.dims), torch.tensor([_FRAMES]))
        )
    return len(states), states[0].shape[2]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trial:
    """What the heads of a trial are fitted on. `keys`, `states`: of the frames, one for all folds or one per fold."""

    config: TrialConfig
    corpora: Corpora
    workspace: Workspace
    keys: Sequence[str]
    states: Sequence[SpokenFrames]

    @property
    def labels(self) -> list[str]:
        """Class of each utterance, in the order of the frames."""
        label_of = {utterance.utterance: utterance.label for utterance in self.corpora.evaluated.utterances}
        return [label_of[name] for name in self.states[0].frames.utterances]


def _speech_keys(config: TrialConfig, corpora: Corpora, workspace: Workspace) -> tuple[str, ...]:
    """Key of the speech probabilities; empty for a pooling that does not look at speech."""
    if config.sap.pooling not in SPEECH_POOLINGS:
        return ()
    return (speech_recipe(corpora.evaluated).key(workspace.store),)


def _with_speech(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, frames: Frames, *, progress: Progress
) -> SpokenFrames:
    if config.sap.pooling not in SPEECH_POOLINGS:
        return everywhere(frames)
    speech = Speech.open(make_speech(corpora.evaluated, workspace, progress=progress).path)
    return spoken(frames, speech, threshold=config.sap.threshold)


def _counts(config: TrialConfig, states: SpokenFrames) -> dict[str, int]:
    """Of the corpus, each utterance once: flags are the same in all folds."""
    if config.sap.pooling not in SPEECH_POOLINGS:
        return {}
    return {"utterances without speech": states.speechless, "positions without speech": states.left_out}


def _probe(trial: _Trial, *, log: LogMetrics) -> NDArray[np.float32]:
    """Class probabilities of every utterance under each fold's probe on pooled vectors, (K, U, C)."""
    config, corpora = trial.config, trial.corpora
    pooled = [states.pooled(config.sap.pooling) for states in trial.states]
    order = trial.states[0].frames.place_of
    return fit_probe(
        np.stack(pooled) if len(pooled) > 1 else pooled[0], trial.labels,
        [fold_index(fold, order) for fold in corpora.folds.folds], corpora.evaluated.classes,
        config=config.probe, seed=config.seed, device=torch.device(config.compute.device), log=log,
    ).scores_KUC  # fmt: skip


def _learn(trial: _Trial, *, tally: Tally, log: LogMetrics) -> Generator[Underway, None, NDArray[np.float32]]:
    """Class probabilities of every utterance under each fold's learnt pooling and head, (K, U, C)."""
    speech = _speech_keys(trial.config, trial.corpora, trial.workspace)
    scores = []
    for place, fold in enumerate(trial.corpora.folds.folds):
        frames_key, states = trial.keys[place % len(trial.keys)], trial.states[place % len(trial.states)]
        recipe = _head_recipe(trial.config, trial.corpora, fold, (frames_key, *speech))
        fold_log = _named(log, f"fold{place + 1}")
        with recipe.claim(trial.workspace.store) as claim:
            if claim.done:
                replay(_notes(claim)["curve"], fold_log)
            else:
                yield from _learn_one(trial, states, fold, claim, tally=tally, log=fold_log)
        fit = _notes(claim)
        # Its steps stand for the probe's, which are no training of the upstream and counted nowhere.
        yield tally.worked(steps=0, frames=0, seconds=fit["seconds"], flops=fit["flops"])
        scores.append(np.load(claim.artifact.path / "scores.npy"))
    return np.stack(scores)


def _learn_one(
    trial: _Trial, states: SpokenFrames, fold: Fold, claim: Claim, *, tally: Tally, log: LogMetrics
) -> Generator[Underway, None, None]:
    """Make the artifact of one fold: `scores.npy` (U, C), `head.pt`, and `fit.json` (`PooledFit.to_json`)."""
    fitting = fit_pooled_head(
        states, trial.labels, fold_index(fold, states.frames.place_of), trial.corpora.evaluated.classes,
        config=trial.config, checkpoint=claim.scratch / "checkpoint.pt", log=log,
    )  # fmt: skip
    while True:
        try:
            next(fitting)
        except StopIteration as end:
            fit, scores_UC = end.value
            break
        yield tally.now()
    packed, weights = io.BytesIO(), io.BytesIO()
    np.save(packed, scores_UC)
    torch.save({name: value.cpu() for name, value in fit.head.state_dict().items()}, weights)
    write_atomically(claim.out / "scores.npy", packed.getvalue())
    write_atomically(claim.out / "head.pt", weights.getvalue())
    write_atomically(claim.out / "fit.json", json.dumps(fit.to_json()).encode())


def _notes(claim: Claim) -> dict[str, Any]:
    """`PooledFit.to_json` of a finished fold."""
    notes: dict[str, Any] = json.loads((claim.artifact.path / "fit.json").read_text())
    return notes


def _named(log: LogMetrics, name: str) -> LogMetrics:
    return lambda values, step: log({f"{metric}/{name}": value for metric, value in values.items()}, step)


def _head_recipe(config: TrialConfig, corpora: Corpora, fold: Fold, inputs: Sequence[str]) -> Recipe:
    """What one fold's learnt pooling and head are made from: labels of its train and validation parts, no test part."""
    label_of = {utterance.utterance: utterance.label for utterance in corpora.evaluated.utterances}

    def part(names: Sequence[str]) -> list[list[str]]:
        return [[name, label_of[name]] for name in names]

    known: dict[str, Any] = {"train": part(fold.train), "validation": part(fold.validation)}
    settings: dict[str, Json] = {
        "fold": digest({"name": fold.name, "classes": list(corpora.evaluated.classes), **known}),
        **settings_of(config, "sap", "probe", "compute", "seed"),
    }
    return Recipe(stage="pooled", settings=settings, inputs=tuple(inputs), modules=_HEAD_MODULES)
