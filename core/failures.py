"""What went wrong, as a kind: what a sweep does next depends on it (ours). Needs no torch to be imported."""

from __future__ import annotations

__all__ = ["batch_setting", "failure_kind", "is_disk_full"]

import errno
import json
import pickle
import re
import sys
import traceback
import zipfile
from collections.abc import Iterator

from core.errors import BadInputError, FailureKind, NonFiniteLossError, TimeLimitError

_MEMORY = re.compile(r"DefaultCPUAllocator: (can't allocate|not enough) memory|out of memory|_STATUS_ALLOC_FAILED")
"""Torch says that the memory of the CPU or of a GPU is short in a plain RuntimeError, or in a type of its own."""
_DISK = re.compile(r"disk is full|No space left on device|Disk quota exceeded")
"""SQLite's words, its wrappers', and those of the operating system where its error number got lost."""
_SHORT_WRITE = re.compile(r"^\d+ requested and \d+ written$")
"""NumPy, whose `tofile` forgets the error number."""
_TORCH_WRITER = re.compile(r"unexpected pos \d+ vs \d+|iostream error|PytorchStreamWriter failed")
"""`torch.save` to a path, likewise."""
_READERS = frozenset(
    {
        "numpy.lib._format_impl", "numpy.lib._npyio_impl", "numpy.lib.format", "numpy._core.memmap",
        "pyarrow.parquet.core", "torch.serialization",
    }
)  # fmt: skip
"""Modules that read files: what is raised below them is wrong with a file."""

_BATCHES = {
    "core.pretrain": "pretrain.micro_batch",
    "core.unit_prediction": "alignment.units.batch",
    "core.finetune": "alignment.tuning.batch",
    "core.regression": "teacher.batch",
    "core.probe": "probe.batch",
    "core.pooled_probe": "probe.batch",
}
"""Module of a training loop → the setting that says how much goes through a model at a time there."""


def batch_setting(error: BaseException) -> str | None:
    """The setting to make smaller where memory ran out in a training loop; None where it did elsewhere.

    It tells the stage as well: `pretrain.micro_batch` is named by errors of pre-training alone. Only the process in
    which the error was raised can tell.
    """
    return next((setting for module, setting in _BATCHES.items() if module in _modules(error)), None)


def failure_kind(error: BaseException) -> FailureKind:
    """Why a trial failed; never `lost-worker`, which only whoever lost it can tell.

    `bad-data`: input that cannot be used, or a file that turns out damaged while it is read. A full disk is no failure
    of a trial (see `is_disk_full`); asked about it nevertheless, the answer is `error`.
    """
    if isinstance(error, NonFiniteLossError):
        return "non-finite"
    if isinstance(error, TimeLimitError):
        return "time-out"
    if _is_memory(error):
        return "memory"
    if is_disk_full(error):
        return "error"
    return "bad-data" if isinstance(error, BadInputError) or _is_damaged_file(error) else "error"


def is_disk_full(error: BaseException) -> bool:
    """Whether the error, or one behind it (`__cause__`, `__context__`), is a disk or a quota without room."""
    return any(_says_disk_full(one) for one in _chain(error))


def _says_disk_full(error: BaseException) -> bool:
    text = str(error)
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT) or bool(_DISK.search(text) or _SHORT_WRITE.match(text))
    if isinstance(error, RuntimeError) and "torch.serialization" in _modules(error):
        return bool(_TORCH_WRITER.search(text))
    return bool(_DISK.search(text))


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_MEMORY.search(str(error)))


def _is_damaged_file(error: BaseException) -> bool:
    if isinstance(error, zipfile.BadZipFile | pickle.UnpicklingError | EOFError | json.JSONDecodeError):
        return True
    return isinstance(error, ValueError | LookupError | RuntimeError) and bool(_READERS & _modules(error))


def _modules(error: BaseException) -> set[str]:
    """Names of the modules that the error came up through; none for one that came from another process."""
    return {str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and all behind it, each once."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [behind for behind in (one.__cause__, one.__context__) if behind is not None]
