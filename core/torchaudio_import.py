"""The one way to torchaudio: its wheels carry a CUDA library that a CPU-only torch cannot load, and we need none of it.

`transformers` imports torchaudio wherever it sees it, so `import_torchaudio` must run before its audio models.
"""

from __future__ import annotations

__all__ = ["import_torchaudio"]

import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NoReturn

EXTENSION = "torchaudio._extension"


def import_torchaudio() -> ModuleType:
    """The torchaudio module. Where torchaudio matches torch this is a plain import and changes nothing.

    Only after the real import failed with OSError is torchaudio's native extension replaced by a stand-in that says
    "not there" (ours): filter banks, resampling and the models work, `forced_align` and `rnnt_loss` do not.
    """
    try:
        return importlib.import_module("torchaudio")
    except OSError:
        for name in [name for name in sys.modules if name == "torchaudio" or name.startswith("torchaudio.")]:
            del sys.modules[name]
        sys.modules[EXTENSION] = absent = _absent_extension()
        torchaudio = importlib.import_module("torchaudio")
        torchaudio.__dict__["_extension"] = absent
        return torchaudio


def _absent_extension() -> ModuleType:
    module = ModuleType(EXTENSION)
    module.__spec__ = ModuleSpec(EXTENSION, loader=None)
    module.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=_no_cuda_version,
        fail_if_no_align=_refuse_alignment,
    )
    return module


def _no_cuda_version() -> None:
    return None


def _refuse_alignment(function: Callable[..., object]) -> Callable[..., NoReturn]:
    def refuse(*_: object) -> NoReturn:
        raise RuntimeError(f"torchaudio.{function.__name__}: torchaudio's native library does not match this torch")

    return refuse
