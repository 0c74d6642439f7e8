"""Fitting StrengthNet to the strengths that relative attributes give a corpus's utterances.

Legend: B utterances of a batch, T frames, F mel bands, U utterances of the corpus.
"""

from __future__ import annotations

__all__ = ["cpu_threads", "fit_strengthnet", "load_strengthnet", "pad_batch", "validation_speakers"]

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.bucketing import epoch_batches
from core.config import IntensityConfig, StrengthNetConfig
from core.corpora.manifest import Manifest
from core.errors import CorpusError, NonFiniteLossError
from core.identity import Json
from core.intensity.ranking import (
    emotion_classes,
    fit_rankings,
    make_functionals,
    neutral_class,
    normalise_by_speaker,
    strength_labels,
)
from core.intensity.spectrograms import HOP, Spectrograms, make_spectrograms
from core.intensity.strengthnet import Loss, StrengthNet, strengthnet_loss
from core.progress import Progress, silent
from core.seeding import stream, torch_stream
from core.store import Artifact, Workspace, write_atomically
from core.units import SAMPLE_RATE

MODEL_MODULES = ("core.intensity.fitting", "core.intensity.spectrograms", "core.intensity.strengthnet", "core.seeding")
FIT_MODULES = (*MODEL_MODULES, "core.bucketing", "core.intensity.ranking")
POOL = 8
"""Batches whose utterances are sorted by length together, so that little of a batch is padding (ours)."""


def fit_strengthnet(
    manifest: Manifest,
    speakers: Sequence[str],
    config: IntensityConfig,
    workspace: Workspace,
    *,
    threads: int,
    progress: Progress = silent,
) -> Artifact:
    """Stage `strengthnet`: a StrengthNet that has seen the labels of `speakers` of one corpus and of nobody else.

    Ranking and net are fitted on all of them but `validation_speakers`; the net of the epoch with the lowest validation
    loss is kept (the paper's early stopping; its split is by utterance, ours by speaker). Neutral utterances have no
    part in the emotion branch's loss. An epoch is checkpointed when it ends, and an interrupted fit resumes to the
    result of an undisturbed one, bit for bit for the same `threads` (CPU).

    The artifact: `weights.pt` (state dict), `fit.json` (corpus, part, fingerprint, speakers, validation_speakers,
    emotions, epochs, best_epoch, losses by epoch). Raises CorpusError for too few speakers or a class without
    utterances, NonFiniteLossError with the step.
    """
    functionals = make_functionals(manifest, config.ranking, workspace, progress=progress)
    spectrograms = make_spectrograms(manifest, workspace, progress=progress)
    settings: dict[str, Json] = {
        "ranking": config.ranking.model_dump(mode="json"),
        "strengthnet": config.strengthnet.model_dump(mode="json"),
        "seed": config.seed,
        "threads": threads,
        "speakers": sorted(speakers),
    }
    inputs = [functionals.key, spectrograms.key]
    with workspace.store.claim("strengthnet", settings=settings, inputs=inputs, modules=FIT_MODULES) as claim:
        if claim.done:
            return claim.artifact
        held_out = validation_speakers(manifest, speakers, config)
        functionals_UD = np.load(functionals.path / "functionals.npy")
        strength_U = _label(manifest, functionals_UD, speakers=speakers, held_out=held_out, config=config)
        training = _Training(
            manifest=manifest,
            spectrograms=Spectrograms.open(spectrograms.path, config.strengthnet),
            strength=strength_U,
            train=_positions(manifest, set(speakers) - set(held_out)),
            validation=_positions(manifest, set(held_out)),
            config=config.strengthnet,
            seed=config.seed,
        )
        with cpu_threads(threads):
            result = training.run(claim.scratch / "checkpoint.pt", progress=progress)
        torch.save(result.best_weights, claim.out / "weights.pt")
        note = _note(manifest, speakers, held_out, result)
        (claim.out / "fit.json").write_text(json.dumps(note, indent=2, allow_nan=False))
    return claim.artifact


def _note(manifest: Manifest, speakers: Sequence[str], held_out: Sequence[str], result: _State) -> dict[str, Json]:
    return {
        "corpus": manifest.corpus,
        "part": manifest.part,
        "fingerprint": manifest.fingerprint,
        "speakers": sorted(speakers),
        "validation_speakers": list(held_out),
        "emotions": list(emotion_classes(manifest)),
        "epochs": len(result.losses),
        "best_epoch": result.best_epoch,
        "losses": [dict(loss) for loss in result.losses],
    }


def load_strengthnet(fit: Artifact, config: StrengthNetConfig) -> StrengthNet:
    """The fitted net of a `strengthnet` artifact, in evaluation mode."""
    emotions = len(json.loads((fit.path / "fit.json").read_text())["emotions"])
    net = StrengthNet(config, emotions=emotions)
    net.load_state_dict(torch.load(fit.path / "weights.pt", weights_only=True))
    return net.eval()


def validation_speakers(manifest: Manifest, speakers: Sequence[str], config: IntensityConfig) -> tuple[str, ...]:
    """The speakers the fit stops by: drawn from the stream (seed, "strengthnet-validation"), sorted.

    Raises CorpusError when fewer than one speaker would be left to learn from, or one is not in the corpus.
    """
    unknown = sorted(set(speakers) - set(manifest.speakers))
    if unknown:
        raise CorpusError(f"corpus {manifest.corpus}: has no speaker {unknown[0]!r}")
    count = config.strengthnet.validation_speakers
    if len(set(speakers)) <= count:
        raise CorpusError(
            f"corpus {manifest.corpus}: {len(set(speakers))} speakers are too few to fit StrengthNet with "
            f"validation_speakers {count}; at least {count + 1} are needed"
        )
    random = stream(config.seed, "strengthnet-validation", manifest.corpus, manifest.part)
    return tuple(sorted(random.choice(sorted(set(speakers)), size=count, replace=False).tolist()))


@contextmanager
def cpu_threads(threads: int) -> Iterator[None]:
    """Let torch use this many threads inside the block: sums are split by thread, so the number is part of a result."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pad_batch(mels: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Spectrograms (T, F) of any lengths as one (B, T, F), zero beyond each one's end, and the lengths (B,)."""
    lengths_B = torch.tensor([len(mel_TF) for mel_TF in mels])
    mel_BTF = torch.zeros(len(mels), int(lengths_B.max()), mels[0].shape[1])
    for row_TF, mel_TF in zip(mel_BTF, mels, strict=True):
        row_TF[: len(mel_TF)] = torch.from_numpy(mel_TF)
    return mel_BTF, lengths_B


def _positions(manifest: Manifest, speakers: set[str]) -> NDArray[np.int64]:
    return np.array([u for u, utterance in enumerate(manifest.utterances) if utterance.speaker in speakers])


def _label(
    manifest: Manifest,
    functionals_UD: NDArray[np.float32],
    *,
    speakers: Sequence[str],
    held_out: Sequence[str],
    config: IntensityConfig,
) -> NDArray[np.float64]:
    """Strength of the utterances of `speakers`, NaN for all others, by rankings that did not see `held_out`."""
    used_U = _positions(manifest, set(speakers))
    labels = np.array([manifest.utterances[u].label for u in used_U])
    names = [manifest.utterances[u].speaker for u in used_U]
    absent = [name for name in manifest.classes if name not in labels[~np.isin(names, held_out)]]
    if absent:
        raise CorpusError(
            f"corpus {manifest.corpus}: the speakers StrengthNet would learn from ({len(set(names)) - len(held_out)}) "
            f"have no utterance of class {absent[0]!r}"
        )
    normal_UD = normalise_by_speaker(functionals_UD[used_U], names)
    learn_U = ~np.isin(names, held_out)
    neutral = neutral_class(manifest)
    rankings = fit_rankings(
        normal_UD[learn_U], labels[learn_U].tolist(), neutral, config=config.ranking, seed=config.seed
    )
    strength_U = np.full(len(manifest.utterances), np.nan)
    strength_U[used_U] = strength_labels(rankings, normal_UD, labels.tolist(), strength=config.ranking.strength)
    return strength_U


@dataclass(kw_only=True)
class _State:
    """What an epoch leaves to the next one, net and optimizer apart."""

    losses: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def waited(self) -> int:
        return len(self.losses) - self.best_epoch


@dataclass(frozen=True, kw_only=True, eq=False)
class _Training:
    manifest: Manifest
    spectrograms: Spectrograms
    strength: NDArray[np.float64]
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    config: StrengthNetConfig
    seed: int

    def run(self, checkpoint: Path, *, progress: Progress) -> _State:
        """Train until `patience` epochs brought nothing better on the validation speakers, or `max_epochs`."""
        with torch_stream(self.seed, "strengthnet-init"):
            net = StrengthNet(self.config, emotions=len(emotion_classes(self.manifest)))
        optimizer = torch.optim.Adam(net.parameters(), lr=self.config.lr)
        state = _resume(checkpoint, net, optimizer)
        per_epoch = -(-len(self.train) // self.config.batch)
        total, what = per_epoch * self.config.max_epochs, f"StrengthNet on {self.manifest.corpus}"
        while len(state.losses) < self.config.max_epochs and state.waited < self.config.patience:
            epoch = len(state.losses) + 1
            trained = 0.0
            for number, batch in enumerate(self._batches(epoch)):
                step = (epoch - 1) * per_epoch + number + 1
                trained += self._step(net, optimizer, batch, epoch=epoch, step=step) * len(batch) / len(self.train)
                progress(what, min(step, total - 1), total)
            validated = self._validate(net, step=epoch * per_epoch)
            state.losses.append({"train": trained, "validation": validated})
            if epoch == 1 or validated < state.losses[state.best_epoch - 1]["validation"]:
                state.best_epoch = epoch
                state.best_weights = {name: value.clone() for name, value in net.state_dict().items()}
            _save(checkpoint, net, optimizer, state)
        progress(what, total, total)
        return state

    def _step(
        self, net: StrengthNet, optimizer: torch.optim.Optimizer, batch: NDArray[np.int64], *, epoch: int, step: int
    ) -> float:
        net.train()
        with torch_stream(self.seed, "strengthnet-dropout", step):
            loss = self._loss(net, batch, [self._crop(u, epoch) for u in batch]).mean()
        value = float(loss.detach())
        if not np.isfinite(value):
            raise NonFiniteLossError(stage="strengthnet", step=step, value=value)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return value

    def _validate(self, net: StrengthNet, *, step: int) -> float:
        """The loss over the validation speakers' whole utterances."""
        net.eval()
        by_length = self.validation[np.argsort(self.spectrograms.lengths[self.validation], kind="stable")]
        parts: list[Loss] = []
        with torch.inference_mode():
            for start in range(0, len(by_length), self.config.batch):
                batch = by_length[start : start + self.config.batch]
                parts.append(self._loss(net, batch, [self.spectrograms.mel(u) for u in batch]))
        value = float(sum(parts[1:], parts[0]).mean())
        if not np.isfinite(value):
            raise NonFiniteLossError(stage="strengthnet validation", step=step, value=value)
        return value

    def _loss(self, net: StrengthNet, batch: NDArray[np.int64], mels: Sequence[NDArray[np.float32]]) -> Loss:
        mel_BTF, lengths_B = pad_batch(mels)
        scores_BT, logits_BE = net(mel_BTF, lengths_B)
        emotions = emotion_classes(self.manifest)
        labels = [self.manifest.utterances[u].label for u in batch]
        return strengthnet_loss(
            scores_BT,
            logits_BE,
            lengths_B=lengths_B,
            strength_B=torch.tensor(self.strength[batch], dtype=torch.float32),
            emotion_B=torch.tensor([emotions.index(label) if label in emotions else -1 for label in labels]),
        )

    def _limit(self) -> int | None:
        return None if self.config.crop_s is None else round(self.config.crop_s * SAMPLE_RATE / HOP)

    def _crop(self, position: int, epoch: int) -> NDArray[np.float32]:
        """The utterance, or a stretch of `crop_s` of it that starts anywhere with equal probability."""
        limit, length = self._limit(), int(self.spectrograms.lengths[position])
        if limit is None or length <= limit:
            return self.spectrograms.mel(position)
        random = stream(self.seed, "strengthnet-crop", epoch, self.manifest.utterances[position].utterance)
        return self.spectrograms.mel(position, start=int(random.integers(length - limit + 1)), frames=limit)

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """All training utterances once, in batches of like length, in random order."""
        lengths = np.minimum(self.spectrograms.lengths, self._limit() or np.iinfo(np.int64).max)
        rng = stream(self.seed, "strengthnet-order", epoch)
        return epoch_batches(self.train, lengths, size=self.config.batch, pool=POOL, rng=rng)


def _save(path: Path, net: StrengthNet, optimizer: torch.optim.Optimizer, state: _State) -> None:
    content = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "state": vars(state)}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def _resume(path: Path, net: StrengthNet, optimizer: torch.optim.Optimizer) -> _State:
    if not path.exists():
        return _State()
    content = torch.load(path, weights_only=True)
    net.load_state_dict(content["net"])
    optimizer.load_state_dict(content["optimizer"])
    return _State(**content["state"])
