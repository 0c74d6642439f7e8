"""The probe where its pooling is learnt with it: trained on frame states, a fold at a time.

Batches, steps, learning rate, selection and the head over the pooling are those of `core.probe`, but for what `sap`
says; like lengths go into one batch.

U utterances, C classes.
"""

from __future__ import annotations

__all__ = ["PooledFit", "fit_pooled_head"]

import io
import time
from collections.abc import Generator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.bucketing import epoch_batches
from core.config import ProbeConfig, TrialConfig
from core.errors import NonFiniteLossError
from core.metrics import confusion, ua, wa
from core.models.pooled_head import PooledHead
from core.pretrain import Report
from core.probe import FoldIndex
from core.progress import LogMetrics
from core.seeding import stream, torch_stream
from core.spoken_frames import SpokenFrames
from core.store import write_atomically

POOL_BATCHES = 8
"""Batches that are cut from one pool sorted by length (ours)."""


@dataclass(kw_only=True)
class PooledFit:
    """Everything that changes while one fold's head is trained; what a checkpoint holds."""

    head: PooledHead
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    """Time spent training, over all legs of an interrupted run."""
    positions: int = 0
    """That went through the pooling in all steps."""
    flops: float = 0.0
    """By 6·N·D as in `core.underway.training_flops`: what is learnt in the pooling runs at every position, the linear
    layers behind it once per utterance."""
    best: float = -1.0
    best_step: int = 0
    best_head: dict[str, Tensor] = field(default_factory=dict)
    curve: list[Report] = field(default_factory=list)

    def keep(self, value: float) -> None:
        """Keep the weights as they are if no earlier step was as good on validation."""
        if value > self.best:
            self.best, self.best_step, self.best_head = value, self.step, deepcopy(self.head.state_dict())

    def to_json(self) -> dict[str, Any]:
        """What a trial that finds this head needs to know."""
        return {
            "steps": self.step,
            "frames": self.positions,
            "seconds": self.seconds,
            "flops": self.flops,
            "best_step": self.best_step,
            "curve": self.curve,
        }

    def save(self, path: Path) -> None:
        buffer = io.BytesIO()
        state = {
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": [self.step, self.seconds, self.positions, self.flops, self.best, self.best_step],
            "best_head": self.best_head,
            "curve": self.curve,
        }
        torch.save(state, buffer)
        write_atomically(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.positions, self.flops, self.best, self.best_step = state["progress"]
        self.best_head, self.curve = state["best_head"], state["curve"]


def fit_pooled_head(
    spoken: SpokenFrames, labels: Sequence[str], fold: FoldIndex, classes: Sequence[str], *, config: TrialConfig,
    checkpoint: Path, log: LogMetrics,
) -> Generator[int, None, tuple[PooledFit, NDArray[np.float32]]]:  # fmt: skip
    """Train one fold's head, yielding the step at every look at validation. The generator's value: the fit, its head
    with the weights that were best there (first on ties), and the class probabilities of every utterance, (U, C).

    Args:
        labels: class of each utterance, U.
        fold: its test positions are not looked at.
        checkpoint: continued from where it exists, with what was logged before; saved there at every look.

    Raises NonFiniteLossError, and BadInputError for heads that do not divide the hidden width.
    """
    loop, device = _loop(config), torch.device(config.compute.device)
    fit = _begin(spoken, fold, classes, config=config, loop=loop, checkpoint=checkpoint)
    for report in fit.curve:
        log(report["values"], report["step"])
    targets_U = torch.tensor([list(classes).index(label) for label in labels])
    true = [labels[place] for place in fold.validation]
    loss_sum, since = 0.0, fit.step
    while fit.step < loop.steps:
        began = time.monotonic()
        loss_sum += _optimize(fit, spoken, _batch(fit.step, spoken, fold, loop.batch, config.seed), targets_U, device)
        fit.seconds += time.monotonic() - began
        if fit.step % loop.evaluate_every == 0 or fit.step == loop.steps:
            if not np.isfinite(loss_sum):
                raise NonFiniteLossError(stage="probe", step=fit.step, value=loss_sum)
            predicted = [classes[winner] for winner in _scores(fit, spoken, fold.validation, loop, device).argmax(-1)]
            counts = confusion(true, predicted, classes)
            value = ua(counts) if loop.select_by == "ua" else wa(counts)
            fit.keep(value)
            values = {"probe/loss": loss_sum / (fit.step - since), f"probe/validation_{loop.select_by}": value}
            fit.curve.append({"step": fit.step, "values": values})
            log(values, fit.step)
            loss_sum, since = 0.0, fit.step
            fit.save(checkpoint)
            yield fit.step
    fit.head.load_state_dict(fit.best_head)
    return fit, _scores(fit, spoken, np.arange(len(labels)), loop, device)


def _loop(config: TrialConfig) -> ProbeConfig:
    given = {"steps": config.sap.steps, "lr": config.sap.lr}
    return config.probe.model_copy(update={name: value for name, value in given.items() if value is not None})


def _begin(
    spoken: SpokenFrames, fold: FoldIndex, classes: Sequence[str], *, config: TrialConfig, loop: ProbeConfig,
    checkpoint: Path,
) -> PooledFit:  # fmt: skip
    """The state at the checkpoint, or at the start."""
    _, layers, hidden = spoken.frames.packed_FLH.shape
    with torch_stream(config.seed, "probe-init", fold.name):
        head = PooledHead(
            layers=layers, hidden=hidden, projection=loop.projection, classes=len(classes), config=config.sap
        )
    head = head.to(config.compute.device)
    fit = PooledFit(head=head, optimizer=torch.optim.Adam(head.parameters(), lr=loop.lr))
    if checkpoint.exists():
        fit.load(checkpoint)
    return fit


def _batch(step: int, spoken: SpokenFrames, fold: FoldIndex, size: int, seed: int) -> NDArray[np.int64]:
    """Training positions of step `step` (from 0), a pure function of the seed and the step."""
    epoch, place = divmod(step, -(-len(fold.train) // size))
    rng = stream(seed, "pooled-order", fold.name, epoch)
    return epoch_batches(fold.train, spoken.frames.lengths, size=size, pool=POOL_BATCHES, rng=rng)[place]


def _optimize(
    fit: PooledFit, spoken: SpokenFrames, places_B: NDArray[np.int64], targets_U: Tensor, device: torch.device
) -> float:
    """One optimizer step; returns its loss."""
    batch = spoken.batch(places_B, device)
    logits_BC = fit.head(batch.states_BPLH, batch.valid_BP, batch.speech_BP)
    loss = nn.functional.cross_entropy(logits_BC, targets_U[torch.from_numpy(places_B)].to(device))
    fit.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    fit.optimizer.step()
    fit.step += 1
    positions = int(batch.valid_BP.sum())
    fit.positions += positions
    fit.flops += 6.0 * (
        _numbers(fit.head.pooling) * positions + _numbers(fit.head.project, fit.head.classify) * len(places_B)
    )
    return loss.item()


def _numbers(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@torch.no_grad()
def _scores(
    fit: PooledFit, spoken: SpokenFrames, places: NDArray[np.int64], loop: ProbeConfig, device: torch.device
) -> NDArray[np.float32]:
    """Class probabilities of the utterances at `places`, in their order."""
    order = np.argsort(spoken.frames.lengths[places], kind="stable")
    found = np.empty((len(places), fit.head.classify.out_features), dtype=np.float32)
    for start in range(0, len(order), loop.batch):
        rows = order[start : start + loop.batch]
        batch = spoken.batch(places[rows], device)
        found[rows] = fit.head(batch.states_BPLH, batch.valid_BP, batch.speech_BP).softmax(-1).cpu().numpy()
    return found
