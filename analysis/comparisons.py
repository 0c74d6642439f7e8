"""Cells → one row per pair of arms and metric (`comparisons`): every arm against its twin, its controls, its contrasts.

Shares in [0, 1]. Letters in names: P pairs, S speakers.
"""

from __future__ import annotations

__all__ = ["COLUMNS", "KINDS", "RESAMPLES", "Kind", "Pair", "comparisons_table", "planned_pairs"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from analysis.answers import Answers
from analysis.compared import Compared, compared, matched
from analysis.families import family, holm
from analysis.intervals import interval, speaker_weights, stacked, studentised_quantiles
from analysis.load import AnyPart, Arm, Sweep
from analysis.paired import Metric
from analysis.selection import shrunk
from analysis.tables import Row

RESAMPLES = 10_000
METRICS: Mapping[Answers, tuple[Metric, ...]] = {
    "classes": ("ua", "wa"),
    "dimensions": ("ccc_mean", "ccc_activation", "ccc_valence", "ccc_dominance"),
}
"""The primary one first."""
AT_ONCE = 64
"""Comparisons resampled at a time, which bounds the memory."""

INTEGERS = ("n_pairs", "n_folds", "n_seeds", "n_seeds_expected", "n_speakers")
TEXTS = ("arm", "twin", "metric", "kind", "name", "arm_key", "twin_key", "interval_method")
COLUMNS = (
    *("arm", "twin", "metric", "n_pairs", "difference", "sd", "ci_low", "ci_high", "p", "p_corrected", "p_floor"),
    *("n_folds", "n_seeds", "n_seeds_expected", "n_speakers", "kind", "name", "arm_key", "twin_key", "se"),
    *("interval_method", "p_holm", "ci_low_all", "ci_high_all", "shrunk", "p_folds", "p_folds_floor", "p_cells"),
    *("p_cells_floor", "p_t_corrected", "effect_size", "seeds_for_80"),
)
"""Those that are neither TEXTS nor INTEGERS are floats."""

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
    """Every comparison the plan asks for, kind by kind, in the order of the plan.

    A contrast between an arm that answers with classes and one that answers with dimensions is none.
    """
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
        if arms[contrast.arm_key].answers == arms[contrast.against_key].answers
    ]
    return sorted(pairs, key=lambda pair: KINDS.index(pair.kind))


def comparisons_table(
    sweep: Sweep, tests: Mapping[str, AnyPart], *, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """One row per planned pair and metric (METRICS), paired over the seed × fold cells that both have.

    - arm, twin (whatever the arm is compared with), metric, kind (`Kind`), name, arm_key, twin_key
    - n_pairs (cells), n_folds, n_seeds, n_seeds_expected, n_speakers
    - difference (mean of the cells), sd (of the cells), se (over speakers, sessions and seeds, `intervals.Spread`),
      effect_size (Hedges' corrected d_z over speakers)
    - ci_low, ci_high (95 %, `interval_method`)
    - p (sign flips of speakers, `families.family`), p_floor; corrected over the comparisons of the same kind and
      metric: p_corrected (step-down max-T), p_holm, and ci_low_all, ci_high_all, which hold for all at once (max-T)
    - p_folds (exact sign flips of folds, seeds averaged), p_cells (of seed × fold cells), each with its floor: what
      each assumes stands in docs/calibration.md; p_t_corrected (Nadeau & Bengio)
    - shrunk (empirical Bayes within kind and metric), seeds_for_80 (`power.seeds_for_power`, inf: no number of seeds)

    Empty where not defined; a pair without a common seed keeps its row. Raises BadInputError when two arms were not
    tested on the same utterances.
    """
    found: list[Compared | None] = []
    rows: list[Row] = []
    for pair in planned_pairs(sweep):
        both = matched(pair.arm, pair.against, tests)
        for metric in METRICS[pair.arm.answers]:
            found.append(compared(both, metric=metric) if both else None)
            rows.append(_named(pair, metric))
    quantiles = _quantiles(found, resamples=resamples, seed=seed)
    for place, (one, row) in enumerate(zip(found, rows, strict=True)):
        row |= one.row(quantiles[place]) if one else {"n_pairs": 0, "n_seeds": 0}
    for places in _families(found, rows):
        members = [one for place in places if (one := found[place]) is not None]
        own = [quantiles[place] for place in places]
        for place, columns in zip(places, _together(members, own), strict=True):
            rows[place] |= columns
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    floats = [name for name in COLUMNS if name not in TEXTS + INTEGERS]
    return table.astype(dict.fromkeys(floats, "float64") | dict.fromkeys(INTEGERS, "Int64"))


def _named(pair: Pair, metric: Metric) -> Row:
    arm, against = pair.arm, pair.against
    planned = set(arm.planned_seeds) & set(against.planned_seeds)
    row: Row = {"arm": arm.name, "twin": against.name, "metric": metric, "arm_key": arm.key, "twin_key": against.key}
    return row | {"kind": pair.kind, "name": pair.name, "n_seeds_expected": len(planned)}


def _quantiles(found: Sequence[Compared | None], *, resamples: int, seed: int) -> dict[int, tuple[float, float]]:
    """Place → quantiles of the studentised difference, over draws that all pairs on the same speakers share."""
    grouped: dict[tuple[str, ...], list[int]] = {}
    for place, one in enumerate(found):
        if one is not None:
            grouped.setdefault(one.speakers, []).append(place)
    quantiles: dict[int, tuple[float, float]] = {}
    for speakers, places in grouped.items():
        draws_BS = speaker_weights(len(speakers), resamples=resamples, seed=seed)
        for chunk in (places[start : start + AT_ONCE] for start in range(0, len(places), AT_ONCE)):
            added_SP, weight_SP = stacked([one.parts for place in chunk if (one := found[place]) is not None])
            low_P, high_P = studentised_quantiles(added_SP, weight_SP, draws_BS=draws_BS)
            quantiles |= dict(zip(chunk, zip(low_P.tolist(), high_P.tolist(), strict=True), strict=True))
    return quantiles


def _families(found: Sequence[Compared | None], rows: Sequence[Row]) -> list[list[int]]:
    """Places of the comparisons of one kind and metric that could be made."""
    grouped: dict[tuple[object, object], list[int]] = {}
    for place, (one, row) in enumerate(zip(found, rows, strict=True)):
        if one is not None:
            grouped.setdefault((row["kind"], row["metric"]), []).append(place)
    return list(grouped.values())


def _together(members: Sequence[Compared], own: Sequence[tuple[float, float]]) -> list[Row]:
    """Columns that depend on the whole family, one row per member.

    `own`: quantiles of each by itself. They need not lie around zero, and the joint interval is not to end inside.
    """
    speakers = sorted({speaker for one in members for speaker in one.speakers})
    index = {speaker: place for place, speaker in enumerate(speakers)}
    added_SP, weight_SP = np.zeros((len(speakers), len(members))), np.zeros((len(speakers), len(members)))
    for column, one in enumerate(members):
        places = [index[speaker] for speaker in one.speakers]
        added_SP[places, column], weight_SP[places, column] = one.parts.by_speaker, one.parts.weights
    error_P = np.array([one.error for one in members])
    tests = family(added_SP, weight_SP, error_P=error_P)
    p_P: list[float] = tests.p_P.tolist()
    drawn_P = shrunk(added_SP.sum(axis=0).tolist(), error_P.tolist())
    rows = []
    for column, one in enumerate(members):
        row: Row = {"p": p_P[column], "p_corrected": float(tests.p_max_t_P[column]), "shrunk": drawn_P[column]}
        quantiles = (min(-tests.quantile, own[column][0]), max(tests.quantile, own[column][1]))
        both = interval(one.parts.difference, one.spread, quantiles=quantiles, n_speakers=len(one.speakers))
        if both is not None:
            row["ci_low_all"], row["ci_high_all"] = both
        rows.append(row)
    for row, corrected in zip(rows, holm(p_P), strict=True):
        row["p_holm"] = corrected
    return rows
