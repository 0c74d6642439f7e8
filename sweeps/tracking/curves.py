"""What trials logged while they ran, as a table: the learning curves of a report."""

from __future__ import annotations

__all__ = ["fetch_curves", "read_curves"]

import json
import math
import sys
from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.tracking.experiment import impatient_client, reported
from sweeps.tracking.journal import Journal, number

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["trial_key", "metric", "step", "value"]


def read_curves(journal: Path, metrics: Collection[str], *, trials: Collection[str]) -> pd.DataFrame:
    """Every point of these metrics and trials in a journal: trial_key, metric, step, value; empty without a journal.

    A trial that another sweep of the workspace had trained has its curves in that one's journal alone. Raises
    BadInputError when the file is no journal, JournalError when it cannot be read.
    """
    import pandas as pd

    if not journal.exists():
        return pd.DataFrame(columns=COLUMNS)
    with closing(Journal(journal)) as opened:
        rows = opened.query(
            "SELECT trial_key, metric, step, value FROM metrics WHERE trial_key IN (SELECT value FROM json_each(?1))"
            " AND metric IN (SELECT value FROM json_each(?2)) ORDER BY trial_key, metric, step",
            (json.dumps(sorted(trials)), json.dumps(sorted(metrics))),
        )
    return pd.DataFrame([(*place, number(value)) for *place, value in rows], columns=COLUMNS)


def fetch_curves(uri: str, metrics: Collection[str], *, runs: Mapping[str, str]) -> pd.DataFrame:
    """The same points from MLflow, bit for bit. `runs`: trial key → run. Raises TrackingError."""
    import pandas as pd

    rows = []
    with reported("reading learning curves"):
        client = impatient_client(uri)
        for trial_key, run_id in sorted(runs.items()):
            for metric in sorted(metrics):
                points = client.get_metric_history(run_id, metric)
                history = {point.step: point.value for point in reversed(points)}  # of two the first, as in journals
                rows += [(trial_key, metric, step, _infinite(value)) for step, value in sorted(history.items())]
    return pd.DataFrame(rows, columns=COLUMNS)


def _infinite(value: float) -> float:
    """MLflow's databases keep infinity as the largest number there is."""
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value
