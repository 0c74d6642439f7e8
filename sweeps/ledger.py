"""A corpus check as text: counts per fold and class, then every recording that is set aside."""

from __future__ import annotations

__all__ = ["ledger_text"]

from collections.abc import Mapping
from typing import Any


def ledger_text(summary: Mapping[str, Any]) -> str:
    """What `core.corpora.loading.summarise` counted, for people."""
    classes = list(dict.fromkeys(row["class"] for row in summary["rows"]))
    folds = list(dict.fromkeys(row["fold"] for row in summary["rows"]))
    cells = {(row["fold"], row["class"]): row for row in summary["rows"]}
    lines = [
        f"corpus {summary['corpus']}: {summary['utterances']} utterances, {summary['hours']:.2f} h, "
        f"{summary['speakers']} speakers, {summary['quarantined']} set aside",
        f"fingerprint {summary['fingerprint']}",
    ]
    if summary["incomplete"]:
        lines.append(f"INCOMPLETE: {summary['incomplete']}")
    if summary["folds"]:
        leaky = ", leaky: same speakers" if summary["folds"]["leaky"] else ""
        lines.append(f"folds {summary['folds']['scheme']} (validation {summary['folds']['validation']}{leaky})")
    width = max(len(name) for name in [*classes, "total"]) + 2
    lines.append("".join([f"{'test fold':20}", *(f"{name:>{width}}" for name in [*classes, "total"])]))
    for fold in folds:
        counts = [cells.get((fold, name), {"used": 0})["used"] for name in classes]
        row = "".join(f"{count:>{width}}" for count in [*counts, sum(counts)])
        lines.append(f"{fold or 'all':20}{row}")
    for entry in summary["ledger"]:
        known = ", known quirk" if entry["known"] else ""
        lines.append(f"set aside: {entry['utterance']} ({entry['label']}): {entry['reason']}{known}: {entry['detail']}")
    return "\n".join(lines)
