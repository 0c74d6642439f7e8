"""What arms and twins are in each system, in words: what a report says differs with what was under test."""

from __future__ import annotations

__all__ = ["SYSTEMS", "SystemWords", "arm_and_twin", "definitions"]

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.answers import Answers

EMS = "ems"


@dataclass(frozen=True, kw_only=True)
class SystemWords:
    """A system for readers who have not met it."""

    said: str
    twin: str
    """What an arm's twin has in the place of the thing under test."""


SYSTEMS = {
    EMS: SystemWords(said="emotion-aware masking in pre-training", twin="masks at random"),
    "sap": SystemWords(said="pooling over speech frames", twin="takes the mean over all frames"),
    "frame_alignment": SystemWords(
        said="frame-level emotional state alignment",
        twin="goes from pre-training on the task's audio straight to fine-tuning, without pseudo-labels",
    ),
    "teacher_student": SystemWords(
        said="a speech student of a teacher that also reads the words", twin="learns from the labels alone"
    ),
}
DIMENSIONS_SAID = (
    "CCC, concordance correlation (Lin 1989): 2·cov / (var + var + (mean − mean)²) of true and predicted values, 1 "
    "where they are equal; of activation, valence and dominance, each within a fold, and the mean of the three (mean "
    "CCC). It is no share: values and differences are in units of CCC.",
    "Intervals and tests of CCC: the CCC of a fold is no mean over its speakers, so a difference is taken apart by the "
    "influence of each utterance on it (infinitesimal jackknife; Jaeckel 1972), summed by speaker, and goes on as the "
    "others do. This holds to first order; where folds have few speakers, what whole folds differ by counts when it is "
    "more (ours). Its sign flips swap these influences, not the answers themselves.",
)


def arm_and_twin(systems: Sequence[str]) -> str:
    """What an arm is and what its twin, in one sentence or two per system."""
    if tuple(systems) == (EMS,):
        return "An arm is one setting of the masking; its twin shares everything with it but masks at random."
    named = [(system, SYSTEMS[system]) for system in systems if system in SYSTEMS]
    each = "; ".join(f"{system} ({words.said}): {words.twin}" for system, words in named)
    said = "An arm is one setting of a system; its twin shares everything with it but the thing under test."
    return f"{said} The twin of {each}." if each else said


def definitions(lines: Sequence[str], systems: Sequence[str], answers: Sequence[Answers]) -> tuple[str, ...]:
    """The definitions under a report. `lines`: those of a sweep of EMS, what an arm is and UA among them."""
    if tuple(systems) == (EMS,) and "dimensions" not in answers:
        return tuple(lines)
    first = f"{arm_and_twin(systems)} Each is trained and tested once under each seed."
    kept = [line for line in lines[1:] if "classes" in answers or not line.startswith(("UA,", "WA,"))]
    return (first, *kept, *(DIMENSIONS_SAID if "dimensions" in answers else ()))
