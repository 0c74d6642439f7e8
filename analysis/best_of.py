"""How good is the best of n arms, and what does it cost to find it? Expected best score against number and budget.

Letters in names: A arms with a score.
"""

from __future__ import annotations

__all__ = ["COLUMNS", "best_of_table", "draw_best_of", "expected_best"]

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.special import gammaln

from analysis.figures import DOUBLE, Drawing
from analysis.load import Arm, Sweep
from analysis.svg import ACCENT, INK, MUTED, SECOND, styled
from core.errors import BadInputError

MOST_POINTS = 60
"""Numbers of arms at which a curve is worked out; more arms have them ever further apart."""
COLUMNS = [
    *("upstream", "pool", "n", "arms", "scored", "validation_ua", "test_ua", "device_seconds", "flops"),
    "unknown_costs",
]
LOOKS = {"arms": ("o", ACCENT, ACCENT), "twins": ("D", SECOND, "none")}
"""Pool → mark, colour and fill."""
UNITS = ((7200.0, 3600.0, "device-hours"), (300.0, 60.0, "device-minutes"), (0.0, 1.0, "device-seconds"))
"""From how many seconds on, how many of them, name."""


def expected_best(
    validation_A: NDArray[np.float64], test_A: NDArray[np.float64], *, unscored: int, n: int
) -> tuple[float, float]:
    """Expected validation score of the best of n arms drawn without replacement, and test score of the one picked.

    n of A + `unscored` arms are drawn, all sets equally likely; the one with the largest validation score is picked
    (the later on ties). Arms that ended without a score are never picked; the mean is over draws with a scored arm.
    Expected validation performance (Dodge et al. 2019, EMNLP) by the unbiased estimator of Tang et al. (2020, ACL): the
    arm of rank r of N is the best of n with probability C(r − 1, n − 1) / C(N, n). The test score and arms without a
    score are ours.

    Raises BadInputError without a scored arm, or for n not in 1 … A + unscored.

    >>> expected_best(np.array([0.5, 0.7, 0.6]), np.array([0.4, 0.5, 0.6]), unscored=0, n=3)
    (0.7, 0.5)
    >>> [round(score, 4) for score in expected_best(np.array([0.5, 0.7]), np.array([0.4, 0.6]), unscored=1, n=1)]
    [0.6, 0.5]
    """
    total = len(validation_A) + unscored
    if not len(validation_A) or not 1 <= n <= total:
        raise BadInputError(f"best of n: n must be in 1 … {total} with at least 1 scored arm of them, got {n}")
    order_A = np.argsort(validation_A, kind="stable")
    rank_A = unscored + 1 + np.arange(len(validation_A))
    chance_A = np.where(rank_A >= n, np.exp(_log_choose(rank_A - 1, n - 1) - _log_choose(np.array(total), n)), 0.0)
    chance_A /= chance_A.sum()
    return float(chance_A @ validation_A[order_A]), float(chance_A @ test_A[order_A])


def best_of_table(sweep: Sweep) -> pd.DataFrame:
    """One row per upstream, pool (`arms`: those with a twin, without controls; `twins`) and number of arms drawn.

    An arm's score is its mean over folds and complete seeds. Columns: arms (started, whatever came of them), scored,
    validation_ua and test_ua (`expected_best`), device_seconds and flops (what n arms of the pool cost on average, all
    their trials counted, pruned and failed ones too; NaN where no record knows), unknown_costs (trials that ended
    without a cost in their record: the budget is too low by theirs). A pool without a scored arm has no row. Shares.
    """
    twins = {arm.twin_key for arm in sweep.planned}
    pools = {
        (upstream, pool): [arm for arm in sweep.planned if arm.group == upstream and arm.control == "none" and own(arm)]
        for upstream in sweep.groups
        for pool, own in (("arms", lambda arm: arm.twin_key), ("twins", lambda arm: arm.key in twins))
    }
    rows = [row for (upstream, pool), arms in pools.items() for row in _rows(upstream, pool, arms)]
    return pd.DataFrame(rows, columns=COLUMNS)


def draw_best_of(table: pd.DataFrame) -> Drawing | None:
    """Expected test UA of the picked arm, and its validation UA, over number of arms and over budget; a row of panels
    per upstream. `table`: of `best_of_table`. None where no pool has two arms.
    """
    if table.empty or table["n"].max() < 2:
        return None
    upstreams = list(dict.fromkeys(table["upstream"]))
    size, unit = next((size, name) for least, size, name in UNITS if table["device_seconds"].max() >= least)
    with styled():
        figure = Figure(figsize=(DOUBLE, 0.5 + 2.2 * len(upstreams)), layout="constrained")
        grid = figure.subplots(len(upstreams), 2, squeeze=False, sharey="row", sharex="col")
        for row, upstream in zip(grid, upstreams, strict=True):
            own = table[table["upstream"] == upstream]
            _panel(row[0], own, own["n"])
            _panel(row[1], own, own["device_seconds"] / size)
            row[0].set_ylabel("UA (%)")
            if len(upstreams) > 1:
                row[0].set_title(upstream)
        grid[-1, 0].set_xlabel("arms drawn")
        grid[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
        grid[-1, 1].set_xlabel(unit)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=2)
    return Drawing(
        name="best-of",
        title="Expected best of n arms, against number and budget",
        caption="Marks and solid line: test UA of the arm that validation picks among n drawn without replacement; "
        "dashed: its validation UA, which the picking favours. Budget: what n arms cost on average, all trials "
        "counted, pruned and failed ones too; an arm that ended without a score is drawn but not picked. Not in it: "
        "the intensity model, and for the arms their twins. Towards the right end ever fewer different draws are "
        "left, at the end one: there the curve is one arm's score, and not sure.",
        figure=figure,
        data=table,
    )


def _rows(upstream: str, pool: str, arms: Sequence[Arm]) -> list[dict[str, object]]:
    started = [arm for arm in arms if any(outcome.record is not None for outcome in arm.outcomes)]
    scored = [arm for arm in started if arm.records]
    if not scored:
        return []
    validation_A, test_A = (np.array([_score(arm, split) for arm in scored]) for split in ("validation", "test"))
    records = [outcome.record for arm in started for outcome in arm.outcomes if outcome.record is not None]
    costs = [record.cost for record in records if record.cost is not None]
    operations = [cost.flops for cost in costs if cost.flops is not None]
    seconds = sum(cost.device_seconds for cost in costs) / len(started)
    flops = sum(operations) / len(started) if operations and len(operations) == len(costs) else math.nan
    rows: list[dict[str, object]] = []
    for n in _numbers(len(started)):
        validation, test = expected_best(validation_A, test_A, unscored=len(started) - len(scored), n=n)
        row = {"upstream": upstream, "pool": pool, "n": n, "arms": len(started), "scored": len(scored)}
        row |= {"validation_ua": validation, "test_ua": test, "device_seconds": n * seconds, "flops": n * flops}
        rows.append(row | {"unknown_costs": len(records) - len(costs)})
    return rows


def _score(arm: Arm, split: str) -> float:
    found = [record.metrics.mean[split]["ua"] for record in arm.records if record.metrics]  # type: ignore[index]
    return float(np.mean(found))


def _numbers(most: int) -> list[int]:
    """1 … `most`, at most MOST_POINTS of them, equally far apart in the logarithm where they are fewer than all."""
    if most <= MOST_POINTS:
        return list(range(1, most + 1))
    return sorted({round(value) for value in np.geomspace(1, most, MOST_POINTS)})


def _panel(axes: Axes, table: pd.DataFrame, x: pd.Series[float]) -> None:
    for pool, (mark, colour, face) in LOOKS.items():
        own = table[table["pool"] == pool]
        if own.empty:
            continue
        last = own.iloc[-1]
        label = f"{pool}: {last['scored']} with a score" + (
            f", {last['arms'] - last['scored']} without" if last["arms"] > last["scored"] else ""
        )
        places = x[own.index]
        axes.plot(
            places, 100 * own["test_ua"], marker=mark, color=colour, markerfacecolor=face, markersize=3.6,
            linewidth=1.2, markevery=max(1, len(own) // 12), label=label,
        )  # fmt: skip
        axes.plot(places, 100 * own["validation_ua"], color=colour, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.grid()
    axes.tick_params(length=0)
    axes.spines[:].set_color(MUTED)
    axes.yaxis.label.set_color(INK)


def _log_choose(above: NDArray[np.int64], below: int) -> NDArray[np.float64]:
    rest = np.maximum(above - below, 0)
    result: NDArray[np.float64] = gammaln(above + 1) - gammaln(below + 1) - gammaln(rest + 1)
    return result
