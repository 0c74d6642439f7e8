"""The upstream of an exported model: found among a finished trial's artifacts, kept as tensors, run on one recording.

N samples, T frames, D feature dims, L layers, P positions, H hidden width.
"""

from __future__ import annotations

__all__ = [
    "ExportedUpstream",
    "hop_s_of",
    "stored_artifacts",
    "stored_weights",
    "trained_upstreams",
    "upstream_tensors",
]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.config import TrialConfig
from core.errors import BadInputError
from core.exported import FinishedTrial, Tensors
from core.features import analysis_window, compute_features
from core.heard import heard_parts
from core.identity import Json, digest
from core.models.build import build_upstream
from core.models.upstream import Upstream
from core.store import Artifact
from core.units import SAMPLE_RATE

PREFIX = "upstream."
"""Of the names of its tensors."""


def trained_upstreams(trial: FinishedTrial) -> list[Artifact]:
    """One for all folds or one per fold, by what they heard: their keys are of the code at that time.

    Raises BadInputError for an upstream that is not one of ours, and one that is no longer in the store.
    """
    config, record, root = trial.config, trial.record, trial.workspace.store.root
    if config.upstream not in ("mockingjay", "npc"):
        raise BadInputError(
            f"upstream {config.upstream!r}: its models cannot be exported yet; mockingjay's and npc's can"
        )
    made = [(artifact, artifact.description()["settings"]) for artifact in stored_artifacts(trial, "pretrain")]
    chosen = []
    for part in heard_parts(config, trial.corpora.heard, trial.corpora.folds):
        heard = {"utterances": digest(list(part.train)), "held_out": digest(list(part.held_out))}
        own = [artifact for artifact, settings in made if _has(settings, heard)]
        if not own:
            raise BadInputError(f"trial {record.trial_key}: its upstream of {part.name} is no longer in {root}")
        chosen.append(own[0])
    return chosen


def _has(settings: Json, wanted: Mapping[str, str]) -> bool:
    return isinstance(settings, Mapping) and all(settings.get(name) == value for name, value in wanted.items())


def stored_artifacts(trial: FinishedTrial, stage: str) -> list[Artifact]:
    """The trial's artifacts of a stage, as far as they are still there."""
    keys = [name.partition("/")[2] for name in trial.record.artifacts if name.startswith(f"{stage}/")]
    paths = [trial.workspace.store.root / stage / key for key in keys]
    return [Artifact(stage=stage, key=path.name, path=path) for path in paths if (path / "artifact.json").exists()]


def stored_weights(upstream: Artifact) -> dict[str, Tensor]:
    """Its last weights, on the CPU."""
    weights: dict[str, Tensor] = torch.load(upstream.path / "weights.pt", map_location="cpu", weights_only=True)
    return weights


def upstream_tensors(upstream: Artifact) -> dict[str, NDArray[Any]]:
    """The weights as an exported model keeps them."""
    return {f"{PREFIX}{name}": value.numpy() for name, value in stored_weights(upstream).items()}


def hop_s_of(config: TrialConfig) -> float:
    """Seconds from one position of the upstream to the next."""
    return (config.mockingjay.stack if config.upstream == "mockingjay" else 1) * config.features.hop_ms / 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportedUpstream:
    """An upstream on the CPU, in evaluation mode."""

    config: TrialConfig
    model: Upstream

    @classmethod
    def of(cls, config: TrialConfig, weights: Mapping[str, Tensor]) -> ExportedUpstream:
        """Raises BadInputError for weights that are another model's."""
        model = build_upstream(config, config.features.dims)
        try:
            model.load_state_dict(dict(weights))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise BadInputError(f"weights of upstream {config.upstream!r}: {reason}") from error
        return cls(config=config, model=model.eval())

    @classmethod
    def from_tensors(cls, config: TrialConfig, tensors: Tensors) -> ExportedUpstream:
        """From all tensors of an exported model. Raises BadInputError."""
        own = {name: values for name, values in tensors.items() if name.startswith(PREFIX)}
        return cls.of(
            config, {name.removeprefix(PREFIX): torch.from_numpy(np.array(values)) for name, values in own.items()}
        )

    @torch.no_grad()
    def states(self, samples_N: NDArray[np.float32]) -> NDArray[np.float32]:
        """Every exposed layer's states of one recording, (P, L, H).

        Raises BadInputError for one that is shorter than a window, or whose features are not finite.
        """
        features_TD, _ = compute_features(samples_N, self.config.features)
        if len(features_TD) == 0:
            window, _ = analysis_window(self.config.features)
            raise BadInputError(
                f"{len(samples_N)} samples ({len(samples_N) / SAMPLE_RATE:.4f} s) are shorter than one analysis window "
                f"({window} samples)"
            )
        # As the trial read them: stored in half precision.
        fbank_1TD = torch.from_numpy(features_TD.astype(np.float16).astype(np.float32))[None]
        states, padding_1P = self.model.hidden_states(fbank_1TD, torch.tensor([len(features_TD)]))
        return np.asarray(torch.stack([state[0, ~padding_1P[0]] for state in states], dim=1).numpy())
