"""Draws trials' pictures in a process of its own, at low priority: neither logging nor training waits for it (ours)."""

from __future__ import annotations

__all__ = ["Drawer", "DrawerError", "draw_due"]

import gc
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from core.errors import BadInputError, EmsweepError
from core.store import Workspace
from sweeps.tracking.journal import Journal

_logger = logging.getLogger(__name__)

_NICENESS = 10
"""About a tenth of a core while trials keep all busy: the pictures of short trials still keep up with them."""
_TRIES = 3


class DrawerError(EmsweepError):
    """The drawing process died in the middle of a picture."""


class Drawer:
    """One drawing process, started with the first picture and again after its death. Not for several threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._deaths: Counter[str] = Counter()

    def draw(self, folder: Path) -> tuple[Path, ...]:
        """The pictures of the trial in `folder`, drawn into it.

        Raises BadInputError when what the trial left is not as it should be, or has ended the process time and again;
        DrawerError when it has ended it now.
        """
        answer = self._ask(str(folder))
        if answer is None:
            self.close()
            self._deaths[folder.name] += 1
            if self._deaths[folder.name] >= _TRIES:
                raise BadInputError(f"pictures of {folder}: the drawing process died {_TRIES} times")
            raise DrawerError(f"pictures of {folder}: the drawing process died")
        if "error" in answer:
            raise BadInputError(str(answer["error"]))
        return tuple(folder / name for name in answer["drawn"])

    def close(self) -> None:
        """End the process, in the middle of a picture if need be."""
        if self._process is not None:
            self._process.kill()
            # Leaving the block closes the pipes, one of which may be broken, and waits.
            with suppress(OSError), self._process:
                pass
            self._process = None

    def _ask(self, folder: str) -> dict[str, list[str]] | None:
        if self._process is None:
            self._process = _start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{json.dumps(folder)}\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (OSError, ValueError):
            return None
        return dict(json.loads(line)) if line.endswith("\n") else None


def draw_due(journal: Journal, workspace: Workspace, drawer: Drawer, *, until: Callable[[], bool]) -> None:
    """Draw what the journal says is due, and tell it; stops after the picture at hand when `until` says so.

    Raises JournalError when it cannot be told; nothing is lost then, it stays due.
    """
    while due := journal.pictures_due():
        for trial_key in due:
            if until():
                return
            try:
                journal.add_pictures(trial_key, drawer.draw(workspace.trial(trial_key)))
            except DrawerError as error:
                _logger.warning("%s; trying again", error)
            except BadInputError as error:
                _logger.warning("%s", error)
                journal.add_pictures(trial_key, (), problem=str(error))


def _start() -> subprocess.Popen[str]:
    # The folders this process imports from: it may have been started with others than its children would be.
    settings = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "sweeps.tracking.drawer"], env=os.environ | settings, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def _serve() -> None:
    """A trial's folder a line in, the names of its pictures (or what is wrong) a line out, until the asker is gone."""
    from sweeps.tracking.pictures import draw_trial_pictures

    os.nice(_NICENESS)
    # Figures are full of cycles: collected once per trial, and apart from what was imported, they cost a quarter less.
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        folder = Path(json.loads(line))
        try:
            answer = {"drawn": [path.name for path in draw_trial_pictures(folder, folder)]}
        except (BadInputError, OSError) as error:
            answer = {"error": str(error)}  # type: ignore[dict-item]
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
        gc.collect()


if __name__ == "__main__":
    _serve()
