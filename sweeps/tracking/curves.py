"""What trials logged while they ran, as a table: the learning curves of a report."""

from __future__ import annotations

__all__ = ["read_curves"]

from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.tracking.journal import Journal, number

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["trial_key", "metric", "step", "value"]


def read_curves(journal: Path, metrics: Collection[str]) -> pd.DataFrame:
    """Every point of these metrics in a journal: trial_key, metric, step, value; empty where there is no journal.

    A trial that another sweep of the workspace had trained has its curves in that one's journal alone. Raises
    BadInputError when the file is no journal, JournalError when it cannot be read.
    """
    import pandas as pd

    if not journal.exists():
        return pd.DataFrame(columns=COLUMNS)
    marks = ", ".join("?" * len(metrics))
    select = f"SELECT trial_key, metric, step, value FROM metrics WHERE metric IN ({marks})"
    with closing(Journal(journal)) as opened:
        rows = opened.query(f"{select} ORDER BY trial_key, metric, step", tuple(metrics))
    return pd.DataFrame([(*place, number(value)) for *place, value in rows], columns=COLUMNS)
