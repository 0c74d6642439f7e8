"""Arms that no other beats: in UA against cost, and in every metric at once.

Letters in names: A arms, M metrics.
"""

from __future__ import annotations

__all__ = ["COLUMNS", "front_sentences", "front_table", "non_dominated"]

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.arm_scores import Scores
from analysis.load import Arm, Sweep
from analysis.tables import Row
from analysis.verdict import COSTS, METRICS, SAME_COST
from analysis.wording import count, joined

COLUMNS = ["arm", "upstream", *METRICS, *COSTS, "cost", "front_ua_cost", "front_all", "n_trials", "arm_key"]


def non_dominated(values_AM: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether no other arm is at least as good in all columns (larger is better) and better in one, shape (A).

    >>> non_dominated(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]])).tolist()
    [True, True, False, True]
    """
    found_A = np.empty(len(values_AM), dtype=np.bool_)
    for place, own_M in enumerate(values_AM):
        found_A[place] = not ((values_AM >= own_M).all(axis=1) & (values_AM > own_M).any(axis=1)).any()
    return found_A


def front_table(sweep: Sweep, scores: Scores) -> pd.DataFrame:
    """One row per arm with a complete trial, twins too, controls and imported systems not; means over its seeds.

    METRICS and COSTS, of the test part; absent where not known. cost: which of COSTS counts, `flops` where all arms of
    the upstream have them, else `device_seconds`. front_ua_cost, front_all: whether no other arm of the same upstream
    beats this one in UA and cost, and in cost and all metrics that every arm has. By the means as they are: of arms
    that hardly differ chance decides which one is on the front.
    """
    arms = [arm for arm in sweep.planned if arm.control == "none" and arm.records]
    table = pd.DataFrame([_row(arm, scores) for arm in arms], columns=COLUMNS)
    for _, own in table.groupby("upstream", sort=False):
        costs = [name for name in reversed(COSTS) if own[name].notna().all()][:1]
        table.loc[own.index, "cost"] = costs[0] if costs else None
        signed = {name: 1.0 if metric.higher_is_better else -1.0 for name, metric in (METRICS | COSTS).items()}
        full = [name for name in METRICS if own[name].notna().all()] + costs
        for front, names in {"front_ua_cost": ["ua", *costs], "front_all": full}.items():
            values_AM = np.column_stack([signed[name] * own[name].to_numpy(dtype=np.float64) for name in names])
            table.loc[own.index, front] = non_dominated(values_AM)
    return table.astype({"front_ua_cost": "bool", "front_all": "bool"})


def front_sentences(table: pd.DataFrame) -> tuple[str, ...]:
    """Which arms are on the fronts, one sentence or two per upstream."""
    return tuple(_sentence(str(upstream), own) for upstream, own in table.groupby("upstream", sort=False))


def _row(arm: Arm, scores: Scores) -> Row:
    found = [scores.of(record) for record in arm.records]
    row: Row = {"arm": arm.name, "upstream": arm.group, "arm_key": arm.key, "n_trials": len(found), "cost": None}
    for name in METRICS:
        row[name] = float(np.mean([one[name][0] for one in found])) if all(name in one for one in found) else math.nan
    for name in COSTS:
        spent = [getattr(record.cost, name, None) for record in arm.records]
        known = [float(value) for value in spent if value]
        row[name] = float(np.mean(known)) if len(known) == len(spent) else math.nan
    return row | {"front_ua_cost": False, "front_all": False}


def _sentence(upstream: str, own: pd.DataFrame) -> str:
    name, arms = own["cost"].iloc[0], count(len(own), f"{upstream} arm")
    on = own[own["front_ua_cost"]].sort_values("ua", ascending=False)
    listed = joined(on["arm"].tolist()) if len(on) <= 5 else f"{count(len(on), 'arm')}"
    if name is None:
        text = f"Of {arms} no cost is known; the highest test UA has {listed}."
    elif own[name].max() / own[name].min() <= 1 + SAME_COST:
        text = f"All {arms} cost the same in {COSTS[name].said}; the highest test UA has {listed}."
    else:
        text = f"In test UA against {COSTS[name].said}, no other {upstream} arm beats {listed} (of {len(own)})."
    return text + f" In all metrics at once, {len(own[own['front_all']])} of {len(own)} are beaten by no other."
