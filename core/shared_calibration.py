"""What the stages that trials share cost on this machine: run on a few real utterances, and scaled by audio (ours)."""

from __future__ import annotations

__all__ = ["FitCost", "RateCost", "measure_features", "measure_fit", "sample_for_fit"]

import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.config import FeaturesConfig, IntensityConfig, StrengthNetConfig
from core.corpora.manifest import Manifest, Utterance
from core.features import make_features
from core.intensity.fitting import fit_strengthnet, validation_speakers
from core.store import Workspace

SAMPLED_UTTERANCES = 24
EPOCHS = 2


@dataclass(frozen=True, kw_only=True)
class RateCost:
    """`once_s` when a process begins it (imports), and `rate` seconds per second of audio."""

    once_s: float
    rate: float

    def seconds(self, audio_s: float) -> float:
        return self.once_s + self.rate * audio_s


@dataclass(frozen=True, kw_only=True)
class FitCost:
    """Of fitting StrengthNet. Rates are per second of audio and, for the net, per epoch."""

    functionals: RateCost
    spectrograms: RateCost
    ranking_s: float
    train_rate: float
    validate_rate: float
    weights_bytes: int

    def seconds(self, manifest: Manifest, speakers: Sequence[str], config: IntensityConfig) -> float:
        """Rankings and all epochs: an upper bound, since the fit may stop early."""
        held_out = validation_speakers(manifest, speakers, config)
        learnt = [utterance for utterance in manifest.utterances if utterance.speaker in set(speakers) - set(held_out)]
        trained = self.train_rate * heard_s(learnt, config.strengthnet)
        validated = self.validate_rate * audio_s([each for each in manifest.utterances if each.speaker in held_out])
        return self.ranking_s + config.strengthnet.max_epochs * (trained + validated)


def audio_s(utterances: Sequence[Utterance]) -> float:
    return sum(utterance.duration_s for utterance in utterances)


def heard_s(utterances: Sequence[Utterance], config: StrengthNetConfig) -> float:
    """Seconds of them that one epoch trains on."""
    longest = config.crop_s or float("inf")
    return sum(min(utterance.duration_s, longest) for utterance in utterances)


class _Clock:
    """A Progress that notes when each activity got how far."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)

    def __call__(self, what: str, done: int, total: int) -> None:
        del done, total
        self.times[what.split(" of ")[0].split(" on ")[0]].append(time.perf_counter())

    def rate(self, activity: str, utterances: Sequence[Utterance]) -> RateCost:
        """Of an activity that tells when it begins each utterance, and when it is done.

        The median over utterances: each takes milliseconds, which another process can make many times as long.
        """
        begun = self.times[activity]
        rates = [
            (after - before) / utterance.duration_s
            for (before, after), utterance in zip(itertools.pairwise(begun), utterances, strict=True)
        ]
        rate = statistics.median(rates[1:])
        return RateCost(once_s=max(0.0, begun[1] - begun[0] - rate * utterances[0].duration_s), rate=rate)


def measure_features(manifest: Manifest, config: FeaturesConfig, scratch: Path) -> RateCost:
    """Make the features of a few utterances, taken evenly from the corpus."""
    every = max(1, len(manifest.utterances) // SAMPLED_UTTERANCES)
    sample = replace(manifest, utterances=manifest.utterances[::every])
    clock = _Clock()
    make_features(sample, config, Workspace(root=scratch), progress=clock)
    return clock.rate("features", sample.utterances)


def sample_for_fit(manifest: Manifest, speakers: Sequence[str], config: IntensityConfig) -> Manifest:
    """As few speakers as a fit can be made with, all classes among those it learns from, and about a batch of theirs.

    Raises CorpusError where there are too few for the fit itself.
    """
    least = config.strengthnet.validation_speakers + 1
    for count in range(least, max(least, len(speakers)) + 1):
        chosen = sorted(speakers)[:count]
        held_out = validation_speakers(manifest, chosen, config)
        learning = set(chosen) - set(held_out)
        groups: dict[tuple[str, str], list[Utterance]] = defaultdict(list)
        for utterance in manifest.utterances:
            if utterance.speaker in chosen:
                groups[utterance.speaker, utterance.label].append(utterance)
        each = max(2, -(-config.strengthnet.batch // (len(learning) * len(manifest.classes))))
        taken = [members[:each] for members in groups.values()]
        enough = all(sum(len(groups[name, label]) for name in learning) >= 2 for label in manifest.classes)
        if enough:
            break
    utterances = sorted(itertools.chain(*taken), key=lambda utterance: utterance.utterance)
    return replace(manifest, utterances=tuple(utterances))


def measure_fit(manifest: Manifest, speakers: Sequence[str], config: IntensityConfig, scratch: Path) -> FitCost:
    """Describe a sample of the corpus, rank it and fit the net to it for two epochs, in a store of its own."""
    sample = sample_for_fit(manifest, speakers, config)
    shortened = config.strengthnet.model_copy(update={"max_epochs": EPOCHS, "patience": EPOCHS, "lr": 1e-5})
    brief = config.model_copy(update={"strengthnet": shortened})
    clock = _Clock()
    model = fit_strengthnet(
        sample, sample.speakers, brief, Workspace(root=scratch), threads=config.threads, progress=clock
    )
    held_out = validation_speakers(sample, sample.speakers, config)
    learnt = [utterance for utterance in sample.utterances if utterance.speaker not in held_out]
    checked = [utterance for utterance in sample.utterances if utterance.speaker in held_out]
    # One call per step and one at the end: the last gap is a validation, so is the first part of each later epoch.
    steps = clock.times["StrengthNet"]
    per_epoch = (len(steps) - 1) // EPOCHS
    validate_s = steps[-1] - steps[-2]
    train_s = max(0.0, steps[-2] - steps[per_epoch - 1] - validate_s)
    spectrograms = clock.times["spectrograms"]
    return FitCost(
        functionals=clock.rate(f"{config.ranking.feature_set} functionals", sample.utterances),
        spectrograms=clock.rate("spectrograms", sample.utterances),
        ranking_s=max(0.0, steps[0] - spectrograms[-1] - train_s / per_epoch),
        train_rate=train_s / heard_s(learnt, config.strengthnet),
        validate_rate=validate_s / audio_s(checked),
        weights_bytes=(model.path / "weights.pt").stat().st_size,
    )
