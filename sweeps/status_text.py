"""A sweep's status for people."""

from __future__ import annotations

__all__ = ["counts_line", "status_text"]

from collections.abc import Sequence
from datetime import UTC, datetime

from sweeps.eta import duration_text
from sweeps.heartbeat import LaneEntry
from sweeps.matrix_text import matrix_lines, shortened
from sweeps.pruning import megabytes
from sweeps.status import Incomplete, Status

WIDTH = 100
SILENT_S = 15.0
"""A driver says something every second; when it has not for so long, a reader should know."""
SHOWN = 5
"""Trials that failed in one way, or were stopped, that are listed one by one."""
BAR = 60


def status_text(
    status: Status, *, width: int = WIDTH, arms: int | None = None, options: str = "", shown: int = SHOWN
) -> str:
    """Lines of at most `width` characters, but for commands.

    Args:
        arms: how many rows of the pair matrix there is room for; None: all.
        options: what the commands to go on with need, e.g. ` --workspace DIR`.
        shown: how many failed and stopped trials are listed one by one.
    """
    parts = [
        _head(status),
        matrix_lines(status.matrix, width=width, rows=arms),
        _titled("under way", [_lane(lane, width) for lane in status.lanes]),
        _failures(status, width, shown),
        _titled(f"stopped early: {len(status.pruned)}", _listed(status.pruned, width, shown)) if status.pruned else [],
        _facts(status),
    ]
    lines = "\n\n".join("\n".join(part) for part in parts if part).splitlines()
    # Commands are there to be copied: they stay whole.
    steps = [f"next    {step}{options}" for step in status.next_steps]
    return "\n".join([*(shortened(line, width) for line in lines), *steps])


def counts_line(status: Status) -> str:
    """E.g. `12/40 complete, 2 running, 1 failed, ETA 1:02:03`."""
    counts = status.counts
    words = [f"{counts['complete']}/{counts['total']} complete"]
    words += [f"{counts[state]} {state}" for state in ("running", "interrupted", "failed", "pruned") if counts[state]]
    return ", ".join([*words, *_eta(status)])


def _head(status: Status) -> list[str]:
    title = ": ".join(filter(None, (status.sweep, status.description)))
    total = max(1, len(status.trials))
    work = len(status.trials) - status.open + sum(trial.share or 0.0 for trial in status.trials)
    filled = int(BAR * work / total)
    lines = [title, *_driver_lines(status)]
    lines += [f"{'█' * filled}{'░' * (BAR - filled)} {100 * work / total:.0f} %", counts_line(status)]
    if status.search:
        lines.append(f"search ({status.search.method}): {status.search.tried} of {status.search.points} points tried")
    return lines


def _driver_lines(status: Status) -> list[str]:
    driver = status.driver
    if driver is None:
        if status.driven:
            return ["being run; its driver has said nothing yet"]
        ended = "nobody runs it"
        return [f"{ended}: its driver was killed" if status.died and status.unfinished else ended]
    silent = f"SILENT for {duration_text(driver.silent_seconds)}; " if driver.silent_seconds > SILENT_S else ""
    return [
        f"{silent}{driver.state}{f': {driver.message}' if driver.message else ''}",
        f"process {driver.pid} on {driver.host} since {driver.started}, {driver.slots} at a time",
    ]


def _eta(status: Status) -> list[str]:
    if not status.driven or not status.open:
        return []
    if status.eta_seconds is None:
        return ["ETA unknown yet"]
    return [f"ETA {'about ' if status.eta_rough else ''}{duration_text(status.eta_seconds)}"]


def _lane(lane: LaneEntry, width: int) -> str:
    seconds = (datetime.now(UTC) - datetime.fromisoformat(lane.since)).total_seconds()
    facts = [f"{100 * lane.share:3.0f} %", duration_text(max(0.0, seconds))]
    if lane.total_steps:
        facts.append(f"step {lane.step}/{lane.total_steps}")
    facts += [f"{name} {'not finite' if value is None else f'{value:.4g}'}" for name, value in lane.metrics.items()]
    facts += [f"on {lane.node}"] if lane.node else []
    rest = "  ".join(facts)
    name = f"{lane.arm} seed {lane.seed}"
    return f"{shortened(name, max(20, width - len(rest) - 4))}  {rest}"


def _failures(status: Status, width: int, shown: int) -> list[str]:
    lines = []
    for failures in status.failures:
        lines += _titled(f"failed, {failures.kind}: {len(failures.trials)}", _listed(failures.trials, width, shown))
    return lines


def _listed(trials: Sequence[Incomplete], width: int, shown: int) -> list[str]:
    lines = []
    for each in trials[:shown]:
        pairs = len(each.pairs)
        which = "" if not pairs else " → 1 pair incomplete" if pairs == 1 else f" → {pairs} pairs incomplete"
        lines.append(shortened(f"{each.trial.arm} seed {each.trial.seed}", width - len(which) - 2) + which)
        lines.append(f"  {_first_line(each.trial.reason, width - 4)}")
    if len(trials) > shown:
        lines.append(f"… {len(trials) - shown} more (--json has all)")
    return lines


def _first_line(reason: str | None, width: int) -> str:
    return shortened((reason or "no reason given").strip().splitlines()[0], width)


def _titled(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *(f"  {line}" for line in lines)] if lines else []


def _facts(status: Status) -> list[str]:
    disk = status.disk
    lines = [
        f"disk    {megabytes(disk.workspace)} in the workspace (store {megabytes(disk.store)}, of it checkpoints "
        f"{megabytes(disk.checkpoints)}), {megabytes(disk.free)} free"
    ]
    if status.backlog is None:
        lines.append(f"MLflow  unknown ({status.backlog_trouble})")
    elif status.backlog.empty:
        lines.append("MLflow  has everything")
    else:
        unsent = status.backlog
        lines.append(f"MLflow  unsent: {unsent.metrics} metrics, {unsent.artifacts} artifacts, {unsent.runs} runs")
    return lines
