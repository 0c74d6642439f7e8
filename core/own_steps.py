"""How many steps a system takes after its upstreams, known before it runs: for progress and time left (ours)."""

from __future__ import annotations

__all__ = ["own_steps"]

from core.config import TrialConfig
from core.corpora.folds import Folds


def own_steps(config: TrialConfig, folds: Folds) -> int:
    """Steps of a system's own loops over all folds; those of a probe are counted nowhere.

    Models that a trial shares with another, which has made them, are counted all the same: they are told at once.
    """
    if config.system == "frame_alignment":
        alignment = config.alignment
        tuned = [alignment.tuning.epochs * -(-len(fold.train) // alignment.tuning.batch) for fold in folds.folds]
        adapted = 1 if _adapts_once(config) else len(tuned)
        if not alignment.aligned:
            return adapted * alignment.units.updates + sum(tuned)
        return (adapted + len(tuned)) * alignment.units.updates + 2 * sum(tuned)
    if config.system == "teacher_student":
        teacher = config.teacher
        models = {"none": 1, "teacher": 1}.get(teacher.weighting, 1 + _teachers(config))
        return len(folds.folds) * models * teacher.steps
    return 0


def _adapts_once(config: TrialConfig) -> bool:
    """Whether the folds share one adaptation: where all of them begin at one upstream and hear the same."""
    one_upstream = not (config.pretrains and config.pretraining_audio.source == "fold")
    return one_upstream and config.alignment.audio == "transductive"


def _teachers(config: TrialConfig) -> int:
    return 1 if config.teacher.outputs == "in-sample" else config.teacher.inner_folds
