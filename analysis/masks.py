"""Nominal against realised: how many frames a policy really chose, and which pairs therefore mix two questions.

Mockingjay's policy chooses the frames that are hidden. NPC hides nothing in its input (its mask is a hole in its
convolutions): there the policy chooses the frames that enter the loss.
"""

from __future__ import annotations

__all__ = ["MIXES", "RATIO_TOLERANCE", "chosen_frames", "mixes", "mixing_sentence", "policy_table", "shares_clause"]

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.wording import percent

RATIO_TOLERANCE = 0.01
"""Largest difference of realised ratio between two arms that passes without a word (share of frames)."""

MIXES = "mixes which frames with how many"


def chosen_frames(upstreams: Sequence[str]) -> str:
    """What the policies of these upstreams choose, for headings."""
    # A group of a sweep of several systems has its system before it.
    named = {upstream.rpartition(" ")[2] for upstream in upstreams}
    if named == {"npc"}:
        return "in the loss"
    return "hidden (NPC: in the loss)" if "npc" in named else "hidden"


def policy_table(results: pd.DataFrame) -> pd.DataFrame:
    """One row per upstream, policy, control track, nominal ratio and span.

    Columns: those, arms (how many have an audit), realised_ratio (mean over arms), realised_low and realised_high (over
    arms), kept (realised over nominal). Policy `all` has no nominal ratio.
    """
    keys = ["upstream", "policy", "control", "nominal_ratio", "span"]
    audited = results[results["realised_ratio"].notna()]
    grouped = audited.groupby(keys, sort=False, dropna=False)["realised_ratio"]
    table = grouped.agg(arms="count", realised_ratio="mean", realised_low="min", realised_high="max").reset_index()
    table["kept"] = table["realised_ratio"] / table["nominal_ratio"]
    table["off"] = (table["realised_ratio"] - table["nominal_ratio"]).abs() > RATIO_TOLERANCE
    return table


def mixes(arm: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two arms (rows of results) chose shares of the frames that differ by more than RATIO_TOLERANCE."""
    shares = (arm["realised_ratio"], other["realised_ratio"])
    return None not in shares and abs(shares[0] - shares[1]) > RATIO_TOLERANCE


def mixing_sentence(arm: Mapping[str, Any], other: Mapping[str, Any], *, role: str) -> str:
    """`A hides 7.1 % of the frames where its twin B hides 14.0 %, both nominally 15 %` (`role`: `its twin`)."""
    named = f"{role} {other['arm']}"
    return f"{arm['arm']} {shares_clause(arm, other, named=named)}"


def shares_clause(arm: Mapping[str, Any], other: Mapping[str, Any], *, named: str) -> str:
    """`hides 7.1 % of the frames where <named> hides 14.0 %, both nominally 15 %`."""
    own, against = (f"{percent(row['realised_ratio'])} %" for row in (arm, other))
    nominal = _nominal(arm["nominal_ratio"], other["nominal_ratio"])
    if {arm["upstream"], other["upstream"]} == {"npc"}:
        return f"lets {own} of the frames enter the loss where {named} lets {against} enter it{nominal}"
    if "npc" in (arm["upstream"], other["upstream"]):
        return f"hides, or lets enter the loss (NPC), {own} of the frames where {named} does so with {against}{nominal}"
    return f"hides {own} of the frames where {named} hides {against}{nominal}"


def _nominal(arm: float | None, other: float | None) -> str:
    if arm is None or other is None:
        return ""
    if arm == other:
        return f", both nominally {100 * arm:g} %"
    return f", nominally {100 * arm:g} % and {100 * other:g} %"
