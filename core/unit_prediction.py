"""Masked prediction of pseudo-labels (HuBERT, Hsu et al. 2021, eq. 1–3; Li et al., ICASSP 2024, step 3).

B stretches, P positions, N hidden positions of a batch, H hidden width, K labels.
"""

from __future__ import annotations

__all__ = ["AUDIT", "UnitPredictor", "predict_units", "unit_learning_rate"]

import math
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.alignment_config import UnitsConfig
from core.listening import Heard, Listener, spread_rows
from core.masking import MaskAudit
from core.progress import LogMetrics
from core.resumable import Training, TrainingState, Update, reports_every, train
from core.seeding import torch_stream
from core.unit_batches import UnitBatch, UnitBatches

BETAS = (0.9, 0.98)
EPS = 1e-6
"""Published; torch's own is 1e-8."""
AUDIT = "audit"
"""Among what the loop keeps: `core.masking.MaskAudit.to_json` of all its updates, in positions."""


class UnitPredictor(nn.Module):
    """The upstream, and a head that compares its last states with an embedding of each label."""

    def __init__(self, upstream: nn.Module, *, hidden: int, k: int, config: UnitsConfig) -> None:
        super().__init__()
        self.upstream = upstream
        self.project = nn.Linear(hidden, config.projection)
        # Drawn last: whatever k is, the projection starts the same.
        self.labels_KJ = nn.Parameter(torch.empty(k, config.projection).uniform_())
        self.temperature = config.temperature

    def logits(self, states_NH: Tensor) -> Tensor:
        """cos(W h, e_k) / temperature, (N, K)."""
        projected_NJ = nn.functional.normalize(self.project(states_NH), dim=-1)
        return projected_NJ @ nn.functional.normalize(self.labels_KJ, dim=-1).T / self.temperature


def unit_learning_rate(config: UnitsConfig, step: int) -> float:
    """Of update `step` (from 0): linear warm-up over `warmup` · updates, then linear decay to 0."""
    rise = round(config.warmup * config.updates)
    if step < rise:
        return config.lr * (step + 1) / rise
    return config.lr * (config.updates - step) / max(1, config.updates - rise)


def predict_units(
    listener: Listener, batches: UnitBatches, config: UnitsConfig, *, k: int, name: str, seed: int, checkpoint: Path,
    log: LogMetrics,
) -> Generator[TrainingState, None, TrainingState]:  # fmt: skip
    """Train the listener's model in place to tell the labels of hidden positions; the value is the last state.

    Loss: cross-entropy over the hidden positions. The published penalty on the features of HuBERT's convolutions is
    left out: these are frozen (published as well), so that it would move no weight. `name`: of the metrics and
    the stage, and of no stream: an arm's alignment and its twin's TAPT draw the same. Raises NonFiniteLossError.
    """
    with torch_stream(seed, "units-head"):
        predictor = UnitPredictor(listener.model, hidden=listener.hidden, k=k, config=config)
    predictor.to(listener.device)
    trained = [parameter for parameter in predictor.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.lr, weight_decay=config.weight_decay, betas=BETAS, eps=EPS)
    kept: dict[str, Any] = {"hits": 0, "hidden": 0, AUDIT: MaskAudit().to_json()}

    def update(step: int) -> Update:
        for group in optimizer.param_groups:
            group["lr"] = unit_learning_rate(config, step)
        batch = batches.at(step)
        with torch_stream(seed, "units-dropout", step):
            heard = listener.hear(batch.stretches, masks=batch.masks, fates=batch.fates)
            loss, hits = _loss(predictor, heard, batch)
        kept["hits"] += hits
        kept["hidden"] += int(heard.hidden_BP.sum())
        audit = MaskAudit.from_json(kept[AUDIT])
        audit.add(batch.audit)
        kept[AUDIT] = audit.to_json()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if math.isfinite(loss.item()):
            torch.nn.utils.clip_grad_norm_(trained, config.clip)
            optimizer.step()
        return Update(loss=loss.item(), frames=sum(stretch.length for stretch in batch.stretches))

    def report() -> dict[str, float]:
        accuracy = kept["hits"] / max(1, kept["hidden"])
        kept.update(hits=0, hidden=0)
        return {f"{name}/accuracy": accuracy}

    training = Training(
        name=name, steps=config.updates, every=reports_every(config.updates), update=update, report=report
    )
    state = TrainingState(model=predictor, optimizer=optimizer, kept=kept)
    return (yield from train(training, state, checkpoint=checkpoint, log=log))


def _loss(predictor: UnitPredictor, heard: Heard, batch: UnitBatch) -> tuple[Tensor, int]:
    """The loss, and how many hidden positions were told right."""
    states_BPH = heard.layers[-1]
    targets_BP = torch.from_numpy(spread_rows(batch.labels)).to(states_BPH.device).long()
    logits_NK = predictor.logits(states_BPH[heard.hidden_BP])
    targets_N = targets_BP[heard.hidden_BP]
    # A batch of short utterances can hide nothing: its loss is 0, not 0/0.
    loss = nn.functional.cross_entropy(logits_NK, targets_N, reduction="sum") / max(1, len(targets_N))
    return loss, int((logits_NK.argmax(-1) == targets_N).sum())
