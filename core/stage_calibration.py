"""What stages that several systems have cost on this machine: a few real utterances or steps of each, scaled up (ours).

The loops are the stages' own; numbers in features and states are random, so that nothing has to be made before.
U utterances, F positions of all utterances together, P of one, L layers, H hidden width.
"""

from __future__ import annotations

__all__ = [
    "Grid", "StageCost", "evenly", "grid_of", "measure_frames", "measure_speech", "measure_text", "per_fold",
    "steps_within", "synthetic_frames",
]  # fmt: skip

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core.config import TrialConfig
from core.corpora.folds import Fold
from core.corpora.manifest import Manifest
from core.features import Features
from core.frames import Frames, chosen_layers, utterance_states, write_states
from core.model_files import model_folder, model_of
from core.models.build import build_upstream
from core.models.transformer import load_transformer
from core.progress import silent
from core.seeding import stream, torch_stream
from core.shared_calibration import audio_s
from core.store import Workspace
from core.text_embeddings import make_text_embeddings
from core.units import SAMPLE_RATE
from core.vad import ROWS, make_speech

SPREAD_VALUES = 2**25
"""Random values over which the states of a corpus are spread: more than a processor's cache holds."""
SAMPLED_TEXTS = 16
LEAST_STEPS, MOST_STEPS = 8, 64
FLOAT16, FLOAT32 = 2, 4


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """Of one artifact of a stage, on average over folds; of a stage that leaves none, of one trial."""

    seconds: float
    bytes: int


def evenly(lengths: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Places of so many utterances, or of all: from the shortest to the longest in equal steps, in the corpus's order.

    >>> evenly(np.array([9, 1, 5, 7, 3]), 3)
    array([0, 1, 2])
    """
    order = np.argsort(lengths, kind="stable")
    wanted = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(np.int64)
    return np.sort(order[wanted])


def steps_within(patience_s: float, step: Callable[[int], object]) -> int:
    """How many steps, 8 to 64, fit into the patience: by one that warms up and two that are timed.

    Batches are cut from pools sorted by length: fewer than a pool would tell only how long they happened to be.
    """
    step(1)
    began = time.perf_counter()
    step(2)
    return int(np.clip(patience_s / ((time.perf_counter() - began) / 2), LEAST_STEPS, MOST_STEPS))


def per_fold(folds: Sequence[Fold], count: Callable[[Fold], int]) -> float:
    """The mean over folds."""
    return sum(count(fold) for fold in folds) / len(folds)


def some_of(features: Features, places: NDArray[np.int64]) -> Features:
    """The features of the utterances at these places alone."""
    return replace(
        features, utterances=tuple(features.utterances[place] for place in places),
        offsets=features.offsets[places], lengths=features.lengths[places],
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Of what size the states of an upstream over a corpus are."""

    utterances: tuple[str, ...]
    lengths_U: NDArray[np.int64]
    """In positions."""
    exposed: int
    """Layers that there are."""
    hidden: int
    hop_s: float


def grid_of(config: TrialConfig, manifest: Manifest, features: Features) -> Grid:
    """Of the corpus as the trial's upstream will hear it. `features`: of its lengths, where the upstream is ours."""
    names = tuple(utterance.utterance for utterance in manifest.utterances)
    if not config.pretrains:
        audio = load_transformer(config.upstream, model_folder(model_of(config)))
        samples = (round(utterance.duration_s * SAMPLE_RATE) for utterance in manifest.utterances)
        lengths_U = np.array([max(1, audio.positions(count)) for count in samples], dtype=np.int64)
        return Grid(
            utterances=names, lengths_U=lengths_U, exposed=audio.layers, hidden=audio.hidden, hop_s=audio.hop_s
        )  # fmt: skip
    with torch_stream(0, "calibration-sizes"):
        model = build_upstream(config, features.dims).to(config.compute.device).eval()
    shortest = int(features.lengths.argmin())
    _, exposed, hidden = utterance_states(model, features, shortest, torch.device(config.compute.device)).shape
    stack = config.mockingjay.stack if config.upstream == "mockingjay" else 1
    return Grid(
        utterances=names, lengths_U=-(-features.lengths // stack), exposed=exposed, hidden=hidden,
        hop_s=stack * config.features.hop_ms / 1000,
    )  # fmt: skip


def synthetic_frames(grid: Grid, *, layers: Sequence[int] | None, places: NDArray[np.int64]) -> Frames:
    """Random states of the utterances at these places, of their real sizes. They overlap in memory.

    Raises BadInputError for a layer that the upstream does not have.
    """
    chosen, lengths = chosen_layers(layers, exposed=grid.exposed), grid.lengths_U[places]
    width = len(chosen) * grid.hidden
    spread = max(1, SPREAD_VALUES // width)
    packed = stream(0, "calibration-states").standard_normal((int(lengths.max()) + spread, width), dtype=np.float32)
    return Frames(
        utterances=tuple(grid.utterances[place] for place in places),
        offsets=np.linspace(0, spread, len(lengths)).astype(np.int64),
        lengths=lengths,
        layers=chosen,
        hop_s=grid.hop_s,
        packed_FLH=packed.astype(np.float16).reshape(len(packed), len(chosen), -1),
    )


def measure_frames(
    config: TrialConfig, features: Features, *, layers: Sequence[int] | None, scratch: Path, patience_s: float
) -> StageCost:
    """Of the states of one upstream of ours over the corpus: some utterances, scaled by their frames."""
    with torch_stream(0, "calibration-frames"):
        model = build_upstream(config, features.dims)

    def write(count: int) -> tuple[float, int, int]:
        some = some_of(features, evenly(features.lengths, count))
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            began = time.perf_counter()
            write_states(config, model, some, Path(folder), layers=layers, progress=silent)
            seconds = time.perf_counter() - began
            return seconds, int(some.lengths.sum()), (Path(folder) / "states.npy").stat().st_size

    write(2)
    seconds, frames, size = write(8)
    count = int(8 * patience_s / seconds)
    if count > 16:
        seconds, frames, size = write(count)
    share = int(features.lengths.sum()) / frames
    return StageCost(seconds=seconds * share, bytes=round(size * share))


def measure_speech(manifest: Manifest, scratch: Path) -> StageCost:
    """Of the speech probabilities of the corpus: two batches of real recordings, the second one timed."""
    durations = np.array([round(1000 * utterance.duration_s) for utterance in manifest.utterances])
    sample = [manifest.utterances[place] for place in evenly(durations, 2 * ROWS)]
    times: list[float] = []

    def told(what: str, done: int, total: int) -> None:
        del what, done, total
        times.append(time.perf_counter())

    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        made = make_speech(replace(manifest, utterances=tuple(sample)), Workspace(root=Path(folder)), progress=told)
        size = (made.path / "probabilities.npy").stat().st_size
    longest = sorted(sample, key=lambda utterance: utterance.duration_s)[ROWS:]
    once = times[0] - began
    heard = audio_s(manifest.utterances)
    rate = (times[1] - times[0]) / audio_s(longest) if len(times) > 1 else once / audio_s(sample)
    rest = max(0.0, heard - audio_s(sample[: len(sample) - len(longest)]))
    return StageCost(seconds=once + rate * rest, bytes=round(size * heard / audio_s(sample)))


def measure_text(config: TrialConfig, manifest: Manifest, scratch: Path) -> StageCost:
    """Of the vectors of all words: reading the encoder, and some texts, scaled by their number."""
    every = max(1, len(manifest.utterances) // SAMPLED_TEXTS)
    sample = replace(manifest, utterances=manifest.utterances[::every])
    times: list[float] = []

    def told(what: str, done: int, total: int) -> None:
        del what, done, total
        times.append(time.perf_counter())

    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        made = make_text_embeddings(config, sample, Workspace(root=Path(folder)), progress=told)
        size = (made.path / "embeddings.npy").stat().st_size
    # The first text warms the encoder up.
    rate = (times[-1] - times[1]) / (len(times) - 2) if len(times) > 2 else times[-1] - times[0]
    share = len(manifest.utterances) / len(sample.utterances)
    return StageCost(seconds=times[0] - began + rate * len(manifest.utterances), bytes=round(size * share))
