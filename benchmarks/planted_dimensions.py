"""Teacher–student on the demo corpus, scored against what was planted instead of the labels (ours).

Labels of the part `noisy` are one careless rater's: a student that learnt the truth behind them is not rewarded by
them. Prints CCC with the planted dimensions, means over seeds × folds, and paired differences (arm − twin, and the
sweep's named contrasts) with the standard error over folds, after means over seeds.
Run: python -m benchmarks.planted_dimensions WORKSPACE [SWEEP]   (a finished `sweep launch noisy_labels`)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.load import Arm, Sweep, load_sweep
from core.corpora.demo import planted_dimensions
from core.data_config import CorpusConfig
from core.metrics import ccc
from core.records import DIMENSIONS, read_predictions

Scores = Mapping[int, NDArray[np.float64]]
"""Seed → CCC with what was planted, (F, D): F folds, D dimensions."""


def scores_of(sweep: Sweep, arm: Arm) -> Scores:
    found = {}
    for record in arm.records:
        planted = planted_dimensions(CorpusConfig.model_validate(record.config["corpus"]))
        rows = read_predictions(sweep.folder(record), split="test")
        found[record.seed] = np.array([
            [
                ccc([planted[name][d] for name in fold["utterance"]], fold[f"predicted_{dimension}"].to_numpy())
                for d, dimension in enumerate(DIMENSIONS)
            ]
            for _, fold in rows.groupby("fold")
        ])  # fmt: skip
    return found


def difference_text(arm: Scores, against: Scores) -> str:
    """Mean over folds of what the arm has more, and its standard error over folds; seeds that both have."""
    seeds = sorted(arm.keys() & against.keys())
    gained_FD = np.mean([arm[seed] - against[seed] for seed in seeds], axis=0)
    errors_D = gained_FD.std(axis=0, ddof=1) / np.sqrt(len(gained_FD))
    shown = [
        f"{name} {mean:+.3f} ({error:.3f}; {np.sum(of_folds > 0)}/{len(of_folds)})"
        for name, mean, error, of_folds in zip(DIMENSIONS, gained_FD.mean(axis=0), errors_D, gained_FD.T, strict=True)
    ]
    return f"{'  '.join(shown)}  {len(seeds)} seeds"


def main() -> None:
    root, name = Path(sys.argv[1]), (sys.argv[2:] or ["noisy_labels"])[0]
    sweep = load_sweep(plan_path=root / "sweeps" / name / "plan.json", trials_root=root / "trials")
    scores = {key: found for key, arm in sweep.arms.items() if (found := scores_of(sweep, arm))}
    lines = ["CCC with what was planted"]
    for key, found in scores.items():
        mean_D = np.mean(list(found.values()), axis=(0, 1))
        shown = "  ".join(f"{dimension} {value:.3f}" for dimension, value in zip(DIMENSIONS, mean_D, strict=True))
        lines.append(f"  {sweep.arms[key].name}: {shown}")
    lines.append("differences (standard error over folds; folds in which it is above zero)")
    pairs = [("twin", key, arm.twin_key) for key, arm in sweep.arms.items() if arm.twin_key is not None]
    pairs += [(each.name, each.arm_key, each.against_key) for each in sweep.plan.contrasts]
    for said, key, other in pairs:
        if key in scores and other in scores:
            lines.append(f"  {said}: {sweep.arms[key].name} − {sweep.arms[other].name}")
            lines.append(f"    {difference_text(scores[key], scores[other])}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
