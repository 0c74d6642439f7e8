"""The driver's own display, in a pipe and on a terminal."""

from __future__ import annotations

import io
import re

from rich.console import Console

from sweeps.display import Display, SweepCount


def count(**changes) -> SweepCount:
    return SweepCount(**({"complete": 3, "failed": 0, "running": 2, "total": 10, "work": 4.0} | changes))


def piped() -> tuple[Display, io.StringIO]:
    shown = io.StringIO()
    return Display(Console(file=shown, force_terminal=False, width=60)), shown


def test_piped_a_line_per_interval_and_one_at_the_end():
    display, shown = piped()
    with display.live():
        display.sweep(count(eta=65.0))
        display.sweep(count(complete=4, eta=60.0))
        display.say("a line as long as it must be, whatever the width of the terminal may be, in one piece")
        display.sweep(count(complete=7, failed=2, pruned=1, running=0, work=10.0, eta=0.0))
        display.sweep(count(complete=7, failed=2, pruned=1, running=0, work=10.0, eta=0.0))
    assert shown.getvalue().splitlines() == [
        "sweep: 3/10 complete, 2 running, 0 failed, ETA 1:05",
        "a line as long as it must be, whatever the width of the terminal may be, in one piece",
        "sweep: 7/10 complete, 0 running, 2 failed, 1 pruned",
    ]


def test_an_eta_that_cannot_be_said_is_not_made_up():
    display, shown = piped()
    display.sweep(count())
    assert shown.getvalue() == "sweep: 3/10 complete, 2 running, 0 failed, ETA unknown yet\n"


def test_a_sweep_that_grows_goes_on_being_shown(monkeypatch):
    monkeypatch.setattr("sweeps.display.PLAIN_INTERVAL_S", 0.0)
    display, shown = piped()
    display.sweep(count(complete=10, running=0))
    display.sweep(count(complete=10, total=20))
    display.sweep(count(complete=20, total=20, running=0))
    assert shown.getvalue().splitlines() == [
        "sweep: 10/10 complete, 0 running, 0 failed",
        "sweep: 10/20 complete, 2 running, 0 failed, ETA unknown yet",
        "sweep: 20/20 complete, 0 running, 0 failed",
    ]


def test_on_a_terminal_the_eta_is_the_sweeps_and_other_bars_keep_their_own():
    shown = io.StringIO()
    display = Display(Console(file=shown, force_terminal=True, width=120, color_system=None))
    with display.live():
        display.progress("features", 3, 10)
        display.sweep(count(eta=3 * 3600 + 65))
    parts = re.split(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n", shown.getvalue())
    last = [part for part in parts if part.strip()][-2:]
    assert last[0].startswith("features")
    assert "3:01:05" not in last[0]
    assert last[1].rstrip().endswith("3:01:05")
    assert "3/10 complete, 2 running, 0 failed" in last[1]
