"""What a finished trial left of its upstreams, as an exported model keeps it, and what such a model says of itself."""

from __future__ import annotations

__all__ = [
    "Kept",
    "described",
    "first_input",
    "keep",
    "stored_artifacts",
    "stored_weights",
    "trained_upstreams",
]

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from core.config import TrialConfig
from core.errors import BadInputError, MissingDependencyError
from core.exported import ExportedConfig, FinishedTrial, PublishedUpstream
from core.exported_parts import UPSTREAM
from core.exported_upstream import hop_s_of
from core.heard import heard_parts
from core.identity import Json, digest
from core.model_files import model_folder, model_of
from core.models.transformer import Transformer, load_transformer
from core.progress import silent
from core.provenance import NOT_INSTALLED
from core.records import Record
from core.store import Artifact
from core.upstreams import prepare, upstream_keys

PUBLISHED = "published"
"""Stage of what is no artifact: the files of an upstream that came trained."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """An upstream as an exported model keeps it."""

    tensors: dict[str, NDArray[Any]]
    published: PublishedUpstream | None
    """None where it was trained here."""
    hop_s: float
    """Seconds from one position to the next."""

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors by the names that the model has for them."""
        return {name.removeprefix(UPSTREAM): torch.from_numpy(values) for name, values in self.tensors.items()}


def keep(config: TrialConfig, made: Artifact) -> Kept:
    """The trial's upstream with the weights of an artifact: one of `trained_upstreams`, or what a later stage made.

    Raises BadInputError for a published model whose files are gone.
    """
    if config.pretrains:
        weights = stored_weights(made)
        return Kept(tensors=_named(weights), published=None, hop_s=hop_s_of(config))
    folder = model_folder(model_of(config))
    model = load_transformer(config.upstream, folder)
    if made.stage != PUBLISHED:
        model.load_state_dict(stored_weights(made))
    return Kept(tensors=_named(model.state_dict()), published=_published(config, model), hop_s=model.hop_s)


def _named(weights: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {f"{UPSTREAM}{name}": value.numpy() for name, value in weights.items()}


def _published(config: TrialConfig, model: Transformer) -> PublishedUpstream:
    settings: Any = model.model.config
    architecture = json.loads(settings.to_json_string(use_diff=False))
    # A place on this machine; the folder is given to others.
    architecture.pop("_name_or_path", None)
    name = model_of(config)
    return PublishedUpstream(
        model=Path(name).name if Path(name).is_dir() else name,
        architecture=architecture,
        normalises=model.normalises,
    )


def trained_upstreams(trial: FinishedTrial) -> list[Artifact]:
    """One for all folds or one per fold; one that came trained stands for its files and is no folder.

    Those that were trained here are known by what they heard: their keys are of the code at that time. Raises
    BadInputError for an upstream that is no longer in the store, or whose files are not what the trial read.
    """
    config, record, root = trial.config, trial.record, trial.workspace.store.root
    if not config.pretrains:
        return [_came_trained(trial)]
    made = [(artifact, artifact.description()["settings"]) for artifact in stored_artifacts(trial, "pretrain")]
    chosen = []
    for part in heard_parts(config, trial.corpora.heard, trial.corpora.folds):
        heard = {"utterances": digest(list(part.train)), "held_out": digest(list(part.held_out))}
        own = [artifact for artifact, settings in made if _has(settings, heard)]
        if not own:
            raise BadInputError(f"trial {record.trial_key}: its upstream of {part.name} is no longer in {root}")
        chosen.append(own[0])
    return chosen


def _came_trained(trial: FinishedTrial) -> Artifact:
    shared = prepare(trial.config, trial.corpora, trial.workspace, progress=silent)
    (key,) = upstream_keys(trial.config, trial.corpora, trial.workspace, shared=shared)
    readers = [artifact for stage in ("embed", "frames") for artifact in stored_artifacts(trial, stage)]
    if readers and key not in {first_input(artifact) for artifact in readers}:
        raise BadInputError(
            f"trial {trial.record.trial_key}: the files of its upstream {model_of(trial.config)} are not those that it "
            "read then"
        )
    return Artifact(stage=PUBLISHED, key=key, path=trial.workspace.store.root / PUBLISHED / key)


def _has(settings: Json, wanted: Mapping[str, str]) -> bool:
    return isinstance(settings, Mapping) and all(settings.get(name) == value for name, value in wanted.items())


def stored_artifacts(trial: FinishedTrial, stage: str) -> list[Artifact]:
    """The trial's artifacts of a stage, as far as they are still there."""
    keys = [name.partition("/")[2] for name in trial.record.artifacts if name.startswith(f"{stage}/")]
    paths = [trial.workspace.store.root / stage / key for key in keys]
    return [Artifact(stage=stage, key=path.name, path=path) for path in paths if (path / "artifact.json").exists()]


def first_input(artifact: Artifact) -> str:
    """Key of what the artifact was made from: of a stage over an upstream, the upstream's."""
    inputs = artifact.description()["inputs"]
    assert isinstance(inputs, list)
    return str(inputs[0])


def stored_weights(made: Artifact) -> dict[str, Tensor]:
    """The last weights of an upstream, on the CPU."""
    weights: dict[str, Tensor] = torch.load(made.path / "weights.pt", map_location="cpu", weights_only=True)
    return weights


def described(
    trial: FinishedTrial, upstream: Kept, *, fold: int, kind: Literal["classes", "dimensions"], outputs: Sequence[str],
    framed: bool, own: Mapping[str, Any], packages: Sequence[str] = (),
) -> ExportedConfig:  # fmt: skip
    """What the exported model of the fold at this place (from 0) says of itself.

    `framed`: whether single positions are scored. `own`: parts of the trial's config that the system's model is built
    from, as pydantic's `include`; those of the upstream are added. `packages`: beside transformers. Raises
    MissingDependencyError for one that is neither on record nor here.
    """
    config, record = trial.config, trial.record
    heard = {config.upstream: True, "features": True, "score": True} if config.pretrains else _LAYERS
    needed = (*packages, *(() if upstream.published is None else ("transformers",)))
    return ExportedConfig(
        system=config.system,
        kind=kind,
        outputs=tuple(outputs),
        hop_s=upstream.hop_s if framed else None,
        settings=config.model_dump(mode="json", include={"system": True, "upstream": True, **heard, **own}),
        published=upstream.published,
        packages={name: _version(name, record) for name in needed},
        threads=config.compute.threads,
        trial_key=record.trial_key,
        arm=record.arm,
        seed=record.seed,
        fold=trial.corpora.folds.folds[fold].name,
    )


def _version(name: str, record: Record) -> str:
    """The version in the trial; records of earlier times have not all of them: then the one that is here."""
    recorded = record.provenance.packages.get(name, NOT_INSTALLED)
    if recorded != NOT_INSTALLED:
        return recorded
    try:
        return version(name)
    except PackageNotFoundError as error:
        raise MissingDependencyError(
            f"model of trial {record.trial_key}: needs {name} (pip install 'emsweep[systems]')"
        ) from error


_LAYERS: dict[str, Any] = {"transformer": {"layers"}}
"""Of the settings of an upstream that came trained; the other one names a place."""
