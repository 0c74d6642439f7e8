"""A sweep's experiment in MLflow: one parent run and one run per trial, each found by its tag before it is created.

The only module that makes MLflow's client; `retrieval` reads with it. Whatever goes wrong leaves as one TrackingError.
"""

from __future__ import annotations

__all__ = [
    "Experiment",
    "FoundRun",
    "RunStatus",
    "TrackingError",
    "destination_name",
    "find_experiment",
    "impatient_client",
    "is_server",
    "prepare_database",
    "run_page",
    "runs_page",
    "tracking_uri",
]

import json
import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock

from core.errors import BadInputError, EmsweepError
from sweeps.tracking.outbox import SWEEP, Metric

RunStatus = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]

URI_VARIABLE = "MLFLOW_TRACKING_URI"
METRICS_PER_CALL = 1000
"""MLflow's own limit of one log_batch."""
TRIAL_TAG = "emsweep.trial_key"
SWEEP_TAG = "emsweep.sweep"

_RUNS_PER_PAGE = 1000
_LONGEST_NAME, _LONGEST_PARAM, _LONGEST_TAG = 250, 6000, 8000
"""MLflow's limits in characters. Creating a run does not look at them, and on PostgreSQL fails beyond them."""
_HTTP_SECONDS = 10
_SERVERS = ("http", "https", "databricks")
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_VIEW = "sweep"
_COLUMNS = (
    "metrics.`validation/ua`",
    "metrics.`validation/wa`",
    "metrics.`mask/realised_ratio`",
    "metrics.`held_out/loss`",
    "tags.`emsweep.status`",
    "params.`upstream`",
    "params.`masking.policy`",
    "params.`masking.ratio`",
    "params.`masking.temperature`",
    "params.`masking.span`",
    "params.`seed`",
)
_EXPERIMENT_TAGS = {
    # An experiment of this kind is model training to MLflow's pages, not GenAI.
    "mlflow.experimentKind": "custom_model_development",
    # The table to open with, as MLflow's own "share view" stores one. Sorted by Created it would show but the parent.
    f"mlflow.sharedViewState.{_VIEW}": json.dumps(
        {
            "searchFilter": f"tags.`{TRIAL_TAG}` != ''",
            "orderByKey": _COLUMNS[0],
            "orderByAsc": False,
            "selectedColumns": _COLUMNS,
        }
    ),
}
_REFUSALS = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")


class TrackingError(EmsweepError):
    """MLflow did not do what it was asked.

    Attributes:
        refused: it answered, and will not do this for this run; otherwise it is slow, down or broken.
    """

    def __init__(self, message: str, *, refused: bool) -> None:
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True, kw_only=True)
class FoundRun:
    """A run that MLflow has. `trial_key` is `SWEEP` for the parent run."""

    run_id: str
    trial_key: str
    deleted: bool


def tracking_uri(workspace: Path) -> str:
    """Where MLflow is: `$MLFLOW_TRACKING_URI`, else `mlflow.db` (SQLite) in the workspace.

    Raises BadInputError for a file store, which MLflow 3 no longer takes, and for an unknown scheme.
    """
    uri = os.environ.get(URI_VARIABLE) or f"sqlite:///{workspace.absolute() / 'mlflow.db'}"
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme not in (*_SERVERS, *_DATABASES):
        raise BadInputError(f"{URI_VARIABLE} {uri!r}: must be http(s)://… or a database such as sqlite:///FILE")
    return uri


def destination_name(uri: str) -> str:
    """The tracking URI without user and password: fit for files and messages."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def is_server(uri: str) -> bool:
    """Whether the URI is an MLflow server (which keeps the artifacts itself), not a database."""
    return urlsplit(uri).scheme in _SERVERS


def runs_page(address: str, experiment_id: str | None) -> str:
    """The page of MLflow at `address` that shows an experiment's runs; None: its newest experiments."""
    if experiment_id is None:
        return f"{address}/#/experiments?workflowType=machine_learning"
    return f"{address}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={_VIEW}"


def run_page(address: str, run_id: str) -> str:
    """The page of MLflow at `address` that shows one run."""
    return f"{address}/#/runs/{run_id}"


def find_experiment(uri: str, name: str | None) -> str | None:
    """Id of the experiment of that name (None: of the one last changed), None if there is none."""
    with reported("looking for the experiment"):
        client = impatient_client(uri)
        if name is not None:
            found = client.get_experiment_by_name(name)
        else:
            found = next(iter(client.search_experiments(order_by=["last_update_time DESC"], max_results=1)), None)
        return None if found is None else str(found.experiment_id)


def prepare_database(uri: str) -> None:
    """Make MLflow's SQLite file once: tables (seconds) and WAL mode. Other destinations are left to their servers."""
    if not uri.startswith("sqlite:///"):
        return
    path = Path(uri.removeprefix("sqlite:///"))
    with reported("making MLflow's database"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.making")):
            if not path.exists():
                _make_database(path)
            with closing(sqlite3.connect(path)) as database:
                database.execute("PRAGMA journal_mode = WAL")


def _make_database(path: Path) -> None:
    """Under other names first: MLflow cannot go on with tables that a killed process made in part."""
    made, whole = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.whole")
    for left_over in (made, whole):
        left_over.unlink(missing_ok=True)
    impatient_client(f"sqlite:///{made}")
    with closing(sqlite3.connect(made)) as database:
        # The client keeps its connection: a copy is sure to be complete in one file.
        database.execute("VACUUM INTO ?", (str(whole),))
    made.unlink()
    whole.replace(path)


class Experiment:
    """The experiment called `name`, created when absent. Raises TrackingError, here and in every method."""

    def __init__(self, uri: str, *, name: str, artifact_root: Path) -> None:
        with reported(f"opening experiment {name!r}"):
            prepare_database(uri)
            self._client = impatient_client(uri)
            self._name = name
            found = self._client.get_experiment_by_name(name)
            if found is not None and found.lifecycle_stage != "active":
                raise TrackingError(f"MLflow: experiment {name!r} is deleted there; restore or purge it", refused=False)
            self.experiment_id: str = found.experiment_id if found is not None else self._create(uri, artifact_root)
            for key in _EXPERIMENT_TAGS if found is not None else ():
                if key not in found.tags:
                    self._client.set_experiment_tag(self.experiment_id, key, _EXPERIMENT_TAGS[key])

    def _create(self, uri: str, artifact_root: Path) -> str:
        note = f"Sweep `{self._name}`: one run per trial below one parent run. Tables: `sweep report {self._name}`."
        location = None if is_server(uri) else (artifact_root.absolute() / self._name).as_uri()
        tags = _EXPERIMENT_TAGS | {"mlflow.note.content": note}
        return str(self._client.create_experiment(self._name, artifact_location=location, tags=tags))

    def runs(self) -> tuple[FoundRun, ...]:
        """Every run of the sweep or of a trial, deleted ones included."""
        return self._search("")

    def find(self, trial_key: str) -> str | None:
        """The run of a trial (or of the sweep: `SWEEP`), None if there is none.

        Of several the first by id that is not deleted, so that all who ask agree.
        """
        wanted = f"tags.`{SWEEP_TAG}` = '{self._name}'" if trial_key == SWEEP else f"tags.`{TRIAL_TAG}` = '{trial_key}'"
        found = sorted(self._search(wanted), key=lambda run: (run.deleted, run.run_id))
        return found[0].run_id if found else None

    def create(self, name: str, *, began_ms: int, params: Mapping[str, str], tags: Mapping[str, str]) -> str:
        """A new run, RUNNING. Its tags are there from the first moment on, so it is found even if we die now."""
        with reported(f"creating run {name!r}"):
            # Params in a second call: MLflow takes the same params again, so the caller may repeat `describe`.
            run = self._client.create_run(
                self.experiment_id, start_time=began_ms, tags=_cut(tags, _LONGEST_TAG), run_name=name[:_LONGEST_NAME]
            )
            run_id = str(run.info.run_id)
        self.describe(run_id, params=params, tags={})
        return run_id

    def describe(self, run_id: str, *, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Set params (unchangeable in MLflow) and tags."""
        from mlflow.entities import Param, RunTag

        with reported(f"describing run {run_id}"):
            self._client.log_batch(
                run_id,
                params=[Param(key, value) for key, value in _cut(params, _LONGEST_PARAM).items()],
                tags=[RunTag(key, value) for key, value in _cut(tags, _LONGEST_TAG).items()],
                synchronous=True,
            )

    def add_metrics(self, run_id: str, metrics: Sequence[Metric]) -> None:
        """At most `METRICS_PER_CALL` values. MLflow keeps each (metric, step, time, value) once, however often sent."""
        from mlflow.entities import Metric as MlflowMetric

        with reported(f"metrics of run {run_id}"):
            values = [MlflowMetric(event.metric, event.value, event.time_ms, event.step) for event in metrics]
            self._client.log_batch(run_id, metrics=values, synchronous=True)

    def add_artifact(self, run_id: str, path: Path, *, folder: str = "") -> None:
        """One file, into a folder among the run's artifacts; an older one of the same name is replaced."""
        if not path.is_file():
            raise TrackingError(f"artifact {path}: no longer there, run {run_id} stays without it", refused=True)
        with reported(f"artifact {path.name} of run {run_id}"):
            self._client.log_artifact(run_id, str(path), artifact_path=folder or None)

    def set_status(self, run_id: str, status: RunStatus, *, ended_ms: int | None) -> None:
        """RUNNING and SCHEDULED have no end; the others end at `ended_ms`."""
        with reported(f"status of run {run_id}"):
            if status in ("RUNNING", "SCHEDULED"):
                self._client.update_run(run_id, status=status)
            else:
                self._client.set_terminated(run_id, status=status, end_time=ended_ms)

    def delete(self, run_id: str) -> None:
        """Move a run to MLflow's bin, ended: there too none shall seem to be running."""
        with reported(f"deleting run {run_id}"):
            self._client.set_terminated(run_id, status="KILLED")
            self._client.delete_run(run_id)

    def _search(self, wanted: str) -> tuple[FoundRun, ...]:
        from mlflow.entities import ViewType

        found: list[FoundRun] = []
        token = None
        with reported("searching runs"):
            while token is None or token:
                page = self._client.search_runs(
                    [self.experiment_id],
                    wanted,
                    run_view_type=ViewType.ALL,
                    max_results=_RUNS_PER_PAGE,
                    page_token=token,
                )
                found += [entry for run in page if (entry := _found(run)) is not None]
                token = page.token or ""
        return tuple(found)


def _cut(values: Mapping[str, str], longest: int) -> dict[str, str]:
    return {key: value if len(value) <= longest else f"{value[: longest - 2]} …" for key, value in values.items()}


def _found(run: Any) -> FoundRun | None:
    tags = run.data.tags
    trial_key = tags.get(TRIAL_TAG) or (SWEEP if SWEEP_TAG in tags else None)
    if trial_key is None:
        return None
    return FoundRun(run_id=run.info.run_id, trial_key=trial_key, deleted=run.info.lifecycle_stage != "active")


def impatient_client(uri: str) -> Any:
    """An impatient client: we have our own patience, and a create repeated blindly would make a second run.

    The limits are new defaults of MLflow's settings in this process; variables that the user has set stay in force.
    """
    # Migrations announce themselves at INFO.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient, environment_variables
    from mlflow.telemetry import set_telemetry_client

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    environment_variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.default = 0
    environment_variables.MLFLOW_HTTP_REQUEST_TIMEOUT.default = _HTTP_SECONDS
    environment_variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.default = True
    environment_variables.MLFLOW_DISABLE_TELEMETRY.default = True
    environment_variables.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.default = False
    set_telemetry_client()
    return MlflowClient(tracking_uri=uri)


@contextmanager
def reported(what: str) -> Iterator[None]:
    """Whatever MLflow, its database or its network raises in the block leaves as one TrackingError."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        raise TrackingError(f"MLflow, {what}: {_line(error)}", refused=error.error_code in _REFUSALS) from error
    except (SQLAlchemyError, OSError, sqlite3.Error, json.JSONDecodeError) as error:
        raise TrackingError(f"MLflow, {what}: {_line(error)}", refused=False) from error


def _line(error: Exception) -> str:
    """The first line of the message, without the user and password that a URL in it may carry."""
    return re.sub(r"://[^/\s]*@", "://", (str(error).splitlines() or [type(error).__name__])[0])
