"""`sweep report` on IEMOCAP's sizes: seconds and memory, and the same tables by MLflow, pandas and a loop beside them.

Sweeps of 100 and 1,000 drawn trials (`--trials` for others, e.g. 10000: 3 GB of predictions), five folds and 5,531 test
predictions each, 10,000 resamples. Each report is written by a process of its own, whose peak memory is what it prints.
The rival reads the same trials as most people would: `mlflow.search_runs`, the predictions of each run with pandas, and
for every arm and twin a bootstrap over speakers that draws and counts in a Python loop. It gets `RIVAL_TRIALS` trials
and `RIVAL_DRAWS` draws of one pair; its bootstrap is extrapolated from there to all pairs and 10,000 draws, linearly.
The ratio compares tables and intervals only: no figures, no page. Prints one JSON line per size, then one of the rival.
Run: python -m benchmarks.bench_report
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.many_trials import CLASSES, SWEEP, write_many_trials

SEEDS = 5
RESAMPLES = 10_000
RIVAL_TRIALS = 100
RIVAL_DRAWS = 200


def measured(root: Path) -> dict[str, Any]:
    """The whole report, stage by stage, in this process."""
    began = time.perf_counter()
    from analysis.comparisons import comparisons_table
    from analysis.load import load_sweep, open_test
    from analysis.report import write_report
    from analysis.tables import results_table

    paths = {"plan_path": root / "sweeps" / SWEEP / "plan.json", "trials_root": root / "trials"}
    times = {"imports_s": time.perf_counter() - began}
    began, cpu = time.perf_counter(), time.process_time()
    write_report(**paths, out=root / "report", opened_by="benchmark")
    # On a machine that others use too, the second is the truer one.
    times |= {"report_s": time.perf_counter() - began, "report_cpu_s": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.perf_counter()
    sweep = load_sweep(**paths)
    times["of_it_records_and_validation_s"] = time.perf_counter() - began
    began = time.perf_counter()
    tests = open_test(sweep)
    times["of_it_test_s"] = time.perf_counter() - began
    began = time.perf_counter()
    results_table(sweep, tests)
    comparisons_table(sweep, tests, resamples=RESAMPLES)
    times["of_it_tables_s"] = time.perf_counter() - began
    return {name: round(value, 2) for name, value in times.items()} | {"peak_mb": round(peak)}


def in_a_process(root: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.bench_report", "--measure", str(root)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def into_mlflow(root: Path, uri: str) -> None:
    """The trials as runs: params, validation metrics, predictions."""
    import mlflow

    from core.records import read_record

    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment(SWEEP, artifact_location=(root / "artifacts").as_uri())
    mlflow.set_experiment(SWEEP)
    for folder in sorted((root / "trials").iterdir()):
        record = read_record(folder)
        assert record is not None
        assert record.metrics is not None
        with mlflow.start_run(run_name=record.trial_key):
            mlflow.log_params({"arm_key": record.arm_key, "twin_key": record.twin_key, "seed": record.seed})
            mlflow.log_metrics({f"validation_{k}": v for k, v in record.metrics.mean["validation"].items()})
            mlflow.log_artifact(str(folder / "predictions.parquet"))


def rival(uri: str) -> dict[str, Any]:
    """Reading and tables in full; one pair's bootstrap, timed per draw."""
    import mlflow
    import pandas as pd

    mlflow.set_tracking_uri(uri)
    began = time.perf_counter()
    runs = mlflow.search_runs(experiment_names=[SWEEP])
    frames = {}
    for run in runs.itertuples():
        folder = Path(run.artifact_uri.removeprefix("file://"))
        frame = pd.read_parquet(folder / "predictions.parquet")
        frames[run.run_id] = frame[frame["split"] == "test"].sort_values(["fold", "utterance"])
    arms = runs["params.arm_key"]
    rows = []
    for run_id, arm in zip(runs["run_id"], arms, strict=True):
        for fold, part in frames[run_id].groupby("fold"):
            right = part["label"] == part["predicted"]
            rows.append(
                {"arm": arm, "fold": fold, "ua": right.groupby(part["label"]).mean().mean(), "wa": right.mean()}
            )
    pd.DataFrame(rows).groupby("arm")[["ua", "wa"]].agg(["mean", "std"])
    read = time.perf_counter() - began
    twins = runs["params.twin_key"]
    place = int(np.flatnonzero(twins != "None")[0])
    seed = runs["params.seed"][place]
    other = runs[(arms == twins[place]) & (runs["params.seed"] == seed)]["run_id"].iloc[0]
    began = time.perf_counter()
    looped(frames[runs["run_id"][place]], frames[other], draws=RIVAL_DRAWS)
    per_draw = (time.perf_counter() - began) / RIVAL_DRAWS
    # Of every seed: the differences of a draw are averaged over them.
    pairs = int((twins != "None").sum())
    return {
        "trials": len(runs),
        "read_and_tables_s": round(read, 2),
        "ms_per_draw_of_one_pair_and_seed": round(1000 * per_draw, 3),
        "draws_timed": RIVAL_DRAWS,
        "bootstrap_s_extrapolated": round(per_draw * RESAMPLES * pairs),
        "total_s_extrapolated": round(read + per_draw * RESAMPLES * pairs),
    }


def looped(arm: Any, twin: Any, *, draws: int) -> list[tuple[float, float]]:
    """UA and WA of arm minus twin in each resample of speakers, counted with NumPy in a Python loop."""
    label_N = np.array([CLASSES.index(name) for name in arm["label"]])
    right_N2 = np.stack([(one["label"] == one["predicted"]).to_numpy() for one in (arm, twin)], axis=1)
    speaker_N = arm["speaker"].to_numpy()
    speakers = np.unique(speaker_N)
    rows = {speaker: np.flatnonzero(speaker_N == speaker) for speaker in speakers}
    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        drawn = np.concatenate([rows[speaker] for speaker in rng.choice(speakers, len(speakers))])
        gain_N = right_N2[drawn, 0].astype(float) - right_N2[drawn, 1]
        recalls = [gain_N[label_N[drawn] == code].mean() for code in range(len(CLASSES))]
        found.append((float(np.mean(recalls)), float(gain_N.mean())))
    return found


def main() -> None:
    options = argparse.ArgumentParser(description="Seconds and memory of a report.")
    options.add_argument("--trials", type=int, nargs="+", default=[100, 1000], metavar="N", help="multiples of 50")
    options.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--without-rival", action="store_true")
    given = options.parse_args()
    if given.measure is not None:
        sys.stdout.write(json.dumps(measured(given.measure)) + "\n")
        return
    tables: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name:
        for trials in given.trials:
            root = Path(name) / str(trials)
            write_many_trials(root, arms=trials // SEEDS, seeds=SEEDS)
            found = in_a_process(root)
            parts = ("of_it_records_and_validation_s", "of_it_test_s", "of_it_tables_s")
            tables[trials] = sum(found[part] for part in parts)
            sys.stdout.write(json.dumps({"trials": trials} | found) + "\n")
            sys.stdout.flush()
        if not given.without_rival:
            root = Path(name) / "rival"
            write_many_trials(root, arms=RIVAL_TRIALS // SEEDS, seeds=SEEDS)
            into_mlflow(root, f"sqlite:///{root / 'mlflow.db'}")
            other = rival(f"sqlite:///{root / 'mlflow.db'}")
            ours = tables.get(RIVAL_TRIALS)
            ratio = {"times_faster_on_tables": round(other["total_s_extrapolated"] / ours)} if ours else {}
            sys.stdout.write(json.dumps({"mlflow_pandas_loop": other} | ratio) + "\n")


if __name__ == "__main__":
    main()
