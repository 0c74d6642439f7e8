"""Importance of axes against statsmodels, scipy and Optuna, on designs with known truth."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.anova import AnovaRM, anova_lm
from synthetic_sweep import SyntheticArm, SyntheticSweep, grid

from analysis.comparisons import Pair, planned_pairs
from analysis.factors import Crossed, crossed_differences, model_of
from analysis.importance import Importance, importance_sentences, importance_table, importances, whitened
from analysis.load import Sweep, load_sweep
from analysis.ped_anova import MIN_ARMS, ped_anova_table
from analysis.strata import Estimate, estimate, random_spread

RATIO, SPAN, TEMPERATURE = "masking.ratio", "masking.span", "masking.temperature"
LEVELS = {RATIO: (0.15, 0.3), SPAN: (4, 7, 14), TEMPERATURE: (0.25, 1.0, "inf")}


def pairs_of(axes: list[dict[str, object]]) -> list[Pair]:
    return [
        cast(Pair, SimpleNamespace(arm=SimpleNamespace(axes=one, key=str(place)))) for place, one in enumerate(axes)
    ]


def full_grid() -> list[dict[str, object]]:
    return [dict(zip(LEVELS, values, strict=True)) for values in product(*LEVELS.values())]


def estimates_of(axes: list[dict[str, object]], difference_AKF: NDArray[np.float64]) -> dict[str, Estimate]:
    model = model_of(pairs_of(axes))
    assert model is not None
    return {term.name: estimate(cells) for term, cells in whitened(model, difference_AKF)}


def long_table(axes: list[dict[str, object]], difference_AF: NDArray[np.float64]) -> pd.DataFrame:
    rows = [
        {key.rsplit(".", 1)[-1]: str(value) for key, value in one.items()} | {"unit": unit, "y": value}
        for one, row in zip(axes, difference_AF, strict=True)
        for unit, value in enumerate(row)
    ]
    return pd.DataFrame(rows)


def importance_of(axes: list[dict[str, object]], difference_AKF: NDArray[np.float64]) -> Importance:
    pairs = pairs_of(axes)
    model = model_of(pairs)
    assert model is not None
    seeds, folds = difference_AKF.shape[1:]
    crossed = Crossed(
        pairs=tuple(pairs),
        seeds=tuple(range(seeds)),
        folds=tuple(map(str, range(folds))),
        difference_AKF=difference_AKF,
        left_out=(0, 0),
    )
    tested = {term.name: estimate(cells) for term, cells in whitened(model, difference_AKF)}
    estimates = tuple(tested.get(term.name) for term in model.terms)
    return Importance(upstream="mockingjay", split="test", crossed=crossed, model=model, estimates=estimates)


def test_under_one_seed_f_is_that_of_repeated_measures() -> None:
    axes = full_grid()
    values = np.random.default_rng(0).normal(0, 0.05, (18, 1, 7))
    reference = AnovaRM(long_table(axes, values[:, 0]), "y", "unit", within=["ratio", "span", "temperature"]).fit()
    table = reference.anova_table
    found = estimates_of(axes, values)
    assert len(found) == 6
    for name, one in found.items():
        row = table.loc[name.replace(" × ", ":")]
        assert one.f == pytest.approx(row["F Value"]), name
        # Box's ε lies between 1 / columns and 1.
        assert 1 <= one.freedom[0] <= row["Num DF"] + 1e-9
        assert one.freedom[1] == pytest.approx(6 * one.freedom[0])
    assert found["ratio"].p == pytest.approx(table.loc["ratio", "Pr > F"])


def test_under_several_seeds_it_is_the_least_f_of_folds_and_seeds() -> None:
    """Clark 1973: 1 / min F′ = 1 / F₁ + 1 / F₂."""
    axes = full_grid()
    values = np.random.default_rng(1).normal(0, 0.05, (18, 4, 6))
    factors = ["ratio", "span", "temperature"]
    by_fold, by_seed = (
        AnovaRM(long_table(axes, values.mean(axis=axis)), "y", "unit", within=factors).fit().anova_table["F Value"]
        for axis in (1, 2)
    )
    for name, one in estimates_of(axes, values).items():
        term = name.replace(" × ", ":")
        assert 1 / one.f == pytest.approx(1 / by_fold[term] + 1 / by_seed[term]), name


def test_a_single_effect_is_a_t_test() -> None:
    cells = np.random.default_rng(2).normal(0.02, 0.05, (1, 9, 1))
    reference = stats.ttest_1samp(cells[0, :, 0], 0)
    found = estimate(cells)
    assert found.p == pytest.approx(reference.pvalue)
    assert found.bounds == pytest.approx(tuple(reference.confidence_interval()))
    assert math.isnan(estimate(cells[:, :1]).p)
    same = estimate(np.full((1, 5, 1), 0.03))
    assert (same.error, same.bounds) == (0, None)
    assert math.isnan(same.p)


def test_sums_of_squares_of_a_grid_with_holes_are_those_of_type_three() -> None:
    axes = [one for place, one in enumerate(full_grid()) if place not in (3, 10)]
    values = np.random.default_rng(3).normal(0, 0.05, (16, 1, 5))
    data = long_table(axes, values[:, 0]).groupby(["ratio", "span", "temperature"], as_index=False)["y"].mean()
    terms = "(C(ratio, Sum) + C(span, Sum) + C(temperature, Sum)) ** 2"
    reference = anova_lm(smf.ols(f"y ~ {terms}", data).fit(), typ=3)["sum_sq"]
    for name, one in estimates_of(axes, values).items():
        term = ":".join(f"C({axis}, Sum)" for axis in name.split(" × "))
        assert one.size == pytest.approx(reference[term]), name


def test_shares_of_a_full_grid_add_up_with_the_highest_interaction() -> None:
    axes = full_grid()
    values = np.random.default_rng(4).normal(0, 0.05, (18, 2, 5))
    one = importance_of(axes, values)
    assert one.model.balanced
    table = importance_table([one])
    data = long_table(axes, values.mean(axis=1)).groupby(["ratio", "span", "temperature"], as_index=False)["y"].mean()
    with np.errstate(divide="ignore"):
        # Nothing is left for an error; only the sums of squares are wanted.
        whole = anova_lm(smf.ols("y ~ C(ratio) * C(span) * C(temperature)", data).fit())["sum_sq"]
    highest = whole["C(ratio):C(span):C(temperature)"] / whole.sum()
    assert table["share"].sum() + highest == pytest.approx(1)
    assert (table["effect_beyond_chance"] <= table["effect"]).all()
    assert table["effect"].iloc[0] == pytest.approx(math.sqrt(table["share"].iloc[0] * one.total / 18))


def test_shares_are_those_of_a_forest_of_trees_that_knows_the_grid() -> None:
    """Optuna's fANOVA (Hutter et al. 2014) grows a random forest; fed each arm many times it knows every arm."""
    import optuna

    axes = full_grid()
    rng = np.random.default_rng(5)
    effects = {
        key: rng.normal(0, size, len(values)) for (key, values), size in zip(LEVELS.items(), (3, 1, 2), strict=True)
    }
    values = np.array([sum(effects[key][LEVELS[key].index(one[key])] for key in LEVELS) for one in axes])
    table = importance_table(
        [importance_of(axes, np.repeat(values[:, None, None], 4, axis=2) + rng.normal(0, 1e-6, (18, 1, 4)))]
    )
    shares = table[table["kind"] == "main"].set_index("term")["share"]
    distributions = {key: optuna.distributions.CategoricalDistribution(found) for key, found in LEVELS.items()}
    study = optuna.create_study()
    study.add_trials(
        optuna.trial.create_trial(params=dict(one), distributions=distributions, value=float(value))
        for one, value in zip(axes, values, strict=True)
        for _ in range(20)
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    reference = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert {key.rsplit(".", 1)[-1]: pytest.approx(share, abs=0.06) for key, share in reference.items()} == dict(shares)


def test_spread_of_seeds_and_folds_is_that_of_a_mixed_model() -> None:
    rng = np.random.default_rng(6)
    cells = rng.normal(0, 0.02, (4, 1)) + rng.normal(0, 0.05, (1, 6)) + rng.normal(0, 0.01, (4, 6))
    data = pd.DataFrame([(k, f, 100 * v) for (k, f), v in np.ndenumerate(cells)], columns=["seed", "fold", "y"])
    parts = {"seed": "0 + C(seed)", "fold": "0 + C(fold)"}
    fitted = smf.mixedlm("y ~ 1", data, groups=np.ones(24), vc_formula=parts).fit(reml=True)
    reference = dict(zip(fitted.model.exog_vc.names, np.sqrt(fitted.vcomp) / 100, strict=True))
    assert random_spread(cells) == pytest.approx((reference["seed"], reference["fold"]), rel=1e-3)
    assert math.isnan(random_spread(cells[:1])[0])
    assert random_spread(cells[:1])[1] == pytest.approx(cells[0].std(ddof=1))


def null_sweep(rng: np.random.Generator, *, seeds: int, folds: int, trial: float, cell: float) -> NDArray[np.float64]:
    """No axis matters. Every training run has its luck, in all folds; arms with one ratio and span share a twin."""
    runs = [trial * rng.standard_normal((seeds, 1)) + cell * rng.standard_normal((seeds, folds)) for _ in range(24)]
    return np.array([runs[place] - runs[18 + place // 3] for place in range(18)])


def naive_p(axes: list[dict[str, object]], difference_AKF: NDArray[np.float64]) -> float:
    """Of the ratio, where seeds and folds shift all arms alike and arms count as independent."""
    one = importance_of(axes, difference_AKF)
    arms, seeds, folds = difference_AKF.shape
    columns = one.model.matrix_AP[:, 1:]
    explained_A = columns @ (np.linalg.pinv(one.model.matrix_AP) @ one.crossed.by_arm)[1:]
    rest = difference_AKF - difference_AKF.mean(axis=0) - explained_A[:, None, None]
    freedom = arms * seeds * folds - seeds * folds - columns.shape[1]
    size = estimate(next(whitened(one.model, difference_AKF))[1]).size
    return float(stats.f.sf(size * seeds * folds / ((rest**2).sum() / freedom), 1, freedom))


@pytest.mark.parametrize(("seeds", "trial"), [(1, 0.0), (3, 0.01)])
def test_null_sweeps_find_nothing_where_shifts_alone_find_much(seeds: int, trial: float) -> None:
    rng, axes = np.random.default_rng(7), full_grid()
    hits: list[list[bool]] = []
    naive = []
    for _ in range(250):
        values = null_sweep(rng, seeds=seeds, folds=5, trial=trial, cell=0.04)
        hits.append([one.p < 0.05 for one in estimates_of(axes, values).values()])
        naive.append(naive_p(axes, values) < 0.05)
    shares = np.mean(hits, axis=0)
    assert shares.max() <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 250)
    assert np.mean(naive) > 0.15


def written(tmp_path: Path, arms: list[SyntheticArm], **settings: Any) -> Sweep:
    sweep = SyntheticSweep(root=tmp_path, arms=tuple(arms), **settings).write()
    return load_sweep(plan_path=sweep.plan_path, trials_root=sweep.trials_root)


def test_a_strong_axis_is_found_in_records_and_said(tmp_path: Path) -> None:
    arms = grid((0.15, 0.3), (0.5, 1.0, "inf"), (7,))
    strong = [
        SyntheticArm(**(vars(arm) | {"recall": 0.55 + (0.3 if arm.temperature == "inf" else 0.0)})) for arm in arms
    ]
    found, refused = importances(written(tmp_path, strong, seeds=(0, 1, 2)))
    assert refused == []
    table = importance_table(found)
    assert table["term"].unique().tolist() == ["ratio", "temperature", "ratio × temperature"]
    assert table["split"].unique().tolist() == ["test", "validation"]
    best = table[table["split"] == "test"].sort_values("share").iloc[-1]
    assert (best["term"], best["p_holm"] < 0.05) == ("temperature", True)
    (said,) = importance_sentences(found, table)
    assert "3 seeds × 5 folds, both random), the difference to the twin depends on temperature (" in said
    assert "on validation too" in said
    assert found[0].model.axes[1].labels == ("0.5", "1.0", "∞")


def test_cells_are_the_differences_of_recorded_metrics(tmp_path: Path) -> None:
    sweep = written(tmp_path, grid((0.15, 0.3), (0.5,), (7,)), seeds=(0, 1))
    cells, pairs = sweep.cells(), planned_pairs(sweep)
    crossed = crossed_differences(pairs, cells, split="validation")
    assert crossed is not None
    assert (crossed.seeds, crossed.left_out) == ((0, 1), (0, 0))
    values = cells.set_index(["arm_key", "seed", "fold", "split"])["ua"]
    arm, twin = pairs[1].arm.key, pairs[1].against.key
    own, other = (values[key, 1, crossed.folds[3], "validation"] for key in (arm, twin))
    assert crossed.difference_AKF[1, 1, 3] == pytest.approx(own - other)


@pytest.mark.parametrize(
    ("lost", "kept", "left_out"),
    [
        ([("ems0.15t0.5s7", 2)], (3, 3), (1, 0)),
        ([("ems0.15t0.5s7", 2), ("random0.3s7", 2)], (4, 2), (0, 1)),
    ],
)
def test_gaps_cost_as_few_cells_as_they_can(
    tmp_path: Path, lost: list[tuple[str, int]], kept: tuple[int, int], left_out: tuple[int, int]
) -> None:
    arms = grid((0.15, 0.3), (0.5, 1.0), (7,))
    sweep = written(tmp_path, arms, seeds=(0, 1, 2), outcomes=dict.fromkeys(lost, "failed"), sessions=2)
    crossed = crossed_differences(planned_pairs(sweep), sweep.cells(), split="test")
    assert crossed is not None
    assert (crossed.difference_AKF.shape[:2], crossed.left_out) == (kept, left_out)
    found, _ = importances(sweep)
    said = importance_sentences(found, importance_table(found))[0]
    assert f"Left out, for their gaps: {left_out[0]} arm" in said


def test_what_cannot_be_told_apart_is_said_and_not_invented(tmp_path: Path) -> None:
    arms = [arm for arm in grid((0.15, 0.3), (0.5, 1.0), (7,)) if arm.key != "ems0.3t1.0s7"]
    found, _ = importances(written(tmp_path, arms, seeds=(0,), sessions=3))
    table = importance_table(found)
    row = table[(table["term"] == "ratio × temperature") & (table["split"] == "test")].iloc[0]
    assert math.isnan(row["share"])
    assert row["note"] == "not every pair of values was run"
    (said,) = importance_sentences(found, table)
    assert "Not to be said: ratio × temperature." in said
    assert "cannot be told from the chance of its training runs" in said
    together = [{RATIO: 0.1, SPAN: 4}, {RATIO: 0.2, SPAN: 7}, {RATIO: 0.3, SPAN: 14}]
    model = model_of(pairs_of(together))  # type: ignore[arg-type]
    assert model is not None
    assert [term.estimable for term in model.terms] == [True, False, False]


def test_sweeps_without_axes_twins_or_seeds_are_refused_in_words(tmp_path: Path) -> None:
    one = grid((0.15,), (1.0,), (7,))
    _, refused = importances(written(tmp_path / "one", one, seeds=(0,), sessions=2))
    assert refused == [
        "What matters among the mockingjay arms cannot be said: 1 arm with a twin, and no setting that differs between "
        "them."
    ]
    _, refused = importances(written(tmp_path / "alone", one[:1], seeds=(0,), sessions=2))
    assert refused == ["What matters among the mockingjay arms cannot be said: no arm has a twin."]
    outcomes = {("ems0.15t1.0s7", 0): "failed"}
    _, refused = importances(written(tmp_path / "none", one, seeds=(0,), sessions=2, outcomes=outcomes))
    assert refused[0].endswith("no seed is complete in all arms and their twins.")


def searched(n_arms: int) -> list[dict[str, object]]:
    rng = np.random.default_rng(8)
    columns = zip(
        rng.uniform(0.1, 0.4, n_arms), np.exp(rng.uniform(-2, 2, n_arms)), rng.integers(3, 6, n_arms), strict=True
    )
    return [{RATIO: float(r), TEMPERATURE: float(t), SPAN: int(s)} for r, t, s in columns]


def test_drawn_values_enter_by_rank_and_the_best_quarter_tells_the_axis() -> None:
    axes = searched(40)
    rng = np.random.default_rng(9)
    truth = np.array([0.05 * math.log(float(str(one[TEMPERATURE]))) for one in axes])
    one = importance_of(axes, truth[:, None, None] + rng.normal(0, 0.01, (40, 1, 5)))
    assert [axis.graded for axis in one.model.axes] == [True, True, False]
    assert not one.model.balanced
    by_term = importance_table([one]).set_index("term")
    assert by_term["share"].idxmax() == "temperature"
    assert by_term.loc["temperature", "freedom"] == 2
    table = ped_anova_table([one])
    assert table["importance"].sum() == pytest.approx(1)
    assert table.loc[table["importance"].idxmax(), "axis"] == "temperature"
    pd.testing.assert_frame_equal(table, ped_anova_table([one]))


def test_grids_and_few_arms_are_not_asked_for_their_best_quarter() -> None:
    few = searched(MIN_ARMS - 1)
    noise = np.random.default_rng(10).normal(0, 0.01, (MIN_ARMS - 1, 1, 5))
    assert ped_anova_table([importance_of(few, noise), importance_of(full_grid(), noise[:18])]).empty
