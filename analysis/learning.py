"""Learning curves: losses over the steps of pre-training, and what validation said at the looks on the way."""

from __future__ import annotations

__all__ = ["CURVES", "draw_learning", "learning_table"]

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import DOUBLE, Drawing, shortened
from analysis.load import Arm
from analysis.svg import ACCENT, INK, MUTED, SECOND, styled
from analysis.wording import count

CURVES = {"pretrain/loss": "training loss", "pretrain/validation_loss": "validation loss"}
"""Metrics of a trial's log that are drawn → label of their axis; mean absolute error per feature value."""
LOOK = "interim UA"
"""Validation UA in percent, mean over the folds looked at (`core.records.InterimEntry`)."""
COLUMNS = ["upstream", "arm", "seed", "trial_key", "curve", "step", "value"]
MOST_STEPS = 200
"""Steps of one curve that are drawn: more than the eye tells apart on half a page."""
LOOKS = (("o", "-", ACCENT, ACCENT), ("D", "--", SECOND, "none"))
"""Mark, line, colour and fill of the arm and of its twin."""


def learning_table(pairs: Sequence[tuple[Arm, Arm]], logged: pd.DataFrame | None) -> pd.DataFrame:
    """Points of the curves of every (arm, twin), one row per trial, curve and step; UA as a share.

    Of a curve with more than MOST_STEPS different steps as many are kept, evenly among them, the first and the last
    too, the same for all trials of an upstream.

    `logged`: what the trials reported while they ran: trial_key, metric, step (optimizer steps, over all upstreams of
    the trial), value; None where that is not at hand. The looks come from the records.
    """
    rows = []
    for arm in dict.fromkeys(arm.key for pair in pairs for arm in pair):
        found = next(each for pair in pairs for each in pair if each.key == arm)
        for record in found.records:
            start = {"upstream": found.group, "arm": found.name, "seed": record.seed, "trial_key": record.trial_key}
            rows += [start | {"curve": LOOK, "step": look.step, "value": look.mean} for look in record.interim]
            if logged is None:
                continue
            own = logged[(logged["trial_key"] == record.trial_key) & logged["metric"].isin(list(CURVES))]
            points = own.sort_values(["metric", "step"])[["metric", "step", "value"]]
            rows += [start | dict(zip(("curve", "step", "value"), point, strict=True)) for point in points.to_numpy()]
    table = pd.DataFrame(rows, columns=COLUMNS)
    kept = [_thinned(points) for _, points in table.groupby(["upstream", "curve"], sort=False)]
    return pd.concat(kept).sort_index().reset_index(drop=True) if kept else table


def _thinned(points: pd.DataFrame) -> pd.DataFrame:
    steps = np.unique(points["step"].to_numpy())
    if len(steps) <= MOST_STEPS:
        return points
    return points[points["step"].isin(steps[np.linspace(0, len(steps) - 1, MOST_STEPS).round().astype(int)])]


def draw_learning(pairs: Sequence[tuple[Arm, Arm]], logged: pd.DataFrame | None = None) -> Drawing | None:
    """The curves there are of each (arm, twin), one row of panels per pair. None when there is no point.

    `logged`: see `learning_table`.
    """
    data = learning_table(pairs, logged)
    curves = [curve for curve in (*CURVES, LOOK) if curve in set(data["curve"])]
    if not curves:
        return None
    with styled():
        figure = Figure(figsize=(DOUBLE, 0.3 + 2.2 * len(pairs)), layout="constrained")
        grid = figure.subplots(len(pairs), len(curves), squeeze=False, sharex="col")
        for row, pair in zip(grid, pairs, strict=True):
            for axes, curve in zip(row, curves, strict=True):
                _panel(axes, data[data["curve"] == curve], pair, percent=curve == LOOK)
                axes.set_ylabel("validation UA (%)" if curve == LOOK else CURVES[curve])
            row[0].legend(loc="upper right", handlelength=3)
        for axes in grid[-1]:
            axes.set_xlabel("optimizer steps")
    return Drawing(
        name="learning",
        title="Learning curves",
        caption="Arm and twin over the steps of pre-training: thick, the mean over the seeds that have the step; thin, "
        "each seed. Training losses are those of the arm's own policy, on other frames in every arm; validation losses "
        "and UA are measured alike in both."
        + (" Training starts anew with each fold, where each fold has its upstream." if _restarts(pairs) else "")
        + _thinning(data)
        + _unlogged(pairs, data),
        figure=figure,
        data=data,
    )


def _restarts(pairs: Sequence[tuple[Arm, Arm]]) -> bool:
    """Whether a trial trains several upstreams one after the other over its steps."""
    return any(record.protocol.pretraining_audio == "fold" for pair in pairs for arm in pair for record in arm.records)


def _thinning(data: pd.DataFrame) -> str:
    steps = data.groupby(["upstream", "curve"])["step"].nunique()
    return f" Of longer logs {MOST_STEPS} steps are drawn, evenly among all." if (steps == MOST_STEPS).any() else ""


def _unlogged(pairs: Sequence[tuple[Arm, Arm]], data: pd.DataFrame) -> str:
    """A trial that another sweep had trained has its log there."""
    trials = {record.trial_key for pair in pairs for arm in pair for record in arm.records}
    without = len(trials - set(data["trial_key"]))
    return f" {count(without, 'trial')} of {len(trials)} left no log in this sweep." if without else ""


def _panel(axes: Axes, data: pd.DataFrame, pair: tuple[Arm, Arm], *, percent: bool) -> None:
    scale = 100 if percent else 1
    for arm, (mark, line, colour, face) in zip(pair, LOOKS, strict=True):
        own = data[data["trial_key"].isin([record.trial_key for record in arm.records])]
        seeds = [points for _, points in own.groupby("seed")]
        for points in seeds if len(seeds) > 1 else []:
            axes.plot(points["step"], scale * points["value"], linestyle=line, color=colour, linewidth=0.5, alpha=0.6)
        mean = own.groupby("step")["value"].mean()
        axes.plot(
            mean.index, scale * mean, linestyle=line, color=colour, linewidth=1.3, marker=mark, markerfacecolor=face,
            markersize=4, markevery=max(1, len(mean) // 8), label=shortened(arm.name, length=28),
        )  # fmt: skip
    axes.grid()
    axes.tick_params(length=0)
    axes.spines[:].set_color(MUTED)
    axes.yaxis.label.set_color(INK)
