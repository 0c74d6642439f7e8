"""A difference of CCC taken apart by speaker: against derivatives by finite differences, and against the truth."""

from __future__ import annotations

import audmetric
import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.concordance import ccc_contributions, influence
from analysis.families import family
from analysis.intervals import paired_interval, spread
from analysis.paired import Contributions
from core.errors import BadInputError


def weighted_ccc(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Lin's CCC of a weighted sample, written out."""
    mean_x, mean_y = np.average(x, weights=weights), np.average(y, weights=weights)
    cov = np.cov(np.stack([x, y]), aweights=weights, bias=True)
    return float(2 * cov[0, 1] / (cov[0, 0] + cov[1, 1] + (mean_x - mean_y) ** 2))


def test_influence_is_the_derivative_by_an_utterances_weight() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(3, 1, 30)
    y = 2 + 0.4 * x + rng.normal(0, 0.5, 30)
    value, pull_N = influence(x, y)
    assert value == pytest.approx(audmetric.concordance_cc(x, y))
    assert pull_N.sum() == pytest.approx(0, abs=1e-12)
    step = 1e-6
    for place in (0, 7, 29):
        # Weight moved to one utterance from all alike.
        weights = np.full(30, (1 - step) / 30)
        weights[place] += step
        assert (weighted_ccc(x, y, weights) - value) / step == pytest.approx(pull_N[place], rel=1e-4, abs=1e-5)


def test_influence_refuses_what_has_no_ccc_and_is_flat_where_all_is_right() -> None:
    with pytest.raises(BadInputError, match="both sides are the same constant"):
        influence(np.ones(3), np.ones(3))
    value, pull_N = influence(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 4.0]))
    assert value == pytest.approx(1)
    np.testing.assert_allclose(pull_N, 0, atol=1e-12)


def parts(
    gain: list[list[list[float]]], pull: list[list[list[float]]], n: list[list[int]], metric: str
) -> Contributions:
    """Gains by seed, fold, dimension; pulls by fold, speaker, dimension under every seed."""
    gain_KFD = np.array(gain, dtype=np.float64)
    pull_KFSD = np.broadcast_to(np.array(pull, dtype=np.float64), (len(gain), *np.shape(pull)))
    return ccc_contributions(gain_KFD, pull_KFSD, np.array(n), metric=metric)  # type: ignore[arg-type]


def test_a_hand_made_difference() -> None:
    """Two folds: speakers a, b (30 and 10 utterances) in the first, c alone in the second."""
    gain = [[[0.2, 0.0, 0.1], [0.1, 0.1, 0.1]]]
    pull = [[[0.04, 0, 0.02], [-0.04, 0, -0.02], [0, 0, 0]], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]]
    n = [[30, 10, 0], [0, 0, 20]]
    found = parts(gain, pull, n, "ccc_activation")
    # Half of each fold: a has 3/4 of .2 and .04 more, b 1/4 of it and .04 less, c all of .1.
    np.testing.assert_allclose(found.by_speaker, [(0.15 + 0.04) / 2, (0.05 - 0.04) / 2, 0.05])
    np.testing.assert_allclose(found.weights, [0.375, 0.125, 0.5])
    np.testing.assert_allclose(found.cells, [[0.2, 0.1]])
    assert found.difference == pytest.approx(0.15)
    mean = parts(gain, pull, n, "ccc_mean")
    np.testing.assert_allclose(mean.by_speaker, [(0.075 + 0.02) / 2, (0.025 - 0.02) / 2, 0.05])
    assert mean.difference == pytest.approx(0.1)
    assert parts(gain, pull, n, "ccc_valence").difference == pytest.approx(0.05)
    # Swapped, it is the same with the other sign.
    back = ccc_contributions(-np.array(gain), -np.array([pull], dtype=np.float64), np.array(n), metric="ccc_mean")
    np.testing.assert_allclose(back.added_KFS, -mean.added_KFS)


def simulated(rng: np.random.Generator, *, folds: int, gain: float, per_fold: int = 2, n: int = 40) -> Contributions:
    """A student against its twin under one seed: slopes and offsets of the answers differ from speaker to speaker."""
    speakers = folds * per_fold
    gain_KFD, pull_KFSD = np.zeros((1, folds, 3)), np.zeros((1, folds, speakers, 3))
    n_FS = np.zeros((folds, speakers), np.int64)
    of = np.repeat(np.arange(per_fold), n)
    for fold in range(folds):
        own = slice(fold * per_fold, (fold + 1) * per_fold)
        n_FS[fold, own] = n
        for d in range(3):
            true_N = rng.normal(0, 0.3, per_fold)[of] + rng.normal(0, 0.8, of.size)
            both = []
            for slope in (0.5 + gain, 0.5):
                slope_N, offset_N = (slope + rng.normal(0, 0.1, per_fold))[of], rng.normal(0, 0.2, per_fold)[of]
                both.append(influence(true_N, slope_N * true_N + offset_N + rng.normal(0, 0.4, of.size)))
            gain_KFD[0, fold, d] = both[0][0] - both[1][0]
            pull_KFSD[0, fold, own, d] = np.bincount(of, weights=both[0][1] - both[1][1]) / of.size
    return ccc_contributions(gain_KFD, pull_KFSD, n_FS, metric="ccc_mean")


@pytest.mark.slow
@pytest.mark.parametrize(("folds", "per_fold"), [(5, 2), (10, 1)])
def test_intervals_cover_and_the_test_keeps_its_level(folds: int, per_fold: int) -> None:
    """Leave-one-session-out and leave-one-speaker-out, ten speakers; bounds are three standard errors of 200 draws."""
    rng = np.random.default_rng(1)
    found = [simulated(rng, folds=folds, gain=0.1, per_fold=per_fold) for _ in range(200)]
    truth = float(np.mean([simulated(rng, folds=folds, gain=0.1, per_fold=per_fold).difference for _ in range(400)]))
    bounds = [paired_interval(one, resamples=400, seed=3) for one in found]
    covered = np.mean([bound is not None and bound[0] <= truth <= bound[1] for bound in bounds])
    assert 0.90 <= covered <= 0.99
    null = [simulated(rng, folds=folds, gain=0.0, per_fold=per_fold) for _ in range(200)]
    p_values = [
        family(one.by_speaker[:, None], one.weights[:, None], error_P=np.array([spread(one).se])).p_P[0] for one in null
    ]
    assert np.mean(np.array(p_values) < 0.05) <= 0.10
