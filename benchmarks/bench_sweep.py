"""What orchestration costs: `sweep launch` of 40 trials of about 10 s, against a bare loop over the same trials.

The bare loop is a pool of as many processes as the sweep has lanes, each with one thread, that calls
`core.trial.run_trial` and nothing else: no Ray, no journal, no MLflow. Both begin with the same shared stages and
nothing else, in workspaces of their own. Prints one JSON line. Run: python benchmarks/bench_sweep.py [--trials 40]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from core.config import TrialConfig
from core.store import Workspace
from core.trial import run_trial
from sweeps.cluster import Resources
from sweeps.definition import load_definition
from sweeps.plan import Planner

LANES = 2
TRIAL_SECONDS = 10.0


def run_bare(task: tuple[str, str, str]) -> float:
    """One trial of the bare loop; its wall time in seconds."""
    config, arm, workspace = task
    began = time.perf_counter()
    run_trial(TrialConfig.model_validate_json(config), Workspace.at(Path(workspace)), arm=arm)
    return time.perf_counter() - began


def overrides(seeds: int, steps: int) -> list[str]:
    settings = {
        "axes.masking.ratio": "[0.15]", "axes.masking.temperature": "[0.25]", "axes.masking.span": "[7]",
        "seeds": json.dumps(list(range(seeds))), "pretrain.steps": str(steps), "pretrain.report_every": str(steps // 3),
        "pretrain.checkpoint_every": str(steps),
    }  # fmt: skip
    return [f"{key}={value}" for key, value in settings.items()]


def fresh(prepared: Path, place: Path) -> Path:
    left_out = {"pretrain", "embed"}
    shutil.copytree(prepared / "store", place / "store", ignore=lambda _, names: left_out & set(names))
    return place


def launch(place: Path, settings: list[str]) -> float:
    options = [part for setting in settings for part in ("-o", setting)]
    command = [sys.executable, "-m", "sweeps", "launch", "ems_grid", "--yes", "--no-estimate", *options]
    began = time.perf_counter()
    subprocess.run([*command, "--workspace", str(place)], check=True, capture_output=True, text=True)
    return time.perf_counter() - began


def bare(place: Path, settings: list[str]) -> tuple[float, list[float]]:
    began = time.perf_counter()
    workspace = Workspace.at(place)
    planner = Planner(load_definition("ems_grid", settings), workspace, compute=Resources().compute_settings())
    tasks = [(trial.config.model_dump_json(), trial.arm, str(place)) for trial in planner.whole().trials]
    with multiprocessing.get_context("spawn").Pool(LANES) as pool:
        taken = pool.map(run_bare, tasks, chunksize=1)
    return time.perf_counter() - began, taken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--steps", type=int, default=0, help="Optimizer steps per upstream; 0: about 10 s per trial.")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = folder / "prepared"
        _, taken = bare(prepared, overrides(1, 60))
        steps = options.steps or int(60 * TRIAL_SECONDS / max(taken))
        settings = overrides(options.trials // 2, steps)
        swept = launch(fresh(prepared, folder / "swept"), settings)
        looped, taken = bare(fresh(prepared, folder / "looped"), settings)
    figures: dict[str, Any] = {
        "trials": len(taken), "steps": steps, "seconds_per_trial": sum(taken) / len(taken), "sweep_s": swept,
        "bare_loop_s": looped, "ratio": swept / looped,
    }  # fmt: skip
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
