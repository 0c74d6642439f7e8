"""From MLflow back to files: the plan, records and predictions of a sweep as its workspace has them, byte for byte."""

from __future__ import annotations

__all__ = ["Retrieved", "retrieve_sweep"]

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

from core.errors import BadInputError
from core.records import MASK_EXAMPLE
from sweeps.tracking.experiment import (
    SWEEP_TAG,
    TRIAL_TAG,
    destination_name,
    impatient_client,
    reported,
)
from sweeps.tracking.sweep_files import IMPORTS, PLAN

OPENINGS_TAG = "emsweep.openings_from_mlflow"
"""On the sweep's own run: how often its test predictions were fetched from there."""
FILES = ("predictions.parquet", MASK_EXAMPLE, "record.json")
"""What a report reads of a trial."""
DOWNLOADS = 8
"""At once; nearly all of their time is waiting for the server."""


@dataclass(frozen=True, kw_only=True)
class Retrieved:
    """A sweep as MLflow has it."""

    plan_path: Path
    runs: Mapping[str, str]
    """Trial key → run, of the planned trials, ended or not."""


def retrieve_sweep(name: str, root: Path, *, uri: str) -> Retrieved:
    """Write `sweeps/<name>/` (plan, imported systems) and `trials/` of a sweep below `root`, as a workspace has them.

    That predictions were fetched, the test part among them, is first counted on the server, in the tag OPENINGS_TAG of
    the sweep's own run. Trials that MLflow does not have yet are left out, as those that have not ended are.

    Raises BadInputError when MLflow has no such sweep or not its plan, TrackingError when it does not answer or refuses
    to count.
    """
    with reported(f"looking for sweep {name!r}"):
        client = impatient_client(uri)
        experiment = client.get_experiment_by_name(name)
        runs = _runs(client, experiment.experiment_id) if experiment is not None else []
    where = destination_name(uri)
    parents = sorted(run.info.run_id for run in runs if run.data.tags.get(SWEEP_TAG) == name)
    if not parents:
        raise BadInputError(f"sweep {name!r}: MLflow at {where} has no such sweep")
    folder = root / "sweeps" / name
    folder.mkdir(parents=True, exist_ok=True)
    with reported(f"fetching the plan of sweep {name!r}"):
        there = {entry.path for entry in client.list_artifacts(parents[0])}
        if PLAN not in there:
            raise BadInputError(
                f"sweep {name!r}: MLflow at {where} has not got its plan; send it from its workspace: sweep sync {name}"
            )
        for wanted in sorted(there & {PLAN, IMPORTS}):
            client.download_artifacts(parents[0], wanted, str(folder))
    keys = _planned(folder / PLAN)
    found = {run.data.tags.get(TRIAL_TAG): run.info.run_id for run in sorted(runs, key=_run_id, reverse=True)}
    wanted_runs = {key: found[key] for key in keys if key in found}
    _count(client, parents[0])
    with ThreadPoolExecutor(DOWNLOADS) as downloads:
        folders = [root / "trials" / key for key in wanted_runs]
        # A list: the first failure is raised here.
        list(downloads.map(_fetch_trial, repeat(client), wanted_runs.values(), folders))
    return Retrieved(plan_path=folder / PLAN, runs=wanted_runs)


def _runs(client: Any, experiment_id: str) -> list[Any]:
    """All runs that nobody deleted."""
    runs: list[Any] = []
    token = None
    while token is None or token:
        page = client.search_runs([experiment_id], "", max_results=1000, page_token=token)
        runs += page
        token = page.token or ""
    return runs


def _run_id(run: Any) -> str:
    return str(run.info.run_id)


def _planned(path: Path) -> list[str]:
    try:
        return [str(trial["trial_key"]) for trial in json.loads(path.read_bytes())["trials"]]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path.name} from MLflow: not a plan ({error})") from error


def _count(client: Any, run_id: str) -> None:
    with reported("counting the look at the test part"):
        before = client.get_run(run_id).data.tags.get(OPENINGS_TAG, "0")
        client.set_tag(run_id, OPENINGS_TAG, str(int(before) + 1 if before.isdigit() else 1))


def _fetch_trial(client: Any, run_id: str, folder: Path) -> None:
    """The trial's files into its folder; nothing where the run has no record yet."""
    with reported(f"fetching run {run_id}"):
        there = {entry.path for entry in client.list_artifacts(run_id)}
        if "record.json" not in there:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for name in (name for name in FILES if name in there):
            client.download_artifacts(run_id, name, str(folder))
