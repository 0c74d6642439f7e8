"""What the stages of frame-level emotional state alignment are made from: the chain of one fold (Li et al. 2024)."""

from __future__ import annotations

__all__ = ["ALIGNMENT_MODULES", "Chain", "chain_of", "heard_by"]

from dataclasses import dataclass
from typing import Any, Literal

from core.config import TrialConfig
from core.corpora.folds import Fold
from core.identity import Json, digest
from core.resolve import Corpora, upstream_modules
from core.store import Recipe, Store
from core.systems.alignment_listeners import LISTENER_MODULES
from core.upstreams import settings_of

_LISTENING = (*LISTENER_MODULES, "core.features", "core.seeding", "core.systems.alignment_stages")
_LOOPS = (*_LISTENING, "core.pretrain", "core.resumable")
_CLUSTERS = (*_LISTENING, "core.clustering", "core.frames")
_UNITS = (*_LOOPS, "core.batches", "core.bucketing", "core.masking", "core.unit_batches", "core.unit_prediction")
_TUNING = (*_LOOPS, "core.finetune", "core.metrics", "core.models.attention_pooling")
ALIGNMENT_MODULES = tuple(
    sorted({"core.alignment_config", "core.systems.alignment_chain", *_CLUSTERS, *_UNITS, *_TUNING})
)
"""Code that can change what this system's own stages make."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Recipes of one fold's stages in their order; None for those that the twin leaves out."""

    tapt_clusters: Recipe
    tapt: Recipe
    first_tuning: Recipe | None
    clusters: Recipe | None
    alignment: Recipe | None
    tuning: Recipe

    @property
    def named(self) -> dict[str, Recipe]:
        """All there are, in order, by kind."""
        stages = {
            "tapt clusters": self.tapt_clusters, "tapt": self.tapt, "first tuning": self.first_tuning,
            "clusters": self.clusters, "alignment": self.alignment, "tuning": self.tuning,
        }  # fmt: skip
        return {kind: recipe for kind, recipe in stages.items() if recipe is not None}


def heard_by(config: TrialConfig, corpora: Corpora, fold: Fold) -> tuple[str, ...]:
    """Utterances whose audio adapts the model of this fold, without labels."""
    if config.alignment.audio == "fold":
        return fold.train
    return tuple(utterance.utterance for utterance in corpora.evaluated.utterances)


@dataclass(frozen=True, kw_only=True)
class _Making:
    """What all stages of a fold have in common."""

    config: TrialConfig
    corpora: Corpora
    fold: Fold
    store: Store
    inputs: tuple[str, ...]
    """Keys of the evaluated corpus as the model hears it, and of the track that chooses what is hidden."""

    def clusters(self, model: str, *, name: str, k: int, layer: int) -> Recipe:
        settings = {**self._settings("compute", "seed"), "name": name, "k": k, "layer": layer}
        return self._recipe("clusters", settings | self._heard(), (model, self.inputs[0]), _CLUSTERS)

    def units(self, model: str, clusters: Recipe, *, name: str, k: int) -> Recipe:
        units = self.config.alignment.units.model_dump(mode="json")
        settings = {**self._settings("compute", "seed", "masking"), "name": name, "k": k, "units": units}
        inputs = (model, *self.inputs, clusters.key(self.store))
        return self._recipe("units", settings | self._heard(), inputs, _UNITS)

    def tuning(self, model: str, pooling: Literal["attention", "mean"]) -> Recipe:
        label_of = {utterance.utterance: utterance.label for utterance in self.corpora.evaluated.utterances}
        labelled: dict[str, Json] = {
            part: digest([[name, label_of[name]] for name in getattr(self.fold, part)])
            for part in ("train", "validation")
        }
        settings = {
            **self._settings("compute", "seed"),
            **labelled,
            "test": digest(list(self.fold.test)),
            "classes": list(self.corpora.evaluated.classes),
            "pooling": pooling,
            "tuning": self.config.alignment.tuning.model_dump(mode="json"),
        }
        return self._recipe("tuning", settings, (model, self.inputs[0]), _TUNING)

    def _settings(self, *names: str) -> dict[str, Any]:
        # An upstream that came trained is told by what its files hold, which is the key of its weights.
        own = (self.config.upstream,) if self.config.pretrains else ()
        return settings_of(self.config, "upstream", *own, *names)

    def _heard(self) -> dict[str, Any]:
        return {"utterances": digest(list(heard_by(self.config, self.corpora, self.fold)))}

    def _recipe(
        self, stage: str, settings: dict[str, Any], inputs: tuple[str, ...], modules: tuple[str, ...]
    ) -> Recipe:
        modules = (*upstream_modules(self.config.upstream), *modules)
        return Recipe(stage=stage, settings=settings, inputs=inputs, modules=modules)


def chain_of(
    config: TrialConfig, corpora: Corpora, fold: Fold, *, store: Store, upstream: str, inputs: tuple[str, ...]
) -> Chain:
    """The stages of one fold. `upstream`: key of its weights; `inputs`: of the material and of the masking's track.

    The first fine-tuning pools by the mean (ours): it does not change with the pooling of the last one, so an arm
    without attention shares everything before that with the arm that has it.
    """
    making = _Making(config=config, corpora=corpora, fold=fold, store=store, inputs=inputs)
    own = config.alignment
    tapt_clusters = making.clusters(upstream, name="tapt", k=own.tapt_k, layer=own.tapt_layer)
    tapt = making.units(upstream, tapt_clusters, name="tapt", k=own.tapt_k)
    first = clusters = alignment = None
    last = tapt
    if own.aligned:
        first = making.tuning(tapt.key(store), "mean")
        clusters = making.clusters(first.key(store), name="alignment", k=own.k, layer=own.layer)
        last = alignment = making.units(upstream, clusters, name="alignment", k=own.k)
    return Chain(
        tapt_clusters=tapt_clusters,
        tapt=tapt,
        first_tuning=first,
        clusters=clusters,
        alignment=alignment,
        tuning=making.tuning(last.key(store), own.pooling),
    )
