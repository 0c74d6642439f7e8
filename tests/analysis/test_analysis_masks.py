"""The confound in numbers and words: nominally equal, really not."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_sweep import SyntheticArm, SyntheticSweep, published_arms, published_contrasts

from analysis.banners import banners
from analysis.load import Sweep, load_sweep, open_test
from analysis.masks import chosen_frames, mixes, mixing_sentence, policy_table
from analysis.ratios import draw_ratios
from analysis.tables import as_rows, results_table

ALL = SyntheticArm(key="all", name="npc all", upstream="npc", policy="all", realised=1.0)


def row(name: str, realised: float | None, *, nominal: float | None = 0.15, upstream: str = "mockingjay") -> Any:
    return {"arm": name, "realised_ratio": realised, "nominal_ratio": nominal, "upstream": upstream}


def loaded(root: Path, *, arms: list[SyntheticArm], contrasts: list[Any]) -> tuple[Sweep, Any]:
    written = SyntheticSweep(root=root, arms=tuple(arms), contrasts=tuple(contrasts), seeds=(0,), sessions=2).write()
    sweep = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)
    return sweep, results_table(sweep, open_test(sweep))


def test_mockingjay_hides_and_npc_lets_in() -> None:
    pair = (row("ems_topk", 0.0706), row("random_nominal", 0.1404))
    assert mixing_sentence(*pair, role="its twin") == (
        "ems_topk hides 7.1 % of the frames where its twin random_nominal hides 14.0 %, both nominally 15 %"
    )
    npc = [each | {"upstream": "npc"} for each in pair]
    assert mixing_sentence(*npc, role="its control") == (
        "ems_topk lets 7.1 % of the frames enter the loss where its control random_nominal lets 14.0 % enter it, both "
        "nominally 15 %"
    )
    said = mixing_sentence(pair[0], row("b", 0.3, nominal=0.3), role="its twin")
    assert said.endswith("hides 30.0 %, nominally 15 % and 30 %")
    assert mixing_sentence(npc[0], row("all", 1.0, nominal=None, upstream="npc"), role="its twin").endswith("enter it")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(0.15, 0.155, False), (0.15, 0.1612, True), (0.07, 0.14, True), (None, 0.14, False), (0.14, None, False)],
)
def test_a_point_of_difference_mixes(one: float | None, other: float | None, expected: bool) -> None:
    assert mixes(row("a", one), row("b", other)) is expected


def test_headings_name_what_the_policies_choose() -> None:
    assert chosen_frames(["mockingjay"]) == "hidden"
    assert chosen_frames(["npc"]) == "in the loss"
    assert chosen_frames(["mockingjay", "npc"]) == "hidden (NPC: in the loss)"


def test_the_policy_table_shows_the_confound(tmp_path: Path) -> None:
    second = replace(published_arms("mockingjay")[1], key="b", name="b", realised=0.075)
    _, results = loaded(tmp_path, arms=[*published_arms("mockingjay"), second, ALL], contrasts=[])
    table = {(r["upstream"], r["policy"], r["control"]): r for r in as_rows(policy_table(results))}
    assert list(table) == [
        ("mockingjay", "random_nominal", "none"),
        ("mockingjay", "ems_topk", "none"),
        ("mockingjay", "ems_topk", "loudness"),
        ("mockingjay", "ems_topk", "shuffled"),
        ("mockingjay", "random_as_topk", "none"),
        ("npc", "all", "none"),
    ]
    topk = table["mockingjay", "ems_topk", "none"]
    assert (topk["arms"], topk["nominal_ratio"], topk["span"], topk["off"]) == (2, 0.15, 7, True)
    assert (topk["realised_low"], topk["realised_high"]) == (0.071, 0.075)
    assert topk["realised_ratio"] == pytest.approx(0.073)
    assert topk["kept"] == pytest.approx(0.073 / 0.15)
    assert table["mockingjay", "random_nominal", "none"]["off"] is False
    everything = table["npc", "all", "none"]
    assert (everything["nominal_ratio"], everything["span"], everything["kept"]) == (None, None, None)
    assert (everything["realised_ratio"], everything["off"]) == (1.0, False)


def test_a_nominal_ratio_is_a_setting_and_not_a_mean(tmp_path: Path) -> None:
    """The mean of three times .1 is not .1: a replicate more or less must not make another policy of it."""
    arm = SyntheticArm(key="a", name="a", ratio=0.1, realised=0.1, twin_key="b", policy="ems")
    twin = SyntheticArm(key="b", name="b", ratio=0.1, realised=0.2, policy="ems")
    outcomes = {("b", seed): "missing" for seed in (1, 2)}
    written = SyntheticSweep(root=tmp_path, arms=(arm, twin), sessions=2, outcomes=outcomes).write()
    sweep = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)
    results = results_table(sweep, open_test(sweep))
    assert list(results["nominal_ratio"]) == [0.1, 0.1]
    assert [each["arms"] for each in as_rows(policy_table(results))] == [2]
    (text,) = [banner.text for banner in banners(sweep, results) if banner.kind == "pair"]
    assert ", both nominally 10 %: " in text


def test_one_unfair_pair_is_told_in_full_and_many_are_counted(tmp_path: Path) -> None:
    arms = published_arms("npc")
    sweep, results = loaded(tmp_path / "one", arms=arms[:2], contrasts=[])
    said = [banner.text for banner in banners(sweep, results) if banner.kind == "pair"]
    assert said == [
        "Not a fair pair: npc ems_topk r0.15 s7 lets 7.1 % of the frames enter the loss where its twin npc "
        "random_nominal r0.15 s7 lets 14.0 % enter it, both nominally 15 %: the comparison mixes which frames with how "
        "many."
    ]
    # Unfair: arm and twin, loudness and twin, arm and shuffled. The named contrast is about the number of frames.
    contrasts = published_contrasts("npc")
    sweep, results = loaded(tmp_path / "three", arms=arms, contrasts=contrasts)
    (text,) = [banner.text for banner in banners(sweep, results) if banner.kind == "pair"]
    assert text.startswith("3 pairs are not fair: npc ems_topk r0.15 s7 lets 7.1 %")
    assert "its control npc ems_topk shuffled r0.15 s7 lets 13.8 % enter it" in text
    assert "random_as_topk" not in text
    assert text.endswith(": each comparison mixes which frames with how many.")
    both = [*arms, *published_arms("mockingjay")]
    sweep, results = loaded(tmp_path / "six", arms=both, contrasts=[*contrasts, *published_contrasts("mockingjay")])
    (text,) = [banner.text for banner in banners(sweep, results) if banner.kind == "pair"]
    assert text.startswith("6 pairs are not fair: ")
    assert "; 4 more pairs likewise: each comparison" in text


def test_the_figure_joins_what_is_not_fair_and_leaves_out_what_has_no_ratio(tmp_path: Path) -> None:
    other = replace(ALL, key="head", name="npc all+head", twin_key="all")
    _, results = loaded(tmp_path, arms=[*published_arms("mockingjay"), ALL, other], contrasts=[])
    (drawing,) = draw_ratios(results)
    data = drawing.data.set_index("arm")
    assert list(data["mixed"]) == [True, True, False]
    assert list(data["twin_policy"]) == ["random_nominal"] * 3
    assert "npc all+head" not in data.index
    texts = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert texts == ["7.1 against 14.0", "7.2 against 14.0"]
    bars = drawing.figure.axes[0].collections[0].get_segments()
    assert [[round(float(x), 6) for x in bar[:, 0]] for bar in bars] == [[7.1, 14.0], [7.2, 14.0]]
    assert draw_ratios(results.assign(nominal_ratio=math.nan)) == []
