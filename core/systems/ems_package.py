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
from pydantic import ValidationError

from core.config import TrialConfig
from core.embed import utterance_means
from core.errors import BadInputError
from core.exported import Answer, ExportedConfig, FinishedTrial, Package
from core.exported_upstream import (
    ExportedUpstream,
    hop_s_of,
    stored_artifacts,
    stored_weights,
    trained_upstreams,
    upstream_tensors,
)
from core.features import Features, make_features
from core.probe import ChosenHead, fit_probe, fold_index
from core.progress import Progress, discard
from core.store import Artifact

HEAD = "head."
"""Prefix of the names of the head's tensors, which are the fields of `core.probe.ChosenHead`."""


def package(trial: FinishedTrial, *, fold: int, progress: Progress) -> Package:
    """The upstream that this fold read and the head that its validation part chose.

    Raises BadInputError when artifacts of the trial are no longer in the store, or the upstream is not one of ours.
    """
    config, record = trial.config, trial.record
    torch.set_num_threads(config.compute.threads)
    upstreams = trained_upstreams(trial)
    head = _heads(trial, upstreams, progress=progress)[fold]
    return Package(
        config=ExportedConfig(
            system="ems",
            kind="classes",
            outputs=trial.corpora.evaluated.classes,
            hop_s=hop_s_of(config),
            settings=config.model_dump(mode="json", include={"upstream", config.upstream, "features", "score"}),
            threads=config.compute.threads,
            trial_key=record.trial_key,
            arm=record.arm,
            seed=record.seed,
            fold=trial.corpora.folds.folds[fold].name,
        ),
        tensors=upstream_tensors(upstreams[fold % len(upstreams)])
        | {f"{HEAD}{name}": value for name, value in vars(head).items()},
    )


def _heads(trial: FinishedTrial, upstreams: Sequence[Artifact], *, progress: Progress) -> tuple[ChosenHead, ...]:
    """The heads of all folds, fitted as in the trial."""
    config, corpora = trial.config, trial.corpora
    made = make_features(corpora.evaluated, config.features, trial.workspace, progress=progress)
    features = Features.open(made.path)
    embedded = {_first_input(each): each for each in stored_artifacts(trial, "embed")}
    means: list[NDArray[np.float32]] = []
    for upstream in upstreams:
        if upstream.key in embedded:
            means.append(np.load(embedded[upstream.key].path / "means.npy"))
        else:
            model = ExportedUpstream.of(config, stored_weights(upstream)).model
            means.append(utterance_means(model, features, device=torch.device("cpu"), progress=progress))
    order = {name: place for place, name in enumerate(features.utterances)}
    label_of = {utterance.utterance: utterance.label for utterance in corpora.evaluated.utterances}
    cuda = config.compute.device == "cuda" and torch.cuda.is_available()
    return fit_probe(
        np.stack(means) if len(means) > 1 else means[0], [label_of[name] for name in order],
        [fold_index(fold, order) for fold in corpora.folds.folds], corpora.evaluated.classes, config=config.probe,
        seed=config.seed, device=torch.device("cuda" if cuda else "cpu"), log=discard,
    ).heads  # fmt: skip


def _first_input(artifact: Artifact) -> str:
    inputs = artifact.description()["inputs"]
    assert isinstance(inputs, list)
    return str(inputs[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class EmsPredictor:
    """Upstream and head on the CPU."""

    upstream: ExportedUpstream
    head: ChosenHead

    def predict(self, samples_N: NDArray[np.float32]) -> Answer:
        """Logits of the recording, from the mean of its states as in the trial, and of each position by itself."""
        states_PLH = self.upstream.states(samples_N)
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
    try:
        config = TrialConfig.model_validate(package.config.settings)
        parts = {name: package.tensors[f"{HEAD}{name}"] for name in ChosenHead.__dataclass_fields__}
    except (ValidationError, KeyError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else f"no tensor {error}"
        raise BadInputError(f"exported model of trial {package.config.trial_key}: {reason}") from error
    torch.set_num_threads(package.config.threads)
    return EmsPredictor(upstream=ExportedUpstream.from_tensors(config, package.tensors), head=ChosenHead(**parts))
