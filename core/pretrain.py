"""Pre-training by reconstruction of hidden frames, resumable bit for bit on CPU (Mockingjay, Liu et al. 2020)."""

from __future__ import annotations

__all__ = ["Pretraining", "learning_rate", "pretrain", "replay"]

import io
import math
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.batches import Batch, Batches
from core.config import PretrainConfig, TrialConfig
from core.errors import NonFiniteLossError
from core.masking import MaskAudit
from core.models.mockingjay import Mockingjay
from core.progress import LogMetrics
from core.seeding import torch_stream
from core.store import write_atomically


@dataclass(kw_only=True)
class Pretraining:
    """Everything that changes during pre-training; what a checkpoint holds."""

    model: Mockingjay
    optimizer: torch.optim.Optimizer
    audit: MaskAudit
    step: int = 0
    frames: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    seconds: float = 0.0
    """Time spent training, over all legs of an interrupted run."""
    curve: list[list[float]] = field(default_factory=list)
    """[step, mean loss since the last report] of each report."""

    def save(self, path: Path) -> None:
        buffer = io.BytesIO()
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "audit": self.audit.to_json(),
            "numbers": [self.step, self.frames, self.loss_sum, self.loss_steps, self.seconds],
            "curve": self.curve,
        }
        torch.save(state, buffer)
        write_atomically(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.audit = MaskAudit.from_json(state["audit"])
        self.step, self.frames, self.loss_sum, self.loss_steps, self.seconds = state["numbers"]
        self.curve = state["curve"]

    def to_json(self) -> dict[str, Any]:
        """What the record and a trial that finds these weights need to know."""
        return {
            "audit": self.audit.to_json(),
            "steps": self.step,
            "frames": self.frames,
            "seconds": self.seconds,
            "curve": self.curve,
        }


def replay(curve: list[list[float]], log: LogMetrics) -> None:
    """Log the reported losses of a curve."""
    for step, loss in curve:
        log({"pretrain/loss": loss}, int(step))


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Learning rate of step `step` (from 0): linear warm-up over `warmup`·steps, then linear decay to 0 (BERT)."""
    rise = max(1, round(config.warmup * config.steps))
    if step < rise:
        return config.lr * (step + 1) / rise
    return config.lr * (config.steps - step) / max(1, config.steps - rise)


def pretrain(
    batches: Batches, config: TrialConfig, *, dims: int, checkpoint: Path, log: LogMetrics
) -> Generator[None, None, Pretraining]:
    """Train one upstream, yielding at every report; the generator's value is the finished state.

    Continues from `checkpoint` when it exists; saves there every `checkpoint_every` steps and when the consumer stops
    iterating. Raises NonFiniteLossError.
    """
    settings, device = config.pretrain, torch.device(config.compute.device)
    with torch_stream(config.seed, "init"):
        model = Mockingjay(dims, config.mockingjay).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    state = Pretraining(model=model, optimizer=optimizer, audit=MaskAudit())
    if checkpoint.exists():
        state.load(checkpoint)
    model.train()
    try:
        while state.step < settings.steps:
            began = time.monotonic()
            batch = batches.at(state.step, masking=config.masking, audit=state.audit)
            _optimize(state, batch, config)
            state.seconds += time.monotonic() - began
            if state.step % settings.report_every == 0 or state.step == settings.steps:
                state.curve.append([state.step, state.loss_sum / state.loss_steps])
                replay(state.curve[-1:], log)
                state.loss_sum, state.loss_steps = 0.0, 0
                yield
            if state.step % settings.checkpoint_every == 0:
                state.save(checkpoint)
    except GeneratorExit:
        state.save(checkpoint)
        raise
    model.eval()
    return state


def _optimize(state: Pretraining, batch: Batch, config: TrialConfig) -> None:
    """One optimizer step: L1 over the hidden frames, gradients accumulated over micro-batches, clipped."""
    settings = config.pretrain
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(settings, state.step)
    state.optimizer.zero_grad(set_to_none=True)
    # A batch of short utterances can draw no span at all: its loss is 0, not 0/0.
    elements = max(1, int(batch.mask_BT.sum())) * batch.clean_BTD.shape[2]
    size = settings.micro_batch or settings.batch
    loss = 0.0
    with torch_stream(config.seed, "dropout", state.step):
        for start in range(0, len(batch.lengths_B), size):
            part = _reconstruction_error(state.model, batch, slice(start, start + size), config) / elements
            part.backward()
            loss += part.item()
    state.step += 1
    if not math.isfinite(loss):
        raise NonFiniteLossError(stage="pretrain", step=state.step, value=loss)
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip)
    state.optimizer.step()
    state.frames += int(batch.lengths_B.sum())
    state.loss_sum += loss
    state.loss_steps += 1


def _has_bfloat16(device: torch.device) -> bool:
    """In hardware: emulated on a CPU it is an order of magnitude slower than float32."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def _reconstruction_error(model: Mockingjay, batch: Batch, rows: slice, config: TrialConfig) -> Tensor:
    """Sum of absolute errors over the hidden frames of these rows."""
    device = torch.device(config.compute.device)
    longest = int(batch.lengths_B[rows].max())

    def on_device(array: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)

    seen_BTD, clean_BTD = on_device(batch.seen_BTD[rows, :longest]), on_device(batch.clean_BTD[rows, :longest])
    mask_BT, lengths_B = on_device(batch.mask_BT[rows, :longest]), on_device(batch.lengths_B[rows])
    reduced = config.compute.autocast == "auto" and _has_bfloat16(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=reduced):
        rebuilt_BTD = model(seen_BTD, lengths_B)
    error: Tensor = ((rebuilt_BTD.float() - clean_BTD).abs() * mask_BT[..., None]).sum()
    return error
