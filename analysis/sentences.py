"""What the numbers allow one to say: the key result, how all comparisons came out, the protocol in words."""

from __future__ import annotations

__all__ = [
    "METRIC_DEFINITIONS",
    "arms_sentence",
    "choose_arms",
    "floor_sentences",
    "key_result",
    "key_results",
    "protocol_sentences",
    "tally_sentence",
]

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.comparisons import Kind
from analysis.imported import UPSTREAM as EXTERNAL
from analysis.measures import MEASURES, PRIMARY, measure_of, primary_of
from analysis.paired import Metric
from analysis.sign_flips import floor_advice
from analysis.standing import LEVEL, interval_text, standing
from analysis.systems import EMS, arm_and_twin
from analysis.tables import as_rows
from analysis.wording import count, p_value
from core.records import CorpusEntry, Record

METRIC_DEFINITIONS = (
    "Arm: one setting of the masking, trained and tested once under each seed. Twin: the arm with which it shares "
    "everything but where it masks, which the twin draws at random.",
    "UA, unweighted accuracy: the mean over classes of recall, so that every emotion counts the same.",
    "WA, weighted accuracy: the share of utterances answered correctly, so that frequent emotions count more.",
    "Mean ± sd: the mean over folds within a seed, then over seeds; sd over all seed × fold cells.",
    "Difference: arm minus what it is compared with, mean over the seed × fold cells that both have; shares "
    "(UA, WA and the like) in percentage points.",
    "Interval: 95 %, studentised paired bootstrap over speakers. It covers the choice of test speakers, what "
    "speakers of one fold share and, from two seeds on, the variation between seeds; under one seed it is about the "
    "models as they were trained.",
    "p: two-sided sign-flip test over speakers: arm and twin are swapped for all of a speaker's utterances at once "
    "(all patterns up to 13 speakers, else 9,999 drawn ones), studentised with the standard error of the interval. "
    "The exact test over folds × seeds takes cells of one fold for independent: it is about these speakers, not "
    "about others.",
    "max-T: p corrected over all comparisons of the same metric within one family on this page, by the largest of "
    "their statistics under the same swaps. The families are arms against their twins (the primary one), control "
    "arms against that twin, arms against their controls, and named changes. To require that an arm beats its twin "
    "and its controls would need no correction for their number, because each of them must be shown by itself "
    "(intersection-union test): max-T over the controls of all arms is stricter than that argument needs.",
    "Of all arms: the interval that holds for all comparisons of the family at once, by the same statistic as max-T; "
    "it therefore holds for the picked one, by whatever rule it was picked (Berk et al. 2013).",
    "Shrunk: the difference drawn towards the mean of the family, the further the more of it may be chance (empirical "
    "Bayes; Efron & Morris 1975).",
    "Seeds for 80 % power: how many seeds a two-sided t-test over speakers would need to show a true difference of the "
    "size found with a chance of 80 %, from how much seeds and speakers differ here. It plans the next sweep.",
)

FAMILIES: dict[Kind, tuple[str, str]] = {
    "twin": ("Arms against their twins", "no arm of this sweep can reach a corrected p < .05"),
    "control": ("Arms against their controls", "`gain, specific` is a sign at most, not proof"),
    "contrast": ("Named changes", "none of them can reach a corrected p < .05"),
}
"""Families with a floor sentence: how it names them, and what is impossible where the floor lies above the level."""


NAME_PARTS = {
    "r": "r, the share of the frames asked for",
    "s": "s, the span of a mask in frames",
    "t": "t, the temperature of the draw (small: intense frames first, inf: all alike)",
}
"""What the letters of arms' names stand for."""


def arms_sentence(names: Iterable[str], systems: Sequence[str] = (EMS,)) -> str:
    """What an arm is, what a twin, and how to read their names: for readers who see such a page for the first time."""
    found = {part for name in names for part in re.findall(r"\b([rst])(?=[\d.]+\b|inf\b)", name)}
    letters = "; ".join(text for part, text in NAME_PARTS.items() if part in found)
    said = arm_and_twin(systems)
    return f"{said} In their names: {letters}." if letters else said


def choose_arms(results: pd.DataFrame, comparisons: pd.DataFrame) -> dict[str, str]:
    """Group → key of its arm with the best validation UA (mean CCC) among those comparable with a twin (first on ties).

    A group is an upstream, in a sweep of several systems that of one system (`sap mockingjay`). Control arms do not
    compete. Arms of which all trials are complete, their twin's too, come before the others. The test part has no say.
    A group without a comparable arm is absent.
    """
    primary = comparisons[(comparisons["kind"] == "twin") & (comparisons["n_pairs"] > 0)]
    paired = set(primary["arm_key"])
    status = dict(zip(results["arm_key"], results["status"], strict=True))
    chosen = {}
    several = "system" in results and results.loc[results["upstream"] != EXTERNAL, "system"].nunique() > 1
    keys = ["system", "upstream"] if several else ["upstream"]
    for group, members in results[results["arm_key"].isin(paired)].groupby(keys, sort=False):
        rows = members.to_dict("records")
        whole = [row for row in rows if status[row["arm_key"]] == status[row["twin_key"]] == "complete"]
        chosen[" ".join(map(str, group))] = str(max(whole or rows, key=_validation)["arm_key"])
    return chosen


def _validation(row: Mapping[Any, Any]) -> float:
    """What an arm is chosen by: UA, or mean CCC where it answers with dimensions."""
    found = [float(row[name]) for name in ("validation_ua", "validation_ccc") if name in row]
    return next((value for value in found if not math.isnan(value)), math.nan)


def key_results(chosen: Mapping[str, str], results: pd.DataFrame, comparisons: pd.DataFrame) -> tuple[str, ...]:
    """One paragraph per group on its arm chosen by validation."""
    if not chosen:
        return ("No arm can be compared with its twin yet: no seed is complete in both.",)
    several = results["upstream"].nunique() > 1 or len(chosen) > 1
    return tuple(
        key_result(key, results, comparisons, upstream=upstream if several else None)
        for upstream, key in chosen.items()
    )


def key_result(chosen: str, results: pd.DataFrame, comparisons: pd.DataFrame, *, upstream: str | None = None) -> str:
    """One paragraph on the arm chosen by validation, no stronger than its interval and test allow.

    `upstream`: named where the sweep has several.
    """
    primary = comparisons["metric"] == primary_of(comparisons, chosen)
    rows = as_rows(comparisons[(comparisons["kind"] == "twin") & primary])
    row = next(row for row in rows if row["arm_key"] == chosen)
    means, measure = results.set_index("arm_key"), measure_of(row)
    of = f"{upstream} " if upstream else ""
    text = (
        f"Of the {of}arms with a twin, the best by validation {measure.said}, {row['arm']}, reaches a test "
        f"{measure.said} of {_mean(means, chosen, row)}, its twin {row['twin']} {_mean(means, row['twin_key'], row)}. "
        f"Paired over {count(row['n_seeds'], 'seed')} × {count(row['n_folds'], 'fold')} the difference is "
        f"{measure.difference(row['difference'])}{measure.unit} ({interval_text(row)}; p = {p_value(row['p'])}, "
        f"max-T {p_value(row['p_corrected'])}). "
    )
    return text + _verdict(row)


def tally_sentence(comparisons: pd.DataFrame) -> str:
    """How all arms came out against their twins in UA, so that the chosen one is not read alone; empty below two.

    Arms that answer with dimensions have a sentence of their own, in mean CCC.
    """
    tested = {metric: _tested(comparisons, "twin", metric) for metric in PRIMARY.values()}
    return " ".join(_tally(own, metric) for metric, own in tested.items() if len(own) >= 2)


def _tally(tested: pd.DataFrame, metric: Metric) -> str:
    better, worse = int((tested["difference"] > 0).sum()), int((tested["difference"] < 0).sum())
    clear = int(((tested["ci_low"] > 0) | (tested["ci_high"] < 0)).sum())
    significant = int((tested["p_corrected"] < LEVEL).sum())
    return (
        f"Of {len(tested)} arms with a twin, {better} score above it in {MEASURES[metric].said} and {worse} below; "
        f"{clear} of the uncorrected intervals exclude zero, and {significant} of the corrected p values are below .05."
    )


def floor_sentences(comparisons: pd.DataFrame) -> tuple[str, ...]:
    """The smallest p that the number of speakers allows, and that of folds × seeds, for each family with a test.

    Families of the same metric, UA or mean CCC: arms against twins, arms against controls, named changes.
    """
    found = []
    for metric in PRIMARY.values():
        families = {kind: _tested(comparisons, kind, metric) for kind in FAMILIES}
        found += [_floor(tested, kind, metric) for kind, tested in families.items() if not tested.empty]
    return tuple(found)


def _floor(tested: pd.DataFrame, kind: Kind, metric: Metric) -> str:
    floor, speakers = float(tested["p_floor"].min()), int(tested["n_speakers"].max())
    family, out_of_reach = FAMILIES[kind]
    family += "" if metric == "ua" else f", {MEASURES[metric].said}"
    text = f"{family}: {count(speakers, 'speaker')} cannot go below p = {p_value(floor)}, however large the difference"
    if len(tested) > 1:
        text += f", alone or corrected by max-T over {len(tested)} comparisons"
    text += f"; {out_of_reach}." if floor >= LEVEL else "."
    advice = floor_advice(int(tested["n_folds"].max()), int(tested["n_seeds"].min()), comparisons=len(tested))
    return f"{text} The exact test over folds × seeds, which is about these speakers alone: {advice}."


def protocol_sentences(record: Record) -> list[str]:
    """Folds, validation, pre-training audio and origin of the intensity of a trial, in words.

    The corpora behind the last two are named where they are other ones; records of schema 1 know neither.
    """
    protocol = record.protocol
    validation = {
        "superb": "random 20 % of the training utterances, of the same speakers (as SUPERB does): the chosen epoch and "
        "arm favour known voices; test speakers remain unseen",
        "next-fold": "the speakers tested in the next fold",
    }
    audio = {
        "fold": "only the training part of the fold (one upstream per fold)",
        "external": f"another corpus, {_sized(record.heard) or protocol.pretraining_corpus}",
        "transductive": "transductive: the audio of the evaluated corpus, the test part's included, without labels; "
        "results may be better than on recordings the upstream has never heard",
    }
    return [
        f"Folds: {protocol.folds}, {count(protocol.n_folds, 'fold')}; no speaker is both trained on and tested.",
        f"Validation (chooses the epoch and the arm): {validation.get(protocol.validation, protocol.validation)}.",
        f"Pre-training audio: {audio[protocol.pretraining_audio]}.",
        *_intensity(record),
    ]


def _intensity(record: Record) -> list[str]:
    if record.fit is not None:
        return [f"Intensity: StrengthNet fitted on {_sized(record.fit)}."]
    imported = record.config.get("intensity", {}).get("source") == "external"
    return ["Intensity: imported scores."] if imported else []


def _sized(entry: CorpusEntry | None) -> str:
    return f"{entry.name} ({count(entry.utterances, 'utterance')})" if entry else ""


def _tested(comparisons: pd.DataFrame, kind: Kind, metric: Metric) -> pd.DataFrame:
    """Tested comparisons of one kind and metric. `twin`: with the arm's own twin, controls not among them."""
    own = (comparisons["kind"] == kind) & (comparisons["metric"] == metric)
    return comparisons[own & comparisons["p"].notna()]


def _mean(means: pd.DataFrame, key: str, compared: Mapping[str, Any]) -> str:
    row: Any = means.loc[key]
    measure = measure_of(compared)
    partial = "" if row["status"] == "complete" else f" (partial, {row['n_trials']}/{row['n_expected']} trials)"
    return f"{measure.score(float(row[f'{measure.column}_mean']))}{partial}{measure.sign}"


def _verdict(row: Mapping[str, Any]) -> str:
    if row["ci_low"] is None:
        return "This says which way the difference points in these data, and no more."
    found = standing(row)
    if found == "open":
        return "The interval includes zero: this sweep does not show that the arm and its twin differ."
    side = "better" if row["difference"] > 0 else "worse"
    if found in ("better", "worse"):
        return f"Interval and corrected test agree: the arm is {side} than its twin on this corpus and protocol."
    if row["p_corrected"] < LEVEL:
        return (
            f"Interval and corrected test agree for the models of this one seed: a sign that the arm is {side} than "
            "its twin, not proof, until further seeds say the same."
        )
    return (
        f"The interval excludes zero, the corrected test does not confirm it: a sign that the arm is {side} "
        "than its twin, not proof."
    )
