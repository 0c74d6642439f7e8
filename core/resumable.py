"""One training loop that can be interrupted: it goes on from its checkpoint with the same result (ours)."""

from __future__ import annotations

__all__ = ["Training", "TrainingState", "Update", "reports_every", "train"]

import io
import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.errors import NonFiniteLossError
from core.pretrain import Report
from core.progress import LogMetrics
from core.store import write_atomically

REPORTS = 20
"""Reports, and checkpoints, of a loop that has no epochs."""


def reports_every(steps: int) -> int:
    """Updates between two reports of a loop of so many.

    >>> reports_every(20_000), reports_every(7)
    (1000, 1)
    """
    return -(-steps // REPORTS)


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one optimizer step was: its loss before the step, and how many grid frames went through the model."""

    loss: float
    frames: int


@dataclass(kw_only=True)
class TrainingState:
    """Everything that changes in a loop; what a checkpoint holds. `kept`: what the loop remembers besides, by name."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    frames: int = 0
    seconds: float = 0.0
    """Training, over all legs; reports are in it."""
    loss_sum: float = 0.0
    loss_steps: int = 0
    curve: list[Report] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the checkpoint whole or not at all."""
        buffer = io.BytesIO()
        numbers = {
            name: getattr(self, name)
            for name in ("step", "frames", "seconds", "loss_sum", "loss_steps", "curve", "kept")
        }
        torch.save(
            {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "numbers": numbers}, buffer
        )
        write_atomically(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Go on where `save` left off."""
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        numbers = content["numbers"]
        # In place: the loop's own functions hold it too.
        kept = numbers.pop("kept")
        self.kept.clear()
        self.kept.update(kept)
        for name, value in numbers.items():
            setattr(self, name, value)


@dataclass(frozen=True, kw_only=True)
class Training:
    """A loop: how often it steps, what a step is, and what is reported and remembered every so often."""

    name: str
    """Of its metrics: `<name>/loss`."""
    steps: int
    every: int
    """Steps between two reports, which are checkpoints too."""
    update: Callable[[int], Update]
    """Does step `step` (from 0): everything that it draws depends on the step alone."""
    report: Callable[[], dict[str, float]]
    """Further metrics after a step that is due; may change the state's `kept`, and no weights."""


def train(
    training: Training, state: TrainingState, *, checkpoint: Path, log: LogMetrics
) -> Generator[TrainingState, None, TrainingState]:
    """Run the loop from where `checkpoint` is, or from the start, yielding the state at every report.

    Going on, it logs what was reported before once more and yields where it begins. Saves at every report, and when the
    consumer stops iterating. Raises NonFiniteLossError.
    """
    if checkpoint.exists():
        state.load(checkpoint)
        for report in state.curve:
            log(report["values"], report["step"])
        yield state
    try:
        while state.step < training.steps:
            began = time.monotonic()
            state.model.train()
            update = training.update(state.step)
            state.step += 1
            if not math.isfinite(update.loss):
                raise NonFiniteLossError(stage=training.name, step=state.step, value=update.loss)
            state.frames += update.frames
            state.loss_sum, state.loss_steps = state.loss_sum + update.loss, state.loss_steps + 1
            due = state.step % training.every == 0 or state.step == training.steps
            values = _values(training, state) if due else {}
            state.seconds += time.monotonic() - began
            if due:
                state.curve.append({"step": state.step, "values": values})
                log(values, state.step)
                state.save(checkpoint)
                yield state
    except GeneratorExit:
        state.save(checkpoint)
        raise
    state.model.eval()
    return state


def _values(training: Training, state: TrainingState) -> dict[str, float]:
    values = {f"{training.name}/loss": state.loss_sum / state.loss_steps}
    state.loss_sum, state.loss_steps = 0.0, 0
    return values | training.report()
