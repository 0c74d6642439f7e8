"""Frame states of a frozen upstream over a corpus, packed and memory-mapped: what poolings and sequence models read.

U utterances, F positions of all utterances together, P positions of one, L layers, H hidden width.
"""

from __future__ import annotations

__all__ = [
    "FRAMES_MODULES",
    "Frames",
    "StatesFile",
    "chosen_layers",
    "frames_keys",
    "frames_recipe",
    "layers_of",
    "make_frames",
    "utterance_states",
    "write_audio_states",
    "write_states",
]

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from core.audio_states import AudioStates
from core.config import TrialConfig
from core.corpora.manifest import Manifest
from core.errors import BadInputError
from core.features import Features, FrameFile, write_index
from core.identity import Json
from core.models.upstream import Upstream
from core.progress import Progress
from core.relevance import unused_settings
from core.resolve import Corpora, upstream_modules
from core.store import Artifact, Recipe, Workspace, write_atomically
from core.upstreams import SharedInputs, settings_of, trained_upstream, upstream_keys

FRAMES_MODULES = ("core.features", "core.frames")


class StatesFile:
    """The content of a `frames` artifact while it grows, an utterance at a time.

    `states.npy` float16 (F, L·H), `index.parquet` (utterance, offset, frames), `grid.json` (layers, hop_s).
    """

    def __init__(self, folder: Path, *, layers: Sequence[int], hidden: int, hop_s: float) -> None:
        self._folder, self._grid = folder, {"layers": list(layers), "hop_s": hop_s}
        self._file = FrameFile(folder / "states.npy", dtype=np.float16, dims=len(layers) * hidden)
        self._utterances: list[str] = []
        self._lengths: list[int] = []

    def append(self, utterance: str, states_PLH: NDArray[np.floating[Any]]) -> None:
        """Add one utterance. Raises BadInputError for states that half precision cannot hold."""
        with np.errstate(over="ignore"):
            packed = states_PLH.reshape(len(states_PLH), -1).astype(np.float16)
        if not np.isfinite(packed).all():
            raise BadInputError(f"utterance {utterance!r}: the upstream's states are not finite in half precision")
        self._file.append(packed)
        self._utterances.append(utterance)
        self._lengths.append(len(packed))

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)
        if kind is None:
            write_index(self._folder / "index.parquet", self._utterances, self._lengths)
            write_atomically(self._folder / "grid.json", json.dumps(self._grid).encode())


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """The states of one corpus, memory-mapped. `offsets`, `lengths`: int64 (U,), in positions."""

    utterances: tuple[str, ...]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    layers: tuple[int, ...]
    """Which of the upstream's exposed layers, from 0."""
    hop_s: float
    """Seconds from one position to the next; position p begins at p · hop_s."""
    packed_FLH: NDArray[np.float16]

    @classmethod
    def open(cls, path: Path) -> Frames:
        """The states in the folder of a `frames` artifact."""
        import pyarrow.parquet as pq

        index = pq.read_table(path / "index.parquet").to_pydict()
        grid = json.loads((path / "grid.json").read_text())
        packed = np.load(path / "states.npy", mmap_mode="r")
        layers = tuple(grid["layers"])
        return cls(
            utterances=tuple(index["utterance"]),
            offsets=np.asarray(index["offset"], dtype=np.int64),
            lengths=np.asarray(index["frames"], dtype=np.int64),
            layers=layers,
            hop_s=float(grid["hop_s"]),
            packed_FLH=packed.reshape(len(packed), len(layers), -1),
        )

    @cached_property
    def place_of(self) -> dict[str, int]:
        """Utterance → its position in the order of this corpus."""
        return {utterance: place for place, utterance in enumerate(self.utterances)}

    def slice_of(self, place: int) -> slice:
        """Where the states of the utterance at `place` lie in the packed array."""
        start = int(self.offsets[place])
        return slice(start, start + int(self.lengths[place]))

    def states(self, place: int) -> NDArray[np.float16]:
        """States of the utterance at `place`, (P, L, H), a view."""
        return self.packed_FLH[self.slice_of(place)]


def frames_recipe(config: TrialConfig, shared: SharedInputs, upstream: str, *, layers: Sequence[int] | None) -> Recipe:
    """What the states of one upstream (by its artifact's key) over the evaluated corpus are made from."""
    layers = layers_of(config) if layers is None else layers
    settings: dict[str, Json] = {
        **settings_of(config, "upstream", config.upstream, "compute"),
        "layers": None if layers is None else list(layers),
    }
    modules = (*upstream_modules(config.upstream), *FRAMES_MODULES)
    return Recipe(stage="frames", settings=settings, inputs=(upstream, shared.evaluated.key), modules=modules)


def frames_keys(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs, layers: Sequence[int] | None
) -> tuple[str, ...]:
    """Keys of the states of each upstream of a trial, in the upstreams' order, made already or not."""
    upstreams = upstream_keys(config, corpora, workspace, shared=shared)
    return tuple(frames_recipe(config, shared, key, layers=layers).key(workspace.store) for key in upstreams)


def make_frames(
    config: TrialConfig, workspace: Workspace, shared: SharedInputs, upstream: Artifact, *, progress: Progress,
    layers: Sequence[int] | None = None,
) -> Artifact:  # fmt: skip
    """Make (or find) the states of a pre-trained upstream over the evaluated corpus, in evaluation mode.

    `layers`: which of its exposed layers, from 0, negative from the end; None: all, or those that the upstream's own
    settings name. The states of NPC and Mockingjay are those that the probe of EMS sees. Raises BadInputError for a
    layer that the upstream does not have.
    """
    layers = layers_of(config) if layers is None else layers
    with frames_recipe(config, shared, upstream.key, layers=layers).claim(workspace.store) as claim:
        if not claim.done:
            write = _write if config.pretrains else _write_from_audio
            write(config, shared, upstream, claim.out, layers=layers, progress=progress)
    return claim.artifact


def layers_of(config: TrialConfig) -> tuple[int, ...] | None:
    """The layers that the upstream's own settings name, where they mean something."""
    unused = unused_settings(config)
    return None if {"transformer", "transformer.layers"} & unused.keys() else config.transformer.layers


def _write(
    config: TrialConfig, shared: SharedInputs, upstream: Artifact, folder: Path, *, layers: Sequence[int] | None,
    progress: Progress,
) -> None:  # fmt: skip
    """The states of an upstream that was trained here, from features."""
    model = trained_upstream(config, shared, upstream)
    write_states(config, model, Features.open(shared.evaluated.path), folder, layers=layers, progress=progress)


def write_states(
    config: TrialConfig, model: Upstream, features: Features, folder: Path, *, layers: Sequence[int] | None,
    progress: Progress,
) -> None:  # fmt: skip
    """Write the files of a `frames` artifact: the states of an upstream of ours over the features of a corpus."""
    device = torch.device(config.compute.device)
    model = model.to(device).eval()
    stack = config.mockingjay.stack if config.upstream == "mockingjay" else 1
    hop_s = stack * config.features.hop_ms / 1000
    first_PLH = utterance_states(model, features, 0, device)
    chosen = chosen_layers(layers, exposed=first_PLH.shape[1])
    with StatesFile(folder, layers=chosen, hidden=first_PLH.shape[2], hop_s=hop_s) as states:
        for place, utterance in enumerate(features.utterances):
            states.append(utterance, utterance_states(model, features, place, device)[:, list(chosen)])
            progress("frames", place + 1, len(features.utterances))


def _write_from_audio(
    config: TrialConfig, shared: SharedInputs, _: Artifact, folder: Path, *, layers: Sequence[int] | None,
    progress: Progress,
) -> None:  # fmt: skip
    """The states of an upstream that came trained, from the waveform."""
    write_audio_states(AudioStates(config), shared.corpus, folder, layers=layers, progress=progress)


def write_audio_states(
    audio: AudioStates, manifest: Manifest, folder: Path, *, layers: Sequence[int] | None, progress: Progress
) -> None:
    """Write the files of a `frames` artifact: the states of an upstream that came trained over the corpus."""
    chosen = chosen_layers(layers, exposed=audio.model.layers)
    with StatesFile(folder, layers=chosen, hidden=audio.model.hidden, hop_s=audio.model.hop_s) as states:
        for utterance, states_PLH in audio.over(manifest, progress=progress):
            states.append(utterance, states_PLH[:, list(chosen)])


@torch.no_grad()
def utterance_states(model: Upstream, features: Features, place: int, device: torch.device) -> NDArray[np.float32]:
    """States of one utterance, (P, L, H). One at a time: nothing depends on what it is batched with."""
    start = int(features.offsets[place])
    fbank_TD = features.frames_at(slice(start, start + int(features.lengths[place]))).astype(np.float32)
    lengths_B = torch.tensor([len(fbank_TD)], device=device)
    states, padding_BP = model.hidden_states(torch.from_numpy(fbank_TD)[None].to(device), lengths_B)
    return np.asarray(torch.stack([state[0, ~padding_BP[0]] for state in states], dim=1).float().cpu().numpy())


def chosen_layers(layers: Sequence[int] | None, *, exposed: int) -> tuple[int, ...]:
    """The layers meant, from 0; None means all of the `exposed` ones.

    Raises BadInputError for one there is not, and for one that is named twice.
    """
    if layers is None:
        return tuple(range(exposed))
    for layer in layers:
        if not -exposed <= layer < exposed:
            raise BadInputError(f"layer {layer}: the upstream has {exposed}, from 0 to {exposed - 1}")
    chosen = tuple(layer % exposed for layer in layers)
    for place, layer in enumerate(chosen):
        if layer in chosen[:place]:
            named = [str(layers[other]) for other, same in enumerate(chosen) if same == layer]
            raise BadInputError(f"layer {layer}: is named {len(named)} times ({', '.join(named)})")
    return chosen
