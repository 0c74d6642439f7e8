"""What systems set aside, fell back on or hid: counted in the records, and shown."""

from __future__ import annotations

__all__ = ["COLUMNS", "counted_rows", "counts_table"]

from typing import Any

import pandas as pd

from analysis.load import Sweep
from analysis.tables import Row, as_rows

COLUMNS = ["arm", "what", "least", "most", "n_trials", "arm_key"]


def counts_table(sweep: Sweep) -> pd.DataFrame:
    """One row per arm and thing counted (`core.records.Record.counts`), in the order of the plan and of the records.

    least, most: over the n_trials complete trials of the arm, one that does not name it counting 0; each trial's count
    is over all its folds. Empty where no record has counts.
    """
    rows: list[Row] = []
    for arm in sweep.planned:
        for what in dict.fromkeys(name for record in arm.records for name in record.counts):
            found = [record.counts.get(what, 0) for record in arm.records]
            row: Row = {"arm": arm.name, "what": what, "least": min(found), "most": max(found)}
            rows.append(row | {"n_trials": len(found), "arm_key": arm.key})
    return pd.DataFrame(rows, columns=COLUMNS)


def counted_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """For people: arms with the same counts of the same thing in one row. what, n (`7`, `3 to 7`), arms (names)."""
    grouped: dict[tuple[str, int, int], list[str]] = {}
    for row in as_rows(table):
        grouped.setdefault((row["what"], row["least"], row["most"]), []).append(row["arm"])
    return [
        {"what": what, "n": f"{least:,}" if least == most else f"{least:,} to {most:,}", "most": most, "arms": arms}
        for (what, least, most), arms in grouped.items()
    ]
