"""Sweeps whose truth is known, at the sizes of IEMOCAP and EmoDB: who was right, utterance by utterance.

Letters in names: A systems (twins first), K seeds, F folds, S speakers, C classes, N utterances.
"""

from __future__ import annotations

__all__ = ["EMODB", "IEMOCAP", "Corpus", "Scenario", "gains", "simulate"]

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True, kw_only=True)
class Corpus:
    name: str
    counts: tuple[tuple[int, ...], ...]
    """Utterances by speaker and class."""
    folds: tuple[int, ...]
    """Fold that tests each speaker."""

    @cached_property
    def totals(self) -> NDArray[np.int64]:
        counts_SC = np.array(self.counts)
        total = np.zeros((max(self.folds) + 1, *counts_SC.shape), dtype=np.int64)
        total[self.folds, np.arange(len(counts_SC))] = counts_SC
        return total

    @cached_property
    def speaker_of(self) -> NDArray[np.intp]:
        return np.repeat(np.arange(len(self.counts)), np.array(self.counts).sum(axis=1))

    @cached_property
    def class_of(self) -> NDArray[np.intp]:
        return np.concatenate([np.repeat(np.arange(len(row)), row) for row in self.counts])


IEMOCAP = Corpus(
    name="IEMOCAP",
    counts=(
        *((180, 145, 101, 103), (204, 133, 128, 91)),
        *((181, 150, 75, 100), (181, 177, 62, 97)),
        *((170, 140, 122, 137), (150, 146, 118, 168)),
        *((119, 164, 157, 80), (139, 139, 170, 63)),
        *((196, 212, 90, 115), (188, 230, 80, 130)),
    ),
    folds=(0, 0, 1, 1, 2, 2, 3, 3, 4, 4),
)
"""Sessions and classes (neutral, happy, angry, sad) as published, 5,531 utterances; how a session's are shared between
its two speakers is made up."""

EMODB = Corpus(
    name="EmoDB",
    counts=(
        *((14, 7, 11, 7), (12, 11, 10, 9), (13, 4, 9, 4), (10, 4, 4, 3), (11, 8, 9, 7)),
        *((12, 2, 4, 4), (12, 10, 9, 5), (16, 8, 7, 10), (13, 6, 11, 4), (14, 11, 5, 9)),
    ),
    folds=tuple(range(10)),
)
"""Anger, happiness, neutral, sadness by speaker, as in the corpus: 339 utterances."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A sweep in which no arm differs from its twin, on average over speakers and seeds. Spreads are sds of shares."""

    corpus: Corpus
    spread: float
    """Between speakers, of the difference arm − twin and of how hard a speaker is."""
    seeds: int
    seed_spread: float = 0.0
    """Of the difference between seeds, for all folds at once: an upstream that all folds share."""
    run_spread: float = 0.014
    """Of the difference between trainings of one fold: its speakers share the model."""
    twins: int = 9
    arms_per_twin: int = 3
    likeness: float = 0.9
    """Share of variance that two systems' answers to one utterance have in common (12 % of answers then differ, as in
    a real sweep on EmoDB)."""

    @property
    def twin_of(self) -> list[int]:
        """System number of each arm's twin."""
        return [arm // self.arms_per_twin for arm in range(self.twins * self.arms_per_twin)]


def simulate(scenario: Scenario, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Whether each system answers each utterance rightly under each seed, shape (A, K, N); twins come first.

    A speaker's own effect on an arm and on its twin, a training's and a seed's add up in the chance of a right answer,
    so that the true difference is 0 in every class. An answer is right when the utterance's difficulty, shared by all
    systems, and the system's luck together stay below what that chance says (one-factor Gaussian copula).
    """
    corpus, half = scenario.corpus, np.sqrt(0.5)
    n_systems, n_speakers = scenario.twins * (1 + scenario.arms_per_twin), len(corpus.counts)
    shape = (n_systems, scenario.seeds)
    level_C = 0.65 + np.array([0.0, -0.08, 0.05, 0.03])
    chance = level_C + scenario.spread * rng.standard_normal((n_speakers, 1))
    chance = chance + half * scenario.spread * rng.standard_normal((n_systems, 1, n_speakers, 1))
    runs = rng.standard_normal((*shape, max(corpus.folds) + 1))[:, :, np.array(corpus.folds), None]
    chance = chance + half * scenario.run_spread * runs
    chance = chance + half * scenario.seed_spread * rng.standard_normal((*shape, 1, 1))
    bound = stats.norm.ppf(np.clip(chance, 0.02, 0.98)).astype(np.float32)
    hard_N = rng.standard_normal(corpus.speaker_of.size, dtype=np.float32) * np.float32(np.sqrt(scenario.likeness))
    right = np.empty((*shape, corpus.speaker_of.size), dtype=np.bool_)
    for system in range(n_systems):
        luck_KN = rng.standard_normal((scenario.seeds, hard_N.size), dtype=np.float32)
        luck_KN *= np.float32(np.sqrt(1 - scenario.likeness))
        right[system] = luck_KN + hard_N < bound[system][:, corpus.speaker_of, corpus.class_of]
    return right


def gains(corpus: Corpus, arm_KN: NDArray[np.bool_], twin_KN: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Right answers of the arm minus those of its twin, shape (K, F, S, C)."""
    difference_KN = arm_KN.astype(np.float64) - twin_KN
    cell_N = corpus.speaker_of * len(corpus.counts[0]) + corpus.class_of
    starts = np.flatnonzero(np.diff(cell_N, prepend=-1))
    gain_KSC = np.zeros((len(arm_KN), len(corpus.counts) * len(corpus.counts[0])))
    gain_KSC[:, cell_N[starts]] = np.add.reduceat(difference_KN, starts, axis=1)
    gain = np.zeros((len(arm_KN), *corpus.totals.shape))
    gain[:, corpus.folds, np.arange(len(corpus.counts))] = gain_KSC.reshape(len(arm_KN), *np.shape(corpus.counts))
    return gain
