"""Do the intervals cover, and does a sweep in which nothing helps find that something does? Truth is known here.

Simulates null sweeps of 27 arms that share 9 twins, at the sizes of IEMOCAP and EmoDB, and counts. Prints a table and
one JSON line. Run: python -m benchmarks.bench_calibration            a minute, few repetitions, writes nothing
                    python -m benchmarks.bench_calibration --full     some minutes, writes docs/calibration.{csv,svg,md}
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from analysis.corrected_t import corrected_t_p
from analysis.families import family
from analysis.figures import DOUBLE, clean
from analysis.intervals import interval, speaker_weights, spread, stacked, studentised_quantiles
from analysis.paired import Contributions, contributions
from analysis.sign_flips import sign_flip_p
from analysis.svg import ACCENT, GRID, INK, MUTED, SECOND, styled
from benchmarks.rival_intervals import speaker_intervals, utterance_interval
from benchmarks.simulated_sweeps import EMODB, IEMOCAP, Corpus, Scenario, gains, simulate

RESAMPLES = 2000
UTTERANCE_RESAMPLES = 200
"""Few: they cost most of the time, and what is wrong there is not the end of a percentile."""
RIVALS_ON = 3
"""Arms of each sweep, of different twins, on which what analysis does not use is tried too."""
ONE_SEED = Scenario(corpus=IEMOCAP, spread=0.02, seeds=1, seed_spread=0.01)
"""What an interval from one seed cannot know: seeds differ by 1 point for all folds at once."""
MARKS = ("<!-- figures: written by benchmarks/bench_calibration.py --full -->", "<!-- end of figures -->")
DOCS = Path(__file__).resolve().parents[1] / "docs"
COVERAGES = {
    "studentised": "studentised (used)",
    "expanded": "expanded percentiles",
    "bca": "BCa",
    "percentile": "percentiles",
    "utterances": "utterances as independent",
}


def scenarios() -> list[Scenario]:
    """Both corpora, spreads of 2 to 6 points, 1, 3 and 5 seeds; several seeds differ by 1 point for all folds."""
    return [
        Scenario(corpus=corpus, spread=points / 100, seeds=seeds, seed_spread=0.01 if seeds > 1 else 0.0)
        for corpus in (IEMOCAP, EMODB)
        for points in (2, 4, 6)
        for seeds in (1, 3, 5)
    ]


def one_sweep(scenario: Scenario, rng: np.random.Generator) -> dict[str, float]:
    """What one simulated sweep would have claimed: shares of arms, and 0 or 1 for the sweep as a whole."""
    corpus, right = scenario.corpus, simulate(scenario, rng)
    systems = [(scenario.twins + arm, twin) for arm, twin in enumerate(scenario.twin_of)]
    pairs = [contributions(gains(corpus, right[arm], right[twin]), corpus.totals, metric="ua") for arm, twin in systems]
    draws_BS = speaker_weights(len(corpus.counts), resamples=RESAMPLES, seed=0)
    added_SP, weight_SP = stacked(pairs)
    found = [spread(pair) for pair in pairs]
    tests = family(added_SP, weight_SP, error_P=np.array([one.se * one.widening for one in found]))
    quantiles_P = studentised_quantiles(added_SP, weight_SP, draws_BS=draws_BS).T.tolist()
    bounds = np.array([_bounds(*each, corpus) for each in zip(pairs, found, quantiles_P, strict=True)])
    both = (-tests.quantile, tests.quantile)
    at_once = np.array([_bounds(pair, one, both, corpus) for pair, one in zip(pairs, found, strict=True)])
    proven_P, above_P = tests.p_max_t_P < 0.05, bounds[:, 0] > 0
    result = {
        "studentised": float(np.mean((bounds[:, 0] <= 0) & (bounds[:, 1] >= 0))),
        "joint": float(((at_once[:, 0] <= 0) & (at_once[:, 1] >= 0)).all()),
        "p_speakers": float(np.mean(tests.p_P <= 0.05)),
        "false_win": float((proven_P & above_P).any()),
        "false_finding": float(proven_P.any()),
        "uncorrected_win": float(above_P.any()),
    }
    return result | _rivals(scenario, pairs, right, rng)


def _rivals(
    scenario: Scenario, pairs: list[Contributions], right: np.ndarray, rng: np.random.Generator
) -> dict[str, float]:
    corpus, rows = scenario.corpus, []
    draws_BS = speaker_weights(len(corpus.counts), resamples=RESAMPLES, seed=0)
    fold_N = np.array(corpus.folds)[corpus.speaker_of]
    for arm in range(0, RIVALS_ON * scenario.arms_per_twin, scenario.arms_per_twin):
        twin, pair = scenario.twin_of[arm], pairs[arm]
        gain_KN = right[scenario.twins + arm].astype(np.float64) - right[twin]
        intervals = speaker_intervals(pair, draws_BS=draws_BS)
        intervals["utterances"] = utterance_interval(
            gain_KN, fold_N=fold_N, class_N=corpus.class_of, resamples=UTTERANCE_RESAMPLES, rng=rng
        )
        row = {name: float(low <= 0 <= high) for name, (low, high) in intervals.items()}
        n_folds = pair.cells.shape[1]
        cells = pair.cells.ravel().tolist()
        row["p_folds"] = float(sign_flip_p(pair.cells.mean(axis=0).tolist()) <= 0.05)
        row["p_cells"] = float(sign_flip_p(cells) <= 0.05)
        row["p_t_corrected"] = float(corrected_t_p(cells, test_to_train=1 / (n_folds - 2)) <= 0.05)
        rows.append(row)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _bounds(pair: Contributions, found, quantiles, corpus: Corpus) -> tuple[float, float]:
    low_high = interval(pair.difference, found, quantiles=tuple(quantiles), n_speakers=len(corpus.counts))
    return low_high or (-np.inf, np.inf)


def measure(scenario: Scenario, *, repetitions: int, seed: int) -> dict[str, object]:
    """One row of the table: shares over all repetitions."""
    rng = np.random.Generator(np.random.SFC64(seed))
    results = pd.DataFrame([one_sweep(scenario, rng) for _ in range(repetitions)])
    row: dict[str, object] = {"corpus": scenario.corpus.name, "spread": scenario.spread, "seeds": scenario.seeds}
    row |= {"seed_spread": scenario.seed_spread, "run_spread": scenario.run_spread, "repetitions": repetitions}
    return row | results.mean().to_dict()


def draw(table: pd.DataFrame) -> Figure:
    """Coverage of every interval in every scenario, beside the share of null sweeps that find a win."""
    marks = dict(zip(COVERAGES, ("o", "s", "^", "v", "x"), strict=True))
    colours = dict(zip(COVERAGES, (ACCENT, MUTED, MUTED, MUTED, SECOND), strict=True))
    labels = [
        f"{row.corpus}, {100 * row.spread:.0f} points, {row.seeds} seed{'s' if row.seeds > 1 else ''}"
        for row in table.itertuples()
    ]
    # A gap where the corpus changes.
    y = np.arange(len(table)) + 0.7 * pd.factorize(table["corpus"])[0]
    with styled():
        figure = Figure(figsize=(DOUBLE, 0.2 * len(table) + 1.5), layout="constrained", facecolor="white")
        covered, wins = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
        covered.axvspan(93, 97, color=GRID, lw=0)
        for name, label in COVERAGES.items():
            style = {"color": colours[name], "ms": 5, "mfc": colours[name] if name == "studentised" else "none"}
            # The one in use lies on top.
            style |= {"clip_on": False, "zorder": 4 if name == "studentised" else 3}
            covered.plot(100 * table[name], y, marks[name], label=label, **style)
        covered.set(title="Does the interval hold the truth?", xlabel="95 % intervals that do (%)", xlim=(None, 100))
        covered.set_yticks(y, labels)
        covered.set_ylim(y[-1] + 0.7, -0.7)
        wins.axvline(5, color=INK, lw=0.8)
        style = {"color": ACCENT, "ms": 5, "clip_on": False}
        wins.plot(100 * table["false_win"], y, "D", label="win: interval and corrected test (used)", **style)
        style |= {"color": MUTED, "mfc": "none"}
        wins.plot(100 * table["uncorrected_win"], y, "D", label="win: interval alone", **style)
        wins.set(title="Does nothing look like a win?", xlabel="null sweeps in which it does (%)", xlim=(0, None))
        for axes in (covered, wins):
            axes.grid(axis="y")
            clean(axes)
        figure.legend(loc="outside lower left", ncols=4, columnspacing=1.2)
    return figure


def summary(table: pd.DataFrame, limit: dict[str, object]) -> dict[str, float]:
    """All scenarios in one line; the interval of the false wins is Clopper and Pearson's."""
    sweeps, wins = int(table["repetitions"].sum()), round(float((table["false_win"] * table["repetitions"]).sum()))
    bound = stats.binomtest(wins, sweeps).proportion_ci(0.95, method="exact")
    return {
        "sweeps": sweeps,
        "coverage_low": float(table["studentised"].min()),
        "coverage_high": float(table["studentised"].max()),
        "false_wins": wins / sweeps,
        "false_wins_low": float(bound.low),
        "false_wins_high": float(bound.high),
        "coverage_one_seed_other_seeds_meant": float(str(limit["studentised"])),
        "false_wins_one_seed_other_seeds_meant": float(str(limit["false_win"])),
    }


def markdown(table: pd.DataFrame, limit: dict[str, object]) -> str:
    """The figures of docs/calibration.md, in percent."""
    heads = {"corpus": "Corpus", "spread": "Spread", "seeds": "Seeds"} | COVERAGES | {"joint": "all 27 at once"}
    heads |= {"false_win": "wins", "uncorrected_win": "wins, interval alone", "p_speakers": "p, speakers"}
    heads |= {"p_folds": "p, folds", "p_cells": "p, folds × seeds", "p_t_corrected": "p, corrected t"}
    lines = [f"| {' | '.join(heads.values())} |", "|" + " --- |" * len(heads)]
    for row in table.to_dict("records"):
        cells = [str(row[name]) if name in ("corpus", "seeds") else f"{100 * row[name]:.1f}" for name in heads]
        lines.append(f"| {' | '.join(cells)} |")
    found = summary(table, limit)
    lines += [
        "",
        f"{table['repetitions'].iloc[0]} sweeps of 27 arms per row; columns from the expanded percentiles to "
        f"utterances and from p over folds on are of {RIVALS_ON} arms per sweep.",
        f"Over all {found['sweeps']:,} sweeps {100 * found['false_wins']:.1f} % found a win (95 % interval "
        f"{100 * found['false_wins_low']:.1f} to {100 * found['false_wins_high']:.1f}). With one seed, where seeds "
        "differ by 1 point for all folds and other seeds are meant too, the interval of one seed holds the truth in "
        f"{100 * found['coverage_one_seed_other_seeds_meant']:.1f} %, and "
        f"{100 * found['false_wins_one_seed_other_seeds_meant']:.1f} % of null sweeps find a win (IEMOCAP, spread of 2 "
        "points).",
    ]
    return "\n".join(lines)


def write_docs(table: pd.DataFrame, limit: dict[str, object], folder: Path) -> None:
    """The figures in full, the plot, and the table between the marks of calibration.md."""
    pd.concat([table, pd.DataFrame([limit])]).round(4).to_csv(folder / "calibration.csv", index=False)
    with styled():
        draw(table).savefig(folder / "calibration.svg", metadata=dict.fromkeys(("Date", "Creator")))
    page = folder / "calibration.md"
    before, rest = page.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    page.write_text(f"{before}{MARKS[0]}\n{markdown(table, limit)}\n{MARKS[1]}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="write docs/calibration.csv, .svg and the table in .md")
    parser.add_argument("--repetitions", type=int, default=None, help="sweeps per scenario (20, with --full 300)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    repetitions, began = options.repetitions or (300 if options.full else 20), time.perf_counter()
    planned = scenarios()
    rows = [measure(one, repetitions=repetitions, seed=options.seed + place) for place, one in enumerate(planned)]
    limit = measure(ONE_SEED, repetitions=repetitions, seed=options.seed + len(planned))
    table = pd.DataFrame(rows)
    shown = table.drop(columns=["run_spread", "repetitions"]).set_index(["corpus", "spread", "seeds", "seed_spread"])
    sys.stdout.write((100 * shown).round(1).to_string() + "\n")
    result = {"benchmark": "calibration", "seconds": round(time.perf_counter() - began, 1)} | summary(table, limit)
    sys.stdout.write(json.dumps(result) + "\n")
    if options.full:
        write_docs(table, limit, DOCS)


if __name__ == "__main__":
    main()
