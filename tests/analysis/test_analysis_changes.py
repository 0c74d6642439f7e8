"""The table of an ablation: named by what differs, one upstream at a time, no stronger than its tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from synthetic_sweep import SyntheticArm, SyntheticSweep, published_arms, published_contrasts

from analysis.changes import change_rows, changes_sentences
from analysis.comparisons import comparisons_table
from analysis.load import Sweep, load_sweep, open_test
from analysis.tables import results_table

POLICY, HEAD = "masking.policy", "score.head"


def ablation(upstream: str) -> list[SyntheticArm]:
    """The published rule, and the second loss alone on two bases; controls leave the table alone."""
    arms = published_arms(upstream)
    plain, topk = arms[:2]
    plain, topk = replace(plain, axes={POLICY: "random_nominal"}), replace(topk, axes={POLICY: "ems_topk", HEAD: True})
    other = replace(plain, key=f"{upstream}-all", name=f"{upstream} all", policy="all", realised=1.0)
    with_head = plain.axes | {HEAD: True}
    heads = [
        replace(base, key=f"{base.key}-head", name=f"{base.name}+head", twin_key=base.key, axes=with_head)
        for base in (plain, other)
    ]
    return [plain, topk, *arms[2:], other, *heads]


def loaded(root: Path, arms: list[SyntheticArm], contrasts: list[Any]) -> tuple[Sweep, pd.DataFrame, pd.DataFrame]:
    written = SyntheticSweep(root=root, arms=tuple(arms), contrasts=tuple(contrasts), seeds=(0,)).write()
    sweep = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)
    tests = open_test(sweep)
    return sweep, results_table(sweep, tests), comparisons_table(sweep, tests, resamples=200)


def test_rows_go_by_upstream_and_are_named_by_what_differs(tmp_path: Path) -> None:
    mixed = [*ablation("mockingjay"), *ablation("npc")]
    contrasts = [*published_contrasts("npc"), *published_contrasts("mockingjay")]
    contrasts += [("contrast", "other upstream", "npc-topk", "mockingjay-topk")]
    sweep, results, comparisons = loaded(tmp_path, mixed, contrasts)
    rows = change_rows(results, comparisons, sweep.arms)
    assert [(row["upstream"], row["name"]) for row in rows] == [
        ("mockingjay", "policy ems_topk + head"),
        ("mockingjay", "head on random_nominal r0.15 s7"),
        ("mockingjay", "head on mockingjay all"),
        ("mockingjay", "which frames"),
        ("mockingjay", "how many frames"),
        ("npc", "policy ems_topk + head"),
        ("npc", "head on npc random_nominal r0.15 s7"),
        ("npc", "head on npc all"),
        ("npc", "which frames"),
        ("npc", "how many frames"),
        ("npc against mockingjay", "other upstream"),
    ]
    shares = {row["name"]: (row["realised_ratio"], row["against_realised_ratio"], row["mixed"]) for row in rows[:5]}
    assert shares["which frames"] == (0.071, 0.071, False)
    assert shares["how many frames"] == (0.071, 0.14, True)
    assert shares["head on mockingjay all"] == (1.0, 1.0, False)
    by_name = comparisons.set_index(["name", "arm_key", "metric"])["difference"]
    assert rows[3]["difference"] == by_name["which frames", "mockingjay-topk", "ua"]


def test_without_named_contrasts_there_is_no_such_table(tmp_path: Path) -> None:
    controls = [each for each in published_contrasts("mockingjay") if each[0] == "control"]
    sweep, results, comparisons = loaded(tmp_path, published_arms("mockingjay"), controls)
    assert change_rows(results, comparisons, sweep.arms) == []
    assert changes_sentences([]) == []


def change(name: str, *numbers: float | None) -> dict[str, Any]:
    """Difference, interval and corrected p."""
    columns = ("difference", "ci_low", "ci_high", "p_corrected")
    return {"name": name, "upstream": "npc", "metric": "ua", "n_seeds": 2, **dict(zip(columns, numbers, strict=True))}


def test_the_sentence_sorts_changes_by_what_is_shown() -> None:
    rows = [
        change("head", 0.02, 0.01, 0.03, 0.01),
        change("mask size", -0.03, -0.05, -0.01, 0.02),
        change("input", 0.02, 0.01, 0.03, 0.2),
        change("which frames", 0.01, -0.01, 0.03, 0.5),
        change("how many frames", None, None, None, None),
    ]
    assert changes_sentences(rows) == [
        "5 changes, in points of UA. Shown to change UA by interval and corrected test: head (+2.0) and mask size "
        "(−3.0); by the interval only, a sign and not proof: input (+2.0); not shown to change UA: which frames "
        "(+1.0); not known yet: how many frames (–)."
    ]
    two = changes_sentences([rows[0] | {"upstream": "mockingjay"}, rows[3]])
    assert two[0].startswith("1 change of mockingjay, in points of UA. Shown to change UA")
    assert two[1] == "1 change of npc, in points of UA. Not shown to change UA: which frames (+1.0)."
