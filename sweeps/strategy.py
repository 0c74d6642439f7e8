"""How a sweep spends its budget: which points it tries, when it stops one, when it adds seeds, what it may take."""

from __future__ import annotations

__all__ = ["LimitsConfig", "Objective", "RacingConfig", "Range", "SearchConfig", "StopConfig", "rungs"]

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from core.config import Config

Objective = Literal["difference", "ua"]
"""What search and early stopping look at, both on validation: UA of the arm less that of its twin, over the same seeds
and folds, or UA alone."""


class Range(Config):
    """An axis without a list of values, for search: whole numbers where both ends (and the step) are."""

    low: int | float
    high: int | float
    log: bool = False
    """Drawn evenly in the logarithm."""
    step: int | float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"high: {self.high} is not over low {self.low}")
        if self.log and self.low <= 0:
            raise ValueError(f"low: {self.low}, a logarithm needs more than 0")
        if self.log and self.step is not None and not (self.whole and self.step == 1):
            raise ValueError("step: not with log")
        return self

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    def __str__(self) -> str:
        words = [f"{self.low:g} … {self.high:g}"]
        if self.log:
            words.append("log")
        if self.step is not None:
            words.append(f"step {self.step:g}")
        return " ".join(words)


class SearchConfig(Config):
    """Try some points of the space, one batch after the other, instead of all of them."""

    method: Literal["random", "quasi-random", "tpe", "nsga2"]
    """Uniform draws; Sobol' points; tree-structured Parzen estimator (Bergstra et al. 2011); NSGA-II (Deb et al. 2002)
    on the objective and, minimised, the training cost."""
    points: int = Field(ge=1)
    """How many different points are tried in all."""
    batch: int = Field(default=4, ge=1)
    """Points that are chosen together, when all of the batch before have ended (ours): so what is suggested depends on
    results only, never on which worker was faster, and a search that is interrupted goes the same way."""
    seed: int = Field(default=0, ge=0)


class StopConfig(Config):
    """Stop arms early that look bad on validation. Twins and controls are never stopped."""

    rule: Literal["asha", "median"]
    """Asynchronous successive halving (Li et al. 2020), or the median rule (Golovin et al. 2017)."""
    first: int = Field(ge=1)
    """First look, in optimizer steps over all upstreams of a trial."""
    factor: float = Field(default=3.0, gt=1)
    """`asha`: one of `factor` arms goes on at each look, and each look comes after `factor` times the steps."""
    every: int | None = Field(default=None, ge=1)
    """`median`: steps between two looks; None: `first`."""
    probe_steps: int = Field(default=200, ge=1)
    """Steps of the probe that looks."""


class RacingConfig(Config):
    """Give an arm the seeds of the sweep one by one, until the interval of its difference to the twin leaves zero."""

    start: int = Field(default=2, ge=1)
    """Seeds that every arm gets."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Level of the intervals, shared out evenly over all looks (Bonferroni), so that looking often decides nothing."""


class LimitsConfig(Config):
    """What a sweep may take before it stops or waits. None: no limit."""

    trial_minutes: float | None = Field(default=None, gt=0)
    """A trial that runs longer in one go has failed (time-out)."""
    failures: int | None = Field(default=None, ge=1)
    """After so many failures of one kind nothing new is started."""
    disk_gb: float | None = Field(default=None, gt=0)
    """Quota of the workspace's artifact store."""
    free_gb: float = Field(default=0.5, ge=0)
    """The sweep waits while the workspace's disk has less than this."""


def rungs(stop: StopConfig, total: int) -> tuple[int, ...]:
    """The steps before `total` at which a trial of `total` optimizer steps is looked at.

    >>> rungs(StopConfig(rule="asha", first=10), 300)
    (10, 30, 90, 270)
    >>> rungs(StopConfig(rule="median", first=100), 300)
    (100, 200)
    """
    looks = []
    step: float = stop.first
    while (at := math.ceil(step)) < total:
        looks.append(at)
        step = step * stop.factor if stop.rule == "asha" else step + (stop.every or stop.first)
    return tuple(dict.fromkeys(looks))
