"""Pre-training by reconstruction (Mockingjay, Liu et al. 2020; NPC, Liu et al. 2021), resumable bit for bit on CPU."""

from __future__ import annotations

__all__ = [
    "NO_LOOKS",
    "Look",
    "Looks",
    "Pretraining",
    "Reached",
    "Report",
    "learning_rate",
    "pretrain",
    "replay",
    "trained_parameters",
]

import io
import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor

from core.batches import Batch, Batches
from core.config import PretrainConfig, TrialConfig
from core.errors import NonFiniteLossError
from core.masking import MaskAudit
from core.models.build import build_upstream
from core.models.upstream import Upstream, frame_errors
from core.progress import LogMetrics
from core.seeding import torch_stream
from core.store import write_atomically
from core.validation import HeldOut, Quality, to_device


class Report(TypedDict):
    """Losses reported at one step."""

    step: int
    values: dict[str, float]


class Look(TypedDict):
    """A look at validation through the weights of one step, and what training had cost by then."""

    key: str
    """Of the `Looks` that made it: an upstream may serve trials that probe it in different ways."""
    step: int
    frames: int
    seconds: float
    ua: dict[str, float]
    """Fold → UA on its validation part."""


@dataclass(frozen=True, kw_only=True)
class Looks:
    """At which steps of one upstream to look at validation, and how; looking changes nothing in training."""

    key: str
    """Hash of everything but the weights that can change what is seen."""
    at: frozenset[int]
    look: Callable[[Upstream], dict[str, float]]

    def known(self, looks: Sequence[Look]) -> list[Look]:
        """Those of `looks` that are these, in the order of steps."""
        own = (look for look in looks if look["key"] == self.key and look["step"] in self.at)
        return sorted(own, key=lambda look: look["step"])


def _blind(model: Upstream) -> dict[str, float]:
    del model
    return {}


NO_LOOKS = Looks(key="", at=frozenset(), look=_blind)


@dataclass(frozen=True, kw_only=True)
class Reached:
    """Where the training of one upstream is; `ua` with a look, by fold."""

    step: int
    frames: int
    seconds: float
    ua: dict[str, float] | None = None

    @classmethod
    def of(cls, look: Look) -> Reached:
        return cls(step=look["step"], frames=look["frames"], seconds=look["seconds"], ua=look["ua"])


@dataclass(kw_only=True)
class Pretraining:
    """Everything that changes during pre-training; what a checkpoint holds."""

    model: Upstream
    optimizer: torch.optim.Optimizer
    audit: MaskAudit
    step: int = 0
    frames: int = 0
    loss_sum: float = 0.0
    score_loss_sum: float = 0.0
    loss_steps: int = 0
    final_loss_sum: float = 0.0
    """Of the features, over the last `final_steps`."""
    seconds: float = 0.0
    """Time spent training, over all legs of an interrupted run; validation and looks are not in it."""
    curve: list[Report] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    quality: Quality | None = None
    """The held-out speakers' loss at the last report."""

    def save(self, path: Path) -> None:
        buffer = io.BytesIO()
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "audit": self.audit.to_json(),
            "step": self.step,
            "frames": self.frames,
            "sums": [self.loss_sum, self.score_loss_sum, self.loss_steps, self.final_loss_sum, self.seconds],
            "curve": self.curve,
            "looks": self.looks,
        }
        torch.save(state, buffer)
        write_atomically(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.audit = MaskAudit.from_json(state["audit"])
        self.step, self.frames = state["step"], state["frames"]
        self.loss_sum, self.score_loss_sum, self.loss_steps, self.final_loss_sum, self.seconds = state["sums"]
        self.curve, self.looks = state["curve"], state["looks"]

    def to_json(self, config: PretrainConfig) -> dict[str, Any]:
        """What the record and a trial that finds these weights need to know."""
        assert self.quality is not None
        return {
            "audit": self.audit.to_json(),
            "steps": self.step,
            "frames": self.frames,
            "seconds": self.seconds,
            "curve": self.curve,
            "looks": self.looks,
            "final_loss": self.final_loss_sum / final_steps(config),
            "quality": asdict(self.quality),
        }

    @property
    def reached(self) -> Reached:
        return Reached(step=self.step, frames=self.frames, seconds=self.seconds)

    def look(self, looks: Looks) -> Reached:
        """Look at validation through the weights as they are, and keep what was seen."""
        ua = looks.look(self.model)
        look = Look(key=looks.key, step=self.step, frames=self.frames, seconds=self.seconds, ua=ua)
        self.looks.append(look)
        return Reached.of(look)

    def report(self, quality: Quality) -> dict[str, float]:
        """Close the interval since the last report: its mean losses, and the held-out speakers' now."""
        values = {"pretrain/loss": self.loss_sum / self.loss_steps}
        if self.score_loss_sum:
            values["pretrain/score_loss"] = self.score_loss_sum / self.loss_steps
        values |= quality.as_metrics()
        self.curve.append({"step": self.step, "values": values})
        self.loss_sum, self.score_loss_sum, self.loss_steps = 0.0, 0.0, 0
        self.quality = quality
        return values


def replay(curve: list[Report], log: LogMetrics) -> None:
    """Log the reports of a curve again."""
    for report in curve:
        log(report["values"], report["step"])


def trained_parameters(config: TrialConfig, dims: int) -> int:
    """How many numbers the optimizer steps in one upstream, heads included; 0 in one that comes trained."""
    if not config.pretrains:
        return 0
    with torch.device("meta"):
        model = build_upstream(config, dims)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def final_steps(config: PretrainConfig) -> int:
    """The last tenth of the steps: a window for the record that does not depend on how often losses are reported."""
    return -(-config.steps // 10)


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Learning rate of step `step` (from 0): linear warm-up over `warmup`·steps, then linear decay to 0, or none."""
    rise = round(config.warmup * config.steps)
    if step < rise:
        return config.lr * (step + 1) / rise
    if config.decay == "none":
        return config.lr
    return config.lr * (config.steps - step) / max(1, config.steps - rise)


def pretrain(
    batches: Batches, held_out: HeldOut, config: TrialConfig, *, dims: int, checkpoint: Path, log: LogMetrics,
    looks: Looks = NO_LOOKS,
) -> Generator[Reached, None, Pretraining]:  # fmt: skip
    """Train one upstream, yielding at every report and look; the generator's value is the finished state.

    Each report holds the losses since the last one and the reconstruction of held-out speakers. Continues from
    `checkpoint` when it exists, with the reports and looks before it once more; saves there every `checkpoint_every`
    steps and when the consumer stops iterating.
    Raises NonFiniteLossError, and BadInputError when there is too little to validate on.
    """
    settings, device = config.pretrain, torch.device(config.compute.device)
    state = _begin(config, dims, checkpoint, device)
    replay(state.curve, log)
    yield from (Reached.of(look) for look in looks.known(state.looks))
    state.model.train()
    try:
        while state.step < settings.steps:
            began = time.monotonic()
            _optimize(state, batches.at(state.step, audit=state.audit), config)
            state.seconds += time.monotonic() - began
            due = state.step % settings.report_every == 0 or state.step == settings.steps
            if due:
                log(state.report(held_out.measure(state.model, device)), state.step)
            if state.step in looks.at:
                yield state.look(looks)
            elif due:
                yield state.reached
            if state.step % settings.checkpoint_every == 0 and state.step < settings.steps:
                state.save(checkpoint)
    except GeneratorExit:
        state.save(checkpoint)
        raise
    if state.quality is None:
        # Stopped between the last report and the end: the weights are the same, so is what they rebuild.
        state.quality = held_out.measure(state.model, device)
    state.model.eval()
    return state


def _begin(config: TrialConfig, dims: int, checkpoint: Path, device: torch.device) -> Pretraining:
    """The state at the checkpoint, or at the start."""
    settings = config.pretrain
    with torch_stream(config.seed, "init"):
        model = build_upstream(config, dims).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    state = Pretraining(model=model, optimizer=optimizer, audit=MaskAudit())
    if checkpoint.exists():
        state.load(checkpoint)
    return state


def _optimize(state: Pretraining, batch: Batch, config: TrialConfig) -> None:
    """One optimizer step: L1 over the chosen frames, gradients accumulated over micro-batches, clipped."""
    settings = config.pretrain
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(settings, state.step)
    state.optimizer.zero_grad(set_to_none=True)
    # A batch of short utterances can draw no span at all: its loss is 0, not 0/0.
    chosen = max(1, int(batch.mask_BT.sum()))
    size = settings.micro_batch or settings.batch
    features_loss, score_loss = 0.0, 0.0
    for start in range(0, len(batch.lengths_B), size):
        # One stream each: a second head draws more, which must not reach the next micro-batch of the features.
        with torch_stream(config.seed, "dropout", state.step, start):
            features, score = _error_sums(state.model, batch, slice(start, start + size), config)
        ((features + score) / chosen).backward()  # type: ignore[no-untyped-call]
        features_loss += features.item() / chosen
        score_loss += score.item() / chosen
    state.step += 1
    if not math.isfinite(features_loss + score_loss):
        raise NonFiniteLossError(stage="pretrain", step=state.step, value=features_loss + score_loss)
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip)
    state.optimizer.step()
    state.frames += int(batch.lengths_B.sum())
    state.loss_sum += features_loss
    if state.step > settings.steps - final_steps(settings):
        state.final_loss_sum += features_loss
    state.score_loss_sum += score_loss
    state.loss_steps += 1


def _has_bfloat16(device: torch.device) -> bool:
    """In hardware: emulated on a CPU it is an order of magnitude slower than float32."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def _error_sums(model: Upstream, batch: Batch, rows: slice, config: TrialConfig) -> tuple[Tensor, Tensor]:
    """Σ of the frames' errors over the chosen frames of these rows: of the features, and of the second head (or 0)."""
    device = torch.device(config.compute.device)
    frames = to_device(batch, rows, device)
    mask_BT = torch.from_numpy(batch.mask_BT[rows, : frames.clean_BTD.shape[1]]).to(device)
    reduced = config.compute.autocast == "auto" and _has_bfloat16(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=reduced):
        rebuilt = model.rebuild(frames)
    features_BT, score_BT = frame_errors(rebuilt, frames)
    features = (features_BT * mask_BT).sum()
    return features, features.new_zeros(()) if score_BT is None else (score_BT * mask_BT).sum()
