"""A small version of `benchmarks/bench_calibration.py`: what the report claims, held against simulated truth."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SWEEPS = 60


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import bench_calibration

    return bench_calibration


def test_simulated_corpora_have_the_published_sizes(bench: ModuleType) -> None:
    """IEMOCAP's classes by session as published (papers.md §6); EmoDB's four classes."""
    sessions = bench.IEMOCAP.totals.sum(axis=1)
    assert sessions.sum(axis=1).tolist() == [1085, 1023, 1151, 1031, 1241]
    assert sessions.sum(axis=0).tolist() == [1708, 1636, 1103, 1084]
    assert bench.EMODB.totals.sum(axis=(0, 1)).tolist() == [127, 71, 79, 62]


def test_an_arm_that_is_right_more_often_gains_by_that_much(bench: ModuleType) -> None:
    import numpy as np

    corpus = bench.EMODB
    arm, twin = np.ones((2, corpus.speaker_of.size), dtype=bool), np.zeros((2, corpus.speaker_of.size), dtype=bool)
    assert (bench.gains(corpus, arm, twin) == corpus.totals).all()


@pytest.mark.slow
@pytest.mark.parametrize("corpus", ["IEMOCAP", "EMODB"])
def test_intervals_cover_and_null_sweeps_find_nothing(bench: ModuleType, corpus: str) -> None:
    scenarios = [
        bench.Scenario(corpus=getattr(bench, corpus), spread=0.02, seeds=1),
        bench.Scenario(corpus=getattr(bench, corpus), spread=0.04, seeds=3, seed_spread=0.01),
    ]
    rows = pd.DataFrame([bench.measure(one, repetitions=SWEEPS, seed=place) for place, one in enumerate(scenarios)])
    assert rows["studentised"].between(0.93, 0.97).all()
    assert rows["false_win"].mean() <= 0.05
    assert (rows["percentile"] < rows["studentised"]).all()
    assert (rows["uncorrected_win"] > 0.15).all()
    if corpus == "IEMOCAP":
        assert (rows["utterances"] < 0.75).all()
        assert rows["p_cells"].iloc[1] > 0.1
    assert (rows["p_t_corrected"] <= 0.05).all()
