"""EMS as an exported model: the upstream's last weights, and the head of one fold.

The trial keeps no head, so the probe is fitted again on the embeddings it was fitted on, all folds together as then.
L layers, P positions, H hidden width, R projection, C classes, N samples.
"""

from __future__ import annotations

__all__ = ["EmsPredictor", "package", "predictor"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from core.audio import read_audio
from core.config import TrialConfig
from core.embed import utterance_means
from core.errors import BadInputError
from core.exported import Answer, FinishedTrial, Package
from core.exported_parts import HEAD, settings_in
from core.exported_upstream import ExportedUpstream, FeatureUpstream, upstream_in, upstream_of
from core.features import Features, make_features
from core.frames import chosen_layers
from core.kept_upstream import described, first_input, keep, stored_artifacts, trained_upstreams
from core.probe import ChosenHead, fit_probe, fold_index
from core.progress import Progress, discard
from core.store import Artifact


def package(trial: FinishedTrial, *, fold: int, progress: Progress) -> Package:
    """The upstream that this fold read and the head that its validation part chose.

    Raises BadInputError when artifacts of the trial are no longer in the store.
    """
    torch.set_num_threads(trial.config.compute.threads)
    upstreams = trained_upstreams(trial)
    head = _heads(trial, upstreams, progress=progress)[fold]
    kept = keep(trial.config, upstreams[fold % len(upstreams)])
    classes = trial.corpora.evaluated.classes
    return Package(
        config=described(trial, kept, fold=fold, kind="classes", outputs=classes, framed=True, own={}),
        tensors=kept.tensors | {f"{HEAD}{name}": value for name, value in vars(head).items()},
    )


def _heads(trial: FinishedTrial, upstreams: Sequence[Artifact], *, progress: Progress) -> tuple[ChosenHead, ...]:
    """The heads of all folds, fitted as in the trial."""
    config, corpora = trial.config, trial.corpora
    embedded = {first_input(each): each for each in stored_artifacts(trial, "embed")}
    means = [
        np.load(embedded[upstream.key].path / "means.npy")
        if upstream.key in embedded
        else _means(trial, upstream, progress=progress)
        for upstream in upstreams
    ]
    utterances = corpora.evaluated.utterances
    order = {utterance.utterance: place for place, utterance in enumerate(utterances)}
    cuda = config.compute.device == "cuda" and torch.cuda.is_available()
    return fit_probe(
        np.stack(means) if len(means) > 1 else means[0], [utterance.label for utterance in utterances],
        [fold_index(fold, order) for fold in corpora.folds.folds], corpora.evaluated.classes, config=config.probe,
        seed=config.seed, device=torch.device("cuda" if cuda else "cpu"), log=discard,
    ).heads  # fmt: skip


def _means(trial: FinishedTrial, upstream: Artifact, *, progress: Progress) -> NDArray[np.float32]:
    """Utterance means of the layers that are read, (U, L, H), in the corpus's order: where they are stored no more."""
    config, corpus = trial.config, trial.corpora.evaluated
    kept = keep(config, upstream)
    running = upstream_of(config, kept.weights, kept.published)
    if isinstance(running, FeatureUpstream):
        features = Features.open(make_features(corpus, config.features, trial.workspace, progress=progress).path)
        return utterance_means(running.model, features, device=torch.device("cpu"), progress=progress)
    means = []
    for place, utterance in enumerate(corpus.utterances):
        samples_N = read_audio(utterance.path, start=utterance.start, end=utterance.end)
        means.append(_read(config, running, samples_N).mean(axis=0))
        progress("states", place + 1, len(corpus.utterances))
    return np.stack(means)


def _read(config: TrialConfig, upstream: ExportedUpstream, samples_N: NDArray[np.float32]) -> NDArray[np.float32]:
    """States of one recording in the layers that the head weighs, (P, L, H)."""
    states_PLH = upstream.states(samples_N)
    return states_PLH[:, list(chosen_layers(config.transformer.layers, exposed=states_PLH.shape[1]))]


@dataclass(frozen=True, kw_only=True, eq=False)
class EmsPredictor:
    """Upstream and head on the CPU."""

    config: TrialConfig
    upstream: ExportedUpstream
    head: ChosenHead

    def predict(self, samples_N: NDArray[np.float32]) -> Answer:
        """Logits of the recording, from the mean of its states as in the trial, and of each position by itself."""
        states_PLH = _read(self.config, self.upstream, samples_N)
        return Answer(
            kind="classes",
            values_C=self._logits(states_PLH.mean(axis=0)[None])[0],
            frame_values_PC=self._logits(states_PLH),
        )

    def _logits(self, states_PLH: NDArray[np.float32]) -> NDArray[np.float32]:
        head = self.head
        mixed_PH = np.einsum("l,plh->ph", head.layer_weights_L, states_PLH)
        projected_PR = mixed_PH @ head.project_HP + head.project_bias_P
        logits_PC: NDArray[np.float32] = projected_PR @ head.classify_PC + head.classify_bias_C
        return logits_PC


def predictor(package: Package) -> EmsPredictor:
    """Raises BadInputError for settings or tensors that are not those of such a model."""
    config = settings_in(package)
    try:
        parts = {name: package.tensors[f"{HEAD}{name}"] for name in ChosenHead.__dataclass_fields__}
    except KeyError as error:
        raise BadInputError(f"exported model of trial {package.config.trial_key}: no tensor {error}") from error
    torch.set_num_threads(package.config.threads)
    return EmsPredictor(config=config, upstream=upstream_in(package, config), head=ChosenHead(**parts))
