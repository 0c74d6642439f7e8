"""Folders of IEMOCAP's shape that several files of tests read."""

from __future__ import annotations

from pathlib import Path

import pytest
from iemocap_tree import Tree, write_published

from core.store import Workspace


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An IEMOCAP with every published count; to be read only."""
    return write_published(tmp_path_factory.mktemp("iemocap"))


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The workspace in which `published` is checked, once for all tests."""
    return Workspace.at(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    tree = Tree(tmp_path / "IEMOCAP")
    for session in range(1, 6):
        for tag in ("ang", "hap", "exc", "neu", "sad", "fru", "ang", "neu", "sad", "hap", "sad", "neu"):
            tree.add(session, tag, audio=tag != "fru")
    return tree.finish()
