"""Does an intensity track know strong from normal? Judged by the intensity that a corpus itself states.

RAVDESS's actors speak every statement in every emotion at two stated intensities: real ground truth for a model.
"""

from __future__ import annotations

__all__ = ["Share", "StrengthRanking", "rank_strength", "utterance_scores"]

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from core.corpora.manifest import Manifest
from core.errors import BadInputError
from core.features import Features
from core.seeding import stream

LEVELS = ("normal", "strong")


@dataclass(frozen=True, kw_only=True)
class Share:
    """Share of pairs in which `strong` scores above `normal` (ties count half), in [0, 1]; chance is 0.5.

    `low`, `high`: 95 % percentile interval of a bootstrap over speakers, whose pairs are not independent.
    """

    share: float
    low: float
    high: float
    pairs: int
    speakers: int


@dataclass(frozen=True, kw_only=True)
class StrengthRanking:
    """The share over all pairs and by emotion."""

    overall: Share
    by_emotion: Mapping[str, Share]


def utterance_scores(features: Features, track: NDArray[np.float32]) -> dict[str, float]:
    """Mean over all frames of each utterance (silence included) of a track packed as `features` are."""
    if len(track) != int(features.lengths.sum()):
        raise BadInputError(f"track: {len(track)} frames, the features have {int(features.lengths.sum())}")
    return {name: float(track[features.slice_of(name)].mean(dtype=np.float64)) for name in features.utterances}


def rank_strength(
    manifest: Manifest, scores: Mapping[str, float], *, seed: int = 0, resamples: int = 2000
) -> StrengthRanking:
    """Strong against normal of the same speaker, emotion and statement (transcript), in every pair of repetitions.

    Two repetitions at each level make four pairs (ours; none is dropped when a take is missing). Raises BadInputError
    when the corpus states no intensity levels, a transcript is missing, or an utterance has no score.
    """
    takes: defaultdict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(
        lambda: {name: [] for name in LEVELS}
    )
    for utterance in manifest.utterances:
        if utterance.level not in LEVELS:
            continue
        if utterance.transcript is None:
            raise BadInputError(
                f"utterance {utterance.utterance!r}: has a stated intensity but no transcript to pair by"
            )
        if utterance.utterance not in scores:
            raise BadInputError(f"utterance {utterance.utterance!r}: has a stated intensity but no score")
        key = (utterance.label, utterance.speaker, utterance.transcript)
        takes[key][utterance.level].append(scores[utterance.utterance])
    won: dict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (emotion, speaker, _), levels in takes.items():
        for normal, strong in product(levels["normal"], levels["strong"]):
            won[emotion][speaker].append(0.5 + 0.5 * float(np.sign(strong - normal)))
    if not won:
        raise BadInputError(f"corpus {manifest.corpus}: no utterances with intensity {' and '.join(LEVELS)} to compare")
    overall: defaultdict[str, list[float]] = defaultdict(list)
    for by_speaker in won.values():
        for speaker, wins in by_speaker.items():
            overall[speaker] += wins
    by_emotion = {
        name: _share(won[name], name, seed=seed, resamples=resamples) for name in manifest.classes if name in won
    }
    return StrengthRanking(overall=_share(overall, "overall", seed=seed, resamples=resamples), by_emotion=by_emotion)


def _share(wins: Mapping[str, list[float]], name: str, *, seed: int, resamples: int) -> Share:
    speakers = sorted(wins)
    won_P = np.array([sum(wins[speaker]) for speaker in speakers])
    pairs_P = np.array([len(wins[speaker]) for speaker in speakers])
    drawn_RP = stream(seed, "strength-bootstrap", name).integers(len(speakers), size=(resamples, len(speakers)))
    shares_R = won_P[drawn_RP].sum(axis=1) / pairs_P[drawn_RP].sum(axis=1)
    low, high = np.quantile(shares_R, [0.025, 0.975])
    return Share(
        share=float(won_P.sum() / pairs_P.sum()),
        low=float(low),
        high=float(high),
        pairs=int(pairs_P.sum()),
        speakers=len(speakers),
    )
