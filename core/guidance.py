"""What a student learns from labels y and from a teacher's outputs t (ours, after Meng et al. 2019; papers: §4).

B utterances, D dimensions; outputs and labels in standard deviations of the training labels.
"""

from __future__ import annotations

__all__ = ["ccc_loss", "guided_loss"]

import torch
from torch import Tensor

from core.teacher_config import TeacherConfig

TINY = 1e-8
"""Keeps the CCC of two constants from being 0/0; next to variances of about 1 it is nothing."""


def ccc_loss(outputs_BD: Tensor, targets_BD: Tensor) -> Tensor:
    """Mean over dimensions of 1 − CCC over the batch (Lin 1989), a scalar in [0, 2]."""
    out_mean_D, target_mean_D = outputs_BD.mean(0), targets_BD.mean(0)
    out_BD, target_BD = outputs_BD - out_mean_D, targets_BD - target_mean_D
    shared_D = (out_BD * target_BD).mean(0)
    spread_D = out_BD.square().mean(0) + target_BD.square().mean(0) + (out_mean_D - target_mean_D).square()
    return (1 - 2 * shared_D / (spread_D + TINY)).mean()


def guided_loss(student_BD: Tensor, labels_BD: Tensor, teacher_BD: Tensor | None, config: TeacherConfig) -> Tensor:
    """The loss of one batch under `config.weighting`, a scalar.

    `soft`: L_CCC(s, y) + λ · mean over batch and dimensions of q · (s − t)², q = exp(−|t − y| / σ).
    `hard`: L_CCC(s, g), g = t where |t − y| ≤ τ, else y.
    Without a teacher (`none`, and for a teacher itself): L_CCC(s, y), which both become for σ, τ → 0.
    """
    if teacher_BD is None:
        return ccc_loss(student_BD, labels_BD)
    error_BD = (teacher_BD - labels_BD).abs()
    if config.weighting == "hard":
        return ccc_loss(student_BD, torch.where(error_BD <= config.tau, teacher_BD, labels_BD))
    trust_BD = torch.exp(-error_BD / config.sigma)
    pull = (trust_BD * (student_BD - teacher_BD).square()).mean()
    return ccc_loss(student_BD, labels_BD) + config.weight * pull
