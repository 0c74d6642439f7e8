"""Frame alignment as an exported model: the upstream as the last fine-tuning left it, with its pooling and classifier.

The stages before, clusters among them, are of the training: nothing of them is needed to predict. P positions, H hidden
width, C classes, N samples.
"""

from __future__ import annotations

__all__ = ["AlignmentPredictor", "package", "predictor"]

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.config import TrialConfig
from core.errors import BadInputError
from core.exported import Answer, FinishedTrial, Package
from core.exported_parts import HEAD, fill, head_tensors, settings_in, tensors_in
from core.exported_upstream import ExportedUpstream, upstream_in
from core.finetune import EmotionModel
from core.identity import Json, digest
from core.kept_upstream import described, first_input, keep, stored_artifacts
from core.listening import Heard
from core.models.attention_pooling import AttentionPooling
from core.progress import Progress
from core.store import Artifact


def package(trial: FinishedTrial, *, fold: int, progress: Progress) -> Package:
    """The model of the fold's last fine-tuning, at the epoch that its validation part chose.

    Raises BadInputError when artifacts of the trial are no longer in the store, and for a published model whose files
    are gone: the fine-tuned weights are ours, what they are the weights of stands there.
    """
    del progress
    torch.set_num_threads(trial.config.compute.threads)
    tuning = _tuning(trial, fold)
    kept = keep(trial.config, tuning)
    head: dict[str, Tensor] = torch.load(tuning.path / "head.pt", map_location="cpu", weights_only=True)
    classes = trial.corpora.evaluated.classes
    return Package(
        config=described(trial, kept, fold=fold, kind="classes", outputs=classes, framed=True, own={"alignment": True}),
        tensors=kept.tensors | head_tensors(head),
    )


def _tuning(trial: FinishedTrial, fold: int) -> Artifact:
    """The fold's last fine-tuning: over the weights of the stage before it, on the labels of its train part."""
    config, corpora, part = trial.config, trial.corpora, trial.corpora.folds.folds[fold]
    label_of = {utterance.utterance: utterance.label for utterance in corpora.evaluated.utterances}
    stage = "alignment" if config.alignment.aligned else "tapt"
    before = {each.key for each in stored_artifacts(trial, "units") if _has(each, {"name": stage})}
    wanted = {
        "pooling": config.alignment.pooling,
        "test": digest(list(part.test)),
        "train": digest([[name, label_of[name]] for name in part.train]),
    }
    for artifact in stored_artifacts(trial, "tuning"):
        if _has(artifact, wanted) and first_input(artifact) in before:
            return artifact
    raise BadInputError(
        f"trial {trial.record.trial_key}: its fine-tuned model of fold {part.name} is no longer in "
        f"{trial.workspace.store.root}"
    )


def _has(artifact: Artifact, wanted: Mapping[str, Json]) -> bool:
    settings = artifact.description()["settings"]
    return isinstance(settings, Mapping) and all(settings.get(name) == value for name, value in wanted.items())


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignmentPredictor:
    """Fine-tuned upstream, pooling and classifier on the CPU."""

    upstream: ExportedUpstream
    head: EmotionModel
    """Over states: what it has for an upstream passes them on."""

    @torch.no_grad()
    def predict(self, samples_N: NDArray[np.float32]) -> Answer:
        """Logits of the recording, and exactly what each position adds to them.

        Pooling is a weighted mean whose weights add up to 1 (attention, or 1/P), and the classifier is linear: the
        recording's logits are the mean, with these weights, of the classifier's logits of single positions. Those were
        never trained by themselves, and are no pseudo-labels.
        """
        states_1PH = torch.from_numpy(self.upstream.states(samples_N)[:, -1])[None]
        padding_1P = torch.zeros(states_1PH.shape[:2], dtype=torch.bool)
        heard = Heard(layers=[states_1PH], valid_BP=~padding_1P, hidden_BP=padding_1P)
        pooling = self.head.pooling
        weights_1P = pooling.weights(states_1PH, padding_1P) if isinstance(pooling, AttentionPooling) else None
        return Answer(
            kind="classes",
            values_C=self.head.logits(heard)[0].numpy(),
            frame_values_PC=self.head.classify(states_1PH[0]).numpy(),
            weights_P=None if weights_1P is None else weights_1P[0].numpy(),
        )


def predictor(package: Package) -> AlignmentPredictor:
    """Raises BadInputError for settings or tensors that are not those of such a model."""
    config, own = settings_in(package), tensors_in(package, HEAD)
    what = f"exported model of trial {package.config.trial_key}"
    if "classify.weight" not in own:
        raise BadInputError(f"{what}: no tensor 'classify.weight'")
    head = _head(config, hidden=own["classify.weight"].shape[1], classes=len(package.config.outputs))
    fill(head, own, what=what)
    torch.set_num_threads(package.config.threads)
    return AlignmentPredictor(upstream=upstream_in(package, config), head=head.eval())


def _head(config: TrialConfig, *, hidden: int, classes: int) -> EmotionModel:
    return EmotionModel(nn.Identity(), hidden=hidden, classes=classes, pooling=config.alignment.pooling)
