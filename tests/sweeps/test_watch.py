"""`sweep watch` in a pipe and on a terminal, beside a driver in a process of its own."""

from __future__ import annotations

import os
import pty
import queue
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from written_sweep import NAME, by_key, complete, driving, failed, pruned, put, written_plan

from core.store import Workspace
from sweeps.driver import is_driven
from sweeps.observer import Observer
from sweeps.strategy import SearchConfig, StopConfig
from sweeps.watch import changes

COMMAND = (
    "from sweeps.cli import SweepGroup; from sweeps.cli_running import status, stop, watch;"
    "SweepGroup(name='sweep', commands=[status, stop, watch])()"
)


def watching(workspace: Workspace, *options: str) -> list[str]:
    return [sys.executable, "-c", COMMAND, "watch", NAME, "--workspace", str(workspace.root), *options]


class Lines:
    """What a process says, line by line, as it says it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self.seen: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def until(self, pattern: str, seconds: float = 20.0) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                line = self._lines.get(timeout=0.1)
            except queue.Empty:
                continue
            self.seen.append(line)
            if re.search(pattern, line):
                return line
        raise AssertionError(f"no line like {pattern!r} in {self.seen}")


@pytest.mark.slow
def test_piped_it_says_a_line_per_change_and_ends_with_the_driver(workspace):
    written_plan().write(workspace)
    with driving(workspace) as driver:
        process = subprocess.Popen(watching(workspace, "--interval", "0.5"), stdout=subprocess.PIPE, text=True)
        lines = Lines(process)
        lines.until(r"^written: 0/9 complete, ETA unknown yet$")
        driver.tell("lane", "random-0", 0.4)
        lines.until(r"^written: 0/9 complete, 1 running")
        driver.tell("complete", "random-0", 0.5)
        lines.until(r"^complete: random r0.15 s7 seed 0: UA 50.0 % on validation$")
        driver.tell("complete", "ems-r0.15-s7-t1-0", 0.531)
        lines.until(r"^pair: ems r0.15 s7 t1 seed 0: \+3.1 points on validation$")
        driver.tell("failed", "random-1", "memory", "OutOfMemoryError: 12 GB")
        lines.until(r"^failed: random r0.15 s7 seed 1: memory: OutOfMemoryError: 12 GB$")
        driver.tell("state", "waiting for disk", "0.2 GB free")
        lines.until(r"^driver: waiting for disk: 0.2 GB free$")
        lines.until(r"^written: 2/9 complete, 1 failed, ETA \d:\d\d$")
        seen = len(lines.seen)
        driver.end()
        lines.until("^nobody runs it$")
        assert process.wait(timeout=10) == 4
        assert not [line for line in lines.seen if "\x1b" in line]
        # The counts are said when they have changed only, and no line twice in a row.
        assert all(first != second for first, second in zip(lines.seen[:seen], lines.seen[1:seen], strict=False))


@pytest.mark.slow
def test_it_ends_when_the_driver_is_killed_too(workspace):
    trials = by_key(written_plan())
    written_plan().write(workspace)
    put(workspace, *(complete(trial, 0.5) for trial in trials.values()))
    with driving(workspace) as driver:
        process = subprocess.Popen(watching(workspace), stdout=subprocess.PIPE, text=True)
        lines = Lines(process)
        lines.until("^written: 9/9 complete")
        driver.kill()
        assert process.wait(timeout=10) == 0


def test_nothing_to_watch_ends_at_once_with_the_sweeps_code(workspace):
    trials = by_key(written_plan())
    written_plan().write(workspace)
    put(workspace, *(complete(trial, 0.5) for trial in trials.values()))
    put(workspace, failed(trials["random-2"], "error", "no reason"))
    (workspace.trial("random-2") / "record.json").unlink()
    put(workspace, failed(trials["random-2"], "error", "no reason"))
    result = subprocess.run(watching(workspace), capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stderr) == (3, "")
    assert "8/9 complete, 1 failed" in result.stdout


def read_terminal(terminal: int, until: bytes, seconds: float = 20.0) -> bytes:
    deadline, shown = time.monotonic() + seconds, b""
    os.set_blocking(terminal, False)
    while time.monotonic() < deadline:
        try:
            shown += os.read(terminal, 65536)
        except BlockingIOError:
            time.sleep(0.05)
        if until in shown:
            return shown
    raise AssertionError(f"no {until!r} in {shown!r}")


@pytest.mark.slow
def test_on_a_terminal_it_fills_the_screen_and_ctrl_c_leaves_the_sweep_alone(workspace):
    written_plan().write(workspace)
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "90", "LINES": "30"}
    with driving(workspace) as driver:
        terminal, end = pty.openpty()
        process = subprocess.Popen(
            watching(workspace, "--interval", "0.3"), stdin=end, stdout=end, stderr=end, env=environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(end)
        try:
            shown = read_terminal(terminal, b"seed 2")
            assert b"\x1b[?1049h" in shown  # the other screen, so that what stood on this one comes back
            driver.tell("lane", "random-0", 0.4)
            read_terminal(terminal, "▶ 40 %".encode())
            os.kill(process.pid, signal.SIGINT)
            shown = read_terminal(terminal, b"the sweep goes on; look again: sweep watch written")
            assert b"\x1b[?1049l" in shown
            assert process.wait(timeout=10) == 0
            assert is_driven(workspace.sweep(NAME))
        finally:
            process.kill()
            process.wait()
            os.close(terminal)


def test_changes_between_two_looks(workspace):
    stop = StopConfig(rule="asha", first=2)
    first = written_plan(stop=stop, search=SearchConfig(method="random", points=9), seeds=(0,))
    first.write(workspace)
    observer = Observer(NAME, workspace)
    before = observer.look()
    assert list(changes(before, before)) == []
    trials = by_key(first)
    put(workspace, pruned(trials["ems-r0.15-s7-t1-0"], "rung 2"), complete(trials["ems-r0.15-s7-t0.25-0"], 0.4))
    middle = observer.look()
    assert list(changes(before, middle)) == [
        "complete: ems r0.15 s7 t0.25 seed 0: UA 40.0 % on validation",
        "pruned: ems r0.15 s7 t1 seed 0: rung 2",
    ]
    arms = (
        *[(trial.arm, trial.twin_key or "", "none") for trial in first.trials],
        ("ems r0.3 s7 t1", "random", "none"),
    )
    written_plan(stop=stop, search=SearchConfig(method="random", points=9), seeds=(0,), arms=arms).write(workspace)
    put(workspace, complete(trials["random-0"], 0.41))
    assert list(changes(middle, observer.look())) == [
        "complete: random r0.15 s7 seed 0: UA 41.0 % on validation",
        "search: 3 of 9 points tried",
        "pair: ems r0.15 s7 t0.25 seed 0: −1.0 points on validation",
    ]


@pytest.mark.parametrize("interval", ["0", "-1", "soon"])
def test_an_interval_is_a_time(workspace, interval):
    result = subprocess.run(watching(workspace, "--interval", interval), capture_output=True, text=True, timeout=30)
    assert result.returncode == 2
    assert "--interval" in result.stderr
