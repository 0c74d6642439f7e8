"""The metrics of the tables: how they are called, in which column they stand, and how people read them.

UA and WA are shares, shown in percent; a CCC is no share and is shown as it is, with three decimals.
"""

from __future__ import annotations

__all__ = ["MEASURES", "PRIMARY", "Measure", "measure_of", "primary_of"]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import wording
from analysis.answers import Answers
from analysis.paired import Metric
from analysis.wording import DASH


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One metric of `results` and `comparisons`."""

    said: str
    column: str
    """Of `results`, without `_mean` and `_sd`."""
    is_share: bool
    """Whether people read it in percent, and its differences in points."""
    digits: int
    """Decimals in tables for people."""

    @property
    def scale(self) -> float:
        """What the number in a file is multiplied by for people."""
        return 100.0 if self.is_share else 1.0

    @property
    def unit(self) -> str:
        """After a difference, in a sentence."""
        return " points" if self.is_share else ""

    @property
    def sign(self) -> str:
        """After a score, in a sentence."""
        return " %" if self.is_share else ""

    def score(self, value: float | None, *, more: int = 0) -> str:
        """`63.1`, `0.545`; a dash where there is none. `more`: further decimals."""
        if value is None or math.isnan(value):
            return DASH
        return f"{self.scale * value:.{self.digits + more}f}".replace("-", "−")

    def mean_sd(self, mean: float | None, sd: float | None, *, more: int = 0) -> str:
        """`63.1 ± 2.0`, `0.545 ± 0.020`; only the mean when there is one cell."""
        tail = "" if sd is None or math.isnan(sd) else f" ± {self.score(sd, more=more)}"
        return self.score(mean, more=more) + tail

    def difference(self, value: float | None, *, more: int = 0) -> str:
        """`+3.0`, `−0.021`."""
        return wording.points(None if value is None else value * self.scale / 100, self.digits + more)

    def interval(self, low: float | None, high: float | None, *, more: int = 0) -> str:
        """`[−1.0, +3.0]`; a dash where there is none."""
        return DASH if low is None else f"[{self.difference(low, more=more)}, {self.difference(high, more=more)}]"


def _share(said: str, column: str) -> Measure:
    return Measure(said=said, column=column, is_share=True, digits=1)


def _ccc(said: str, column: str) -> Measure:
    return Measure(said=said, column=column, is_share=False, digits=3)


MEASURES: Mapping[Metric, Measure] = {
    "ua": _share("UA", "ua"),
    "wa": _share("WA", "wa"),
    "ccc_mean": _ccc("mean CCC", "ccc"),
    "ccc_activation": _ccc("CCC of activation", "ccc_activation"),
    "ccc_valence": _ccc("CCC of valence", "ccc_valence"),
    "ccc_dominance": _ccc("CCC of dominance", "ccc_dominance"),
}
PRIMARY: Mapping[Answers, Metric] = {"classes": "ua", "dimensions": "ccc_mean"}
"""By which arms are chosen, and of which sentences speak."""


def measure_of(row: Mapping[str, Any]) -> Measure:
    """Of a row of comparisons."""
    metric: Metric = row["metric"]
    return MEASURES[metric]


def primary_of(comparisons: pd.DataFrame, arm_key: str) -> Metric:
    """The primary metric that an arm was compared in."""
    own = set(comparisons.loc[comparisons["arm_key"] == arm_key, "metric"])
    return PRIMARY["dimensions"] if PRIMARY["dimensions"] in own else PRIMARY["classes"]
