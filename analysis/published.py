"""Results that others have published, with their protocol and source: `published.csv`, percent as printed there."""

from __future__ import annotations

__all__ = ["PROTOCOL_NOTE", "PublishedRow", "read_published"]

import csv
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("published.csv")

PROTOCOL_NOTE = (
    "These numbers were obtained under other protocols: other folds, other ways of choosing the epoch, other upstream "
    "sizes and pre-training audio. They say where the field stands, not whether an arm of this sweep is better; only "
    "an arm's own twin does that."
)

PROTOCOLS = {
    "superb-loso5-frozen": "leave-one-session-out, frozen upstream; validation is a random 20 % of the training "
    "utterances (same speakers); WA only",
    "emobox-folds-frozen": "the folds of the EmoBox benchmark, frozen upstream",
    "loso5-frozen": "leave-one-session-out, frozen upstream",
    "loso5-finetuned": "leave-one-session-out, upstream fine-tuned on the labels",
    "loso5-frozen, validation = test (leaky)": "leave-one-session-out, frozen upstream, epoch chosen on the test fold "
    "(leaky)",
}


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One published result. Metrics are shares in [0, 1], None where the source does not give them."""

    system: str
    protocol: str
    """Short tag of the protocol."""
    description: str
    """The protocol in words."""
    ua: float | None
    wa: float | None
    macro_f1: float | None
    source: str


def read_published(corpus: str) -> tuple[PublishedRow, ...]:
    """Published results on a corpus (by its name in this project), in the order of the file; empty if none."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["corpus"] == corpus]
    return tuple(
        PublishedRow(
            system=row["system"],
            protocol=row["protocol"],
            description=PROTOCOLS.get(row["protocol"], row["protocol"]),
            ua=_share(row["ua_percent"]),
            wa=_share(row["wa_percent"]),
            macro_f1=_share(row["macro_f1_percent"]),
            source=row["source"],
        )
        for row in rows
    )


def _share(percent: str) -> float | None:
    return round(float(percent) / 100, 6) if percent else None
