"""Running the `sweep` command as its users do, and reading what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

TINY = [
    "folds.scheme=speaker-folds", "folds.k=3",
    "pretrain.steps=12", "pretrain.report_every=4", "pretrain.checkpoint_every=4", "probe.steps=60",
    "probe.evaluate_every=20", "intensity.strengthnet.max_epochs=1",
]  # fmt: skip


def overrides(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("-o", setting)]


def command(workspace: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "sweeps", *arguments, "--workspace", str(workspace)]


def sweep(
    workspace: Path, *arguments: str, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RAY_"))}
    return subprocess.run(
        command(workspace, *arguments),
        capture_output=True,
        text=True,
        timeout=900,
        cwd=workspace.parent,
        env=clean | dict(environment),
    )


def records(workspace: Path) -> dict[str, dict]:
    found = {path.parent.name: json.loads(path.read_text()) for path in workspace.glob("trials/*/record.json")}
    for record in found.values():
        # When and how long is all that may differ between two runs of one trial.
        del record["provenance"]
        (record["cost"] or {}).pop("device_seconds", None)
    return found
