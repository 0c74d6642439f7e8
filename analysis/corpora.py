"""The corpora behind a sweep: what was evaluated, what the upstreams heard, what the intensity model learnt from."""

from __future__ import annotations

__all__ = ["Role", "corpora_of", "sweep_corpora"]

from collections.abc import Iterable
from typing import Literal, get_args

from core.records import CorpusEntry, Record

Role = Literal["evaluated", "heard", "fit"]
"""`heard`: only where it is another corpus than the evaluated one; `fit`: only where the intensity was learnt."""


def corpora_of(record: Record) -> list[tuple[Role, CorpusEntry]]:
    """The corpora of one record, the evaluated one first. Records of schema 1 know no other."""
    roles: dict[Role, CorpusEntry | None] = {"evaluated": record.corpus, "heard": record.heard, "fit": record.fit}
    return [(role, entry) for role, entry in roles.items() if entry is not None]


def sweep_corpora(records: Iterable[Record]) -> list[tuple[Role, CorpusEntry]]:
    """The different corpora of all records, role by role in the order of `Role`."""
    found: list[tuple[Role, CorpusEntry]] = []
    for record in records:
        found += [each for each in corpora_of(record) if each not in found]
    return sorted(found, key=lambda each: get_args(Role).index(each[0]))
