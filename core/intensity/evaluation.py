"""Does an intensity track know strong from weak? Judged by the intensity that a corpus itself states.

RAVDESS's actors speak every statement in every emotion at two stated intensities: ground truth between utterances. The
demo corpus has emphasised words planted in it: ground truth between frames.
"""

from __future__ import annotations

__all__ = ["FrameRanking", "Share", "StrengthRanking", "rank_frames", "rank_strength", "utterance_scores"]

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from core.config import FeaturesConfig
from core.corpora.demo import PlantedSegment
from core.corpora.manifest import Manifest
from core.errors import BadInputError
from core.features import Features, analysis_window
from core.seeding import stream
from core.units import SAMPLE_RATE, frame_times

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


@dataclass(frozen=True, kw_only=True)
class FrameRanking:
    """Mean over `utterances` of the share of frame pairs in which the emphasised frame scores higher; chance is 0.5."""

    auc: float
    utterances: int


def rank_frames(
    features: Features,
    track: NDArray[np.float32],
    planted: Mapping[str, Sequence[PlantedSegment]],
    *,
    grid: FeaturesConfig,
) -> FrameRanking:
    """Emphasised against other speech frames within each utterance that has both (area under the ROC curve).

    A frame belongs to the segment its window's centre lies in; silence does not take part, nor do neutral utterances,
    which carry no emotion on any word. Raises BadInputError when no utterance has both kinds of frames.
    """
    from scipy.stats import rankdata

    window, hop = analysis_window(grid)
    aucs: list[float] = []
    for place, name in enumerate(features.utterances):
        segments = planted[name]
        centres_T = frame_times(int(features.lengths[place]), window_s=window / SAMPLE_RATE, hop_s=hop / SAMPLE_RATE)
        inside_TS = np.array([(segment.start <= centres_T) & (centres_T < segment.end) for segment in segments]).T
        carries_S = np.array([segment.emphasised and segment.intensity > 0 for segment in segments], dtype=bool)
        scores, strong = (
            track[features.slice_of(name)][inside_TS.any(axis=1)],
            inside_TS[inside_TS.any(axis=1)] @ carries_S,
        )
        n_strong, n_other = int(strong.sum()), int((~strong).sum())
        if n_strong and n_other:
            above = rankdata(scores)[strong].sum() - n_strong * (n_strong + 1) / 2
            aucs.append(float(above) / (n_strong * n_other))
    if not aucs:
        raise BadInputError("planted intensity: no utterance has both emphasised and other speech frames")
    return FrameRanking(auc=float(np.mean(aucs)), utterances=len(aucs))
