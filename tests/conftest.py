"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.store import Workspace

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole sweeps first: what takes minutes must not be left to one of two workers at the end."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real recordings (`ravdess/`, `emodb/`): `$EMSWEEP_TEST_DATA`, else `../shared/data`."""
    folder = Path(os.environ.get("EMSWEEP_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "ravdess").is_dir() or not (folder / "emodb").is_dir():
        pytest.skip(f"no recordings in {folder}; set EMSWEEP_TEST_DATA")
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace of the test's own."""
    return Workspace.at(tmp_path / "workspace")


@pytest.fixture(scope="session")
def demo_workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One workspace for all tests that only read the demo corpus, which is rendered into it once."""
    return Workspace.at(tmp_path_factory.mktemp("demo-workspace"))
