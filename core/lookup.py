"""What a trial would find made and what it would have to make: its stages, run against a store that makes nothing.

The stages themselves compute their keys, so nothing here can drift from them.
"""

from __future__ import annotations

__all__ = ["SharedStage", "SharedWork", "Unmade", "are_trained", "unmade"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from core.config import IntensityConfig, TrialConfig
from core.corpora.manifest import Manifest
from core.features import make_features
from core.identity import Json, digest
from core.intensity.fitting import fit_strengthnet
from core.intensity.ranking import make_functionals
from core.intensity.spectrograms import make_spectrograms
from core.intensity.tracks import make_track, speaker_halves
from core.progress import silent
from core.resolve import Corpora, key_content
from core.store import Artifact, Claim, Store, Workspace
from core.systems.outcome import Stages, system_of
from core.upstreams import SharedInputs, prepare, upstream_artifacts, upstream_keys

SharedStage = Literal["features", "functionals", "spectrograms", "strengthnet", "intensity"]


class _NotMadeError(Exception):
    """A stage would have to make this artifact."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(f"{artifact.stage} {artifact.key} is not made")
        self.artifact = artifact


@dataclass(frozen=True, kw_only=True)
class _LookupStore(Store):
    """Finds artifacts; raises _NotMadeError where a stage would make one. Writes nothing."""

    @contextmanager
    def claim(
        self, stage: str, *, settings: Mapping[str, Json], inputs: Sequence[str], modules: tuple[str, ...]
    ) -> Iterator[Claim]:
        key = self.key(stage, settings=settings, inputs=inputs, modules=modules)
        path = self.root / stage / key
        artifact = Artifact(stage=stage, key=key, path=path)
        if not path.exists():
            raise _NotMadeError(artifact)
        yield Claim(artifact=artifact, done=True, out=path, scratch=path)


@dataclass(frozen=True, kw_only=True)
class _LookupWorkspace(Workspace):
    @property
    def store(self) -> Store:
        return _LookupStore(root=self.root / "store")


@dataclass(frozen=True, kw_only=True)
class SharedWork:
    """An artifact that all trials of a grid share and that has to be made first."""

    stage: SharedStage
    key: str
    """Its own; where what it is made from is not made either, a name that equal work has in common."""
    manifest: Manifest
    """The corpus that is described, learnt from or scored."""
    config: TrialConfig
    """Of a trial that needs it."""
    fit: Manifest | None
    """What the intensity model learns from; None for imported scores."""
    speakers: tuple[str, ...] = ()
    """`strengthnet` only: whose labels are learnt, validation speakers included."""


@dataclass(frozen=True, kw_only=True)
class Unmade:
    """What one trial has to make. Keys are those of other trials that would share it."""

    shared: tuple[SharedWork, ...]
    upstreams: tuple[str, ...]
    own: Stages
    """Kind of stage after the upstreams → keys of its artifacts; empty where all are made."""


class _Lacking(Protocol):
    def __call__(
        self, stage: SharedStage, manifest: Manifest, make: Callable[[], Artifact], *about: Json
    ) -> SharedWork | None: ...


def unmade(config: TrialConfig, corpora: Corpora, workspace: Workspace) -> Unmade:
    """Which artifacts of a trial's chain are not in the store. A half-trained upstream counts as not made.

    Raises BadInputError where the trial could not even name what it makes.
    """
    lookup = _LookupWorkspace(root=workspace.root)
    works: dict[tuple[str, str], SharedWork] = {}
    try:
        shared = prepare(config, corpora, lookup, progress=silent)
    except _NotMadeError:
        works = {(work.stage, work.key): work for work in _shared(config, corpora, lookup)}
        shared = _named(config, corpora, workspace)
    root = workspace.store.root

    def lacking(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(Path(name).name for name in names if not (root / name).exists())

    return Unmade(
        shared=tuple(works.values()),
        upstreams=lacking(upstream_artifacts(config, corpora, workspace, shared=shared)),
        own={kind: lacking(names) for kind, names in _stages(config, corpora, lookup, shared).items()},
    )


def _stages(config: TrialConfig, corpora: Corpora, lookup: Workspace, shared: SharedInputs) -> Stages:
    system = system_of(config.system)
    try:
        return system.stages_of(config, corpora, lookup, shared=shared)
    except _NotMadeError:
        # The system needs intensity of the evaluated corpus beside that of the heard one: nothing after it is made.
        alone = replace(corpora, heard=corpora.evaluated)
        return system.stages_of(config, alone, lookup, shared=_named(config, alone, lookup))


def _named(config: TrialConfig, corpora: Corpora, workspace: Workspace) -> SharedInputs:
    """Shared inputs that are not made, under names that equal inputs have in common."""
    grid: Json = config.features.model_dump(mode="json")

    def named(stage: SharedStage, *about: Json) -> Artifact:
        key = digest([stage, *about])
        return Artifact(stage=stage, key=key, path=workspace.store.root / stage / key)

    heard = corpora.heard.fingerprint
    intensity = key_content(config, corpora)["intensity"]
    plain = config.model_copy(update={"intensity": config.intensity.model_copy(update={"control": "none"})})
    return SharedInputs(
        corpus=corpora.evaluated,
        evaluated=named("features", corpora.evaluated.fingerprint, grid),
        heard=named("features", heard, grid),
        track=named("intensity", heard, grid, intensity),
        source=named("intensity", heard, grid, key_content(plain, corpora)["intensity"]),
    )


def are_trained(config: TrialConfig, corpora: Corpora, workspace: Workspace) -> bool:
    """Whether all upstreams of a trial are in the store; whether the evaluated corpus has features does not matter."""
    lookup, heard_only = _LookupWorkspace(root=workspace.root), replace(corpora, evaluated=corpora.heard)
    try:
        shared = prepare(config, heard_only, lookup, progress=silent)
    except _NotMadeError:
        return False
    keys = upstream_keys(config, corpora, workspace, shared=shared)
    return all((workspace.store.root / "pretrain" / key).exists() for key in keys)


def _shared(config: TrialConfig, corpora: Corpora, lookup: Workspace) -> Iterator[SharedWork]:
    """In the order in which `prepare` makes them."""

    def lacking(
        stage: SharedStage, manifest: Manifest, make: Callable[[], Artifact], *about: Json
    ) -> SharedWork | None:
        try:
            make()
        except _NotMadeError as missing:
            # Where an input is not made either, the stage does not get as far as its own key.
            own = missing.artifact.stage == stage
            key = missing.artifact.key if own else digest([stage, manifest.fingerprint, *about])
            return SharedWork(stage=stage, key=key, manifest=manifest, config=config, fit=corpora.fit)
        return None

    grid: Json = config.features.model_dump(mode="json")
    for manifest in (corpora.evaluated, corpora.heard):
        if found := lacking("features", manifest, partial(make_features, manifest, config.features, lookup)):
            yield found
    if corpora.fit is not None:
        yield from _fits(config, corpora, lookup, lacking)
    for control in dict.fromkeys(("none", config.intensity.control)):
        intensity = config.intensity.model_copy(update={"control": control})
        track = partial(_track, config, intensity, corpora.heard, lookup)
        if found := lacking("intensity", corpora.heard, track, intensity.model_dump(mode="json"), grid):
            yield replace(found, config=config.model_copy(update={"intensity": intensity}))


def _fits(config: TrialConfig, corpora: Corpora, lookup: Workspace, lacking: _Lacking) -> Iterator[SharedWork]:
    """What the intensity model learns from, and each model: two where the corpus that is scored is learnt from too."""
    fit, heard, intensity = corpora.fit, corpora.heard, config.intensity
    assert fit is not None
    if found := lacking("functionals", fit, partial(make_functionals, fit, intensity.ranking, lookup)):
        yield found
    learnt = speaker_halves(fit) if fit.fingerprint == heard.fingerprint else (fit.speakers,)
    if found := lacking("spectrograms", fit, partial(make_spectrograms, fit, lookup)):
        yield found
    about = intensity.model_dump(mode="json", include={"ranking", "strengthnet", "seed", "threads"})
    for speakers in learnt:
        model = partial(fit_strengthnet, fit, speakers, intensity, lookup, threads=intensity.threads)
        if found := lacking("strengthnet", fit, model, about, list(speakers)):
            yield replace(found, speakers=speakers)
    if found := lacking("spectrograms", heard, partial(make_spectrograms, heard, lookup)):
        yield found


def _track(config: TrialConfig, intensity: IntensityConfig, heard: Manifest, lookup: Workspace) -> Artifact:
    features = make_features(heard, config.features, lookup)
    return make_track(heard, features, intensity, config.features, lookup, threads=intensity.threads)
