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
        return (2 if alignment.aligned else 1) * (len(tuned) * alignment.units.updates + sum(tuned))
    if config.system == "teacher_student":
        teacher = config.teacher
        models = {"none": 1, "teacher": 1}.get(teacher.weighting, 1 + _teachers(config))
        return len(folds.folds) * models * teacher.steps
    return 0


def _teachers(config: TrialConfig) -> int:
    return 1 if config.teacher.outputs == "in-sample" else config.teacher.inner_folds
