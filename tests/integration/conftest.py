"""What all trials of these tests share is made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.progress import silent
from core.resolve import resolve
from core.store import Workspace
from core.upstreams import prepare
from sweeps.cluster import Resources
from sweeps.definition import load_definition
from sweeps.plan import make_plan
from sweeps.tracking.experiment import prepare_database, tracking_uri
from tests.integration.runs import TINY


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Workspace:
    """A workspace with the shared stages of `TINY` sweeps on the demo corpus and MLflow's empty tables."""
    place = Workspace.at(tmp_path_factory.mktemp("prepared") / "workspace")
    plan = make_plan(load_definition("ems_grid", TINY), place, compute=Resources().compute_settings())
    config = plan.trials[0].config
    prepare(config, resolve(config, place), place, progress=silent)
    prepare_database(tracking_uri(place.root))
    return place


@pytest.fixture(scope="session")
def fresh(prepared) -> Callable[[Path], Path]:
    """Makes a workspace of a test's own from the prepared one: the time goes into trials."""

    def made(workspace: Path) -> Path:
        shutil.copytree(prepared.root, workspace)
        return workspace

    return made


@pytest.fixture
def workspace(fresh, tmp_path) -> Path:
    return fresh(tmp_path / "workspace")
