"""Exported models in MLflow's model registry: one registered model per arm, one version per exported weights (ours)."""

from __future__ import annotations

__all__ = ["ModelRegistry", "RegisteredModel", "model_name"]

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from core.errors import BadInputError
from sweeps.tracking.experiment import TRIAL_TAG, destination_name, impatient_client, is_server, reported
from sweeps.tracking.links import LOCAL

FOLDER = "model"
"""Among the run's artifacts."""
WEIGHTS_TAG, FOLD_TAG = "emsweep.weights", "emsweep.fold"
_LONGEST_DESCRIPTION = 5000
"""MLflow's limit in characters on a version's description."""


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """A version of a registered model."""

    name: str
    version: str
    run_id: str
    """The trial's run, among whose artifacts the files lie."""
    page: str
    """Where MLflow shows it; of a database, where `sweep ui` does at its usual port."""
    made: bool
    """False: this version was registered before, with the same weights."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def model_name(sweep: str, arm: str) -> str:
    """What the models of an arm are registered as; MLflow refuses some characters that arms may have.

    >>> model_name("ems_grid", "ems r0.15 s7 t1")
    'ems_grid ems r0.15 s7 t1'
    """
    return re.sub(r"""[/:'"`%]""", "-", f"{sweep} {arm}")


class ModelRegistry:
    """The registry of the MLflow at `uri`, for models of one trial of one sweep.

    Raises BadInputError when the trial has no run there, TrackingError when MLflow does not answer.
    """

    def __init__(self, uri: str, *, sweep: str, trial_key: str) -> None:
        self._uri, self._trial_key = uri, trial_key
        absent = BadInputError(
            f"trial {trial_key}: has no run in the MLflow at {destination_name(uri)}; send it first (sweep sync "
            f"{sweep}), or export with --no-register"
        )
        if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
            raise absent
        with reported(f"looking for the run of trial {trial_key}"):
            self._client = impatient_client(uri)
            experiment = self._client.get_experiment_by_name(sweep)
            wanted = f"tags.`{TRIAL_TAG}` = '{trial_key}'"
            runs = self._client.search_runs([experiment.experiment_id], wanted) if experiment is not None else []
        if not runs:
            raise absent
        # Of several the first by id, as the uploader does.
        self.run_id = min(str(run.info.run_id) for run in runs)

    def register(self, folder: Path, *, name: str, fold: str, weights: str, description: str) -> RegisteredModel:
        """Put the files of an exported model beside the trial's others and make a version of them.

        `weights`: their hash; a version that has them already is not made again. Raises TrackingError.
        """
        with reported(f"registering model {name!r}"):
            known = {version.tags.get(WEIGHTS_TAG): version for version in self._versions(name)}
            if weights in known:
                return self._found(name, str(known[weights].version), made=False)
            place = f"{FOLDER}/{weights[:16]}"
            self._client.log_artifacts(self.run_id, str(folder), artifact_path=place)
            if not self._client.search_registered_models(filter_string=f"name = '{name}'"):
                self._client.create_registered_model(name, description="Exported by `sweep export`.")
            version = self._client.create_model_version(
                name,
                f"runs:/{self.run_id}/{place}",
                run_id=self.run_id,
                tags={TRIAL_TAG: self._trial_key, WEIGHTS_TAG: weights, FOLD_TAG: fold},
                description=description[:_LONGEST_DESCRIPTION],
                await_creation_for=0,
            )
        return self._found(name, str(version.version), made=True)

    def _versions(self, name: str) -> list[Any]:
        return list(self._client.search_model_versions(f"name = '{name}' and run_id = '{self.run_id}'"))

    def _found(self, name: str, version: str, *, made: bool) -> RegisteredModel:
        address = destination_name(self._uri) if is_server(self._uri) else LOCAL
        page = f"{address}/#/models/{quote(name)}/versions/{version}"
        return RegisteredModel(name=name, version=version, run_id=self.run_id, page=page, made=made)
