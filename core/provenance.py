"""Where and with what a trial ran: commit and what differs from it, packages, hardware."""

from __future__ import annotations

__all__ = ["NOT_INSTALLED", "code_diff", "commit_state", "diff_digest", "hardware", "now", "packages"]

import hashlib
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("core", "sweeps", "analysis")
"""Folders whose files are the code."""

RECORDED = (
    "torch", "torchaudio", "numpy", "scipy", "scikit-learn", "opensmile", "silero-vad", "transformers", "tokenizers",
    "ray", "mlflow", "emsweep",
)  # fmt: skip
NOT_INSTALLED = "not installed"


@cache
def commit_state() -> tuple[str, bool]:
    """Commit of the code that runs and whether its files differ from it; ("unknown", True) outside a git checkout."""
    try:
        commit = _git("rev-parse", "HEAD").decode().strip()
        dirty = bool(_git("status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.SubprocessError):
        return "unknown", True
    return commit, dirty or bool(code_diff())


@cache
def code_diff() -> bytes:
    """What the code's files differ from the commit by, for `git apply` at the top of a checkout: changes, then Python
    files that git does not know. Empty where nothing does, and outside a checkout.

    Taken once: what is imported is what runs.
    """
    plain = ("--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", "--binary")
    try:
        top = Path(_git("rev-parse", "--show-toplevel").decode().strip())
        changes = _git("diff", "HEAD", "--no-relative", *plain, "--", *PACKAGES)
        listed = _git("ls-files", "-z", "--full-name", "--others", "--exclude-standard", "--", *PACKAGES).decode()
        unknown = sorted(name for name in listed.split("\0") if name.endswith(".py"))
        added = [_git("diff", "--no-index", *plain, "--", "/dev/null", name, at=top) for name in unknown]
    except (OSError, subprocess.SubprocessError):
        return b""
    return changes + b"".join(added)


def diff_digest() -> str | None:
    """SHA-256 of `code_diff`; None where the code is that of the commit."""
    content = code_diff()
    return hashlib.sha256(content).hexdigest() if content else None


def _git(*arguments: str, at: Path | None = None) -> bytes:
    command = ["git", "--no-optional-locks", "-C", str(at or Path(__file__).resolve().parents[1]), *arguments]
    result = subprocess.run(command, capture_output=True, timeout=20)
    # `diff --no-index` says by 1 that the files differ.
    if result.returncode != 0 and not ("--no-index" in arguments and result.returncode == 1):
        raise subprocess.CalledProcessError(result.returncode, command, result.stdout, result.stderr)
    return result.stdout


@cache
def packages() -> dict[str, str]:
    """Versions of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = NOT_INSTALLED
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
