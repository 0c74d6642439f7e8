"""Relative attributes (Parikh & Grauman 2011): how strongly each utterance expresses its emotion, from order alone.

StrengthNet's labels. For every emotion a linear function of openSMILE functionals is learnt that ranks the emotion's
utterances above the neutral ones and the utterances of one class level with each other.
Legend: U utterances, D functionals, P ordered pairs, Q similar pairs.
"""

from __future__ import annotations

__all__ = [
    "Ranking",
    "emotion_classes",
    "fit_direction",
    "fit_rankings",
    "make_functionals",
    "neutral_class",
    "normalise_by_speaker",
    "strength_labels",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.audio import read_audio
from core.config import RankingConfig
from core.corpora.manifest import Manifest
from core.errors import BadInputError, CorpusError
from core.progress import Progress, silent
from core.seeding import stream
from core.store import Artifact, Workspace
from core.units import SAMPLE_RATE

FUNCTIONALS_MODULES = ("core.audio", "core.intensity.ranking", "core.units")
NEUTRAL_NAMES = ("neu", "neutral")


def neutral_class(manifest: Manifest) -> str:
    """The corpus's name for neutral speech; CorpusError if it has none (`calm` is an emotion)."""
    found = [name for name in manifest.classes if name in NEUTRAL_NAMES]
    if len(found) != 1:
        classes = ", ".join(manifest.classes) or "none"
        raise CorpusError(
            f"corpus {manifest.corpus}: an intensity model is learnt from emotional-above-neutral order and needs "
            f"exactly one class named {' or '.join(NEUTRAL_NAMES)}; its classes are {classes}"
        )
    return found[0]


def emotion_classes(manifest: Manifest) -> tuple[str, ...]:
    """All classes but the neutral one, in the corpus's order."""
    neutral = neutral_class(manifest)
    return tuple(name for name in manifest.classes if name != neutral)


def make_functionals(
    manifest: Manifest, config: RankingConfig, workspace: Workspace, *, progress: Progress = silent
) -> Artifact:
    """Stage `functionals`: openSMILE's utterance-level functionals, `functionals.npy` float32 (U, D) in manifest order.

    Raises BadInputError for an utterance that openSMILE cannot describe (too short for its windows).
    """
    import opensmile

    settings = {"feature_set": config.feature_set}
    inputs = [manifest.fingerprint]
    with workspace.store.claim("functionals", settings=settings, inputs=inputs, modules=FUNCTIONALS_MODULES) as claim:
        if claim.done:
            return claim.artifact
        smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet[config.feature_set], feature_level=opensmile.FeatureLevel.Functionals
        )
        functionals_UD = np.empty((len(manifest.utterances), smile.num_features), dtype=np.float32)
        what = f"{config.feature_set} functionals of {manifest.corpus}"
        for done, utterance in enumerate(manifest.utterances):
            progress(what, done, len(manifest.utterances))
            samples_N = read_audio(utterance.path, start=utterance.start, end=utterance.end)
            # openSMILE takes 16-bit samples, and its binding lets an overshoot wrap round instead of clipping it
            clipped_N = np.clip(samples_N, -1.0, 32767 / 32768)
            functionals_UD[done] = smile.process_signal(clipped_N, SAMPLE_RATE).to_numpy()[0]
            if not np.isfinite(functionals_UD[done]).all():
                raise BadInputError(
                    f"{utterance.path}: openSMILE {config.feature_set} gives values that are not finite "
                    f"({len(samples_N) / SAMPLE_RATE:.3f} s; too short?)"
                )
        np.save(claim.out / "functionals.npy", functionals_UD)
        progress(what, len(manifest.utterances), len(manifest.utterances))
    return claim.artifact


def normalise_by_speaker(functionals_UD: NDArray[np.float32], speakers_U: Sequence[str]) -> NDArray[np.float64]:
    """Each speaker's functionals to zero mean and unit deviation, without looking at labels (ours).

    A functional that is constant over a speaker's utterances becomes 0. Raises CorpusError for a speaker with a single
    utterance, of whom nothing would be left.
    """
    normal_UD = np.empty(functionals_UD.shape, dtype=np.float64)
    names = np.asarray(speakers_U)
    for speaker in sorted(set(speakers_U)):
        own_U = names == speaker
        if own_U.sum() < 2:
            raise CorpusError(f"speaker {speaker!r}: has 1 utterance, ranking by emotional intensity needs at least 2")
        own_UD = functionals_UD[own_U].astype(np.float64)
        mean_D, deviation_D = own_UD.mean(axis=0), own_UD.std(axis=0)
        constant_D = deviation_D <= 1e-6 * np.maximum(np.abs(mean_D), 1e-12)
        normal_UD[own_U] = np.where(constant_D, 0.0, (own_UD - mean_D) / np.where(constant_D, 1.0, deviation_D))
    return normal_UD


def fit_direction(ordered_PD: NDArray[np.float64], similar_QD: NDArray[np.float64], *, c: float) -> NDArray[np.float64]:
    """The ranking direction w, shape (D,), that minimises eq. 3–6 of Parikh & Grauman (2011):

        ½‖w‖² + c · (Σ_P max(0, 1 − w·d)² + Σ_Q (w·e)²)

    `ordered_PD`: differences d = x_stronger − x_weaker; `similar_QD`: differences e of pairs of equal strength (sign is
    irrelevant). Solved in the primal by Newton steps over the set of violated pairs (Chapelle 2007), which is exact
    here because the objective is quadratic as long as that set stays the same.
    """
    dims = ordered_PD.shape[1]
    fixed_DD = np.eye(dims) + 2 * c * similar_QD.T @ similar_QD
    w_D, violated_P = np.zeros(dims), np.ones(len(ordered_PD), dtype=bool)

    def objective(v_D: NDArray[np.float64]) -> float:
        hinge_P = np.maximum(0.0, 1 - ordered_PD @ v_D)
        return float(0.5 * v_D @ fixed_DD @ v_D + c * hinge_P @ hinge_P)

    for _ in range(200):
        active_PD = ordered_PD[violated_P]
        newton_D = np.linalg.solve(fixed_DD + 2 * c * active_PD.T @ active_PD, 2 * c * active_PD.sum(axis=0))
        step = 1.0
        while step > 1e-6 and objective(w_D + step * (newton_D - w_D)) > objective(w_D):
            step /= 2
        w_D = w_D + step * (newton_D - w_D)
        now_violated_P = ordered_PD @ w_D < 1
        if step <= 1e-6 or (step == 1.0 and np.array_equal(now_violated_P, violated_P)):
            break
        violated_P = now_violated_P
    return w_D


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """One emotion's ranking function: strength = (w·x − lowest) / (highest − lowest), w of shape (D,)."""

    direction: NDArray[np.float64]
    lowest: float
    highest: float

    def strength(self, normal_UD: NDArray[np.float64]) -> NDArray[np.float64]:
        """Strength of utterances, shape (U,): [0, 1] where it was fitted, possibly beyond for others."""
        return (normal_UD @ self.direction - self.lowest) / (self.highest - self.lowest)


def fit_rankings(
    normal_UD: NDArray[np.float64], labels_U: Sequence[str], neutral: str, *, config: RankingConfig, seed: int
) -> dict[str, Ranking]:
    """One Ranking per emotion among `labels_U`, learnt against `neutral`.

    Pairs are drawn with replacement from the stream (seed, "ranking", emotion): `pairs_per_class` ordered ones, and as
    many similar ones, half within the emotion and half within neutral (ours). Scaled so that the emotional and neutral
    utterances it was fitted on span [0, 1] (published: [0, 1] over the corpus). Raises CorpusError when a class has
    fewer than two utterances.
    """
    labels = np.asarray(labels_U)
    counts = {name: int((labels == name).sum()) for name in (neutral, *sorted(set(labels_U)))}
    short = [f"{name!r} has {count}" for name, count in counts.items() if count < 2]
    if short or len(counts) < 2:
        found = "; ".join(short) or f"there is only {neutral!r}"
        raise CorpusError(f"ranking by emotional intensity: every class needs at least 2 utterances, {found}")
    return {
        emotion: _fit_one(
            normal_UD[labels == emotion], normal_UD[labels == neutral], config, stream(seed, "ranking", emotion)
        )
        for emotion in counts
        if emotion != neutral
    }


def _fit_one(
    emotional_UD: NDArray[np.float64],
    neutral_UD: NDArray[np.float64],
    config: RankingConfig,
    random: np.random.Generator,
) -> Ranking:
    pairs = config.pairs_per_class

    def draw(from_UD: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        return from_UD[random.integers(len(from_UD), size=count)]

    ordered_PD = draw(emotional_UD, pairs) - draw(neutral_UD, pairs)
    half = pairs // 2
    within_emotion = draw(emotional_UD, pairs - half) - draw(emotional_UD, pairs - half)
    within_neutral = draw(neutral_UD, half) - draw(neutral_UD, half)
    w_D = fit_direction(ordered_PD, np.concatenate([within_emotion, within_neutral]), c=config.c)
    scores_U = np.concatenate([emotional_UD, neutral_UD]) @ w_D
    if scores_U.max() <= scores_U.min():
        raise CorpusError("ranking by emotional intensity: emotional and neutral utterances have the same functionals")
    return Ranking(direction=w_D, lowest=float(scores_U.min()), highest=float(scores_U.max()))


def strength_labels(
    rankings: Mapping[str, Ranking],
    normal_UD: NDArray[np.float64],
    labels_U: Sequence[str],
    *,
    strength: Literal["own", "any"] = "own",
) -> NDArray[np.float64]:
    """Strength of each utterance, shape (U,).

    `own`: by its own emotion's ranking, a neutral one by the mean of all (ours). `any`: the largest of all emotions'
    strengths, whatever the utterance's label says (ours): strongly expressed is what is far from neutral in the way of
    some emotion, and a sad utterance may be so by being loud.
    """
    by_emotion = {emotion: ranking.strength(normal_UD) for emotion, ranking in rankings.items()}
    if strength == "any":
        largest_U: NDArray[np.float64] = np.max(list(by_emotion.values()), axis=0)
        return largest_U
    mean_U = np.mean(list(by_emotion.values()), axis=0)
    return np.array([by_emotion[label][u] if label in by_emotion else mean_U[u] for u, label in enumerate(labels_U)])
