"""Making the artifacts of frame-level emotional state alignment, and reading them again (Li et al. 2024).

`clusters`: `labels.npy` int32 of every position of the heard utterances, `index.parquet` (utterance, offset, frames in
positions), `centres.npy` (K, H). `units`: `weights.pt` of the upstream. `tuning`: the same, `head.pt` of pooling and
classifier, `scores.npy` class probabilities of the fold's validation and test utterances in that order. All have
`notes.json`: what making them cost, and their curve.

F positions of all heard utterances, P of one, H hidden width, C classes.
"""

from __future__ import annotations

__all__ = [
    "Notes", "layer_states", "make_clusters", "make_tuning", "make_units", "read_notes", "scores_in",
    "trained_parameters",
]  # fmt: skip

import io
import json
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from core.clustering import cluster_frames
from core.config import TrialConfig
from core.corpora.folds import Fold
from core.features import FrameFile, write_index
from core.finetune import Lesson, finetune, scores_of
from core.frames import chosen_layers
from core.listening import Listener
from core.pretrain import Report
from core.progress import LogMetrics, Progress
from core.resolve import Corpora
from core.resumable import TrainingState
from core.store import Artifact, Claim, write_atomically
from core.underway import Tally, Underway
from core.unit_batches import UnitBatches, UnitLabels
from core.unit_prediction import AUDIT, predict_units

T = TypeVar("T")
FORWARD, FORWARD_AND_BACKWARD = 2.0, 6.0
"""Operations per weight and position (Kaplan et al. 2020, §2.1)."""


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What making an artifact cost, and what it was like."""

    steps: int
    frames: int
    seconds: float
    flops: float
    curve: list[Report] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    """Of `clusters`: `unused`, those without a frame. Of `tuning`: the chosen `epoch`, its `validation` metric."""
    mask: dict[str, Any] | None = None
    """Of `units`: `core.masking.MaskAudit.to_json` of all updates, in positions."""

    def write(self, folder: Path) -> None:
        """Write `notes.json`."""
        write_atomically(folder / "notes.json", json.dumps(asdict(self)).encode())


def read_notes(artifact: Artifact) -> Notes:
    """The notes of a finished artifact."""
    return Notes(**json.loads((artifact.path / "notes.json").read_text()))


def make_clusters(
    claim: Claim, listener: Listener, utterances: Sequence[str], *, name: str, k: int, layer: int, seed: int,
    progress: Progress,
) -> None:  # fmt: skip
    """Cluster one layer's states of whole utterances, in evaluation mode, one at a time.

    States are float32 and lie in the scratch folder meanwhile, memory-mapped. Raises BadInputError for a layer that the
    model does not have, and for fewer positions than clusters.
    """
    began = time.monotonic()
    wanted = set(utterances)
    places = [place for place, utterance in enumerate(listener.utterances) if utterance in wanted]
    file = claim.scratch / "states.npy"
    lengths = []
    with FrameFile(file, dtype=np.float32, dims=listener.hidden) as states:
        for done, place in enumerate(places):
            progress(f"states to cluster ({name})", done, len(places))
            states_PH = layer_states(listener, place, layer)
            states.append(states_PH)
            lengths.append(len(states_PH))
    progress(f"states to cluster ({name})", len(places), len(places))
    clustering = cluster_frames(np.load(file, mmap_mode="r"), k=k, seed=seed, name=name)
    file.unlink()
    _save(claim.out / "labels.npy", clustering.labels_F)
    _save(claim.out / "centres.npy", clustering.centres_KH)
    write_index(claim.out / "index.parquet", [listener.utterances[place] for place in places], lengths)
    Notes(
        steps=0,
        frames=0,
        seconds=time.monotonic() - began,
        flops=FORWARD * _parameters(listener) * sum(lengths),
        facts={"unused": k - clustering.used},
    ).write(claim.out)


@torch.no_grad()
def layer_states(listener: Listener, place: int, layer: int) -> NDArray[np.float32]:
    """States of one utterance, (P, H)."""
    listener.model.eval()
    heard = listener.hear([listener.whole(place)])
    (chosen,) = chosen_layers([layer], exposed=len(heard.layers))
    return np.asarray(heard.layers[chosen][0, heard.valid_BP[0]].float().cpu().numpy())


def make_units(
    claim: Claim, listener: Listener, utterances: Sequence[str], config: TrialConfig, *, labels: UnitLabels,
    track: NDArray[np.float32] | None, name: Literal["tapt", "alignment"], k: int, tally: Tally, log: LogMetrics,
) -> Generator[Underway, None, None]:  # fmt: skip
    """Train the listener's model to tell the pseudo-labels of hidden positions.

    What is heard and hidden is drawn without regard to `name`: an arm's alignment stands in the place of its twin's
    TAPT, and differs from it in the labels alone. So TAPT and alignment of one arm draw the same too, which does no
    harm: the second begins anew at the upstream.
    """
    units = config.alignment.units
    batches = UnitBatches(
        listener, track, labels, utterances, masking=config.masking, batch=units.batch,
        longest=round(units.crop_s / listener.hop_s), seed=config.seed,
    )  # fmt: skip
    loop = predict_units(
        listener, batches, units, k=k, name=name, seed=config.seed, checkpoint=claim.scratch / "checkpoint.pt", log=log
    )
    flops = _flops_per_frame(listener)
    state = yield from _follow(loop, tally, flops_per_frame=flops)
    _save_weights(claim.out / "weights.pt", listener.model.state_dict())
    _of_training(state, flops, {}, mask=state.kept[AUDIT]).write(claim.out)


def make_tuning(
    claim: Claim, listener: Listener, config: TrialConfig, corpora: Corpora, fold: Fold, *,
    pooling: Literal["attention", "mean"], tally: Tally, log: LogMetrics,
) -> Generator[Underway, None, None]:  # fmt: skip
    """Fine-tune the listener's model on the fold's train part, and score its validation and test utterances."""
    loop = finetune(
        listener, _lesson(listener, corpora, fold), config.alignment.tuning, pooling=pooling, name="tuning",
        seed=config.seed, checkpoint=claim.scratch / "checkpoint.pt", log=log,
    )  # fmt: skip
    flops = _flops_per_frame(listener)
    tuned = yield from _follow(loop, tally, flops_per_frame=flops)
    _save(
        claim.out / "scores.npy",
        scores_of(tuned.model, listener, _places(listener, (*fold.validation, *fold.test))),
    )
    _save_weights(claim.out / "weights.pt", tuned.model.upstream.state_dict())
    head = {name: value for name, value in tuned.model.state_dict().items() if not name.startswith("upstream.")}
    _save_weights(claim.out / "head.pt", head)
    _of_training(tuned.state, flops, {"epoch": tuned.epoch, "validation": tuned.validation}).write(claim.out)


def scores_in(tuning: Artifact) -> NDArray[np.float32]:
    """Class probabilities of the fold's validation and then its test utterances, (U, C)."""
    scores_UC: NDArray[np.float32] = np.load(tuning.path / "scores.npy")
    return scores_UC


def _lesson(listener: Listener, corpora: Corpora, fold: Fold) -> Lesson:
    label_of = {utterance.utterance: utterance.label for utterance in corpora.evaluated.utterances}
    return Lesson(
        train=_places(listener, fold.train),
        train_labels=tuple(label_of[name] for name in fold.train),
        validation=_places(listener, fold.validation),
        validation_labels=tuple(label_of[name] for name in fold.validation),
        classes=corpora.evaluated.classes,
    )


def _places(listener: Listener, utterances: Sequence[str]) -> NDArray[np.int64]:
    place_of = {name: place for place, name in enumerate(listener.utterances)}
    return np.array([place_of[name] for name in utterances], dtype=np.int64)


def _follow(
    training: Generator[TrainingState, None, T], tally: Tally, *, flops_per_frame: float
) -> Generator[Underway, None, T]:
    """Pass on where a loop is; left alone, it leaves a checkpoint. The loop's end is a report of it."""
    steps, frames, seconds = 0, 0, 0.0
    with closing(training):
        while True:
            try:
                state = next(training)
            except StopIteration as end:
                result: T = end.value
                return result
            new = state.frames - frames
            yield tally.worked(
                steps=state.step - steps, frames=new, seconds=state.seconds - seconds, flops=flops_per_frame * new
            )
            steps, frames, seconds = state.step, state.frames, state.seconds


def _of_training(
    state: TrainingState, flops_per_frame: float, facts: dict[str, float], *, mask: dict[str, Any] | None = None
) -> Notes:
    return Notes(
        steps=state.step,
        frames=state.frames,
        seconds=state.seconds,
        flops=flops_per_frame * state.frames,
        curve=state.curve,
        facts=facts,
        mask=mask,
    )


def _parameters(listener: Listener) -> int:
    return sum(parameter.numel() for parameter in listener.model.parameters())


def trained_parameters(listener: Listener) -> int:
    """How many numbers of the listener's model an optimizer steps."""
    return sum(parameter.numel() for parameter in listener.model.parameters() if parameter.requires_grad)


def _flops_per_frame(listener: Listener) -> float:
    return FORWARD_AND_BACKWARD * trained_parameters(listener) / listener.stack


def _save(path: Path, array: NDArray[Any]) -> None:
    # Through memory: on a full disk NumPy names no reason when it writes itself.
    packed = io.BytesIO()
    np.save(packed, array)
    write_atomically(path, packed.getvalue())


def _save_weights(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    packed = io.BytesIO()
    torch.save({name: value.cpu() for name, value in weights.items()}, packed)
    write_atomically(path, packed.getvalue())
