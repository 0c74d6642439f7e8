"""Which axes decide whether an arm is among the best? PED-ANOVA, for arms that a search has drawn, on no grid."""

from __future__ import annotations

__all__ = ["COLUMNS", "MIN_ARMS", "TOP", "ped_anova_table"]

import warnings
from collections.abc import Sequence

import pandas as pd

from analysis.factors import Axis
from analysis.importance import Importance
from analysis.tables import Row

TOP = 0.25
"""Share of the arms that count as the best."""
MIN_ARMS = 20
"""With fewer, less than five are the best of all, which Optuna names as the least that is stable."""
COLUMNS = ["upstream", "split", "axis", "importance", "arms", "top"]


def ped_anova_table(found: Sequence[Importance]) -> pd.DataFrame:
    """One row per upstream, split and axis: its share of what tells the best quarter of the arms (by the mean
    difference to the twin) from all of them; the shares of the axes have the sum 1.

    PED-ANOVA (Watanabe, Bansal & Hutter 2023) as Optuna has it: how far the values of an axis among the best arms
    differ from those among all, pairs of axes not asked. Only of arms that are no full grid, where the functional ANOVA
    of `importance` does not hold, and of MIN_ARMS or more. It knows no chance: an axis without any effect has a share
    too.
    """
    rows = [row for one in found if not one.model.balanced and len(one.crossed.pairs) >= MIN_ARMS for row in _rows(one)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(one: Importance) -> list[Row]:
    # Optuna takes a second to import, and most reports are of grids.
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    trials = []
    distributions = {axis.key: _distribution(axis) for axis in one.model.axes}
    for arm, difference in enumerate(one.crossed.by_arm.tolist()):
        params = {axis.key: _value(axis, int(axis.place_A[arm])) for axis in one.model.axes}
        trials.append(optuna.trial.create_trial(params=params, distributions=distributions, value=-difference))
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="minimize")
        study.add_trials(trials)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            shares = optuna.importance.get_param_importances(
                study, evaluator=PedAnovaImportanceEvaluator(target_quantile=TOP)
            )
    finally:
        optuna.logging.set_verbosity(level)
    return [
        {"upstream": one.upstream, "split": one.split, "axis": axis.name, "importance": float(shares[axis.key])}
        | {"arms": len(trials), "top": TOP}
        for axis in one.model.axes
    ]


def _distribution(axis: Axis) -> object:
    """Ranks of a graded axis: they need no scale. The levels of any other are kinds."""
    import optuna

    if axis.graded:
        return optuna.distributions.IntDistribution(0, len(axis.levels) - 1)
    return optuna.distributions.CategoricalDistribution(axis.labels)


def _value(axis: Axis, place: int) -> int | str:
    return place if axis.graded else axis.labels[place]
