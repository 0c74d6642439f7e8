"""An estimate as text, and what it must fit into: the budget, the disk, the memory."""

from __future__ import annotations

__all__ = ["estimate_text", "parse_budget", "refuse"]

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import BadInputError
from core.store import Workspace

if TYPE_CHECKING:
    from sweeps.estimate import Estimate

BUDGET = re.compile(r"(?P<value>\d+(\.\d*)?|\.\d+)\s*(?P<unit>h|m|)")
UNITS = {"h": 1.0, "m": 1 / 60, "": 1.0}
GB = 1e9


def parse_budget(text: str) -> float:
    """Hours of CPU cores (of GPUs, where trials get one): `2h`, `90m`, `1.5`. Raises BadInputError.

    >>> parse_budget("90m")
    1.5
    """
    found = BUDGET.fullmatch(text.strip())
    hours = float(found["value"]) * UNITS[found["unit"]] if found else 0.0
    if hours <= 0:
        raise BadInputError(f"--budget {text!r}: hours of CPU (or GPU) like 2h, 90m or 1.5, and over 0")
    return hours


def refuse(estimate: Estimate, *, workspace: Workspace, budget_hours: float | None) -> None:
    """Raise BadInputError for a sweep that is over its budget, or does not fit this machine's disk or memory."""
    disk_free = shutil.disk_usage(workspace.root).free
    check_fits(estimate, disk_free=disk_free, memory_free=_memory_free(), budget_hours=budget_hours)


def check_fits(estimate: Estimate, *, disk_free: float, memory_free: float | None, budget_hours: float | None) -> None:
    """Raise BadInputError naming what is needed and what there is; bytes, None where nothing is known."""
    if budget_hours is not None and estimate.device_hours > budget_hours:
        needed = f"{hours_text(estimate.device_hours)} {estimate.device}-hours"
        raise BadInputError(f"estimate: {needed} are over the --budget of {hours_text(budget_hours)}")
    disk = estimate.disk_bytes + estimate.temporary_bytes
    if disk > disk_free:
        raise BadInputError(f"estimate: {size_text(disk)} will be written, {size_text(disk_free)} are free on the disk")
    # Trials that run elsewhere do not need this machine's memory.
    if memory_free is not None and not estimate.elsewhere and estimate.memory_bytes > memory_free:
        raise BadInputError(
            f"estimate: {estimate.slots} trials at a time need {size_text(estimate.memory_bytes)} of memory, "
            f"{size_text(memory_free)} are available; give each more of the machine (--cpus-per-trial) or a smaller "
            "pretrain.micro_batch"
        )


def _memory_free() -> float | None:
    path = Path("/proc/meminfo")
    if not path.exists():
        return None
    line = next(line for line in path.read_text().splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024.0


def estimate_text(estimate: Estimate) -> str:
    """A few lines for the terminal."""
    if not estimate.trials:
        return "estimate: nothing to run"
    kind, slots = estimate.device, estimate.slots
    stages = sorted(estimate.stages.items(), key=lambda item: -item[1])
    total = sum(estimate.stages.values()) or 1.0
    shares = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in stages if seconds >= 0.01 * total)
    lines = [
        f"estimate for {_count(estimate.trials, 'trial')} ({_count(estimate.upstreams, 'upstream')} to pre-train), "
        f"{slots} at a time, measured in {estimate.calibration_seconds:.0f} s:",
        f"  work    {hours_text(estimate.device_hours)} {kind}-hours",
        f"  wall    {duration_text(estimate.wall_seconds)}",
        f"  disk    {size_text(estimate.disk_bytes)}, and {size_text(estimate.temporary_bytes)} for checkpoints",
        f"  memory  {size_text(estimate.memory_bytes)}: {size_text(estimate.memory_per_trial_bytes)} a trial",
        f"  stages  {shares}",
    ]
    if estimate.shared_seconds:
        shared = f"{duration_text(estimate.shared_seconds)} and {size_text(estimate.shared_disk_bytes)}"
        lines.append(f"  shared  {shared} of this for what all trials share, made first")
    return "\n".join([*lines, *(f"  note    {note}" for note in estimate.notes)])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def hours_text(hours: float) -> str:
    """Hours with what digits they deserve.

    >>> hours_text(12.44), hours_text(0.0316)
    ('12.4', '0.032')
    """
    return f"{hours:.2g}" if hours < 1 else f"{hours:.1f}"


def duration_text(seconds: float) -> str:
    """
    >>> duration_text(42.4), duration_text(200), duration_text(7300)
    ('42 s', '3 min 20 s', '2 h 02 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size_text(size: float) -> str:
    """Bytes in decimal units.

    >>> size_text(4.2e6), size_text(1.25e9)
    ('4.2 MB', '1.2 GB')
    """
    return f"{size / GB:.1f} GB" if size >= GB else f"{size / 1e6:.1f} MB"
