"""Reconstruction losses: means over seeds, one panel per upstream, nothing where records have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from synthetic_sweep import LOSSES, SyntheticArm, SyntheticSweep, published_arms

from analysis.load import Sweep, load_sweep, open_test
from analysis.pretraining import draw_losses, loss_table, measured_frames, measured_sentence, measured_with
from analysis.tables import results_table

COLUMNS = ["pretrain_loss", "validation_loss", *(f"validation_loss_q{quarter}" for quarter in (1, 2, 3, 4))]


def loaded(root: Path, arms: list[SyntheticArm], **changes: object) -> tuple[Sweep, pd.DataFrame]:
    written = replace(SyntheticSweep(root=root, arms=tuple(arms), sessions=2), **changes).write()  # type: ignore[arg-type]
    sweep = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)
    return sweep, results_table(sweep, open_test(sweep))


def test_losses_are_means_over_the_seeds_there_are(tmp_path: Path) -> None:
    """Seed s adds .01·s: seeds 0, 1, 2 add .01 on average, seeds 0 and 2 as well, seeds 1 and 2 add .015."""
    arms = published_arms("mockingjay")[:2]
    _, results = loaded(tmp_path, arms, outcomes={("mockingjay-topk", 0): "failed"})
    table = results.set_index("arm_key")
    assert table.loc["mockingjay-random", COLUMNS].tolist() == pytest.approx([loss + 0.01 for loss in LOSSES])
    assert table.loc["mockingjay-topk", COLUMNS].tolist() == pytest.approx([loss + 0.015 for loss in LOSSES])


def test_records_without_losses_leave_their_cells_empty(tmp_path: Path) -> None:
    with_losses, without = published_arms("mockingjay")[:2]
    sweep, results = loaded(tmp_path, [with_losses, replace(without, losses=None)])
    assert results.set_index("arm_key").loc["mockingjay-topk", COLUMNS].isna().all()
    assert list(loss_table(results)["arm_key"]) == ["mockingjay-random"]
    bare_sweep, bare = loaded(tmp_path / "bare", [replace(without, losses=None, twin_key=None)])
    assert loss_table(bare).empty
    assert draw_losses(bare) == []
    assert measured_sentence(bare_sweep.records) == ""
    assert measured_sentence(sweep.records) == (
        "Each trial is measured on 320 utterances of 10 speakers held out, 64,000 to 64,002 frames."
    )


def test_the_figure_has_a_panel_per_upstream_and_a_mark_per_quarter(tmp_path: Path) -> None:
    _, results = loaded(tmp_path, [*published_arms("mockingjay"), *published_arms("npc")[:2]], seeds=(0,))
    (drawing,) = draw_losses(results)
    panels = drawing.figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == ["mockingjay", "npc"]
    assert [len(axes.get_yticks()) for axes in panels] == [5, 2]
    for axes, added in zip(panels, (0.0, 0.1), strict=True):
        marks = {str(line.get_label()): line for line in axes.lines if not str(line.get_label()).startswith("_")}
        for label, loss in zip(("Q1, least intense", "Q2", "Q3", "Q4, most intense"), LOSSES[2:], strict=True):
            assert list(marks[label].get_xdata()) == pytest.approx([loss + added] * len(axes.get_yticks()))
        shapes = [line.get_marker() for line in marks.values()]
        assert len(set(shapes)) == 5, "readable without colour: every quarter has its own shape"
        fills = [line.get_markerfacecolor()[3] for line in list(marks.values())[:4]]
        assert fills == sorted(set(fills))
    assert list(drawing.data.columns) == ["arm", "upstream", "control", *COLUMNS]
    assert "The upstreams rebuild different things." in drawing.caption
    (alone,) = draw_losses(results[results["upstream"] == "npc"])
    assert "different things" not in alone.caption


ONLY = "compare an arm with its twin and controls only"


@pytest.mark.parametrize(
    ("upstreams", "frames", "settings"),
    [
        (("mockingjay",), "frames drawn by policy random whatever the arm's own", "ratio and span"),
        (("npc",), "all frames whatever the arm's policy", "mask size"),
        (
            ("mockingjay", "npc"),
            "frames drawn by policy random whatever the arm's own (NPC: all frames)",
            "ratio and span (NPC: mask size)",
        ),
    ],
)
@pytest.mark.parametrize("policy", ["ems_topk", "all"])
def test_the_upstream_decides_which_frames_are_measured_and_the_policy_does_not(
    tmp_path: Path, upstreams: tuple[str, ...], frames: str, settings: str, policy: str
) -> None:
    """As `core.validation` draws them: of NPC every frame, under any policy; of Mockingjay by policy random."""
    arms = [replace(published_arms(upstream)[1], policy=policy, twin_key=None) for upstream in upstreams]
    bare = SyntheticArm(key="bare", name="bare", upstream="npc", losses=None)
    _, results = loaded(tmp_path, [*arms, bare], seeds=(0,))
    assert measured_frames(results) == frames, "an arm without losses has no say"
    assert measured_with(results) == f"Each arm is measured with its own {settings}: {ONLY}"
    (drawing,) = draw_losses(results)
    assert f"never heard, {frames}; mean over folds" in drawing.caption
    assert "on the source's track, for control arms too. Each arm is measured with" in drawing.caption
    assert f"{settings}: {ONLY}." in drawing.caption
    assert "other frames" not in drawing.caption
