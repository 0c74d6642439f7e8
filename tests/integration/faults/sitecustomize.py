"""Puts faults into the workers of a sweep under test: on the path, Python imports this at its start.

`EMSWEEP_TEST_FAULT` names the fault, `EMSWEEP_TEST_FAULT_FILE` a file that arms or remembers it.
"""

from __future__ import annotations

import errno
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType

FAULT = os.environ.get("EMSWEEP_TEST_FAULT", "")
FILE = Path(os.environ.get("EMSWEEP_TEST_FAULT_FILE", "/nonexistent"))
STEP = 5
"""Where training faults strike."""


def _break_training(module: ModuleType) -> None:
    whole = module._optimize

    def optimize(state, batch, config):
        if FAULT == "memory" and (config.pretrain.micro_batch or config.pretrain.batch) > 2:
            # A real allocation that no machine can serve.
            module.torch.empty(10**15)
        if state.step == STEP and config.masking.policy == "ems":
            if FAULT == "hang":
                time.sleep(10_000)
            if FAULT == "kill" or (FAULT == "kill once" and not FILE.exists()):
                FILE.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return whole(state, batch, config)

    module._optimize = optimize


def _fill_disk(module: ModuleType) -> None:
    whole = module.write_atomically

    def write_atomically(path, content):
        if FILE.exists():
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        whole(path, content)

    module.write_atomically = write_atomically


def _break_probe(module: ModuleType) -> None:
    def train_batches(fold, size, seed):
        del fold, size, seed
        module.torch.empty(10**15)

    module._train_batches = train_batches


class _After(importlib.abc.MetaPathFinder):
    """Changes a module as soon as it is imported."""

    def __init__(self, name, change):
        self._name, self._change = name, change

    def find_spec(self, name, path, target=None):
        del path, target
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            self._change(module)

        spec.loader.exec_module = exec_module
        return spec


if FAULT == "full disk":
    sys.meta_path.insert(0, _After("core.store", _fill_disk))
elif FAULT == "memory later":
    sys.meta_path.insert(0, _After("core.probe", _break_probe))
elif FAULT:
    sys.meta_path.insert(0, _After("core.pretrain", _break_training))
