"""Cells → one row per pair of arms and metric (`comparisons`): every arm against its twin, its controls, its contrasts.

Shares in [0, 1].
"""

from __future__ import annotations

__all__ = ["KINDS", "RESAMPLES", "Kind", "Pair", "comparisons_table", "planned_pairs"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.load import Arm, Part, Sweep
from analysis.statistics import (
    Metric,
    PairedCounts,
    bootstrap_differences,
    expanded_interval,
    holm,
    paired_difference,
    sign_flip_floor,
    sign_flip_p,
    speaker_weights,
)
from analysis.tables import Row, sd_of
from core.errors import BadInputError
from core.metrics import ua, wa

RESAMPLES = 10_000
METRICS: tuple[Metric, ...] = ("ua", "wa")

Kind = Literal["twin", "control-twin", "control", "contrast"]
"""What a comparison asks. `twin`: is the arm better than its twin? `control-twin`: is the control arm?
`control`: is the arm better than the same arm on a control track? `contrast`: as the definition names it."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two arms that are compared, seed by seed and fold by fold."""

    kind: Kind
    name: str
    """`twin`, the control track, or the name of the contrast."""
    arm: Arm
    against: Arm


def planned_pairs(sweep: Sweep) -> list[Pair]:
    """Every comparison the plan asks for, kind by kind, in the order of the plan."""
    arms = sweep.arms
    pairs = [
        Pair(
            kind="twin" if arm.control == "none" else "control-twin",
            name="twin" if arm.control == "none" else arm.control,
            arm=arm,
            against=arms[arm.twin_key],
        )
        for arm in arms.values()
        if arm.twin_key is not None
    ]
    pairs += [
        Pair(kind=contrast.kind, name=contrast.name, arm=arms[contrast.arm_key], against=arms[contrast.against_key])
        for contrast in sweep.plan.contrasts
    ]
    return sorted(pairs, key=lambda pair: KINDS.index(pair.kind))


def comparisons_table(
    sweep: Sweep, tests: Mapping[str, Part], *, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """One row per planned pair and metric (UA, WA), paired over the seed × fold cells that both have.

    Columns: arm, twin (whatever the arm is compared with), metric, n_pairs, difference (mean of the paired cells), sd
    (of the paired cells), ci_low, ci_high (95 %, resampled speakers), p (sign-flip over folds), p_corrected (Holm over
    all comparisons of this metric and kind in the table), p_floor, n_folds, n_seeds, n_seeds_expected, n_speakers, kind
    (`Kind`), name, arm_key, twin_key. A pair without a common seed keeps its row, empty. Raises BadInputError when two
    arms were not tested on the same utterances.
    """
    rows = [
        _comparison(pair, metric=metric, tests=tests, draws=(resamples, seed))
        for pair in planned_pairs(sweep)
        for metric in METRICS
    ]
    names = ["arm", "twin", "metric", "n_pairs", "difference", "sd", "ci_low", "ci_high", "p", "p_corrected"]
    names += ["p_floor", "n_folds", "n_seeds", "n_seeds_expected", "n_speakers", "kind", "name", "arm_key", "twin_key"]
    table = pd.DataFrame(rows, columns=names)
    for _, family in table[table["p"].notna()].groupby(["kind", "metric"]):
        table.loc[family.index, "p_corrected"] = holm(family["p"].tolist())
    floats = ["difference", "sd", "ci_low", "ci_high", "p", "p_corrected", "p_floor"]
    integers = ["n_pairs", "n_folds", "n_seeds", "n_seeds_expected", "n_speakers"]
    return table.astype(dict.fromkeys(floats, "float64") | dict.fromkeys(integers, "Int64"))


def _comparison(pair: Pair, *, metric: Metric, tests: Mapping[str, Part], draws: tuple[int, int]) -> Row:
    arm, against = pair.arm, pair.against
    planned = set(arm.planned_seeds) & set(against.planned_seeds)
    row: Row = {"arm": arm.name, "twin": against.name, "metric": metric, "arm_key": arm.key, "twin_key": against.key}
    row |= {"kind": pair.kind, "name": pair.name, "n_seeds_expected": len(planned)}
    parts = _parts(pair, tests)
    if not parts:
        return row | {"n_pairs": 0, "n_seeds": 0}
    differences_KF = np.array([_fold_metric(own, metric) - _fold_metric(other, metric) for own, other in parts])
    paired = _paired_counts(parts)
    n_speakers, n_folds = len(parts[0][0].speakers), differences_KF.shape[1]
    weights_BS = speaker_weights(n_speakers, resamples=draws[0], seed=draws[1])
    draws_B = bootstrap_differences(paired, metric=metric, weights_BS=weights_BS)
    low, high = expanded_interval(draws_B, n_speakers=n_speakers) or (float("nan"), float("nan"))
    return row | {
        "n_pairs": differences_KF.size,
        "difference": paired_difference(paired, metric=metric),
        "sd": sd_of(pd.Series(differences_KF.ravel())),
        "ci_low": low,
        "ci_high": high,
        "p": sign_flip_p(differences_KF.mean(axis=0).tolist()),
        "p_floor": sign_flip_floor(n_folds),
        "n_folds": n_folds,
        "n_seeds": len(parts),
        "n_speakers": n_speakers,
    }


def _parts(pair: Pair, tests: Mapping[str, Part]) -> list[tuple[Part, Part]]:
    """Test parts of both arms under the seeds that both have, all on the same utterances."""
    others = {record.seed: tests[record.trial_key] for record in pair.against.records}
    found = [(tests[record.trial_key], others[record.seed]) for record in pair.arm.records if record.seed in others]
    if len({part.identity for both in found for part in both}) > 1:
        raise BadInputError(
            f"arm {pair.arm.name!r} and arm {pair.against.name!r}: their trials were not tested on the same utterances "
            "and folds"
        )
    return found


def _fold_metric(part: Part, metric: Metric) -> NDArray[np.float64]:
    score = {"ua": ua, "wa": wa}[metric]
    return np.array([score(counts_CC) for counts_CC in part.counts.sum(axis=1)])


def _paired_counts(parts: list[tuple[Part, Part]]) -> PairedCounts:
    gains = [
        np.diagonal(own.counts, axis1=2, axis2=3) - np.diagonal(other.counts, axis1=2, axis2=3) for own, other in parts
    ]
    return PairedCounts(gain=np.mean(gains, axis=0), total=parts[0][0].counts.sum(axis=3))
