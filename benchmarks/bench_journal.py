"""What logging costs a trial: the journal against MLflow's own client writing straight to SQLite.

The same events, in the same calls (two metrics a step), timed at the caller. Prints one JSON line; the ratio is what to
compare between machines. Run: python benchmarks/bench_journal.py
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sweeps.tracking.experiment import prepare_database
from sweeps.tracking.journal import Journal

STEPS = 400
KEY = "0" * 16
LossAt = Callable[[int], None]


def seconds_per_call(call: LossAt) -> tuple[float, float]:
    """Median and worst over `STEPS` calls, in seconds."""
    times = []
    for step in range(STEPS):
        began = time.perf_counter()
        call(step)
        times.append(time.perf_counter() - began)
    return statistics.median(times), max(times)


def through_journal(folder: Path, *, flush: bool) -> tuple[float, float]:
    journal = Journal(folder / f"journal-{flush}.db")
    journal.register_trial(KEY, name="bench", params={}, tags={})

    def call(step: int) -> None:
        journal.log(KEY, {"loss": 1 / (step + 1), "norm": step / 7}, step=step)
        if flush:
            journal.flush()

    return seconds_per_call(call)


def through_mlflow(folder: Path) -> tuple[float, float]:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    uri = f"sqlite:///{folder}/mlflow.db"
    prepare_database(uri)
    client = MlflowClient(tracking_uri=uri)
    run_id = client.create_run(client.create_experiment("bench")).info.run_id

    def call(step: int) -> None:
        moment = time.time_ns() // 1_000_000
        metrics = [Metric("loss", 1 / (step + 1), moment, step), Metric("norm", step / 7, moment, step)]
        client.log_batch(run_id, metrics=metrics, synchronous=True)

    return seconds_per_call(call)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {
            "journal": through_journal(folder, flush=False),
            "journal, flushed at every call": through_journal(folder, flush=True),
            "mlflow log_batch to SQLite": through_mlflow(folder),
        }
    microseconds = {what: {"median_us": 1e6 * a, "worst_us": 1e6 * b} for what, (a, b) in figures.items()}
    mlflow = figures["mlflow log_batch to SQLite"][0]
    ratios = {what: mlflow / median for what, (median, _) in figures.items()}
    sys.stdout.write(json.dumps({"per_call": microseconds, "times_faster_than_mlflow": ratios}) + "\n")


if __name__ == "__main__":
    main()
