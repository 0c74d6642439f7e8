"""Does an intensity track know weak from strong? Judged by whatever the corpus itself knows of intensity.

Between utterances: stated levels (RAVDESS, CREMA-D), labelled activation, and classes with a neutral one. Between
frames: the emphasised words planted in the demo corpus.
"""

from __future__ import annotations

__all__ = [
    "MODEL",
    "ORDERS",
    "Finding",
    "Measure",
    "evaluate",
    "follow_activation",
    "rank_emotional",
    "rank_frames",
    "rank_levels",
    "utterance_scores",
]

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.config import FeaturesConfig
from core.corpora.demo import PlantedSegment
from core.corpora.manifest import Manifest, Utterance
from core.errors import BadInputError
from core.features import Features, analysis_window
from core.intensity.agreement import Agreement, BySpeaker, agreement, lead
from core.intensity.ranking import NEUTRAL_NAMES
from core.intensity.spectrograms import speech_frames
from core.units import SAMPLE_RATE, frame_times

ORDERS = (("normal", "strong"), ("low", "medium", "high"))
"""Stated levels from weak to strong, as corpora name them."""
FEWEST_LABELLED = 5
MODEL = "model"
ALL = "all"

Measure = Literal["levels", "frames", "activation", "emotional"]
Track = NDArray[np.float32]
_Groups = Mapping[str, BySpeaker]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """How far each track agrees with one thing the corpus knows, and the model's lead over each of the others.

    `measure`: `levels`, share of pairs in which the stronger take scores higher; `frames`, mean area under the ROC
    curve of emphasised frames within an utterance; `activation`, Spearman's ρ within a speaker; `emotional`, share of
    (emotional, neutral) pairs of a speaker in that order. Chance is 0 for `activation` and 0.5 for the others.
    `group`: `all`, or the class whose pairs these are.
    """

    measure: Measure
    group: str
    tracks: Mapping[str, Agreement]
    leads: Mapping[str, Agreement]


def evaluate(
    manifest: Manifest,
    features: Features,
    tracks: Mapping[str, Track],
    *,
    planted: Mapping[str, Sequence[PlantedSegment]] | None,
    grid: FeaturesConfig,
    seed: int = 0,
) -> list[Finding]:
    """Everything the corpus can judge `tracks` by; one of them is called `model`, all are packed as `features` are.

    `planted`: the demo corpus's ground truth, None for others. Raises BadInputError when the corpus knows nothing of
    intensity, and what the single measures raise.
    """
    scores = {name: utterance_scores(features, track) for name, track in tracks.items()}
    measures: dict[Measure, Callable[[str], _Groups]] = {}
    if any(utterance.level for utterance in manifest.utterances):
        measures["levels"] = lambda name: rank_levels(manifest, scores[name])
    if planted is not None:
        speakers = {utterance.utterance: utterance.speaker for utterance in manifest.utterances}
        measures["frames"] = lambda name: {
            ALL: rank_frames(features, tracks[name], planted, speakers=speakers, grid=grid)
        }
    if any(utterance.activation is not None for utterance in manifest.utterances):
        measures["activation"] = lambda name: {ALL: follow_activation(manifest, scores[name])}
    if set(manifest.classes) & set(NEUTRAL_NAMES):
        measures["emotional"] = lambda name: rank_emotional(manifest, scores[name])
    if not measures:
        raise BadInputError(
            f"corpus {manifest.corpus}: knows nothing to judge intensity by (no stated levels, planted intensity, "
            f"activation or neutral class)"
        )
    return [
        finding
        for measure, judged in measures.items()
        for finding in _findings(measure, {name: judged(name) for name in tracks}, seed=seed)
    ]


def _findings(measure: Measure, judged: Mapping[str, _Groups], *, seed: int) -> list[Finding]:
    model = judged[MODEL]
    return [
        Finding(
            measure=measure,
            group=group,
            tracks={name: agreement(groups[group], seed=seed) for name, groups in judged.items()},
            leads={
                name: lead(model[group], groups[group], seed=seed) for name, groups in judged.items() if name != MODEL
            },
        )
        for group in model
    ]


def utterance_scores(features: Features, track: Track) -> dict[str, float]:
    """Mean over the speech frames of each utterance (`speech_frames` of the energy) of a track packed as `features`.

    Ours: StrengthNet's own utterance score is the mean over all frames. Recordings are cut with more or less silence,
    and a mean over all frames would judge every track by that.
    """
    if len(track) != int(features.lengths.sum()):
        raise BadInputError(f"track: {len(track)} frames, the features have {int(features.lengths.sum())}")
    scores = {}
    for name in features.utterances:
        part = features.slice_of(name)
        speech_T = speech_frames(np.exp(features.energy[part].astype(np.float64)))
        scores[name] = float(track[part][speech_T].mean(dtype=np.float64))
    return scores


def rank_levels(manifest: Manifest, scores: Mapping[str, float]) -> _Groups:
    """A stronger against a weaker take of the same speaker, emotion and statement (transcript): `all`, and by class.

    Every pair of takes at two different levels counts (ours; no take is dropped when another is missing), ties half.
    Raises BadInputError when there is no pair, a transcript is missing, or an utterance has no score.
    """
    takes: defaultdict[tuple[str, str, str], defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for utterance in manifest.utterances:
        rank = _rank_of(utterance.level)
        if rank is None:
            continue
        if utterance.transcript is None:
            raise BadInputError(
                f"utterance {utterance.utterance!r}: has a stated intensity but no transcript to pair by"
            )
        key = (utterance.label, utterance.speaker, utterance.transcript)
        takes[key][rank].append(_score(scores, utterance))
    tally = _Tally()
    for (emotion, speaker, _), by_rank in takes.items():
        for weaker, stronger in combinations(sorted(by_rank), 2):
            for weak, strong in product(by_rank[weaker], by_rank[stronger]):
                tally.add(emotion, speaker, _won(strong, weak))
    if not tally.groups:
        raise BadInputError(
            f"corpus {manifest.corpus}: no two takes of a statement at different stated intensities "
            f"({' or '.join(' < '.join(order) for order in ORDERS)}) to compare"
        )
    return tally.with_all(manifest.classes)


def _rank_of(level: str | None) -> int | None:
    return next((order.index(level) for order in ORDERS if level in order), None)


def rank_emotional(manifest: Manifest, scores: Mapping[str, float]) -> _Groups:
    """Every emotional utterance against every neutral one of the same speaker: `all`, and by class.

    What a model learns from, so it says little of one that learnt from this corpus; loudness does well on anger.
    """
    tally = _Tally()
    by_speaker: defaultdict[str, list[Utterance]] = defaultdict(list)
    for utterance in manifest.utterances:
        by_speaker[utterance.speaker].append(utterance)
    for speaker, own in by_speaker.items():
        neutral = [_score(scores, utterance) for utterance in own if utterance.label in NEUTRAL_NAMES]
        for utterance in own:
            if utterance.label not in NEUTRAL_NAMES:
                for plain in neutral:
                    tally.add(utterance.label, speaker, _won(_score(scores, utterance), plain))
    if not tally.groups:
        raise BadInputError(f"corpus {manifest.corpus}: no speaker has both neutral and emotional utterances")
    return tally.with_all(manifest.classes)


def follow_activation(manifest: Manifest, scores: Mapping[str, float]) -> BySpeaker:
    """Spearman's ρ of score and labelled activation within each speaker, weighted by the speaker's utterances (ours).

    Within, because speakers differ in level and raters in scale, which pooled ranks would take for intensity; weighted,
    because ρ of few utterances is mostly chance. Speakers with under 5 labelled utterances, or with one label only, are
    left out; a speaker whose scores are all equal counts as 0. Activation is not intensity: sadness lowers it. Raises
    BadInputError when nobody is left.
    """
    from scipy.stats import spearmanr

    pairs: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for utterance in manifest.utterances:
        if utterance.activation is not None:
            pairs[utterance.speaker].append((_score(scores, utterance), utterance.activation))
    found: dict[str, tuple[float, int]] = {}
    for speaker, own in pairs.items():
        scores_U, activation_U = zip(*own, strict=True)
        if len(own) >= FEWEST_LABELLED and len(set(activation_U)) > 1:
            rho = float(spearmanr(scores_U, activation_U).statistic) if len(set(scores_U)) > 1 else 0.0
            found[speaker] = (rho * len(own), len(own))
    if not found:
        raise BadInputError(
            f"corpus {manifest.corpus}: no speaker has {FEWEST_LABELLED} utterances with different activation labels"
        )
    return found


def rank_frames(
    features: Features,
    track: Track,
    planted: Mapping[str, Sequence[PlantedSegment]],
    *,
    speakers: Mapping[str, str],
    grid: FeaturesConfig,
) -> BySpeaker:
    """Emphasised against other speech frames within each utterance that has both: area under the ROC curve, summed.

    A frame belongs to the segment its window's centre lies in; silence does not take part, nor do neutral utterances,
    which carry no emotion on any word. Raises BadInputError when no utterance has both kinds of frames.
    """
    from scipy.stats import rankdata

    window, hop = analysis_window(grid)
    aucs: defaultdict[str, list[float]] = defaultdict(list)
    for place, name in enumerate(features.utterances):
        segments = planted[name]
        centres_T = frame_times(int(features.lengths[place]), window_s=window / SAMPLE_RATE, hop_s=hop / SAMPLE_RATE)
        inside_TS = np.array([(segment.start <= centres_T) & (centres_T < segment.end) for segment in segments]).T
        carries_S = np.array([segment.emphasised and segment.intensity > 0 for segment in segments], dtype=bool)
        speech_T = inside_TS.any(axis=1)
        scores, strong = track[features.slice_of(name)][speech_T], inside_TS[speech_T] @ carries_S
        n_strong, n_other = int(strong.sum()), int((~strong).sum())
        if n_strong and n_other:
            above = rankdata(scores)[strong].sum() - n_strong * (n_strong + 1) / 2
            aucs[speakers[name]].append(float(above) / (n_strong * n_other))
    if not aucs:
        raise BadInputError("planted intensity: no utterance has both emphasised and other speech frames")
    return {speaker: (sum(own), len(own)) for speaker, own in aucs.items()}


class _Tally:
    """Pairs won and pairs judged, by class and speaker."""

    def __init__(self) -> None:
        self.groups: defaultdict[str, dict[str, tuple[float, int]]] = defaultdict(dict)

    def add(self, group: str, speaker: str, won: float) -> None:
        total, pairs = self.groups[group].get(speaker, (0.0, 0))
        self.groups[group][speaker] = (total + won, pairs + 1)

    def with_all(self, classes: Sequence[str]) -> _Groups:
        everything: dict[str, tuple[float, int]] = {}
        for by_speaker in self.groups.values():
            for speaker, (won, pairs) in by_speaker.items():
                total, count = everything.get(speaker, (0.0, 0))
                everything[speaker] = (total + won, count + pairs)
        return {ALL: everything} | {name: self.groups[name] for name in classes if name in self.groups}


def _won(stronger: float, weaker: float) -> float:
    return 0.5 + 0.5 * float(np.sign(stronger - weaker))


def _score(scores: Mapping[str, float], utterance: Utterance) -> float:
    if utterance.utterance not in scores:
        raise BadInputError(f"utterance {utterance.utterance!r}: has no score")
    return scores[utterance.utterance]
