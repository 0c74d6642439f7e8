"""Speech probabilities of silero-vad, and speech flags on any grid of positions.

N samples, C chunks of one utterance, P positions of one utterance.
"""

from __future__ import annotations

__all__ = [
    "CHUNK", "Speech", "load_vad", "make_speech", "speech_flags", "speech_probabilities", "speech_recipe",
    "speech_share",
]  # fmt: skip

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.audio import read_audio
from core.corpora.manifest import Manifest
from core.errors import BadInputError, MissingDependencyError
from core.features import write_index
from core.progress import Progress, silent
from core.store import Artifact, Recipe, Workspace
from core.units import SAMPLE_RATE

CHUNK = 512
"""Samples (32 ms) that one probability is of; the model takes no other number at 16 kHz."""
ROWS = 16
"""Utterances of like length that go through the model side by side (ours); each has its own state."""
HALF = 0.5
"""Share of a position that speech must cover to flag it (ours)."""
_MODULES = ("core.audio", "core.features", "core.torchaudio_import", "core.units", "core.vad")


def speech_recipe(manifest: Manifest) -> Recipe:
    """What the speech probabilities of a corpus are made from. Raises MissingDependencyError without silero-vad."""
    try:
        settings = {"silero_vad": version("silero-vad")}
    except PackageNotFoundError as error:
        raise _missing() from error
    return Recipe(stage="vad", settings=settings, inputs=(manifest.fingerprint,), modules=_MODULES)


def make_speech(manifest: Manifest, workspace: Workspace, *, progress: Progress = silent) -> Artifact:
    """Stage `vad`: the probability of speech of every chunk of every utterance, for `Speech.open`.

    `probabilities.npy` float32 (total C,), `index.parquet` (utterance, offset, frames, both in chunks). The last chunk
    of an utterance is filled up with zeros. Raises MissingDependencyError without silero-vad.
    """
    with speech_recipe(manifest).claim(workspace.store) as claim:
        if claim.done:
            return claim.artifact
        model, total = load_vad(), len(manifest.utterances)
        order = sorted(range(total), key=lambda place: manifest.utterances[place].duration_s)
        found: dict[int, NDArray[np.float32]] = {}
        for start in range(0, total, ROWS):
            rows = order[start : start + ROWS]
            chosen = [manifest.utterances[place] for place in rows]
            samples = [read_audio(one.path, start=one.start, end=one.end) for one in chosen]
            found.update(zip(rows, speech_probabilities(model, samples), strict=True))
            progress(f"speech in {manifest.corpus}", len(found), total)
        packed = [found[place] for place in range(total)]
        np.save(claim.out / "probabilities.npy", np.concatenate(packed))
        names = [utterance.utterance for utterance in manifest.utterances]
        write_index(claim.out / "index.parquet", names, [len(probabilities_C) for probabilities_C in packed])
    return claim.artifact


def load_vad() -> Any:
    """The model of silero-vad, for `speech_probabilities`. Raises MissingDependencyError."""
    import torch

    threads = torch.get_num_threads()
    try:
        # By name: the package has no types.
        model = importlib.import_module("silero_vad").load_silero_vad()
    except ImportError as error:
        raise _missing() from error
    finally:
        # Importing silero-vad sets them to 1.
        torch.set_num_threads(threads)
    return model


def _missing() -> MissingDependencyError:
    return MissingDependencyError("speech flags are made by silero-vad: pip install 'emsweep[systems]'")


def speech_probabilities(model: Any, samples: list[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Of each signal its own chunks, (C,): what fills it up to the longest is cut off again."""
    import torch

    padded_BN = np.zeros((len(samples), max(CHUNK, *map(len, samples))), dtype=np.float32)
    for row, signal_N in enumerate(samples):
        padded_BN[row, : len(signal_N)] = signal_N
    found_BC = model.audio_forward(torch.from_numpy(padded_BN), SAMPLE_RATE).numpy()
    for row, signal_N in enumerate(samples):
        yield found_BC[row, : -(-len(signal_N) // CHUNK)].astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Speech:
    """The speech probabilities of one corpus. `offsets`, `lengths`: int64 (U,), in chunks."""

    utterances: tuple[str, ...]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    packed: NDArray[np.float32]

    @classmethod
    def open(cls, path: Path) -> Speech:
        """The probabilities in the folder of a `vad` artifact."""
        import pyarrow.parquet as pq

        index = pq.read_table(path / "index.parquet").to_pydict()
        return cls(
            utterances=tuple(index["utterance"]),
            offsets=np.asarray(index["offset"], dtype=np.int64),
            lengths=np.asarray(index["frames"], dtype=np.int64),
            packed=np.load(path / "probabilities.npy", mmap_mode="r"),
        )

    @cached_property
    def _place_of(self) -> dict[str, int]:
        return {utterance: place for place, utterance in enumerate(self.utterances)}

    def probabilities(self, utterance: str) -> NDArray[np.float32]:
        """Probability of speech of each chunk of an utterance, (C,), a view. BadInputError for an unknown one."""
        if utterance not in self._place_of:
            raise BadInputError(f"utterance {utterance!r}: not among the {len(self.utterances)} of these speech flags")
        place = self._place_of[utterance]
        start = int(self.offsets[place])
        return self.packed[start : start + int(self.lengths[place])]


def speech_share(
    probabilities_C: NDArray[np.floating[Any]], *, threshold: float, hop_s: float, positions: int
) -> NDArray[np.float64]:
    """Share of each position that speech covers, (P,), in [0, 1] (ours).

    A chunk is speech throughout where its probability is at least `threshold`; position p lasts from p · hop_s to
    (p + 1) · hop_s, to whole samples; beyond the last chunk there is no speech. Two chunks with speech in the first:

    >>> speech_share(np.array([0.9, 0.1]), threshold=0.5, hop_s=0.02, positions=3)
    array([1. , 0.6, 0. ])

    Raises BadInputError for a hop of less than a sample.
    """
    hop = round(hop_s * SAMPLE_RATE)
    if hop < 1:
        raise BadInputError(f"hop_s: {hop_s} s is less than one sample at {SAMPLE_RATE} Hz")
    spoken_C = np.concatenate([[0], np.cumsum(CHUNK * (probabilities_C >= threshold))])
    spoken_by = np.interp(hop * np.arange(positions + 1), CHUNK * np.arange(len(spoken_C)), spoken_C)
    return np.asarray(np.diff(spoken_by) / hop)


def speech_flags(
    probabilities_C: NDArray[np.floating[Any]], *, threshold: float, hop_s: float, positions: int
) -> NDArray[np.bool_]:
    """Which positions are speech, (P,): at least half of them is covered by it (ours), as in `speech_share`."""
    share_P = speech_share(probabilities_C, threshold=threshold, hop_s=hop_s, positions=positions)
    return np.asarray(share_P >= HALF, dtype=np.bool_)
