"""What a reader must know before the numbers: leaks, what is missing, pairs that are not fair, uncommitted code."""

from __future__ import annotations

__all__ = ["Banner", "banners"]

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.comparisons import Kind, planned_pairs
from analysis.corpora import Role, sweep_corpora
from analysis.imported import imported_sentence
from analysis.load import Sweep
from analysis.masks import MIXES, mixes, mixing_sentence
from analysis.tables import as_rows
from analysis.wording import count, joined
from core.records import CorpusEntry, Record

MATCHED: dict[Kind, str] = {"twin": "its twin", "control-twin": "its twin", "control": "its control"}
"""Pairs that must choose equally many frames; a named contrast may be about that very number."""
NAMED_PAIRS = 2


@dataclass(frozen=True, kw_only=True)
class Banner:
    """Something a reader must know before the numbers."""

    kind: str
    """`leak`, `incomplete`, `import`, `missing`, `pair` or `code`."""
    text: str


def banners(sweep: Sweep, results: pd.DataFrame) -> list[Banner]:
    """Leaks, incomplete corpora, imported systems, missing cells, unmatched pairs, uncommitted code, in this order."""
    records = sweep.records
    leaks = [Banner(kind="leak", text=text) for text in _leaks(records)]
    corpora = sweep_corpora(records)
    incomplete = dict.fromkeys((_named(*each), each[1].incomplete) for each in corpora if each[1].incomplete)
    notes = [Banner(kind="incomplete", text=f"Incomplete corpus{role}: {text}") for role, text in incomplete]
    notes += [Banner(kind="incomplete", text=text) for text in _set_aside(corpora)]
    unmatched = _unmatched(sweep, results)
    notes += [Banner(kind="import", text=imported_sentence(system)) for system in sweep.imported]
    unmatched += [Banner(kind="pair", text=text) for text in _impossible(sweep)]
    return [*leaks, *notes, *_missing(sweep), *unmatched, *_uncommitted(records), *_environments(records)]


def _leaks(records: tuple[Record, ...]) -> list[str]:
    """Leaks as the trials recorded them; from the protocol alone where a record that must have one names none."""
    texts: dict[str, None] = {}
    for record in records:
        leaks = record.protocol.leaks
        if record.protocol.transductive and not leaks:
            leaks = ("pre-training heard the test part's audio (without labels)",)
        if record.protocol.validation == "superb" and not leaks:
            leaks = ("validation shares speakers with training (superb)",)
        texts |= dict.fromkeys(leaks)
    return [f"Known leak: {text}." for text in texts]


def _named(role: Role, entry: CorpusEntry) -> str:
    """What a corpus that is not the evaluated one is for."""
    uses = {"heard": "pre-trained on", "fit": "intensity learnt from"}
    return f" ({entry.name}, {uses[role]})" if role in uses else ""


def _set_aside(corpora: Sequence[tuple[Role, CorpusEntry]]) -> list[str]:
    """Recordings that are not in the numbers, by reason."""
    entries = {(_named(role, entry), tuple(entry.quarantined.items())) for role, entry in corpora}
    return [
        f"Set aside{role}, not in any number: "
        + ", ".join(f"{count(n, 'recording')} ({reason})" for reason, n in ledger)
        + "."
        for role, ledger in sorted(entries)
        if ledger
    ]


def _missing(sweep: Sweep) -> list[Banner]:
    by_status: dict[str, int] = {}
    for outcome in sweep.outcomes:
        by_status[outcome.status] = by_status.get(outcome.status, 0) + 1
    absent = {status: n for status, n in by_status.items() if status != "complete"}
    if not absent:
        return []
    parts = joined([f"{n} {status}" for status, n in absent.items()])
    text = (
        f"Not all is in: of {count(len(sweep.outcomes), 'planned trial')}, {by_status.get('complete', 0)} complete, "
        f"{parts}. Means over a part are marked."
    )
    return [Banner(kind="missing", text=text)]


def _unmatched(sweep: Sweep, results: pd.DataFrame) -> list[Banner]:
    rows = {row["arm_key"]: row for row in as_rows(results)}
    found = [
        mixing_sentence(rows[pair.arm.key], rows[pair.against.key], role=MATCHED[pair.kind])
        for pair in planned_pairs(sweep)
        if pair.kind in MATCHED and mixes(rows[pair.arm.key], rows[pair.against.key])
    ]
    if not found:
        return []
    if len(found) == 1:
        return [Banner(kind="pair", text=f"Not a fair pair: {found[0]}: the comparison {MIXES}.")]
    more = len(found) - NAMED_PAIRS
    named = [*found[:NAMED_PAIRS], f"{more} more pairs likewise"] if more > 1 else found
    return [Banner(kind="pair", text=f"{len(found)} pairs are not fair: {'; '.join(named)}: each comparison {MIXES}.")]


def _impossible(sweep: Sweep) -> list[str]:
    """Contrasts of the plan that no number can be given to."""
    pairs = [(one.name, sweep.arms[one.arm_key], sweep.arms[one.against_key]) for one in sweep.plan.contrasts]
    return [
        f"Not compared, {name}: {arm.name} answers with {arm.answers}, {against.name} with {against.answers}."
        for name, arm, against in pairs
        if arm.answers != against.answers
    ]


def _uncommitted(records: tuple[Record, ...]) -> list[Banner]:
    dirty = sum(record.provenance.dirty for record in records)
    if not dirty:
        return []
    return [Banner(kind="code", text=f"{count(dirty, 'trial')} ran with uncommitted changes to the code.")]


def _environments(records: Sequence[Record]) -> list[Banner]:
    """Trials that ran under different packages or on different hardware are not twins to the last digit."""
    packages = {tuple(sorted(record.provenance.packages.items())) for record in records}
    hardware = {record.provenance.hardware for record in records}
    found = []
    if len(packages) > 1:
        found.append(Banner(kind="code", text=f"Trials ran under {len(packages)} different sets of package versions."))
    if len(hardware) > 1:
        found.append(Banner(kind="code", text=f"Trials ran on different hardware: {'; '.join(sorted(hardware))}."))
    return found
