"""The tables as files for programs: CSV and JSON, shares in [0, 1]."""

from __future__ import annotations

__all__ = ["csv_text", "json_text"]

import json

import pandas as pd

from analysis.content import Report


def csv_text(table: pd.DataFrame) -> str:
    """A table as CSV, floats written in full, absent values empty."""
    return table.to_csv(index=False, lineterminator="\n")


def json_text(report: Report) -> str:
    """`report.json`: everything on the page, shares in [0, 1], absent values null."""
    return json.dumps(report.as_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
