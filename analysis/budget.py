"""Is the gain there at the same cost? Every arm beside its twin, and beside the random arm nearest in each budget.

Three budgets: updates of the weights, hidden frames (what there was to learn from), and device-seconds. What an arm
needs before training (its intensity model and the tracks) is in none of them.
"""

from __future__ import annotations

__all__ = ["BUDGETS", "COLUMNS", "Budget", "budget_sentences", "budget_table"]

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from analysis.compared import compared, matched
from analysis.comparisons import RESAMPLES, Pair, planned_pairs
from analysis.intervals import paired_interval
from analysis.load import Arm, Part, Sweep
from analysis.tables import Row, as_rows
from analysis.wording import count
from core.records import Record


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Something that is spent on an arm."""

    name: str
    tolerance: float
    """Largest relative difference at which two arms count as matched: counts are exact, clocks are not."""
    free: tuple[str, ...]
    """Settings in which a random arm may differ from the twin and still be the same thing at another budget."""

    def spent(self, record: Record) -> float:
        """NaN where the record does not know."""
        values = {
            "updates": record.cost and record.cost.steps,
            "hidden frames": record.mask and record.mask.hidden_frames,
            "device-seconds": record.cost and record.cost.device_seconds,
        }
        return float(values[self.name] or math.nan)


BUDGETS = (
    Budget(name="updates", tolerance=0.01, free=("pretrain.steps",)),
    Budget(name="hidden frames", tolerance=0.01, free=("pretrain.steps", "masking.policy", "masking.ratio")),
    Budget(name="device-seconds", tolerance=0.05, free=("pretrain.steps",)),
)
IGNORED = ("seed", "compute")
"""Settings that make no other arm."""
COLUMNS = [
    *("arm", "twin", "upstream", "budget", "spent", "twin_spent", "ratio"),
    *("nearest", "nearest_spent", "nearest_ratio", "matched", "n_seeds", "difference", "ci_low", "ci_high"),
    *("arm_key", "twin_key", "nearest_key"),
]


def budget_table(
    sweep: Sweep,
    tests: Mapping[str, Part],
    comparisons: pd.DataFrame,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per arm that was compared with its twin, and budget (BUDGETS).

    - spent, twin_spent, ratio (spent / twin_spent): means over the seeds that both have
    - nearest: of the twin and the random arms of this sweep that differ from it in `Budget.free` alone, the one whose
      budget is nearest to the arm's (by ratio; the twin itself where it is matched); nearest_spent, nearest_ratio
    - matched: whether `nearest_ratio` is 1 within `Budget.tolerance`. Where it is not, the sweep holds no such arm.
    - difference, ci_low, ci_high: test UA of the arm minus that of `nearest`, over n_seeds; not corrected for the
      number of rows. Where `nearest` is the twin, that of `comparisons`.

    A budget that the records of an arm do not know has no row. Shares in [0, 1].
    """
    family = _Family(sweep)
    known = {row["arm_key"]: row for row in as_rows(comparisons) if row["kind"] == "twin" and row["metric"] == "ua"}
    rows = []
    spendings = {budget.name: _Spending(budget) for budget in BUDGETS}
    for pair in planned_pairs(sweep):
        if pair.kind != "twin" or not known[pair.arm.key]["n_pairs"]:
            continue
        for budget in BUDGETS:
            row = _row(pair, spendings[budget.name], family)
            if row is None:
                continue
            if row["nearest_key"] == pair.against.key:
                held: Mapping[str, Any] = known[pair.arm.key]
            else:
                held = _held(pair.arm, sweep.arms[str(row["nearest_key"])], tests, resamples=resamples, seed=seed)
            rows.append(row | {name: held[name] for name in ("n_seeds", "difference", "ci_low", "ci_high")})
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(("difference", "ci_low", "ci_high"), "float64"))


def budget_sentences(table: pd.DataFrame) -> tuple[str, ...]:
    """One sentence per budget: how many arms match their twin, and what of the others. Empty for an empty table."""
    return tuple(
        _sentence(budget, rows) for budget in BUDGETS if not (rows := table[table["budget"] == budget.name]).empty
    )


class _Family:
    """Random arms of a sweep, and which of them are a twin at another budget."""

    def __init__(self, sweep: Sweep) -> None:
        settings = [
            (arm, _flat(arm.records[0].config)) for arm in sweep.planned if arm.control == "none" and arm.records
        ]
        self._same: dict[str, dict[str, str]] = {}
        self._random: dict[tuple[str, str], list[Arm]] = {}
        for budget in BUDGETS:
            said = {arm.key: repr(sorted(_kept(flat, budget.free).items())) for arm, flat in settings}
            self._same[budget.name] = said
            for arm in (arm for arm, _ in settings if _is_random(arm)):
                self._random.setdefault((budget.name, said[arm.key]), []).append(arm)

    def others(self, twin: Arm, budget: Budget) -> list[Arm]:
        """The random arms that differ from the twin in nothing but `budget.free`."""
        same = self._random.get((budget.name, self._same[budget.name][twin.key]), [])
        return [arm for arm in same if arm.key != twin.key]


class _Spending:
    """What arms spent of one budget. Kept, since an arm is held against many others."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._by_seed: dict[str, dict[int, float]] = {}
        self._means: dict[tuple[str, frozenset[int]], float] = {}

    def of_both(self, arm: Arm, other: Arm) -> tuple[float, float]:
        """Means over the seeds that both have; NaN without one."""
        seeds = frozenset(self._seeds(arm).keys() & self._seeds(other).keys())
        return self._mean(arm, seeds), self._mean(other, seeds)

    def _seeds(self, arm: Arm) -> dict[int, float]:
        if arm.key not in self._by_seed:
            self._by_seed[arm.key] = {record.seed: self.budget.spent(record) for record in arm.records}
        return self._by_seed[arm.key]

    def _mean(self, arm: Arm, seeds: frozenset[int]) -> float:
        if (arm.key, seeds) not in self._means:
            own = [spent for seed, spent in self._seeds(arm).items() if seed in seeds]
            self._means[arm.key, seeds] = fmean(own) if own else math.nan
        return self._means[arm.key, seeds]


def _row(pair: Pair, spending: _Spending, family: _Family) -> Row | None:
    budget, spent, twin_spent = spending.budget, *spending.of_both(pair.arm, pair.against)
    if not (spent > 0 and twin_spent > 0):
        return None
    there = [(pair.against, spent, twin_spent)]
    if not _is_matched(spent / twin_spent, budget):
        both = [(arm, *spending.of_both(pair.arm, arm)) for arm in family.others(pair.against, budget)]
        there += [(arm, own, other) for arm, own, other in both if own > 0 and other > 0]
    nearest, own, other = min(there, key=lambda found: abs(math.log(found[1] / found[2])))
    return {
        "arm": pair.arm.name,
        "twin": pair.against.name,
        "upstream": pair.arm.group,
        "budget": budget.name,
        "spent": spent,
        "twin_spent": twin_spent,
        "ratio": spent / twin_spent,
        "nearest": nearest.name,
        "nearest_spent": other,
        "nearest_ratio": own / other,
        "matched": _is_matched(own / other, budget),
        "arm_key": pair.arm.key,
        "twin_key": pair.against.key,
        "nearest_key": nearest.key,
    }


def _held(arm: Arm, other: Arm, tests: Mapping[str, Part], *, resamples: int, seed: int) -> Row:
    both = matched(arm, other, tests)
    assert both is not None, "budgets were compared over common seeds"
    parts = compared(both, metric="ua").parts
    low, high = paired_interval(parts, resamples=resamples, seed=seed) or (math.nan, math.nan)
    return {"n_seeds": len(parts.by_seed), "difference": parts.difference, "ci_low": low, "ci_high": high}


def _is_matched(ratio: float, budget: Budget) -> bool:
    return abs(math.log(ratio)) <= math.log1p(budget.tolerance)


def _is_random(arm: Arm) -> bool:
    return (mask := arm.records[0].mask) is not None and mask.policy.startswith("random")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Dotted setting → value, without IGNORED.

    >>> _flat({"seed": 1, "masking": {"ratio": 0.15}})
    {'masking.ratio': 0.15}
    """
    found: dict[str, object] = {}
    for key, value in settings.items():
        if not prefix and key in IGNORED:
            continue
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _kept(flat: Mapping[str, object], free: tuple[str, ...]) -> dict[str, object]:
    return {key: value for key, value in flat.items() if key not in free}


def _sentence(budget: Budget, rows: pd.DataFrame) -> str:
    own = rows[rows["nearest_key"] == rows["twin_key"]]
    same, apart = own[own["matched"]], rows[~((rows["nearest_key"] == rows["twin_key"]) & rows["matched"])]
    text = f"{budget.name.capitalize()}: {len(same)} of {count(len(rows), 'arm')} spent what the twin did, within "
    text += f"{100 * budget.tolerance:g} %"
    if len(same):
        text += f" ({_range(same['ratio'])} of it)"
    if apart.empty:
        return text + "."
    text += f"; {len(apart)} did not ({_range(apart['ratio'])})"
    found = apart[apart["matched"]]
    nearer = apart[~apart["matched"] & (apart["nearest_key"] != apart["twin_key"])]
    said = [
        (found, "a random arm of this sweep has spent as much and stands in the twin's place"),
        (nearer, "one is nearer than the twin, but not matched"),
        (apart.drop([*found.index, *nearer.index]), "the sweep holds none that is nearer than the twin"),
    ]
    return text + ": " + "; ".join(f"for {len(part)}, {what}" for part, what in said if len(part)) + "."


def _range(ratios: pd.Series[float]) -> str:
    low, high = f"{ratios.min():.2f}", f"{ratios.max():.2f}"
    return low if low == high else f"{low} to {high}"
