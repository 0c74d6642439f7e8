"""An estimate against what then really happens, as ratios: two sweeps of different shapes on the demo corpus, or the
definition that is named.

A shared machine may work at another speed a minute later. So each sweep stands between two estimates; where these
differ by more than STEADY, or others held the processes up, nothing was measured to hold the sweep against, and the
line says so. Asked for: every ratio of estimated to real within a fifth of 1. Prints one JSON line per sweep.
Run with nothing else on the machine: python -m benchmarks.bench_estimate [DEFINITION [KEY=VALUE …]]
For example: python -m benchmarks.bench_estimate seed_systems 'seeds=[0]'
"""

from __future__ import annotations

__all__ = ["GRID", "SETTINGS", "Happened", "compared", "estimated", "launched"]

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from core.progress import silent
from core.store import Workspace
from sweeps.definition import load_definition
from sweeps.estimate import Estimate, estimate
from sweeps.plan import make_plan

STEADY = 1.15
"""Two estimates that differ by more were made on a machine that others use."""
SLOTS = 2
SETTINGS = {
    # Whole trials of about ten seconds, and a fit that cannot stop early: of that an estimate is the most it may take.
    "mockingjay": ["axes.upstream=[mockingjay]", "pretrain.steps=70", "intensity.strengthnet.patience=10"],
    "npc": ["axes.upstream=[npc]", "pretrain.steps=70", "intensity.strengthnet.patience=10"],
}
EMS_STAGES = {"start and record", "pretrain", "held-out loss", "checkpoints", "embed", "probe"}
GRID = ["axes.masking.ratio=[0.2]", "axes.masking.temperature=[0.3,1.0]", "axes.masking.span=[7]", "seeds=[0,1]"]


@dataclass(frozen=True, kw_only=True)
class Happened:
    """What a launch took; `wall_s` without the command's own start and planning."""

    wall_s: float
    device_s: float
    held_s: float
    """From start to end of each trial, summed."""
    bytes: int


def estimated(workspace: Path, settings: list[str], *, definition: str = "ems_grid") -> Estimate:
    """What `sweep estimate` would say of what is left of the sweep."""
    place = Workspace.at(workspace)
    compute = {"compute.device": "cpu", "compute.threads": 1}
    plan = make_plan(load_definition(definition, settings), place, compute=compute)
    return estimate(
        plan, place, open_trials=plan.open_trials(place), slots=SLOTS, cpus=1.0, gpus=0.0, progress=silent
    )  # fmt: skip


def launched(workspace: Path, settings: list[str], *, definition: str = "ems_grid") -> Happened:
    """Run the sweep through Ray, and say what it took."""
    options = [part for setting in settings for part in ("-o", setting)]
    arguments = ["launch", definition, "--yes", "--no-estimate", *options, "--workspace", str(workspace)]
    before, earlier = size_of(workspace), set(workspace.glob("trials/*/record.json"))
    times = [time.monotonic()]
    for more in (["--dry-run"], []):
        subprocess.run(
            [sys.executable, "-m", "sweeps", *arguments, *more], check=True, capture_output=True, cwd=workspace.parent
        )
        times.append(time.monotonic())
    found = [json.loads(path.read_text()) for path in set(workspace.glob("trials/*/record.json")) - earlier]
    return Happened(
        wall_s=(times[2] - times[1]) - (times[1] - times[0]),
        device_s=sum(record["cost"]["device_seconds"] for record in found),
        held_s=sum(held(record["provenance"]) for record in found),
        bytes=size_of(workspace) - before,
    )


def held(provenance: dict[str, str]) -> float:
    started, ended = (datetime.fromisoformat(provenance[end]) for end in ("started", "ended"))
    return (ended - started).total_seconds()


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def compared(workspace: Path, name: str, settings: list[str], *, definition: str = "ems_grid") -> dict[str, Any]:
    """Estimated over real, and whether the machine was steady enough for the times to say anything.

    `device` is left out where trials are not of EMS: their records count more stages than pre-training and probe.
    """
    first = estimated(workspace, settings, definition=definition)
    as_it_was = workspace.with_name(f"before-{name}")
    shutil.copytree(workspace, as_it_was)
    happened = launched(workspace, settings, definition=definition)
    second = estimated(as_it_was, settings, definition=definition)
    said = {
        "held": [sum(each.trial_seconds.values()) for each in (first, second)],
        "wall": [each.wall_seconds for each in (first, second)],
    }
    if first.stages.keys() <= EMS_STAGES | {each for each in first.stages if each.startswith("shared ")}:
        said["device"] = [each.stages["pretrain"] + each.stages["probe"] for each in (first, second)]
    real = {"device": happened.device_s, "held": happened.held_s, "wall": happened.wall_s}
    changed = max(first.device_hours, second.device_hours) / min(first.device_hours, second.device_hours)
    busy = any("busy" in note for note in (*first.notes, *second.notes))
    return {
        "sweep": name,
        "ratio": {what: sum(both) / 2 / real[what] for what, both in said.items()}
        | {"disk": first.disk_bytes / happened.bytes},
        "estimates_differ_by": changed,
        "steady": not busy and changed <= STEADY,
    }


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    named = sys.argv[1:]
    sweeps = [(upstream, [*GRID, *own], "ems_grid") for upstream, own in SETTINGS.items()]
    if named:
        sweeps = [(named[0], named[1:], named[0])]
    with tempfile.TemporaryDirectory() as folder:
        for name, settings, definition in sweeps:
            found = compared(Path(folder) / "workspace", name, settings, definition=definition)
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
