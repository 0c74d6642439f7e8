"""What an unfinished upstream is worth: the probe, fitted briefly, looks at validation and never at test (ours).

U utterances, L layers, H hidden width.
"""

from __future__ import annotations

__all__ = ["InterimProbe", "VisibleFold", "due_steps", "looks_modules", "looks_of", "visible"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from core.config import TrialConfig, UpstreamName
from core.corpora.folds import Fold
from core.embed import utterance_means
from core.features import Features
from core.identity import Json, code_version, digest
from core.metrics import confusion, ua
from core.models.upstream import Upstream
from core.pretrain import NO_LOOKS, Looks
from core.probe import FoldIndex, fit_probe
from core.progress import discard, silent
from core.resolve import Corpora, upstream_modules
from core.store import Artifact


def looks_modules(upstream: UpstreamName) -> tuple[str, ...]:
    """Code that can change what a look sees."""
    return (
        *upstream_modules(upstream), "core.embed", "core.interim", "core.metrics", "core.probe", "core.seeding",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VisibleFold:
    """A fold as far as anything that searches or stops may see it: utterance ids and their classes, no test part."""

    name: str
    train: Mapping[str, str]
    validation: Mapping[str, str]


def visible(fold: Fold, label_of: Mapping[str, str]) -> VisibleFold:
    """The fold without its test part, neither its utterances nor their labels."""
    return VisibleFold(
        name=fold.name,
        train={name: label_of[name] for name in fold.train},
        validation={name: label_of[name] for name in fold.validation},
    )


def due_steps(config: TrialConfig, *, place: int, upstreams: int) -> frozenset[int]:
    """Steps of the upstream at `place` (from 0) after which to look, from those of the trial in `interim.at`.

    The last step is among them where a later look, during another upstream, needs this one's folds too.

    >>> config = TrialConfig.model_validate({"pretrain": {"steps": 10}, "interim": {"at": [4, 14, 99]}})
    >>> [sorted(due_steps(config, place=place, upstreams=3)) for place in range(3)]
    [[4, 10], [4], []]
    """
    steps = config.pretrain.steps
    own = {step - place * steps for step in config.interim.at if step <= upstreams * steps}
    return frozenset({min(step, steps) for step in own if step >= 1})


class InterimProbe:
    """Fits the probe for `interim.probe_steps` on an upstream as it is: one head per fold, on train and validation."""

    def __init__(
        self, features: Features, folds: Sequence[VisibleFold], classes: Sequence[str], *, config: TrialConfig
    ) -> None:
        place_of = {name: place for place, name in enumerate(features.utterances)}
        self._features, self._folds, self._classes = features, folds, classes
        self._rows = [_positions([*fold.train, *fold.validation], place_of) for fold in folds]
        self._seen = np.unique(np.concatenate(self._rows))
        self._probe = config.probe.model_copy(update={"steps": config.interim.probe_steps})
        self._seed, self._device = config.seed, torch.device(config.compute.device)

    def look(self, model: Upstream) -> dict[str, float]:
        """Fold → UA on its validation part. Raises NonFiniteLossError."""
        means_ULH = utterance_means(model, self._features, device=self._device, progress=silent, only=self._seen)
        return {
            fold.name: self._look(means_ULH[np.searchsorted(self._seen, rows)], fold)
            for fold, rows in zip(self._folds, self._rows, strict=True)
        }

    def _look(self, means_ULH: NDArray[np.float32], fold: VisibleFold) -> float:
        """UA of one fold's head; `means_ULH`: its train utterances, then its validation utterances, and no others."""
        labels = [*fold.train.values(), *fold.validation.values()]
        train, validation = np.split(np.arange(len(labels)), [len(fold.train)])
        index = FoldIndex(name=fold.name, train=train, validation=validation, test=np.empty(0, dtype=np.int64))
        result = fit_probe(
            means_ULH, labels, [index], self._classes,
            config=self._probe, seed=self._seed, device=self._device, log=discard,
        )  # fmt: skip
        predicted = [self._classes[winner] for winner in result.scores_KUC[0, validation].argmax(-1)]
        return ua(confusion(list(fold.validation.values()), predicted, self._classes))


def looks_of(config: TrialConfig, corpora: Corpora, evaluated: Artifact, *, place: int, upstreams: int) -> Looks:
    """The looks of the upstream at `place`: at its own fold, or at all folds where it serves all.

    `evaluated`: features. The key tells apart what other probes, folds or labels would see.
    """
    at = due_steps(config, place=place, upstreams=upstreams)
    if not at:
        return NO_LOOKS
    label_of = {utterance.utterance: utterance.label for utterance in corpora.evaluated.utterances}
    concerned = corpora.folds.folds if upstreams == 1 else corpora.folds.folds[place : place + 1]
    folds = [visible(fold, label_of) for fold in concerned]
    content: dict[str, Json] = {
        "probe": config.probe.model_dump(mode="json") | {"steps": config.interim.probe_steps},
        "features": evaluated.key,
        "folds": [[fold.name, list(fold.train.items()), list(fold.validation.items())] for fold in folds],
        "classes": list(corpora.evaluated.classes),
        "code": code_version(looks_modules(config.upstream)),
    }
    probe = InterimProbe(Features.open(evaluated.path), folds, corpora.evaluated.classes, config=config)
    return Looks(key=digest(content), at=at, look=probe.look)


def _positions(names: Sequence[str], place_of: Mapping[str, int]) -> NDArray[np.int64]:
    return np.array([place_of[name] for name in names], dtype=np.int64)
