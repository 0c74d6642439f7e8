"""The upstream of a trial with the evaluated corpus as it hears it, for the loops that adapt its weights."""

from __future__ import annotations

__all__ = ["LISTENER_MODULES", "Listeners", "over_features", "trained_transformer"]

from functools import cached_property

from core.config import TrialConfig
from core.features import Features
from core.listening import Listener, UpstreamListener
from core.listening_audio import AudioListener, FeatureGrid, Waveforms
from core.model_files import model_folder, model_of
from core.models.build import build_upstream
from core.models.transformer import Transformer, load_transformer
from core.models.upstream import Upstream
from core.seeding import torch_stream
from core.store import Artifact
from core.upstreams import SharedInputs, trained_upstream

LISTENER_MODULES = ("core.listening", "core.listening_audio", "core.systems.alignment_listeners")
"""Code that can change what is heard, beside that of the upstream."""


class Listeners:
    """Makes the listeners of one trial: one for each stage, with weights of its own."""

    def __init__(self, config: TrialConfig, shared: SharedInputs) -> None:
        self._config, self._shared = config, shared

    def over(self, upstream: Artifact) -> Listener:
        """Over the finished upstream, on the CPU."""
        if not self._config.pretrains:
            return self._over_audio()
        return self._over_features(trained_upstream(self._config, self._shared, upstream))

    @cached_property
    def first(self) -> Listener:
        """Over the upstream before any stage, for its sizes; its weights are nobody's."""
        if not self._config.pretrains:
            return self._over_audio()
        with torch_stream(0, "alignment-sizes"):
            model = build_upstream(self._config, Features.open(self._shared.evaluated.path).dims)
        return self._over_features(model.eval())

    def _over_features(self, model: Upstream) -> UpstreamListener:
        return over_features(self._config, model, Features.open(self._shared.evaluated.path))

    def _over_audio(self) -> Listener:
        return AudioListener(trained_transformer(self._config), self._waveforms, grid=self._grid)

    @cached_property
    def _waveforms(self) -> Waveforms:
        return Waveforms.of(self._shared.corpus)

    @cached_property
    def _grid(self) -> FeatureGrid | None:
        """None where nothing looks at intensity."""
        if self._shared.heard is None:
            return None
        settings = self._config.features
        return FeatureGrid(
            features=Features.open(self._shared.heard.path),
            window_s=settings.frame_length_ms / 1000,
            hop_s=settings.hop_ms / 1000,
        )


def trained_transformer(config: TrialConfig) -> Transformer:
    """An upstream that came trained, as it is trained further, on the CPU."""
    model = load_transformer(config.upstream, model_folder(model_of(config)))
    if config.transformer.gradient_checkpointing:
        model.checkpoint_gradients()
    return model


def over_features(config: TrialConfig, model: Upstream, features: Features) -> UpstreamListener:
    """An upstream of ours over the features of a corpus."""
    stack = config.mockingjay.stack if config.upstream == "mockingjay" else 1
    # NPC's pre-training corrupts nothing, so its shares mean nothing: what is hidden from it becomes zero.
    replaced = {} if config.upstream == "mockingjay" else {"zero": 1.0, "replace": 0.0}
    return UpstreamListener(
        model, features, masking=config.masking.model_copy(update=replaced), stack=stack,
        hop_s=config.features.hop_ms / 1000,
    )  # fmt: skip
