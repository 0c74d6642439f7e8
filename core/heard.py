"""Which utterances each upstream of a trial is pre-trained on, and on whose it is only validated (ours)."""

from __future__ import annotations

__all__ = ["WHOLE", "HeardPart", "heard_parts"]

from dataclasses import dataclass

from core.config import TrialConfig
from core.corpora.folds import Folds
from core.corpora.manifest import Manifest
from core.errors import BadInputError
from core.seeding import stream

WHOLE = "all"
"""Name of the one upstream that serves every fold."""


@dataclass(frozen=True, kw_only=True)
class HeardPart:
    """The audio of one upstream. No speaker is in both parts."""

    name: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    speakers: tuple[str, ...]
    """Those of `held_out`."""


def heard_parts(config: TrialConfig, heard: Manifest, folds: Folds) -> list[HeardPart]:
    """One part per upstream: per fold with `fold` as pre-training audio, else one for all.

    Held out are the fold's validation speakers where they are not trained on anyway (`fold` with `next-fold`), else
    `held_out_speakers` of the heard speakers, drawn from the stream (seed, "held-out-speakers", name) and taken out of
    the training. Raises BadInputError when that leaves nobody to train on. None for an upstream that comes trained.
    """
    if not config.pretrains:
        return []
    speaker_of = {utterance.utterance: utterance.speaker for utterance in heard.utterances}
    if config.pretraining_audio.source != "fold":
        return [_without_some(config, WHOLE, tuple(speaker_of), speaker_of)]
    named = [(f"fold{place}", fold) for place, fold in enumerate(folds.folds, start=1)]
    if folds.leaky:
        return [_without_some(config, name, fold.train, speaker_of) for name, fold in named]
    return [
        HeardPart(
            name=name,
            train=fold.train,
            held_out=fold.validation,
            speakers=tuple(sorted({speaker_of[utterance] for utterance in fold.validation})),
        )
        for name, fold in named
    ]


def _without_some(config: TrialConfig, name: str, utterances: tuple[str, ...], speaker_of: dict[str, str]) -> HeardPart:
    speakers = sorted({speaker_of[utterance] for utterance in utterances})
    count = config.pretraining_audio.held_out_speakers
    if count >= len(speakers):
        raise BadInputError(
            f"pretraining_audio.held_out_speakers: {count} of {len(speakers)} heard speakers leave nobody to train on"
        )
    random = stream(config.pretraining_seed, "held-out-speakers", name)
    held_out = sorted(random.choice(speakers, size=count, replace=False).tolist())
    return HeardPart(
        name=name,
        train=tuple(utterance for utterance in utterances if speaker_of[utterance] not in held_out),
        held_out=tuple(utterance for utterance in utterances if speaker_of[utterance] in held_out),
        speakers=tuple(held_out),
    )
