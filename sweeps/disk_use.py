"""What a workspace takes on its disk."""

from __future__ import annotations

__all__ = ["DiskUse", "disk_use"]

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.store import Workspace


@dataclass(frozen=True, kw_only=True)
class DiskUse:
    """Bytes."""

    workspace: int
    store: int
    """Artifacts, checkpoints of running and interrupted trials included."""
    checkpoints: int
    free: int
    """On the workspace's disk, for this user."""


def disk_use(workspace: Workspace) -> DiskUse:
    """Add up all files; what vanishes meanwhile counts nothing."""
    total, store, checkpoints = 0, 0, 0
    within_store = f"{workspace.store.root}{os.sep}"
    for folder, size in _files(workspace.root):
        total += size
        if f"{folder}{os.sep}".startswith(within_store):
            store += size
            checkpoints += size if ".scratch" in folder else 0
    free = shutil.disk_usage(workspace.root).free
    return DiskUse(workspace=total, store=store, checkpoints=checkpoints, free=free)


def _files(root: Path) -> Iterator[tuple[str, int]]:
    """Folder and size of each file below; `os.scandir` because a store has many."""
    folders = [str(root)]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
                continue
            try:
                yield folder, entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
