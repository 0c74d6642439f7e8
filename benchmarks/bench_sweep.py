"""What orchestration costs: `sweep launch` of 40 trials of about 10 s, against a bare loop over the same trials.

The bare loop is a pool of as many processes as the sweep has lanes, that calls `core.trial.run_trial` and nothing else:
no Ray, no journal, no MLflow. Both begin with the same shared stages and nothing else, in workspaces of their own.
With `--lanes` below the number of processors there is room for what is not training, as beside a GPU; by default there
is none. The loop runs half its trials before the sweep and half after it, so that a machine that becomes slower
does not decide. Where the time goes is read off the records of both: until the first trial begins, within trials,
between two of them on a lane, after the last one. Prints one JSON line.
Run: python -m benchmarks.bench_sweep [--trials 40] [--lanes 1]
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
from datetime import datetime
from pathlib import Path
from typing import Any

from core.config import TrialConfig
from core.store import Workspace
from core.trial import run_trial
from sweeps.cluster import Resources
from sweeps.definition import load_definition
from sweeps.plan import Planner

PROCESSORS = len(os.sched_getaffinity(0))
TRIAL_SECONDS = 10.0
PARTS = ("before", "trials", "between", "after")


def run_bare(task: tuple[str, str, str]) -> None:
    """One trial of the bare loop."""
    config, arm, workspace = task
    run_trial(TrialConfig.model_validate_json(config), Workspace.at(Path(workspace)), arm=arm)


def resources(lanes: int) -> Resources:
    """What a trial is given so that as many as `lanes` run at a time."""
    return Resources(cpus=1.0 if lanes == PROCESSORS else PROCESSORS / (lanes + 0.5))


def overrides(seeds: range, steps: int) -> list[str]:
    settings = {
        "axes.masking.ratio": "[0.15]", "axes.masking.temperature": "[0.25]", "axes.masking.span": "[7]",
        "seeds": json.dumps(list(seeds)), "pretrain.steps": str(steps),
        "pretrain.report_every": str(max(1, steps // 3)), "pretrain.checkpoint_every": str(steps),
    }  # fmt: skip
    return [f"{key}={value}" for key, value in settings.items()]


def fresh(prepared: Path, place: Path) -> Path:
    left_out = {"pretrain", "embed"}
    shutil.copytree(prepared / "store", place / "store", ignore=lambda _, names: left_out & set(names))
    return place


def launch(place: Path, settings: list[str], lanes: int) -> dict[str, float]:
    options = [part for setting in settings for part in ("-o", setting)]
    command = [sys.executable, "-m", "sweeps", "launch", "ems_grid", "--yes", "--no-estimate", *options]
    command += ["--cpus-per-trial", str(resources(lanes).cpus)]
    began = time.time()
    subprocess.run([*command, "--workspace", str(place)], check=True, capture_output=True, text=True)
    return parts(place, began, time.time(), lanes)


def bare(place: Path, settings: list[str], lanes: int) -> dict[str, float]:
    began = time.time()
    workspace = Workspace.at(place)
    planner = Planner(load_definition("ems_grid", settings), workspace, compute=resources(lanes).compute_settings())
    tasks = [(trial.config.model_dump_json(), trial.arm, str(place)) for trial in planner.whole().trials]
    with multiprocessing.get_context("spawn").Pool(lanes) as pool:
        pool.map(run_bare, tasks, chunksize=1)
    return parts(place, began, time.time(), lanes)


def parts(place: Path, began: float, ended: float, lanes: int) -> dict[str, float]:
    """Seconds of wall time; `trials` is the time within trials, summed and divided by the lanes."""
    records = [json.loads(path.read_text())["provenance"] for path in place.glob("trials/*/record.json")]
    spans = [[datetime.fromisoformat(record[end]).timestamp() for end in ("started", "ended")] for record in records]
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    within = sum(end - start for start, end in spans) / lanes
    return {
        "trial": within * lanes / len(spans), "all": ended - began, "before": first - began, "trials": within,
        "between": last - first - within, "after": ended - last,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--steps", type=int, default=0, help="Optimizer steps per upstream; 0: about 10 s per trial.")
    parser.add_argument("--lanes", type=int, default=PROCESSORS, help="Trials at a time.")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    lanes, half = options.lanes, options.trials // 4
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = folder / "prepared"
        bare(prepared, overrides(range(1), 1), lanes)
        sample = bare(fresh(prepared, folder / "sample"), overrides(range(1), 60), lanes)
        steps = options.steps or int(60 * TRIAL_SECONDS / sample["trial"])
        # An arm and its twin per seed.
        first = bare(fresh(prepared, folder / "first"), overrides(range(half), steps), lanes)
        swept = launch(fresh(prepared, folder / "swept"), overrides(range(2 * half), steps), lanes)
        second = bare(fresh(prepared, folder / "second"), overrides(range(half, 2 * half), steps), lanes)
    # One loop over all of them would begin and end once.
    looped = {part: first[part] + second[part] for part in ("trials", "between")}
    looped |= {part: (first[part] + second[part]) / 2 for part in ("trial", "before", "after")}
    looped["all"] = sum(looped[part] for part in PARTS)
    figures: dict[str, Any] = {
        "trials": 4 * half, "lanes": lanes, "processors": PROCESSORS, "steps": steps,
        "ratio": swept["all"] / looped["all"],
        "shares": {part: (swept[part] - looped[part]) / looped["all"] for part in PARTS},
        "drift": second["trials"] / first["trials"], "sweep_s": swept, "bare_loop_s": looped,
    }  # fmt: skip
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
