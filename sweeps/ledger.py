"""A corpus check as text: counts per fold and class, then every recording that is set aside."""

from __future__ import annotations

__all__ = ["SHOWN", "ledger_text"]

from collections import Counter
from collections.abc import Mapping
from typing import Any

SHOWN = 20
"""Known quirks listed one by one for each reason; the rest is only counted (`--json` has them all)."""


def ledger_text(summary: Mapping[str, Any]) -> str:
    """What `core.corpora.loading.summarise` counted, for people. Without classes there is only the total."""
    classes = [name for name in dict.fromkeys(row["class"] for row in summary["rows"]) if name]
    folds = list(dict.fromkeys(row["fold"] for row in summary["rows"]))
    used = {(row["fold"], row["class"]): row["used"] for row in summary["rows"]}
    lines = [
        f"corpus {summary['corpus']}: {summary['utterances']} utterances, {summary['hours']:.2f} h, "
        f"{summary['speakers']} speakers, {summary['quarantined']} set aside",
        f"fingerprint {summary['fingerprint']}",
    ]
    if summary["incomplete"]:
        lines.append(f"INCOMPLETE: {summary['incomplete']}")
    if not summary["classes"]:
        lines.append("no classes")
    if summary["folds"]:
        leaky = ", leaky: same speakers" if summary["folds"]["leaky"] else ""
        lines.append(f"folds {summary['folds']['scheme']} (validation {summary['folds']['validation']}{leaky})")
    width = max(len(name) for name in [*classes, "total"]) + 2
    lines.append("".join([f"{'test fold':20}", *(f"{name:>{width}}" for name in [*classes, "total"])]))
    outside = "in no fold" if summary["folds"] else "all"
    for fold in folds:
        total = sum(count for (place, _), count in used.items() if place == fold)
        row = "".join(f"{count:>{width}}" for count in [*(used.get((fold, name), 0) for name in classes), total])
        lines.append(f"{fold or outside:20}{row}")
    return "\n".join([*lines, *_set_aside(summary["ledger"])])


def _set_aside(ledger: list[Mapping[str, Any]]) -> list[str]:
    lines = []
    known: Counter[str] = Counter()
    for entry in ledger:
        known[entry["reason"]] += entry["known"]
        if entry["known"] and known[entry["reason"]] > SHOWN:
            continue
        label = f" ({entry['label']})" if entry["label"] else ""
        quirk = ", known quirk" if entry["known"] else ""
        lines.append(f"set aside: {entry['utterance']}{label}: {entry['reason']}{quirk}: {entry['detail']}")
    more = [f"set aside: {n - SHOWN} more: {reason}, known quirk" for reason, n in known.items() if n > SHOWN]
    return [*lines, *more]
