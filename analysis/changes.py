"""What each change does: the contrasts that the definition names, as in an ablation, one upstream at a time."""

from __future__ import annotations

__all__ = ["change_rows", "changes_sentences"]

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.masks import mixes
from analysis.standing import Standing, is_shown, standing
from analysis.tables import as_rows
from analysis.wording import count, joined, points


def change_rows(results: pd.DataFrame, comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per named contrast, upstream by upstream, in the order of the plan; empty for a sweep without any.

    Columns: those of the comparison of UA, and upstream (`a against b` where they differ), realised_ratio of the arm,
    against_realised_ratio, mixed (whether these differ, so that their number of frames is in the difference too).
    """
    arms = {row["arm_key"]: row for row in as_rows(results)}
    chosen = comparisons[(comparisons["kind"] == "contrast") & (comparisons["metric"] == "ua")]
    rows = []
    for row in as_rows(chosen):
        arm, against = arms[row["arm_key"]], arms[row["twin_key"]]
        upstreams = dict.fromkeys((arm["upstream"], against["upstream"]))
        shares = {
            "upstream": " against ".join(upstreams),
            "realised_ratio": arm["realised_ratio"],
            "against_realised_ratio": against["realised_ratio"],
            "mixed": mixes(arm, against),
        }
        rows.append(row | shares)
    order = list(dict.fromkeys(row["upstream"] for row in rows))
    return sorted(rows, key=lambda row: order.index(row["upstream"]))


def changes_sentences(rows: Sequence[dict[str, Any]]) -> list[str]:
    """How the contrasts came out, one sentence per upstream; no stronger than intervals and tests allow."""
    upstreams = list(dict.fromkeys(row["upstream"] for row in rows))
    return [
        _sentence([row for row in rows if row["upstream"] == upstream], upstream if len(upstreams) > 1 else None)
        for upstream in upstreams
    ]


def _sentence(rows: Sequence[dict[str, Any]], upstream: str | None) -> str:
    by_standing: dict[Standing, list[str]] = {}
    for row in rows:
        named = f"{row['name']} ({points(row['difference'])})"
        by_standing.setdefault(standing(row), []).append(named)
    shown = [name for found, names in by_standing.items() if is_shown(found) for name in names]
    leaning = by_standing.get("leans better", []) + by_standing.get("leans worse", [])
    parts = {
        "shown to change UA by interval and corrected test": shown,
        "by the interval only, a sign and not proof": leaning,
        "not shown to change UA": by_standing.get("open", []),
        "not known yet": by_standing.get("absent", []),
    }
    of = f" of {upstream}" if upstream else ""
    listed = "; ".join(f"{text}: {joined(names)}" for text, names in parts.items() if names)
    return f"{count(len(rows), 'named change')}{of}, in points of UA. {listed[0].upper()}{listed[1:]}."
