"""The tables as files for programs: CSV and JSON, shares in [0, 1]."""

from __future__ import annotations

__all__ = ["csv_text", "json_text"]

import json
from typing import Any

import pandas as pd


def csv_text(table: pd.DataFrame) -> str:
    """A table as CSV, floats written in full, absent values empty."""
    return table.to_csv(index=False, lineterminator="\n")


def json_text(content: dict[str, Any]) -> str:
    """`report.json`, of `Report.as_json`: everything on the page, shares in [0, 1], absent values null; a line per
    table row."""
    return _lines(content, json.JSONEncoder(ensure_ascii=False, allow_nan=False), "\n") + "\n"


def _lines(value: Any, encoder: json.JSONEncoder, end: str) -> str:
    """What holds no list or mapping on one line: `json` indents in Python, at ten times the cost."""
    inside: list[Any] = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if not any(isinstance(each, dict | list) for each in inside):
        return encoder.encode(value)
    parts = [_lines(each, encoder, f"{end} ") for each in inside]
    if isinstance(value, dict):
        parts = [f"{encoder.encode(name)}: {part}" for name, part in zip(value, parts, strict=True)]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}{end} " + f",{end} ".join(parts) + f"{end}{closing}"
