"""Supervised fine-tuning of an upstream on one fold: class-balanced batches of crops, the best epoch on validation.

B stretches, P positions, H hidden width, C classes, U utterances.
"""

from __future__ import annotations

__all__ = ["EmotionModel", "Lesson", "Tuned", "epoch_rows", "finetune", "scores_of"]

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.alignment_config import TuningConfig
from core.listening import Heard, Listener, Stretch
from core.metrics import confusion, ua, wa
from core.models.attention_pooling import AttentionPooling, MeanPooling
from core.progress import LogMetrics
from core.resumable import Training, TrainingState, Update, train
from core.seeding import stream, torch_stream


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What fine-tuning may see of a fold: places in the listener's corpus and their classes; nothing of test."""

    train: NDArray[np.int64]
    train_labels: tuple[str, ...]
    validation: NDArray[np.int64]
    validation_labels: tuple[str, ...]
    classes: tuple[str, ...]


class EmotionModel(nn.Module):
    """Upstream → pooling of its last states → Linear to the classes."""

    def __init__(
        self, upstream: nn.Module, *, hidden: int, classes: int, pooling: Literal["attention", "mean"]
    ) -> None:
        super().__init__()
        self.upstream = upstream
        self.classify = nn.Linear(hidden, classes)
        # Drawn last: under either pooling the classifier starts the same.
        self.pooling = AttentionPooling(hidden) if pooling == "attention" else MeanPooling()

    def logits(self, heard: Heard) -> Tensor:
        """(B, C)."""
        logits_BC: Tensor = self.classify(self.pooling(heard.layers[-1], ~heard.valid_BP))
        return logits_BC


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The model of the best epoch, in evaluation mode, and what it came from."""

    model: EmotionModel
    epoch: int
    """From 1."""
    validation: float
    state: TrainingState


def epoch_rows(labels: Sequence[str], *, size: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
    """One epoch of class-balanced batches: positions in `labels`, as many as there are labels, `size` to a batch.

    Every class is equally likely in every place, and every utterance within its class (sampling with replacement).
    """
    names = sorted(set(labels))
    members = {name: np.flatnonzero([label == name for label in labels]) for name in names}
    chosen = random.integers(0, len(names), size=len(labels))
    rows = np.array([random.choice(members[names[place]]) for place in chosen], dtype=np.int64)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def finetune(
    listener: Listener, lesson: Lesson, config: TuningConfig, *, pooling: Literal["attention", "mean"], name: str,
    seed: int, checkpoint: Path, log: LogMetrics,
) -> Generator[TrainingState, None, Tuned]:  # fmt: skip
    """Train the listener's model in place, with a new head, on the lesson's train part; the value is the best epoch's.

    Yields after every epoch, when validation is looked at. `name`: of the metrics, the streams and the stage; both
    fine-tunings of an arm have the same, and so the same batches. Raises NonFiniteLossError.
    """
    with torch_stream(seed, "tuning-head", name):
        model = EmotionModel(
            listener.model, hidden=listener.hidden, classes=len(lesson.classes), pooling=pooling
        )  # fmt: skip
    model.to(listener.device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.lr, weight_decay=config.weight_decay)
    epoch_steps = -(-len(lesson.train) // config.batch)
    state = TrainingState(model=model, optimizer=optimizer, kept={"value": -1.0, "epoch": 0, "weights": {}})

    def update(step: int) -> Update:
        epoch, place = divmod(step, epoch_steps)
        order = epoch_rows(lesson.train_labels, size=config.batch, random=stream(seed, "tuning-order", name, epoch))
        crop = stream(seed, "tuning-crop", name, step)
        stretches = [_cut(listener, int(lesson.train[row]), config.crop_s, crop) for row in order[place]]
        targets_B = torch.tensor([lesson.classes.index(lesson.train_labels[row]) for row in order[place]])
        with torch_stream(seed, "tuning-dropout", name, step):
            logits_BC = model.logits(listener.hear(stretches))
        loss = nn.functional.cross_entropy(logits_BC, targets_B.to(logits_BC.device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if math.isfinite(loss.item()):
            torch.nn.utils.clip_grad_norm_(trained, config.clip)
            optimizer.step()
        return Update(loss=loss.item(), frames=sum(stretch.length for stretch in stretches))

    def report() -> dict[str, float]:
        value = _validate(model, listener, lesson, config)
        if value > state.kept["value"]:
            weights = {key: weight.detach().cpu().clone() for key, weight in model.state_dict().items()}
            state.kept.update(value=value, epoch=state.step // epoch_steps, weights=weights)
        return {f"{name}/validation_{config.select_by}": value}

    steps = config.epochs * epoch_steps
    training = Training(name=name, steps=steps, every=epoch_steps, update=update, report=report)
    yield from train(training, state, checkpoint=checkpoint, log=log)
    model.load_state_dict(state.kept["weights"])
    return Tuned(model=model.eval(), epoch=state.kept["epoch"], validation=state.kept["value"], state=state)


def _cut(listener: Listener, place: int, crop_s: float, crop: np.random.Generator) -> Stretch:
    length = int(listener.lengths_U[place])
    kept = min(length, round(crop_s / listener.hop_s))
    return Stretch(place=place, start=int(crop.integers(0, length - kept + 1)), length=kept)


def _validate(model: EmotionModel, listener: Listener, lesson: Lesson, config: TuningConfig) -> float:
    scores_UC = scores_of(model, listener, lesson.validation)
    predicted = [lesson.classes[winner] for winner in scores_UC.argmax(-1)]
    counts = confusion(list(lesson.validation_labels), predicted, lesson.classes)
    return ua(counts) if config.select_by == "ua" else wa(counts)


@torch.no_grad()
def scores_of(model: EmotionModel, listener: Listener, places: NDArray[np.int64]) -> NDArray[np.float32]:
    """Class probabilities of whole utterances, (U, C), in evaluation mode, one at a time: none depends on another.

    `listener`: of the same upstream as the model's.
    """
    was_training = model.training
    model.eval()
    rows = [model.logits(listener.hear([listener.whole(int(place))])).softmax(-1)[0] for place in places]
    model.train(was_training)
    return np.asarray(torch.stack(rows).float().cpu().numpy())
