"""Where and with what a trial ran: commit, packages, hardware."""

from __future__ import annotations

__all__ = ["commit_state", "hardware", "now", "packages"]

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RECORDED = ("torch", "torchaudio", "numpy", "scipy", "scikit-learn", "opensmile", "ray", "mlflow", "emsweep")


@cache
def commit_state() -> tuple[str, bool]:
    """Commit of the code that runs and whether its files differ from it; ("unknown", True) outside a git checkout."""
    folder = Path(__file__).resolve().parents[1]
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        dirty = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown", True
    return commit, dirty


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


@cache
def packages() -> dict[str, str]:
    """Versions of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@cache
def hardware(device: str) -> str:
    """Processor, and GPU when the trial used one."""
    import torch

    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    gpu = f" + {torch.cuda.get_device_name()}" if device == "cuda" else ""
    return f"{processor}{gpu} ({torch.backends.cpu.get_cpu_capability()})"


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
