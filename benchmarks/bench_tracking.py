"""Sixteen trials logging at once, all the way into a real MLflow server on SQLite: ours beside Ray's own callback.

The same events for both: sixteen trials, five metrics a step. Ours are logged by sixteen Ray actors as fast as they go,
each confirming what it sent before it goes on, through the one tracking actor; the clock stops when MLflow has all.
`MLflowLoggerCallback` gets as many of the events as it manages in some seconds, called directly: without Tune's own
costs, and with nobody but itself at work on the machine. Prints one JSON line; the ratios are what to compare between
machines. Run: python -m benchmarks.bench_tracking
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TRIALS = 16
STEPS = 700
STEPS_PER_SEND = 10
CALLBACK_SECONDS = 20.0
SWEEP = "bench"
NAMES = ("loss", "grad_norm", "lr", "validation_loss", "frames_per_second")


def values(trial: int, step: int) -> dict[str, float]:
    return {name: math.exp(-step / 300) + trial + place for place, name in enumerate(NAMES)}


def summary(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "mean_us": round(1e6 * statistics.fmean(ordered), 1),
        "median_us": round(1e6 * statistics.median(ordered), 1),
        "p99_us": round(1e6 * ordered[int(0.99 * len(ordered))], 1),
    }


def log_trial(tracker: Any, trial: int) -> tuple[list[float], list[float]]:
    """What one trial does, in an actor: seconds a logged step cost it (sending included), and those it waited for the
    confirmation of each sending."""
    from sweeps.tracking.client import TrackingClient

    client = TrackingClient(tracker, f"{trial:016x}")
    costs, waits = [], []
    for begin in range(0, STEPS, STEPS_PER_SEND):
        began = time.perf_counter()
        client.confirm()
        waits.append(time.perf_counter() - began)
        began = time.perf_counter()
        for step in range(begin, begin + STEPS_PER_SEND):
            client.log(values(trial, step), step)
        client.send()
        costs.append((time.perf_counter() - began) / STEPS_PER_SEND)
    client.confirm()
    return costs, waits


def through_tracker(root: Path) -> dict[str, Any]:
    import ray

    from core.store import Workspace
    from sweeps.tracking.actor import start_tracker
    from sweeps.tracking.entries import Registration

    class Trial:
        def ready(self) -> bool:
            return True

        def run(self, tracker: Any, trial: int) -> tuple[list[float], list[float]]:
            return log_trial(tracker, trial)

    workspace = Workspace.at(root)
    workspace.sweep(SWEEP).mkdir(parents=True)
    (workspace.sweep(SWEEP) / "plan.json").write_text(json.dumps({"definition": {"name": SWEEP}}))
    tracker = start_tracker(SWEEP, workspace)
    keys = [f"{trial:016x}" for trial in range(TRIALS)]
    tracker.register([Registration(trial_key=key, name=key, params={}, tags={}) for key in keys])
    make = ray.remote(num_cpus=0)(Trial)
    actors = [make.remote() for _ in range(TRIALS)]
    ray.get([actor.ready.remote() for actor in actors])
    began = time.perf_counter()
    timings = ray.get([actor.run.remote(tracker.actor, trial) for trial, actor in enumerate(actors)])
    durable = time.perf_counter() - began
    while tracker.standing().backlog.metrics:
        time.sleep(0.1)
    arrived = time.perf_counter() - began
    for actor in actors:
        ray.kill(actor)
    tracker.stop("interrupted", timeout=60)
    metrics = TRIALS * STEPS * len(NAMES)
    return {
        "metrics": metrics,
        "metrics_per_second_into_mlflow": round(metrics / arrived),
        "metrics_per_second_durable": round(metrics / durable),
        "step_at_the_caller": summary([cost for costs, _ in timings for cost in costs]),
        "confirmation": summary([wait for _, waits in timings for wait in waits]),
    }


def through_callback(uri: str) -> dict[str, Any]:
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.experiment import Trial

    callback = MLflowLoggerCallback(tracking_uri=uri, experiment_name="callback")
    callback.setup()
    trials = [Trial("bench", trial_id=f"{trial:08x}", stub=True) for trial in range(TRIALS)]
    for trial in trials:
        callback.log_trial_start(trial)
    costs: list[float] = []
    began = time.perf_counter()
    for step in range(STEPS):
        for place, trial in enumerate(trials):
            if time.perf_counter() - began > CALLBACK_SECONDS:
                break
            asked = time.perf_counter()
            callback.log_trial_result(step, trial, {**values(place, step), "training_iteration": step})
            costs.append(time.perf_counter() - asked)
    took = time.perf_counter() - began
    metrics = len(costs) * len(NAMES)
    return {
        "metrics": metrics,
        "metrics_per_second_into_mlflow": round(metrics / took, 1),
        "step_at_the_caller": summary(costs),
    }


def main() -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    from sweeps.tracking.server import serving

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        database = f"sqlite:///{root / 'server.db'}"
        with serving(root, database, sweep=None, port=port):
            os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
            ray.init(
                address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
            )
            ours = through_tracker(root / "workspace")
            ray.shutdown()
            with sqlite3.connect(root / "server.db") as tables:
                ours["metrics_in_mlflows_tables"] = tables.execute("SELECT count(*) FROM metrics").fetchone()[0]
            callback = through_callback(os.environ["MLFLOW_TRACKING_URI"])
    rate, cost = "metrics_per_second_into_mlflow", "step_at_the_caller"
    ratios = {
        "throughput": round(ours[rate] / callback[rate], 1),
        "step_at_the_caller": round(callback[cost]["mean_us"] / ours[cost]["mean_us"]),
    }
    found = {"emsweep": ours, "ray_mlflow_logger_callback": callback, "times_better": ratios}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
