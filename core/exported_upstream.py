"""The upstream of an exported model at work on one recording: one that was trained here, or one that came trained.

N samples, T frames, D feature dims, L layers, P positions, H hidden width.
"""

from __future__ import annotations

__all__ = ["AudioUpstream", "ExportedUpstream", "FeatureUpstream", "hop_s_of", "upstream_in", "upstream_of"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.config import TrialConfig
from core.errors import BadInputError, MissingDependencyError
from core.exported import Package, PublishedUpstream
from core.exported_parts import UPSTREAM, fill, tensors_in
from core.features import analysis_window, compute_features
from core.models.build import build_upstream
from core.models.transformer import Transformer
from core.models.upstream import Upstream
from core.seeding import torch_stream
from core.units import SAMPLE_RATE


class ExportedUpstream(Protocol):
    """An upstream on the CPU, in evaluation mode."""

    @property
    def hop_s(self) -> float:
        """Seconds from one position to the next."""

    def states(self, samples_N: NDArray[np.float32]) -> NDArray[np.float32]:
        """Every exposed layer's states of one recording, (P, L, H).

        Raises BadInputError for one that is too short, or whose features are not finite.
        """


def hop_s_of(config: TrialConfig) -> float:
    """Seconds from one position to the next, of an upstream that is trained here."""
    return (config.mockingjay.stack if config.upstream == "mockingjay" else 1) * config.features.hop_ms / 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureUpstream:
    """Mockingjay or NPC over filter banks."""

    config: TrialConfig
    model: Upstream

    @property
    def hop_s(self) -> float:
        return hop_s_of(self.config)

    @torch.no_grad()
    def states(self, samples_N: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `ExportedUpstream.states`."""
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


@dataclass(frozen=True, kw_only=True, eq=False)
class AudioUpstream:
    """HuBERT and its family over the waveform."""

    model: Transformer

    @property
    def hop_s(self) -> float:
        return self.model.hop_s

    @torch.no_grad()
    def states(self, samples_N: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `ExportedUpstream.states`."""
        if self.model.positions(len(samples_N)) < 1:
            raise BadInputError(
                f"{len(samples_N)} samples ({len(samples_N) / SAMPLE_RATE:.4f} s) are too short for one position of "
                "the upstream"
            )
        audio_1N = torch.from_numpy(self.model.normalised(samples_N))[None]
        states, _ = self.model.states(audio_1N, torch.tensor([len(samples_N)]))
        return np.asarray(torch.stack([state[0] for state in states], dim=1).numpy())


def upstream_in(package: Package, config: TrialConfig) -> ExportedUpstream:
    """That of an exported model, whose settings are `config`. Raises BadInputError for weights that are another's."""
    return upstream_of(config, tensors_in(package, UPSTREAM), package.config.published)


def upstream_of(
    config: TrialConfig, weights: Mapping[str, Tensor], published: PublishedUpstream | None
) -> ExportedUpstream:
    """Ready to run. `published`: what is to be known beside the weights of an upstream that came trained.

    Raises BadInputError for weights that are another model's, MissingDependencyError without transformers.
    """
    what = f"weights of upstream {config.upstream!r}"
    if config.pretrains:
        model = build_upstream(config, config.features.dims)
        fill(model, weights, what=what)
        return FeatureUpstream(config=config, model=model.eval())
    if published is None:
        raise BadInputError(f"{what}: nothing says what they are the weights of (no 'published' in the config)")
    transformer = _built(config, published)
    fill(transformer, weights, what=what)
    return AudioUpstream(model=transformer.eval())


def _built(config: TrialConfig, published: PublishedUpstream) -> Transformer:
    """The model as `core.models.transformer.load_transformer` makes it, with weights that are nobody's."""
    kind = str(published.architecture.get("model_type"))
    if kind.removesuffix("-audio") != config.upstream:
        raise BadInputError(f"weights of upstream {config.upstream!r}: are called a model of type {kind!r}")
    from core.torchaudio_import import import_torchaudio

    import_torchaudio()
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise MissingDependencyError(
            f"upstream {config.upstream!r}: needs the package transformers (pip install 'emsweep[systems]')"
        ) from error
    try:
        # The probability makes transformers build the mask embedding, which is among the weights.
        settings = AutoConfig.for_model(**{**published.architecture, "mask_time_prob": 0.5})
        with torch_stream(0, "exported-upstream"):
            model: Any = AutoModel.from_config(settings)  # type: ignore[no-untyped-call]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInputError(f"upstream {config.upstream!r}: its architecture is no such model's ({reason})") from error
    model.config.mask_time_prob = 0.0
    return Transformer(model, normalise=published.normalises)
