"""A trained model in a folder of its own: what it is, how it is kept, and what it says of a recording (ours).

`config.json` (ExportedConfig) and `model.safetensors`, with a card beside them. Nothing else is needed to predict: no
workspace, no corpus. Any system becomes exportable by one module that packages its model and runs the package.

C outputs (classes or dimensions), P positions of the model's own time grid, N samples.
"""

from __future__ import annotations

__all__ = [
    "WEIGHTS",
    "Answer",
    "Exportable",
    "ExportedConfig",
    "FinishedTrial",
    "Package",
    "Predictor",
    "PublishedUpstream",
    "exportable",
    "load_package",
    "package_files",
    "predictor_of",
    "weights_hash",
]

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from core.config import Config, SystemName, TrialConfig
from core.errors import BadInputError, MissingDependencyError
from core.progress import Progress
from core.records import Record
from core.store import Workspace

if TYPE_CHECKING:
    from core.resolve import Corpora

CONFIG, WEIGHTS = "config.json", "model.safetensors"
HASH = "weights_sha256"
"""In `config.json`, of the file beside it."""

Tensors = Mapping[str, NDArray[Any]]


class PublishedUpstream(Config):
    """An upstream that came trained, as far as it is no weights."""

    model: str
    """Its name on the hub, or the last name of its folder."""
    architecture: dict[str, Any]
    """Its config as transformers writes it."""
    normalises: bool
    """Whether it wants audio at zero mean and unit variance."""


class ExportedConfig(Config):
    """What an exported model is. Change the layout only together with `schema_version`."""

    schema_version: Literal[1, 2] = 2
    """1 had no `published`."""
    system: SystemName
    kind: Literal["classes", "dimensions"]
    outputs: tuple[str, ...] = Field(min_length=1)
    """Names of the classes or dimensions, in the order of every score."""
    hop_s: float | None = Field(default=None, gt=0)
    """Seconds from one position to the next; position p begins at p · hop_s. None: only whole recordings are scored."""
    settings: dict[str, Any]
    """The parts of the trial's config that the model is built from."""
    published: PublishedUpstream | None = None
    """None where the upstream was trained here: the settings then say all."""
    packages: dict[str, str] = Field(default_factory=dict)
    """Packages beside this program's own that a score depends on → version in the trial."""
    threads: int = Field(ge=1)
    """CPU threads of the trial: sums are split by thread."""
    trial_key: str
    arm: str
    seed: int
    fold: str
    """Whose train part the model was fitted on, and whose validation part chose it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Package:
    """A model as it is kept."""

    config: ExportedConfig
    tensors: Tensors


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a model says of one recording.

    Values are what its last linear layer gives: logits of classes, or dimensions as the corpus scales them.
    """

    kind: Literal["classes", "dimensions"]
    values_C: NDArray[np.float32]
    frame_values_PC: NDArray[np.float32] | None = None
    """None where the system has none. Where the head is linear in the frames, their mean, weighted by `weights_P`, is
    `values_C`."""
    weights_P: NDArray[np.float32] | None = None
    """How much each position counts in the recording's values, sum 1. None: all the same, or no scores of frames."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """Probabilities of the classes, or the dimensions themselves, (C,)."""
        return self._scores(self.values_C)

    @property
    def frame_scores(self) -> NDArray[np.float32] | None:
        """The same of each position by itself, (P, C); None where the system has none."""
        return None if self.frame_values_PC is None else self._scores(self.frame_values_PC)

    def _scores(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.kind == "dimensions":
            return values
        grown = np.exp(values - values.max(axis=-1, keepdims=True))
        shares: NDArray[np.float32] = grown / grown.sum(axis=-1, keepdims=True)
        return shares


class Predictor(Protocol):
    """A package that is ready to run."""

    def predict(self, samples_N: NDArray[np.float32]) -> Answer:
        """Score one recording: samples at `core.units.SAMPLE_RATE`, full scale ±1.

        Raises BadInputError for one that is too short, or whose features are not finite.
        """


@dataclass(frozen=True, kw_only=True)
class FinishedTrial:
    """A complete trial with what it was run on."""

    record: Record
    config: TrialConfig
    corpora: Corpora
    workspace: Workspace


class Exportable(Protocol):
    """The module that packages the models of one system."""

    def package(self, trial: FinishedTrial, *, fold: int, progress: Progress) -> Package:
        """The trial's model of the fold at this place (from 0). Raises BadInputError when it cannot be had any more."""

    def predictor(self, package: Package) -> Predictor:
        """Raises BadInputError for tensors that do not fit the config."""


_MODULES: dict[SystemName, str] = {
    "ems": "ems_package", "sap": "sap_package", "frame_alignment": "alignment_package",
    "teacher_student": "student_package",
}  # fmt: skip


def exportable(system: SystemName) -> Exportable:
    """The packaging of a system; imports torch."""
    return cast("Exportable", importlib.import_module(f"core.systems.{_MODULES[system]}"))


def predictor_of(package: Package) -> Predictor:
    """Ready to run on the CPU. Raises BadInputError, and MissingDependencyError for a package that is not here."""
    _check_packages(package.config)
    return exportable(package.config.system).predictor(package)


def _check_packages(config: ExportedConfig) -> None:
    for name, wanted in config.packages.items():
        try:
            there = version(name)
        except PackageNotFoundError as error:
            raise MissingDependencyError(
                f"exported model of trial {config.trial_key}: needs {name} {wanted} (pip install 'emsweep[systems]')"
            ) from error
        if there != wanted:
            raise BadInputError(
                f"exported model of trial {config.trial_key}: was made with {name} {wanted}, here is {there}"
            )


def package_files(package: Package) -> dict[str, bytes]:
    """File name → content; the same package gives the same bytes. Raises MissingDependencyError without safetensors."""
    tensors = {name: np.ascontiguousarray(values) for name, values in package.tensors.items()}
    weights = bytes(_safetensors().save(tensors))
    content = package.config.model_dump(mode="json") | {HASH: weights_hash(weights)}
    return {CONFIG: (json.dumps(content, indent=1) + "\n").encode(), WEIGHTS: weights}


def weights_hash(weights: bytes) -> str:
    """Which weights these are, for people and for the registry: SHA-256 of `model.safetensors`."""
    return hashlib.sha256(weights).hexdigest()


def load_package(folder: Path) -> Package:
    """The package in an exported folder. Raises BadInputError for one that is none, or was changed or damaged."""
    try:
        content = json.loads((folder / CONFIG).read_bytes())
        weights = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise BadInputError(f"{folder}: no exported model ({Path(error.filename).name}: {error.strerror})") from error
    except ValueError as error:
        raise BadInputError(f"{folder / CONFIG}: not JSON ({error})") from error
    expected = content.pop(HASH, None) if isinstance(content, dict) else None
    try:
        config = ExportedConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "whole file"
        raise BadInputError(f"{folder / CONFIG}: not of an exported model ({place}: {first['msg']})") from error
    if weights_hash(weights) != expected:
        raise BadInputError(f"{folder / WEIGHTS}: not the weights of its config.json ({HASH} {expected} there)")
    return Package(config=config, tensors=_safetensors().load(weights))


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise MissingDependencyError(
            "exported models: need the package safetensors (pip install 'emsweep[systems]')"
        ) from error
    return safetensors.numpy
