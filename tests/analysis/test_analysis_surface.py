"""Marginal means against plain means and statsmodels; what is drawn and where."""

from __future__ import annotations

import math
from itertools import product
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from numpy.typing import NDArray
from scipy import stats

from analysis.comparisons import Pair
from analysis.factors import Crossed, model_of
from analysis.figures import DOUBLE
from analysis.importance import Importance
from analysis.surface import MOST_PANELS, PER_ROW, draw_effects, effects_data
from core.records import Split

RATIO, SPAN = "masking.ratio", "masking.span"


def importance_of(
    axes: list[dict[str, object]], difference_AKF: NDArray[np.float64], *, split: Split = "test", upstream: str = "npc"
) -> Importance:
    pairs = [cast(Pair, SimpleNamespace(arm=SimpleNamespace(axes=one))) for one in axes]
    model = model_of(pairs)
    assert model is not None
    crossed = Crossed(
        pairs=tuple(pairs),
        seeds=tuple(range(difference_AKF.shape[1])),
        folds=tuple(map(str, range(difference_AKF.shape[2]))),
        difference_AKF=difference_AKF,
        left_out=(0, 0),
    )
    return Importance(
        upstream=upstream, split=split, crossed=crossed, model=model, estimates=(None,) * len(model.terms)
    )


def grid(*levels: tuple[object, ...]) -> list[dict[str, object]]:
    names = [RATIO, SPAN, "masking.temperature", "pretrain.steps", "pretrain.lr"]
    return [dict(zip(names, values, strict=False)) for values in product(*levels)]


def cell(data: pd.DataFrame, term: str, *levels: str) -> pd.Series[float]:
    own = data[(data["term"] == term) & (data["level"] == levels[0])]
    if levels[1:]:
        own = own[own["other_level"] == levels[1]]
    (place,) = own.index
    return own.loc[place]


def test_on_a_full_grid_means_are_plain_and_intervals_are_those_of_folds() -> None:
    axes = grid((0.15, 0.3), (4, 7, 14))
    values = np.random.default_rng(0).normal(0.02, 0.05, (6, 1, 8))
    data = effects_data(importance_of(axes, values))
    assert len(data) == 2 + 3 + 6
    rows = {"0.3": values[3:], "0.15": values[:3]}
    for level, own in rows.items():
        found = cell(data, "ratio", level)
        assert found["difference"] == pytest.approx(own.mean())
        expected = stats.ttest_1samp(own.mean(axis=(0, 1)), 0).confidence_interval()
        assert (found["ci_low"], found["ci_high"]) == pytest.approx(tuple(expected))
        assert found["arms"] == 3
    found = cell(data, "ratio × span", "0.3", "7")
    assert found["difference"] == pytest.approx(values[4].mean())
    assert (found["axis"], found["other_axis"], found["arms"]) == ("ratio", "span", 1)


def test_seeds_widen_the_intervals() -> None:
    axes = grid((0.15, 0.3))
    folds = np.random.default_rng(1).normal(0.02, 0.03, (2, 1, 8))
    seeds = np.array([-0.05, 0.0, 0.05])[None, :, None]
    alone, several = (effects_data(importance_of(axes, values)) for values in (folds, folds + seeds))
    assert several["difference"].to_numpy() == pytest.approx(alone["difference"].to_numpy())
    widths = [(data["ci_high"] - data["ci_low"]).to_numpy() for data in (alone, several)]
    assert (widths[1] > 2 * widths[0]).all()


def test_on_a_grid_with_a_hole_levels_count_the_same() -> None:
    """The mean at a level does not depend on which other levels happen to have been run: that of a linear model."""
    axes = [one for place, one in enumerate(grid((0.15, 0.3), (4, 7, 14), (1.0, 4.0))) if place != 5]
    values = np.random.default_rng(2).normal(0, 0.05, (11, 1, 5))
    data = effects_data(importance_of(axes, values))
    table = pd.DataFrame(axes).rename(columns=lambda key: key.rsplit(".", 1)[-1]).assign(y=values.mean(axis=(1, 2)))
    fitted = smf.ols("y ~ (C(ratio) + C(span) + C(temperature)) ** 2", table).fit()
    everywhere = pd.DataFrame(
        list(product((0.15, 0.3), (4, 7, 14), (1.0, 4.0))), columns=["ratio", "span", "temperature"]
    )
    predicted = everywhere.assign(y=fitted.predict(everywhere))
    assert cell(data, "ratio", "0.15")["difference"] == pytest.approx(predicted.groupby("ratio")["y"].mean()[0.15])
    assert cell(data, "ratio", "0.15")["difference"] != pytest.approx(table[table["ratio"] == 0.15]["y"].mean())
    by_both = predicted.groupby(["span", "temperature"])["y"].mean()
    assert cell(data, "span × temperature", "14", "4.0")["difference"] == pytest.approx(by_both[14, 4.0])


def test_drawn_values_have_their_arms_and_no_interval() -> None:
    rng = np.random.default_rng(3)
    axes = [{RATIO: float(r), SPAN: s} for r, s in zip(rng.uniform(size=12), (4, 7) * 6, strict=True)]
    values = rng.normal(0, 0.05, (12, 1, 5))
    one = importance_of(axes, values)  # type: ignore[arg-type]
    data = effects_data(one)
    assert data["term"].unique().tolist() == ["ratio", "span"], "no pair with an axis of many values"
    assert data[data["term"] == "ratio"]["ci_low"].isna().all()
    assert sorted(data[data["term"] == "ratio"]["difference"]) == pytest.approx(sorted(values.mean(axis=(1, 2))))
    assert data[data["term"] == "span"]["ci_low"].notna().all()
    (drawing,) = draw_effects([one])
    assert "An axis with many values has its arms' means" in drawing.caption


@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_figures_fit_a_page_and_hold_what_their_table_does(levels: int) -> None:
    axes = grid(*[(1, 2)] * levels)
    values = np.random.default_rng(4).normal(0, 0.05, (len(axes), 2, 5))
    shown = [importance_of(axes, values), importance_of(axes, values, split="validation")]
    (drawing,) = draw_effects(shown)
    width, height = drawing.figure.get_size_inches()
    panels = min(MOST_PANELS, levels + math.comb(levels, 2))
    assert width <= DOUBLE
    assert height <= 2.4 * math.ceil(panels / PER_ROW)
    assert drawing.name == "effects"
    assert drawing.data["term"].nunique() == panels
    assert sum(axes.get_visible() for axes in drawing.figure.axes) == panels
    titles = [axes.get_title(loc="left") for axes in drawing.figure.axes[levels:panels]]
    assert titles == drawing.data["term"].unique().tolist()[levels:]


def test_several_upstreams_have_a_figure_each() -> None:
    axes, values = grid((0.15, 0.3)), np.random.default_rng(5).normal(0, 0.05, (2, 1, 5))
    drawn = draw_effects([importance_of(axes, values, upstream=name) for name in ("mockingjay", "npc")])
    assert [drawing.name for drawing in drawn] == ["effects-mockingjay", "effects-npc"]
    assert "other seeds" in drawn[0].caption
