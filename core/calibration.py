"""What one trial's stages cost on this machine: a few real steps of each, on the corpus's own lengths (ours).

The loops, the model, the batches and the probe are the trial's own; only the numbers in the features are random, so
that nothing has to be made before. U utterances, K folds, L layers, H hidden width.
"""

from __future__ import annotations

__all__ = [
    "EmbeddingCost", "ProbeCost", "TrainingCost", "measure_batches", "measure_embedding", "measure_probe",
    "measure_training", "synthetic_features", "value_of",
]  # fmt: skip

import io
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from core.batches import Batches
from core.config import FeaturesConfig, InterimConfig, ProbeConfig, TrialConfig
from core.corpora.manifest import Manifest
from core.embed import FRAMES_PER_BATCH, utterance_means
from core.features import Features, analysis_window
from core.heard import heard_parts
from core.masking import MaskAudit
from core.models.build import build_upstream
from core.pretrain import Pretraining, pretrain
from core.probe import FoldIndex, fit_probe
from core.progress import discard, silent
from core.resolve import Corpora
from core.seeding import stream, torch_stream
from core.units import SAMPLE_RATE, frame_count
from core.validation import HeldOut

PATIENCE_S = 2.0
"""How long each stage is measured, at least one step."""
SPREAD_FRAMES = 20_000
"""Random frames over which the utterances are spread: more than a processor's cache holds."""
PLANNED_STEPS = 200
"""Steps whose batches are looked at for how much padding a usual one has."""
SAFE_LR = 1e-5
"""In place of the trial's learning rate, which costs nothing and may diverge on random features."""

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """Of one upstream. Times in seconds."""

    step_s: float
    """One optimizer step on a batch of usual size, drawing the batch included."""
    batch_s: float
    """Drawing the batch and its masks, which differs between masking rules."""
    core_share: float
    """Share of a core that the process had, or of all its threads' cores; well under 1 where others use them too, or
    where another device does the work."""
    warm_up_s: float
    """What the first step in a process takes longer."""
    held_out_s: float
    """One look at the held-out speakers."""
    save_s: float
    """One checkpoint."""
    checkpoint_bytes: int
    weights_bytes: int
    example_bytes: int
    """`reconstruction.npz`."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingCost:
    """Of the whole evaluated corpus through one upstream; of its result, (U, layers, hidden) float32."""

    seconds: float
    layers: int
    hidden: int
    unseen_bytes: int
    """Memory that a full batch takes beyond the largest one that was measured."""


@dataclass(frozen=True, kw_only=True)
class ProbeCost:
    """Of one fit over the given folds: `setup_s` once, `step_s` per step, `look_s` per look at validation."""

    setup_s: float
    step_s: float
    look_s: float

    def seconds(self, *, steps: int, evaluate_every: int) -> float:
        looks = -(-steps // evaluate_every)
        return self.setup_s + steps * self.step_s + looks * self.look_s


def synthetic_features(manifest: Manifest, config: FeaturesConfig) -> Features:
    """Random features of the corpus's own utterances and lengths; they overlap in memory, so any corpus is small."""
    window, hop = analysis_window(config)
    samples = (round(utterance.duration_s * SAMPLE_RATE) for utterance in manifest.utterances)
    lengths = np.array([frame_count(count, window=window, hop=hop) for count in samples], dtype=np.int64)
    pool = int(lengths.max()) + SPREAD_FRAMES
    random = stream(0, "calibration-features")
    return Features(
        utterances=tuple(utterance.utterance for utterance in manifest.utterances),
        offsets=np.linspace(0, SPREAD_FRAMES, len(lengths)).astype(np.int64),
        lengths=lengths,
        energy=random.standard_normal(pool, dtype=np.float32),
        packed=random.standard_normal((pool, config.dims), dtype=np.float32).astype(np.float16),
    )


def measure_training(
    config: TrialConfig, corpora: Corpora, features: Features, *, scratch: Path, patience_s: float = PATIENCE_S
) -> TrainingCost:
    """Train the first upstream for a few steps, more of them the faster they are, and look at its held-out speakers.

    `features`: of the heard corpus. Raises BadInputError where the trial itself would.
    """
    part = heard_parts(config, corpora.heard, corpora.folds)[0]
    batches = Batches(features, features.energy, part.train, config=config)
    held_out = HeldOut(features, part.held_out, config, track=features.energy, source=features.energy)

    def train(steps: int) -> Pretraining:
        return _trained(batches, held_out, _shortened(config, steps), dims=features.dims, scratch=scratch)

    first, last, steps, seconds, size = train(1), None, 0, 0.0, 1
    began, used = time.perf_counter(), time.process_time()
    while seconds < patience_s:
        last = train(size)
        steps, seconds, size = steps + size, seconds + last.seconds, 2 * size
    core_share = (time.process_time() - used) / (time.perf_counter() - began) / config.compute.threads
    assert last is not None
    step_s = seconds / steps
    device = torch.device(config.compute.device)
    checkpoint = scratch / "calibration.pt"
    saving = _seconds(lambda: last.save(checkpoint), times=2)
    example = held_out.example(last.model, device)
    np.savez_compressed(scratch / "calibration.npz", **example)
    buffer = io.BytesIO()
    torch.save({name: value.cpu() for name, value in last.model.state_dict().items()}, buffer)
    return TrainingCost(
        step_s=step_s * _usual_padding(batches, config) / _padding(batches, config, range(size // 2)),
        batch_s=measure_batches(config, corpora, features),
        core_share=core_share,
        warm_up_s=max(0.0, first.seconds - step_s),
        held_out_s=_seconds(lambda: held_out.measure(last.model, device), times=3),
        save_s=saving,
        checkpoint_bytes=checkpoint.stat().st_size,
        weights_bytes=len(buffer.getbuffer()),
        example_bytes=(scratch / "calibration.npz").stat().st_size,
    )


def _shortened(config: TrialConfig, steps: int) -> TrialConfig:
    settings = {"steps": steps, "report_every": steps, "checkpoint_every": steps, "lr": SAFE_LR}
    pretrain = config.pretrain.model_copy(update=settings)
    return config.model_copy(update={"pretrain": pretrain, "interim": InterimConfig()})


def _trained(batches: Batches, held_out: HeldOut, config: TrialConfig, *, dims: int, scratch: Path) -> Pretraining:
    return value_of(
        pretrain(batches, held_out, config, dims=dims, checkpoint=scratch / "none.pt", log=discard)
    )  # fmt: skip


def value_of(loop: Generator[Any, None, Value]) -> Value:
    """Run a loop to its end, whatever it says on the way; its value."""
    while True:
        try:
            next(loop)
        except StopIteration as end:
            value: Value = end.value
            return value


def _usual_padding(batches: Batches, config: TrialConfig) -> float:
    steps = config.pretrain.steps
    every = max(1, steps // PLANNED_STEPS)
    return _padding(batches, config, range(0, steps, every))


def _padding(batches: Batches, config: TrialConfig, steps: range) -> float:
    """Mean number of frames, padding included, that go through the model in one of these steps."""
    size = config.pretrain.micro_batch or config.pretrain.batch
    frames = 0
    for step in steps:
        lengths = [part.stop - part.start for part in batches.crops(step)]
        rows = [lengths[start : start + size] for start in range(0, len(lengths), size)]
        frames += sum(len(row) * max(row) for row in rows)
    return frames / len(steps)


def measure_batches(config: TrialConfig, corpora: Corpora, features: Features, *, patience_s: float = 0.2) -> float:
    """Seconds to draw one batch and its masks: the part of a step that differs between masking rules."""
    part = heard_parts(config, corpora.heard, corpora.folds)[0]
    batches = Batches(features, features.energy, part.train, config=config)
    batches.at(0, audit=MaskAudit())
    began, step = time.perf_counter(), 0
    while step < 3 or time.perf_counter() - began < patience_s:
        batches.at(step, audit=MaskAudit())
        step += 1
    return (time.perf_counter() - began) / step


def measure_embedding(config: TrialConfig, features: Features, *, patience_s: float = PATIENCE_S) -> EmbeddingCost:
    """Embed some utterances of median length, then as many more as patience allows, all of them at most.

    `features`: of the evaluated corpus.
    """
    with torch_stream(config.seed, "init"):
        model = build_upstream(config, features.dims)
    device = torch.device(config.compute.device)

    def embed(frames: int) -> tuple[float, int, NDArray[np.float32]]:
        some = _middle(features, frames)
        began = time.perf_counter()
        means_ULH = utterance_means(model, some, device=device, progress=silent)
        return time.perf_counter() - began, int(some.lengths.sum()), means_ULH

    total = int(features.lengths.sum())
    embed(1)
    seconds, frames, means_ULH = embed(min(total, FRAMES_PER_BATCH // 8))
    wanted = min(total, int(frames * patience_s / seconds))
    if wanted > 2 * frames:
        seconds, frames, means_ULH = embed(wanted)
    _, layers, hidden = means_ULH.shape
    unseen = max(0, min(total, FRAMES_PER_BATCH) - frames)
    return EmbeddingCost(
        seconds=seconds * total / frames,
        layers=layers,
        hidden=hidden,
        # Input, states and what one layer needs on the way: about four times its width (an FFN's) in float32.
        unseen_bytes=unseen * 4 * (features.dims + hidden * (layers + 4)),
    )


def _middle(features: Features, frames: int) -> Features:
    """Utterances with about so many frames in all, those of most usual length; all where that is all."""
    order = np.argsort(features.lengths, kind="stable")
    reached = np.cumsum(features.lengths[order])
    first, last = np.searchsorted(reached, (reached[-1] - frames) / 2 + np.array([0, max(frames - 1, 0)]))
    chosen = np.sort(order[first : last + 1])
    return Features(
        utterances=tuple(features.utterances[place] for place in chosen), offsets=features.offsets[chosen],
        lengths=features.lengths[chosen], energy=features.energy, packed=features.packed,
    )  # fmt: skip


def measure_probe(
    config: TrialConfig, corpora: Corpora, *, layers: int, hidden: int, folds: int, patience_s: float = PATIENCE_S
) -> ProbeCost:
    """Fit the probe for a few steps on random means, over the first `folds` folds, with few and with many looks."""
    manifest = corpora.evaluated
    order = {utterance.utterance: place for place, utterance in enumerate(manifest.utterances)}
    labels = [utterance.label for utterance in manifest.utterances]
    indices = [
        FoldIndex(
            name=fold.name,
            **{
                part: np.array([order[name] for name in getattr(fold, part)])
                for part in ("train", "validation", "test")
            },
        )
        for fold in corpora.folds.folds[:folds]
    ]
    upstreams = folds if config.pretrains and config.pretraining_audio.source == "fold" else 1
    means_KULH = stream(0, "calibration-means").standard_normal((upstreams, len(labels), layers, hidden), np.float32)

    def fit(steps: int, evaluate_every: int) -> float:
        probe = config.probe.model_copy(update={"steps": steps, "evaluate_every": evaluate_every, "lr": SAFE_LR})
        return _seconds(lambda: _fit(means_KULH, labels, indices, manifest.classes, config=probe, trial=config))

    fit(2, 2)
    # 21 times as many steps as the shortest fit has are fitted in all.
    few = int(np.clip(patience_s / 7 / (fit(10, 10) / 10), 4, 100))
    once, longer, often = fit(few, few), fit(3 * few, 3 * few), fit(3 * few, max(1, few // 2))
    step_s = max(0.0, longer - once) / (2 * few)
    looks = -(-3 * few // max(1, few // 2)) - 1
    look_s = max(0.0, often - longer) / looks
    return ProbeCost(step_s=step_s, look_s=look_s, setup_s=max(0.0, once - few * step_s - look_s))


def _fit(
    means_KULH: NDArray[np.float32], labels: list[str], indices: list[FoldIndex], classes: tuple[str, ...], *,
    config: ProbeConfig, trial: TrialConfig,
) -> None:  # fmt: skip
    fit_probe(
        means_KULH, labels, indices, classes, config=config, seed=trial.seed,
        device=torch.device(trial.compute.device), log=discard,
    )  # fmt: skip


def _seconds(work: Callable[[], object], *, times: int = 1) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times
