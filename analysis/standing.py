"""How much one comparison allows one to say: interval first, then the corrected test."""

from __future__ import annotations

__all__ = ["LEVEL", "Standing", "interval_text", "is_above", "is_shown", "standing"]

from collections.abc import Mapping
from typing import Any, Literal

from analysis.intervals import MIN_SPEAKERS
from analysis.measures import measure_of
from analysis.wording import count

LEVEL = 0.05

Standing = Literal["better", "leans better", "open", "leans worse", "worse", "absent"]
"""`better`, `worse`: interval and corrected test (step-down max-T over the family) agree. `leans …`: the interval
excludes zero, the corrected test does not confirm it: a sign, not proof. `open`: the interval includes zero, or there
is none. `absent`: nothing to compare. One seed alone proves nothing of the arm (`docs/calibration.md`).
"""


def standing(row: Mapping[str, Any] | None) -> Standing:
    """Standing of the arm of a comparison (a row of `as_rows`; None where no such comparison was planned)."""
    if row is None or row["difference"] is None:
        return "absent"
    if row["ci_low"] is None or row["ci_low"] <= 0 <= row["ci_high"]:
        return "open"
    # Under one seed the numbers are about these trained models, not about the arm.
    proven = row["p_corrected"] < LEVEL and row["n_seeds"] > 1
    if row["difference"] > 0:
        return "better" if proven else "leans better"
    return "worse" if proven else "leans worse"


def is_above(found: Standing) -> bool:
    return found in ("better", "leans better")


def is_shown(found: Standing) -> bool:
    """Whether interval and corrected test agree, on either side."""
    return found in ("better", "worse")


def interval_text(row: Mapping[str, Any]) -> str:
    """`95 % interval +1.0 to +5.0 over 10 speakers`, or why there is none."""
    speakers = count(row["n_speakers"], "speaker")
    if row["ci_low"] is None:
        few = row["n_speakers"] < MIN_SPEAKERS
        return f"no interval: {speakers}, too few" if few else f"no interval: hardly any of {speakers} differ"
    measure = measure_of(row)
    return f"95 % interval {measure.difference(row['ci_low'])} to {measure.difference(row['ci_high'])} over {speakers}"
