"""What trials logged while they ran, as the command line hands it over: where MLflow shows them, and their curves."""

from __future__ import annotations

__all__ = ["Curves", "Logged"]

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import pandas as pd

Curves = Callable[[Collection[str], Collection[str]], pd.DataFrame]
"""(trial keys, metrics) → their points: trial_key, metric, step (optimizer steps, over all upstreams of the trial),
value. Asked for the trials that are drawn alone: the points of all of them may be millions."""


@dataclass(frozen=True, kw_only=True)
class Logged:
    """Empty where only the records are at hand."""

    pages: Mapping[str, str] = field(default_factory=dict)
    """Trial key → address of its run in MLflow, of the trials that have one."""
    shown_by: str = ""
    """The command that must be running for these addresses to answer; empty where a server answers."""
    curves: Curves | None = None
