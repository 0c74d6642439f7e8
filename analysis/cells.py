"""Rows of results and comparisons (`as_rows`) → the cells that people read, in percent and points."""

from __future__ import annotations

__all__ = ["ccc_cells", "difference_cells", "pairs_cell", "score_cells", "summary_cell", "trials_cell"]

from collections.abc import Mapping
from typing import Any

from analysis.measures import MEASURES, measure_of
from analysis.wording import DASH, mean_sd, p_value

Row = Mapping[str, Any]


def score_cells(row: Row, *, digits: int = 1) -> list[str]:
    """UA, WA and F1 of a row of results, mean ± sd."""
    return [mean_sd(row[f"{name}_mean"], row[f"{name}_sd"], digits) for name in ("ua", "wa", "f1")]


def ccc_cells(row: Row, *, more: int = 0) -> list[str]:
    """CCC of a row of results, mean ± sd: its mean over the dimensions, then each of them. `more`: further decimals."""
    measures = [measure for measure in MEASURES.values() if not measure.is_share]
    return [one.mean_sd(row[f"{one.column}_mean"], row[f"{one.column}_sd"], more=more) for one in measures]


def trials_cell(row: Row) -> str:
    """Complete and planned trials of a row of results, and which seeds are missing."""
    text = f"{row['n_trials']}/{row['n_expected']}"
    if row["status"] == "complete":
        return text
    return f"{text} ({row['status']}: no seed {row['missing_seeds'].replace(' ', ', ')})"


def pairs_cell(row: Row) -> str:
    """Paired cells of a comparison, and how many seeds they are of when not all are there."""
    whole = row["n_seeds"] == row["n_seeds_expected"]
    return str(row["n_pairs"]) + ("" if whole else f" ({row['n_seeds']}/{row['n_seeds_expected']} seeds)")


def difference_cells(row: Row, *, more: int = 0) -> list[str]:
    """Difference, interval, p and its max-T correction of a comparison. `more`: further decimals."""
    measure = measure_of(row)
    spread = measure.interval(row["ci_low"], row["ci_high"], more=more)
    return [measure.difference(row["difference"], more=more), spread, p_value(row["p"]), p_value(row["p_corrected"])]


def summary_cell(row: Row | None) -> str:
    """A comparison in one cell: `+3.0 [+1.0, +5.0], p .1250` (max-T); a dash where there is none."""
    if row is None or row["difference"] is None:
        return DASH
    difference, spread, _, corrected = difference_cells(row)
    return f"{difference} {spread}, p {corrected}"
