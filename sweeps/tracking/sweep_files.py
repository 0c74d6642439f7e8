"""Files of a sweep, not of a trial, that its own run in MLflow gets: with them and the records a report is made.

Relative to `sweeps/<name>/`: the plan, and the systems that were imported to compare with.
"""

from __future__ import annotations

__all__ = ["IMPORTS", "PLAN", "folder_of", "sweep_files"]

from pathlib import Path

PLAN = "plan.json"
IMPORTS = "imports"


def sweep_files(folder: Path) -> tuple[Path, ...]:
    """Those there are, in order. What is still being written has a name that begins with a dot."""
    plan = folder / PLAN
    found = sorted(path for path in folder.glob(f"{IMPORTS}/[!.]*/**/*") if path.is_file())
    return (*([plan] if plan.is_file() else []), *found)


def folder_of(path: Path, root: Path) -> str:
    """The file's folder below the sweep's, as MLflow names folders; empty for the sweep's own."""
    folder = path.parent.relative_to(root).as_posix()
    return "" if folder == "." else folder
