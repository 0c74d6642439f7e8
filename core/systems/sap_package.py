"""SAP as an exported model: the upstream's last weights, and pooling and head of one fold.

A linear pooling's head is the probe, which the trial does not keep: it is fitted again as then. A learnt pooling lies
in the store with its head. L layers, P positions, H hidden width, C classes, N samples.
"""

from __future__ import annotations

__all__ = ["SapPredictor", "package", "predictor"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.config import TrialConfig
from core.errors import BadInputError
from core.exported import Answer, FinishedTrial, Package
from core.exported_parts import HEAD, fill, head_tensors, settings_in, tensors_in
from core.exported_upstream import ExportedUpstream, upstream_in
from core.frames import Frames, chosen_layers
from core.identity import digest
from core.kept_upstream import described, first_input, keep, stored_artifacts, trained_upstreams
from core.models.pooled_head import PooledHead
from core.probe import ChosenHead, fit_probe, fold_index
from core.progress import Progress, discard
from core.sap_config import LINEAR_POOLINGS, SPEECH_POOLINGS
from core.spoken_frames import SpokenFrames, everywhere, spoken
from core.store import Artifact
from core.vad import Speech, load_vad, make_speech, speech_flags, speech_probabilities

VAD = "silero-vad"


def package(trial: FinishedTrial, *, fold: int, progress: Progress) -> Package:
    """The upstream that this fold read, and the pooling and head that its validation part chose.

    Raises BadInputError when artifacts of the trial are no longer in the store.
    """
    config = trial.config
    torch.set_num_threads(config.compute.threads)
    upstreams = trained_upstreams(trial)
    linear = config.sap.pooling in LINEAR_POOLINGS
    head = _fitted(trial, upstreams, fold, progress=progress) if linear else _stored(trial, fold)
    kept = keep(config, upstreams[fold % len(upstreams)])
    return Package(
        config=described(
            trial, kept, fold=fold, kind="classes", outputs=trial.corpora.evaluated.classes,
            # Where the mean is over speech alone, or learnt, no scores of single positions add up to the utterance's.
            framed=config.sap.pooling == "gap", own={"sap": True, "probe": True},
            packages=(VAD,) if config.sap.pooling in SPEECH_POOLINGS else (),
        ),
        tensors=kept.tensors | head_tensors(head),
    )  # fmt: skip


def _stored(trial: FinishedTrial, fold: int) -> dict[str, Tensor]:
    """A learnt pooling with its head, by the fold that it was fitted on."""
    corpora = trial.corpora
    part, label_of = corpora.folds.folds[fold], {each.utterance: each.label for each in corpora.evaluated.utterances}
    known = {
        "name": part.name,
        "classes": list(corpora.evaluated.classes),
        "train": [[name, label_of[name]] for name in part.train],
        "validation": [[name, label_of[name]] for name in part.validation],
    }
    for artifact in stored_artifacts(trial, "pooled"):
        settings = artifact.description()["settings"]
        if isinstance(settings, Mapping) and settings.get("fold") == digest(known):
            head: dict[str, Tensor] = torch.load(artifact.path / "head.pt", map_location="cpu", weights_only=True)
            return head
    raise BadInputError(
        f"trial {trial.record.trial_key}: its head of fold {part.name} is no longer in {trial.workspace.store.root}"
    )


def _fitted(trial: FinishedTrial, upstreams: Sequence[Artifact], fold: int, *, progress: Progress) -> dict[str, Tensor]:
    """The probe over a linear pooling, as the same function of the frames."""
    config, corpora = trial.config, trial.corpora
    states = [_states(trial, upstream, progress=progress) for upstream in upstreams]
    pooled = [each.pooled(config.sap.pooling) for each in states]
    order = states[0].frames.place_of
    label_of = {utterance.utterance: utterance.label for utterance in corpora.evaluated.utterances}
    cuda = config.compute.device == "cuda" and torch.cuda.is_available()
    heads = fit_probe(
        np.stack(pooled) if len(pooled) > 1 else pooled[0], [label_of[name] for name in order],
        [fold_index(each, order) for each in corpora.folds.folds], corpora.evaluated.classes, config=config.probe,
        seed=config.seed, device=torch.device("cuda" if cuda else "cpu"), log=discard,
    ).heads  # fmt: skip
    return _as_pooled_head(heads[fold])


def _as_pooled_head(head: ChosenHead) -> dict[str, Tensor]:
    arrays = {
        # The softmax of the logarithms of shares is the shares.
        "layer_logits_L": np.log(head.layer_weights_L),
        "project.weight": head.project_HP.T,
        "project.bias": head.project_bias_P,
        "classify.weight": head.classify_PC.T,
        "classify.bias": head.classify_bias_C,
    }
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}


def _states(trial: FinishedTrial, upstream: Artifact, *, progress: Progress) -> SpokenFrames:
    for artifact in stored_artifacts(trial, "frames"):
        if first_input(artifact) == upstream.key:
            frames = Frames.open(artifact.path)
            if trial.config.sap.pooling not in SPEECH_POOLINGS:
                return everywhere(frames)
            speech = make_speech(trial.corpora.evaluated, trial.workspace, progress=progress)
            return spoken(frames, Speech.open(speech.path), threshold=trial.config.sap.threshold)
    raise BadInputError(
        f"trial {trial.record.trial_key}: the states of its upstream {upstream.key} are no longer in "
        f"{trial.workspace.store.root}"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class SapPredictor:
    """Upstream, pooling and head on the CPU."""

    config: TrialConfig
    upstream: ExportedUpstream
    head: PooledHead
    vad: Any
    """The speech model; None for a pooling that does not look at speech."""

    @torch.no_grad()
    def predict(self, samples_N: NDArray[np.float32]) -> Answer:
        """Logits of the recording; under `gap` also of each position by itself, whose mean they are."""
        config = self.config
        states_PLH = self.upstream.states(samples_N)
        chosen = chosen_layers(config.sap.layers, exposed=states_PLH.shape[1])
        # As the trial kept them: in half precision.
        kept_PLH = torch.from_numpy(states_PLH[:, list(chosen)].astype(np.float16).astype(np.float32))
        valid_1P = torch.ones((1, len(kept_PLH)), dtype=torch.bool)
        values_C = self.head(kept_PLH[None], valid_1P, self._speech(samples_N, len(kept_PLH)))[0].numpy()
        if config.sap.pooling != "gap":
            return Answer(kind="classes", values_C=values_C)
        every_P1 = valid_1P.T
        return Answer(
            kind="classes",
            values_C=values_C,
            frame_values_PC=self.head(kept_PLH[:, None], every_P1, every_P1).numpy(),
        )

    def _speech(self, samples_N: NDArray[np.float32], positions: int) -> Tensor:
        """Which positions are speech, (1, P); all of them where none is, as in the trial."""
        config = self.config
        if self.vad is None:
            return torch.ones((1, positions), dtype=torch.bool)
        (probabilities_C,) = speech_probabilities(self.vad, [samples_N])
        flags_P = speech_flags(
            probabilities_C, threshold=config.sap.threshold, hop_s=self.upstream.hop_s, positions=positions
        )
        return torch.from_numpy(flags_P if flags_P.any() else np.ones_like(flags_P))[None]


def predictor(package: Package) -> SapPredictor:
    """Raises BadInputError for settings, tensors or a silero-vad that are not those of such a model."""
    config, own = settings_in(package), tensors_in(package, HEAD)
    what = f"exported model of trial {package.config.trial_key}"
    try:
        layers, hidden = len(own["layer_logits_L"]), own["project.weight"].shape[1]
        projection = len(own["project.weight"])
    except KeyError as error:
        raise BadInputError(f"{what}: no tensor {error}") from error
    head = PooledHead(
        layers=layers, hidden=hidden // (1 if config.sap.pooling in ("gap", "sap", "attention") else 2),
        projection=projection, classes=len(package.config.outputs), config=config.sap,
    )  # fmt: skip
    fill(head, own, what=what)
    torch.set_num_threads(package.config.threads)
    return SapPredictor(
        config=config,
        upstream=upstream_in(package, config),
        head=head.eval(),
        vad=load_vad() if config.sap.pooling in SPEECH_POOLINGS else None,
    )
