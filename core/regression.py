"""The training loop of teachers and students: frozen states in, dimensions out, the best step by validation kept.

U utterances of the corpus, N of a train part, V of a validation part, W wanted, B of a batch, P positions, L layers,
H hidden width, E width of the text encoder, D dimensions.
"""

from __future__ import annotations

__all__ = ["Fitted", "Inputs", "Task", "fit_regression"]

import io
import math
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.errors import BadInputError, NonFiniteLossError
from core.frames import Frames
from core.guidance import guided_loss
from core.metrics import ccc
from core.models.summariser import Summariser
from core.pretrain import Report, replay
from core.progress import LogMetrics
from core.records import DIMENSIONS
from core.seeding import stream, torch_stream
from core.store import write_atomically
from core.teacher_config import TeacherConfig

Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a model hears, and reads where it has words."""

    frames: Frames
    text_UE: NDArray[np.float32] | None
    device: torch.device


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one model learns. It knows the labels of its train and validation parts and no others.

    Utterances are positions in `Inputs.frames`; labels and teacher outputs are on the corpus's scale.
    """

    name: str
    """Names the random streams, and the curves."""
    train_N: Index
    validation_V: Index
    wanted_W: Index
    """Whose outputs are wanted in the end."""
    labels_ND: NDArray[np.float64]
    labels_VD: NDArray[np.float64]
    teacher_ND: NDArray[np.float64] | None = None
    """What the teacher says of the training utterances; None without one."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A model at its best step."""

    outputs_WD: NDArray[np.float64]
    """Of the wanted utterances, on the corpus's scale."""
    weights: dict[str, Tensor]
    notes: dict[str, Any]
    """JSON: best_step, validation_ccc, centre_D and scale_D (corpus's scale = centre + scale · output), parameters,
    steps, positions (that went through it in training), seconds, curve."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Problem:
    """A task as the loop sees it: labels in standard deviations from the mean of the train part's."""

    inputs: Inputs
    task: Task
    config: TeacherConfig
    seed: int
    centre_D: NDArray[np.float64]
    scale_D: NDArray[np.float64]
    labels_ND: Tensor
    taught_ND: Tensor | None

    def outputs(self, model: Summariser, places: Index) -> NDArray[np.float64]:
        """What the model says of these utterances, on the corpus's scale, in evaluation mode."""
        model.eval()
        found = []
        with torch.no_grad():
            for start in range(0, len(places), self.config.batch):
                outputs_BD = model(*self.batch(places[start : start + self.config.batch]))
                found.append(outputs_BD.double().cpu().numpy())
        return np.asarray(self.centre_D + self.scale_D * np.concatenate(found))

    def batch(self, places_B: Index) -> tuple[Tensor, Tensor, Tensor | None]:
        """States (B, P, L, H), zero beyond the lengths (B,); embeddings (B, E) where there are words."""
        inputs = self.inputs
        rows = [_reduced(inputs.frames.states(int(place)), self.config.reduce) for place in places_B]
        lengths_B = np.array([len(row) for row in rows], dtype=np.int64)
        states_BPLH = np.zeros((len(rows), int(lengths_B.max()), *rows[0].shape[1:]), dtype=np.float32)
        for row, states_PLH in enumerate(rows):
            states_BPLH[row, : len(states_PLH)] = states_PLH
        text = None if inputs.text_UE is None else torch.from_numpy(inputs.text_UE[places_B]).to(inputs.device)
        return torch.from_numpy(states_BPLH).to(inputs.device), torch.from_numpy(lengths_B), text


@dataclass(kw_only=True)
class _State:
    """Everything that changes during the fit; what a checkpoint holds."""

    model: Summariser
    optimizer: torch.optim.Optimizer
    step: int = 0
    positions: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    best_step: int = 0
    kept: dict[str, Tensor] = field(default_factory=dict)
    """Weights of the best step."""
    curve: list[Report] = field(default_factory=list)

    def save(self, path: Path) -> None:
        # Through memory: on a full disk torch names no reason when it writes itself.
        packed = io.BytesIO()
        numbers = [self.step, self.positions, self.seconds, self.best, self.best_step]
        modules = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "kept": self.kept}
        torch.save({"numbers": numbers, "curve": self.curve, **modules}, packed)
        write_atomically(path, packed.getvalue())

    def load(self, path: Path) -> None:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.kept, self.curve = content["kept"], content["curve"]
        self.step, self.positions, self.seconds, self.best, self.best_step = content["numbers"]


def fit_regression(
    inputs: Inputs, task: Task, config: TeacherConfig, *, seed: int, checkpoint: Path, log: LogMetrics
) -> Generator[int, None, Fitted]:
    """Train one model for `config.steps` with Adam, yielding the step at every look; the value is the best one.

    Continues from `checkpoint` where there is one, with the same result. Raises NonFiniteLossError, and BadInputError
    for a dimension that is constant in the train part.
    """
    problem = _problem(inputs, task, config, seed)
    state = _begin(problem)
    if checkpoint.exists():
        state.load(checkpoint)
    replay(state.curve, log)
    losses: list[float] = []
    while state.step < config.steps:
        began = time.monotonic()
        losses.append(_optimize(state, problem))
        due = state.step % config.evaluate_every == 0 or state.step == config.steps
        reached = _look(state, problem) if due else None
        state.seconds += time.monotonic() - began
        if reached is not None:
            values = {f"{task.name}/loss": float(np.mean(losses)), f"{task.name}/validation_ccc": reached}
            losses = []
            state.curve.append({"step": state.step, "values": values})
            log(values, state.step)
            state.save(checkpoint)
            yield state.step
    return _fitted(state, problem)


def _problem(inputs: Inputs, task: Task, config: TeacherConfig, seed: int) -> _Problem:
    centre_D, scale_D = task.labels_ND.mean(axis=0), task.labels_ND.std(axis=0)
    for name, scale in zip(DIMENSIONS, scale_D, strict=True):
        if scale < 1e-9:
            raise BadInputError(f"{task.name}: {name} is the same in all {len(task.train_N)} training utterances")

    def scaled(values_ND: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy((values_ND - centre_D) / scale_D).float().to(inputs.device)

    return _Problem(
        inputs=inputs, task=task, config=config, seed=seed, centre_D=centre_D, scale_D=scale_D,
        labels_ND=scaled(task.labels_ND), taught_ND=None if task.teacher_ND is None else scaled(task.teacher_ND),
    )  # fmt: skip


def _begin(problem: _Problem) -> _State:
    frames, text_UE = problem.inputs.frames, problem.inputs.text_UE
    with torch_stream(problem.seed, "regression-init", problem.task.name):
        model = Summariser(
            layers=len(frames.layers), width=frames.packed_FLH.shape[2],
            text=None if text_UE is None else text_UE.shape[1], config=problem.config,
        ).to(problem.inputs.device)  # fmt: skip
    return _State(model=model, optimizer=torch.optim.Adam(model.parameters(), lr=problem.config.lr))


def _rows(problem: _Problem, step: int) -> Index:
    """Which of the train part are in the batch of a step (from 0), (B,): whole epochs in a row, cut into batches."""
    size, count = problem.config.batch, len(problem.task.train_N)
    epoch_B, place_B = np.divmod(np.arange(step * size, (step + 1) * size), count)
    orders = {
        int(epoch): stream(problem.seed, "regression-order", problem.task.name, int(epoch)).permutation(count)
        for epoch in np.unique(epoch_B)
    }
    return np.array([orders[int(epoch)][place] for epoch, place in zip(epoch_B, place_B, strict=True)], dtype=np.int64)


def _optimize(state: _State, problem: _Problem) -> float:
    """One optimizer step; returns its loss."""
    config, task = problem.config, problem.task
    rows_B = _rows(problem, state.step)
    states_BPLH, lengths_B, text_BE = problem.batch(task.train_N[rows_B])
    taught_BD = None if problem.taught_ND is None else problem.taught_ND[rows_B]
    state.model.train()
    with torch_stream(problem.seed, "regression-dropout", task.name, state.step):
        outputs_BD = state.model(states_BPLH, lengths_B, text_BE)
    loss = guided_loss(outputs_BD, problem.labels_ND[rows_B], taught_BD, config)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    state.step += 1
    value = float(loss.item())
    if not math.isfinite(value):
        raise NonFiniteLossError(stage=task.name, step=state.step, value=value)
    nn.utils.clip_grad_norm_(state.model.parameters(), config.clip)
    state.optimizer.step()
    state.positions += int(lengths_B.sum())
    return value


def _look(state: _State, problem: _Problem) -> float:
    """Mean CCC over dimensions on the validation part now; the weights are kept where it is the best so far."""
    labels_VD = problem.task.labels_VD
    outputs_VD = problem.outputs(state.model, problem.task.validation_V)
    reached = float(np.mean([ccc(labels_VD[:, d], outputs_VD[:, d]) for d in range(len(DIMENSIONS))]))
    if reached > state.best:
        state.best, state.best_step = reached, state.step
        state.kept = {name: value.detach().cpu().clone() for name, value in state.model.state_dict().items()}
    return reached


def _reduced(states_PLH: NDArray[np.float16], reduce: int) -> NDArray[np.float32]:
    """Means of `reduce` consecutive positions; the last one of those that are left."""
    starts = np.arange(0, len(states_PLH), reduce)
    counts = np.diff([*starts, len(states_PLH)])
    summed_PLH = np.add.reduceat(states_PLH.astype(np.float32), starts, axis=0)
    return np.asarray(summed_PLH / counts[:, None, None], dtype=np.float32)


def _fitted(state: _State, problem: _Problem) -> Fitted:
    state.model.load_state_dict(state.kept)
    return Fitted(
        outputs_WD=problem.outputs(state.model, problem.task.wanted_W),
        weights=state.kept,
        notes={
            "best_step": state.best_step,
            "validation_ccc": state.best,
            "centre_D": problem.centre_D.tolist(),
            "scale_D": problem.scale_D.tolist(),
            "parameters": sum(parameter.numel() for parameter in state.model.parameters()),
            "steps": state.step,
            "positions": state.positions,
            "seconds": state.seconds,
            "curve": state.curve,
        },
    )
