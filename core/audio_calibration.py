"""What reading an upstream that came trained costs on this machine: some real recordings through it, scaled (ours).

U utterances, P positions of one, L layers, H hidden width.
"""

from __future__ import annotations

__all__ = ["measure_audio_frames", "measure_audio_means", "sampled"]

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.audio_states import AudioStates
from core.calibration import EmbeddingCost
from core.config import TrialConfig
from core.corpora.manifest import Manifest
from core.frames import chosen_layers, layers_of, write_audio_states
from core.progress import silent
from core.shared_calibration import audio_s
from core.stage_calibration import StageCost, evenly

FEW = 6
"""Recordings that are heard to see how many of them patience allows."""


def sampled(manifest: Manifest, count: int) -> Manifest:
    """So many of its utterances, from the shortest to the longest in equal steps."""
    lengths = np.array([round(1000 * utterance.duration_s) for utterance in manifest.utterances])
    return replace(manifest, utterances=tuple(manifest.utterances[place] for place in evenly(lengths, count)))


def _scaled_s(manifest: Manifest, hear: Callable[[Manifest], object], patience_s: float) -> tuple[float, float]:
    """Seconds for the whole corpus, and how many times the audio that was heard last it has."""

    def timed(count: int) -> tuple[float, float]:
        some = sampled(manifest, count)
        began = time.perf_counter()
        hear(some)
        return time.perf_counter() - began, audio_s(manifest.utterances) / audio_s(some.utterances)

    timed(2)
    seconds, share = timed(FEW)
    if (count := int(FEW * patience_s / seconds)) > 2 * FEW:
        seconds, share = timed(count)
    return seconds * share, share


def measure_audio_frames(
    config: TrialConfig, manifest: Manifest, *, layers: Sequence[int] | None, scratch: Path, patience_s: float
) -> StageCost:
    """Of the states of the upstream over the corpus. Raises BadInputError for a layer that it does not have."""
    began = time.perf_counter()
    audio = AudioStates(config)
    once_s, size = time.perf_counter() - began, 0

    def hear(some: Manifest) -> None:
        nonlocal size
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            write_audio_states(audio, some, Path(folder), layers=layers, progress=silent)
            size = (Path(folder) / "states.npy").stat().st_size

    seconds, share = _scaled_s(manifest, hear, patience_s)
    return StageCost(seconds=once_s + seconds, bytes=round(size * share))


def measure_audio_means(config: TrialConfig, manifest: Manifest, *, patience_s: float) -> EmbeddingCost:
    """Of the utterance means of the corpus, as EMS makes them. Raises BadInputError for a layer there is not."""
    began = time.perf_counter()
    audio = AudioStates(config)
    once_s = time.perf_counter() - began
    chosen = chosen_layers(layers_of(config), exposed=audio.model.layers)

    def hear(some: Manifest) -> None:
        for _, states_PLH in audio.over(some, progress=silent):
            states_PLH[:, list(chosen)].mean(0)

    seconds, _ = _scaled_s(manifest, hear, patience_s)
    return EmbeddingCost(seconds=once_s + seconds, layers=len(chosen), hidden=audio.model.hidden, unseen_bytes=0)
