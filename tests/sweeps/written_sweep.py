"""A small sweep as its driver leaves it on disk: a real plan, real records, and a driver that does what it is told.

Run as a program, it is that driver: a process of its own that holds the sweep and reads lines from standard input.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.config import TrialConfig
from core.provenance import now
from core.records import (
    CorpusEntry,
    CostEntry,
    FoldMetrics,
    MetricsEntry,
    ProtocolEntry,
    ProvenanceEntry,
    Record,
    write_record,
)
from core.store import Workspace
from sweeps.definition import SweepDefinition
from sweeps.driver import Driver
from sweeps.plan import Plan, PlannedTrial
from sweeps.strategy import SearchConfig, StopConfig

NAME = "written"
SECRET = 0.987654
"""Every test result: it must show up nowhere."""
ARMS = (
    ("ems r0.15 s7 t0.25", "random", "none"),
    ("ems r0.15 s7 t1", "random", "none"),
    ("random r0.15 s7", "", "none"),
)
CONTROL = ("ems loudness r0.15 s7 t1", "random", "loudness")
TWIN = "random"


def arm_key(arm: str) -> str:
    return arm.replace(" ", "-") if not arm.startswith("random") else TWIN


def written_plan(
    *, seeds: Sequence[int] = (0, 1, 2), arms: Sequence[tuple[str, str, str]] = ARMS,
    search: SearchConfig | None = None, stop: StopConfig | None = None,
) -> Plan:  # fmt: skip
    """Arms are (name, twin key, control track)."""
    definition = SweepDefinition(
        name=NAME, description="Written by a test", axes={"masking.temperature": (0.25, 1.0)}, search=search, stop=stop
    )
    trials = [_trial(arm, twin or None, control, seed) for arm, twin, control in arms for seed in seeds]
    return Plan(definition=definition, trials=tuple(trials))


def _trial(arm: str, twin_key: str | None, control: str, seed: int) -> PlannedTrial:
    config = TrialConfig(seed=seed)
    key = f"{arm_key(arm)}-{seed}"
    unfinished = Record(
        trial_key=key,
        status="failed",
        system="ems",
        upstream="mockingjay",
        arm=arm,
        arm_key=arm_key(arm),
        twin_key=twin_key,
        seed=seed,
        corpus=CorpusEntry(name="demo", fingerprint="f", utterances=8, quarantined={}, classes=("a",), incomplete=None),
        protocol=ProtocolEntry(
            folds="file", n_folds=2, validation="next-fold", pretraining_audio="fold", pretraining_corpus="demo",
            transductive=False, leaks=(),
        ),
        config=config.model_dump(mode="json"),
        provenance=ProvenanceEntry(commit="c", dirty=False, packages={}, hardware="h", started=now(), ended=now()),
    )  # fmt: skip
    return PlannedTrial(
        trial_key=key, arm=arm, arm_key=arm_key(arm), twin_key=twin_key, seed=seed, axes={}, control=control,
        upstream="mockingjay", settings={}, upstreams=2, own_steps=0, config=config, unfinished=unfinished,
    )  # fmt: skip


def complete(trial: PlannedTrial, ua: float, *, seconds: float = 10.0) -> Record:
    """A record with this validation UA; all test results are SECRET."""
    folds = [
        FoldMetrics(fold=fold, split=split, n=4, ua=value, wa=value, macro_f1=value)
        for split, value in (("validation", ua), ("test", SECRET))
        for fold in ("one", "two")
    ]
    means = {split: {"ua": value, "wa": value} for split, value in (("validation", ua), ("test", SECRET))}
    return trial.unfinished.model_copy(
        update={
            "status": "complete",
            "metrics": MetricsEntry(folds=tuple(folds), mean=means, pooled=means),
            "cost": CostEntry(steps=10, frames=10, left_out=0, device_seconds=seconds),
        }
    )


def failed(trial: PlannedTrial, kind: str | None, reason: str) -> Record:
    return trial.unfinished.model_copy(update={"failure": kind, "reason": reason})


def pruned(trial: PlannedTrial, reason: str) -> Record:
    cost = CostEntry(steps=3, frames=3, left_out=0, device_seconds=3.0)
    return trial.unfinished.model_copy(update={"status": "pruned", "reason": reason, "cost": cost})


def put(workspace: Workspace, *records: Record) -> None:
    for record in records:
        write_record(workspace.trial(record.trial_key), record, None)


def by_key(plan: Plan) -> dict[str, PlannedTrial]:
    return {trial.trial_key: trial for trial in plan.trials}


class DrivingProcess:
    """A driver in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def tell(self, *words: object) -> None:
        """Give one order and wait until it is done."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\t".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        self.process.communicate("end\n", timeout=20)
        assert self.process.returncode == 0


@contextmanager
def driving(workspace: Workspace) -> Iterator[DrivingProcess]:
    """A process that drives the written sweep; it has said `running` when the block begins."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(workspace.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        driver = DrivingProcess(process)
        driver.tell("state", "running", "")
        yield driver
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def obey(workspace: Workspace) -> None:
    plan = written_plan()
    trials = by_key(plan)
    with Driver(NAME, workspace, slots=2) as heartbeat:
        heartbeat.planned(plan)
        for line in sys.stdin:
            order, *words = line.rstrip("\n").split("\t")
            if order == "end":
                return
            if order == "state":
                heartbeat.state(words[0], words[1])
            elif order == "lane":
                heartbeat.lane(words[0], share=float(words[1]), step=int(40 * float(words[1])), total_steps=40)
            elif order == "child":
                # What a driver starts must not hold the sweep for it.
                subprocess.Popen(["sleep", words[0]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            elif order == "end-when-asked":
                sys.stdout.write("done\n")
                sys.stdout.flush()
                while heartbeat.stop_requested() is None:
                    signal.sigtimedwait([signal.SIGUSR1], 0.02)
                (workspace.root / "asked").write_text(str(heartbeat.stop_requested()))
                return
            else:
                trial = trials[words[0]]
                record = complete(trial, float(words[1])) if order == "complete" else failed(trial, words[1], words[2])
                put(workspace, record)
                heartbeat.ended(record)
            heartbeat.write()
            sys.stdout.write("done\n")
            sys.stdout.flush()


if __name__ == "__main__":
    obey(Workspace.at(Path(sys.argv[1])))
