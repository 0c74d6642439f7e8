"""What the numbers allow one to say: the key result, what leaks, what is missing."""

from __future__ import annotations

__all__ = [
    "METRIC_DEFINITIONS",
    "Banner",
    "banners",
    "choose_arm",
    "floor_sentence",
    "key_result",
    "protocol_sentences",
]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.load import Sweep
from analysis.wording import count, joined, p_value, percent, points
from core.records import Record

RATIO_TOLERANCE = 0.01
"""Largest difference of realised ratio between an arm and its twin that passes without a word (share of frames)."""

METRIC_DEFINITIONS = (
    "UA, unweighted accuracy: the mean over classes of recall, so that every emotion counts the same.",
    "WA, weighted accuracy: the share of utterances answered correctly, so that frequent emotions count more.",
    "Mean ± sd: the mean over folds within a seed, then over seeds; sd over all seed × fold cells.",
    "Difference: arm minus twin, mean over the seed × fold cells that both have, in percentage points.",
    "Interval: 95 %, paired bootstrap over speakers (expanded percentiles). It covers the choice of test speakers, "
    "not the variation between seeds.",
    "p: two-sided sign-flip test over folds (exact up to 40 of them), seeds averaged first because they share the "
    "fold's test data; corrected by Holm over all comparisons of the same metric on this page. Folds share training "
    "data, which the test does not know.",
)


@dataclass(frozen=True, kw_only=True)
class Banner:
    """Something a reader must know before the numbers."""

    kind: str
    """`leak`, `incomplete`, `missing`, `pair` or `code`."""
    text: str


def choose_arm(results: pd.DataFrame, comparisons: pd.DataFrame) -> str | None:
    """Key of the arm with the best validation UA among those that can be compared with a twin (first on ties).

    Arms of which all trials are complete, their twin's too, come before the others. The test part has no say.
    """
    paired = set(comparisons.loc[comparisons["n_pairs"] > 0, "arm_key"])
    rows = [row for row in results.to_dict("records") if row["arm_key"] in paired]
    if not rows:
        return None
    status = dict(zip(results["arm_key"], results["status"], strict=True))
    whole = [row for row in rows if status[row["arm_key"]] == status[row["twin_key"]] == "complete"]
    return str(max(whole or rows, key=lambda row: float(row["validation_ua"]))["arm_key"])


def key_result(chosen: str | None, results: pd.DataFrame, comparisons: pd.DataFrame) -> str:
    """One paragraph on the arm chosen by validation, no stronger than its interval and test allow."""
    if chosen is None:
        return "No arm can be compared with its twin yet: no seed is complete in both."
    row = comparisons[(comparisons["arm_key"] == chosen) & (comparisons["metric"] == "ua")].to_dict("records")[0]
    means = results.set_index("arm_key")
    twin_key = str(row["twin_key"])
    text = (
        f"Of the arms with a twin, the best by validation UA, {row['arm']}, reaches a test UA of "
        f"{_mean(means, chosen)} %, its twin {row['twin']} {_mean(means, twin_key)} %. "
        f"Paired over {count(int(row['n_seeds']), 'seed')} × "
        f"{count(int(row['n_folds']), 'fold')} the difference is {points(row['difference'])} points"
    )
    return f"{text} ({_interval(row)}; p = {p_value(row['p'])}, Holm {p_value(row['p_corrected'])}). {_verdict(row)}"


def tally_sentence(comparisons: pd.DataFrame) -> str:
    """How all comparisons of UA came out, so that the chosen one is not read alone; empty for fewer than two."""
    tested = comparisons[(comparisons["metric"] == "ua") & comparisons["p"].notna()]
    if len(tested) < 2:
        return ""
    better, worse = int((tested["difference"] > 0).sum()), int((tested["difference"] < 0).sum())
    clear = int(((tested["ci_low"] > 0) | (tested["ci_high"] < 0)).sum())
    significant = int((tested["p_corrected"] < 0.05).sum())
    return (
        f"Of {len(tested)} arms with a twin, {better} score above it in UA and {worse} below; {clear} of the "
        f"uncorrected intervals exclude zero, and {significant} of the corrected p values are below .05."
    )


def floor_sentence(comparisons: pd.DataFrame) -> str:
    """The smallest p that this many folds and comparisons allow; empty when nothing was tested."""
    tested = comparisons[(comparisons["metric"] == "ua") & comparisons["p"].notna()]
    if tested.empty:
        return ""
    floor, folds = float(tested["p_floor"].min()), int(tested["n_folds"].max())
    corrected = min(1.0, floor * len(tested))
    text = f"{count(folds, 'fold')} cannot go below p = {p_value(floor)}, however large the difference."
    if len(tested) > 1:
        text += (
            f" Corrected by Holm over {len(tested)} comparisons, the smallest p cannot go below {p_value(corrected)}."
        )
    return text + (" No arm of this sweep can reach p < .05." if corrected >= 0.05 else "")


def banners(sweep: Sweep, results: pd.DataFrame) -> list[Banner]:
    """Leaks, incomplete corpora, missing cells, unmatched pairs and uncommitted code, in this order."""
    records = sweep.records
    leaks = [Banner(kind="leak", text=text) for text in _leaks(records)]
    incomplete = dict.fromkeys(record.corpus.incomplete for record in records if record.corpus.incomplete)
    notes = [Banner(kind="incomplete", text=f"Incomplete corpus: {text}") for text in incomplete]
    notes += [Banner(kind="incomplete", text=text) for text in _set_aside(records)]
    return [*leaks, *notes, *_missing(sweep), *_unmatched(results), *_uncommitted(records), *_environments(records)]


def _set_aside(records: Sequence[Record]) -> list[str]:
    """Recordings that are not in the numbers, by reason."""
    ledgers = {tuple(record.corpus.quarantined.items()) for record in records if record.corpus.quarantined}
    return [
        "Set aside, not in any number: "
        + ", ".join(f"{count(n, 'recording')} ({reason})" for reason, n in ledger)
        + "."
        for ledger in sorted(ledgers)
    ]


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


def protocol_sentences(record: Record) -> list[str]:
    """Folds, validation and pre-training audio of a trial, in words."""
    protocol = record.protocol
    validation = {
        "superb": "random 20 % of the training utterances, of the same speakers (as SUPERB does): the chosen epoch and "
        "arm favour known voices; test speakers remain unseen",
        "next-fold": "the speakers tested in the next fold",
    }
    audio = {
        "fold": "only the training part of the fold (one upstream per fold)",
        "external": f"another corpus ({protocol.pretraining_corpus})",
        "transductive": "transductive: all audio of the evaluated corpus, the test part's included, without labels; "
        "results may be better than on recordings the upstream has never heard",
    }
    return [
        f"Folds: {protocol.folds}, {count(protocol.n_folds, 'fold')}; no speaker is both trained on and tested.",
        f"Validation (chooses the epoch and the arm): {validation.get(protocol.validation, protocol.validation)}.",
        f"Pre-training audio: {audio[protocol.pretraining_audio]}.",
    ]


def _mean(means: pd.DataFrame, key: str) -> str:
    row: Any = means.loc[key]
    text = percent(float(row["ua_mean"]))
    return text if row["status"] == "complete" else f"{text} (partial, {row['n_trials']}/{row['n_expected']} trials)"


def _interval(row: Mapping[Any, Any]) -> str:
    if math.isnan(row["ci_low"]):
        return f"no interval: {count(int(row['n_speakers']), 'speaker')}, too few"
    low, high = points(row["ci_low"]), points(row["ci_high"])
    return f"95 % interval {low} to {high} over {count(int(row['n_speakers']), 'speaker')}"


def _verdict(row: Mapping[Any, Any]) -> str:
    if math.isnan(row["ci_low"]):
        return "This says which way the difference points in these data, and no more."
    if row["ci_low"] <= 0 <= row["ci_high"]:
        return "The interval includes zero: this sweep does not show that the arm and its twin differ."
    side = "better" if row["difference"] > 0 else "worse"
    if row["p_corrected"] < 0.05:
        return f"Interval and corrected test agree: the arm is {side} than its twin on this corpus and protocol."
    return (
        f"The interval excludes zero, the corrected test over folds does not confirm it: a sign that the arm is {side} "
        "than its twin, not proof."
    )


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


def _unmatched(results: pd.DataFrame) -> list[Banner]:
    ratios = dict(zip(results["arm_key"], results["realised_ratio"], strict=True))
    found = []
    for row in results.to_dict("records"):
        twin = ratios.get(row["twin_key"], math.nan)
        if abs(row["realised_ratio"] - twin) > RATIO_TOLERANCE:
            found.append(f"{row['arm']} ({percent(row['realised_ratio'])} % against {percent(twin)} %)")
    if not found:
        return []
    text = f"Not a fair pair: arm and twin hide different shares of the frames: {joined(found)}."
    return [Banner(kind="pair", text=text)]


def _uncommitted(records: tuple[Record, ...]) -> list[Banner]:
    dirty = sum(record.provenance.dirty for record in records)
    if not dirty:
        return []
    return [Banner(kind="code", text=f"{count(dirty, 'trial')} ran with uncommitted changes to the code.")]
