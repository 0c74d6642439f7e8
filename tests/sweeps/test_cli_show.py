"""`sweep list`, `sweep show` and the plan that `sweep launch --dry-run` prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from sweeps.cli import main
from sweeps.cluster import Resources
from sweeps.definition import definition_names, load_definition
from sweeps.plan import make_plan
from sweeps.plan_text import plan_text


def sweep(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def lines_after(text: str, heading: str) -> list[str]:
    """The indented lines under a heading."""
    lines = text.splitlines()
    start = lines.index(heading) + 1
    end = next((i for i in range(start, len(lines)) if not lines[i].startswith(" ")), len(lines))
    return [line.strip() for line in lines[start:end]]


def test_list_has_a_line_per_definition():
    lines = sweep("list").splitlines()
    assert [line.split()[0] for line in lines] == definition_names()
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize(
    ("name", "overrides", "arms", "trials"),
    [
        ("ems_grid", [], 12, 24),
        ("ems_grid", ["preset=paper", "seeds=[0,1,2]"], 12, 36),
        ("ems_grid", ["twins=false"], 8, 16),
        ("ems_published", [], 5, 10),
        ("ems_ablation", [], 18, 36),
        ("ems_ablation", ["axes.upstream=[npc]"], 10, 20),
        ("ems_controls", [], 6, 18),
        ("ems_controls", ["axes.upstream=[mockingjay,npc]", "seeds=[0]"], 12, 12),
    ],
)
def test_show_counts_as_the_plan_will(demo_workspace, name, overrides, arms, trials):
    options = [part for override in overrides for part in ("-o", override)]
    shown = json.loads(sweep("show", name, *options, "--json"))
    assert (shown["arms"], shown["trials"]) == (arms, trials)
    plan = make_plan(load_definition(name, overrides), demo_workspace, compute=Resources().compute_settings())
    assert len({trial.arm_key for trial in plan.trials}) == arms
    assert len(plan.trials) == trials


def test_show_says_how_a_search_goes_and_what_it_comes_to_at_most():
    text = sweep("show", "ems_tpe")
    search = "search    tpe: 12 points, 4 at a time, seed 0; for the highest UA on validation, arm less twin"
    assert search in text.splitlines()
    assert "stop " not in text
    assert lines_after(text, "axes") == [
        "masking.ratio        0.1 … 0.4 step 0.05", "masking.temperature  0.1 … 10 log",
        "masking.span         3 … 15 step 2",
    ]  # fmt: skip
    assert "24 arms, 24 trials at most, before corpora are looked at" in text
    shown = json.loads(sweep("show", "ems_tpe", "--json"))
    assert shown["axes"]["masking.span"] == {"low": 3, "high": 15, "log": False, "step": 2}
    assert shown["search"] == {"method": "tpe", "points": 12, "batch": 4, "seed": 0}
    assert (shown["stop"], shown["racing"], shown["at_most"]) == (None, None, True)
    assert not json.loads(sweep("show", "ems_grid", "--json"))["at_most"]


def test_show_says_how_arms_are_stopped_and_raced():
    stop = "stop      asha: looks at step 60, then at 3 times the last one; one of 3 arms goes on, by UA on validation"
    assert f"{stop}, arm less twin" in sweep("show", "ems_asha").splitlines()
    median = sweep("show", "ems_asha", "-o", "stop.rule=median", "-o", "objective=ua")
    stop = "stop      median: looks from step 60, every 60 steps; arms below the median end, by UA on validation"
    assert stop in median.splitlines()
    racing = (
        "racing    2 seeds for every arm; further ones while its interval straddles zero, at alpha 0.05 over all looks"
    )
    assert racing in sweep("show", "ems_race").splitlines()
    assert "for the highest UA on validation, arm less twin and the least training cost" in sweep("show", "ems_pareto")


@pytest.mark.parametrize(
    ("name", "overrides", "arms"),
    [
        # Twelve arms; each may have its own twin, as ratio and span are ranges.
        ("ems_tpe", [], 24),
        ("ems_tpe", ["controls=[inverse]"], 36),
        ("ems_tpe", ["twins=false", "objective=ua"], 12),
        # Four twins for two ratios × two spans: the temperature's range is none of theirs.
        ("ems_asha", [], 16),
        ("ems_asha", ["search.points=3"], 6),
        # Nine twins for three widths × three step counts; no more points than the 27 there are.
        ("ems_pareto", [], 16 + 9),
        ("ems_pareto", ["search.points=100"], 27 + 9),
        # One of these widths is refused: 50 has no four heads.
        ("ems_pareto", ["search.points=100", "axes.mockingjay.hidden=[24,50]"], 9 + 3),
        ("ems_race", [], 4),
    ],
)
def test_show_counts_the_most_that_a_search_can_come_to(name, overrides, arms):
    options = [part for override in overrides for part in ("-o", override)]
    shown = json.loads(sweep("show", name, *options, "--json"))
    assert shown["arms"] == arms
    assert shown["trials"] == arms * len(shown["seeds"])


def test_show_refuses_a_search_without_a_point():
    result = CliRunner().invoke(main, ["show", "ems_pareto", "-o", "axes.mockingjay.hidden=[50,51]"])
    assert result.exit_code == 2
    assert "heads: 4 does not divide hidden 5" in result.stderr


def test_show_says_what_is_varied_and_compared():
    text = sweep("show", "ems_ablation", "-o", "preset=small")
    assert text.startswith("ems_ablation: The changes of EMS one by one")
    assert lines_after(text, "axes") == ["upstream  mockingjay npc"]
    npc = lines_after(text, "when upstream = npc")
    assert npc[:3] == ["settings", "npc.kernel  17", "arms"]
    assert "mask7      masking.policy=random_nominal, npc.mask_size=7" in npc
    assert lines_after(text, "also compared")[0] == "which frames     topk − as_topk"
    assert "18 arms, 36 trials" in text
    assert text.endswith("start it: sweep launch ems_ablation -o preset=small\n")


def test_show_names_the_controls_and_the_corpora():
    text = sweep("show", "ems_controls")
    assert "controls  loudness shuffled rolled inverse" in text
    assert "corpora   demo evaluated, pre-training hears: fold, intensity learnt from demo (intensity)" in text


def test_show_says_where_sizes_are_not_the_published_ones():
    text = sweep("show", "ems_published", "-o", "preset=paper", "-o", "pretrain.steps=1000")
    assert lines_after(text, "mockingjay: not as published")[1:] == ["pretrain.steps  1000  1000000"]
    assert [line.split() for line in lines_after(text, "npc: not as published")[1:]] == [
        ["npc.kernel", "17", "15"], ["pretrain.steps", "1000", "325000"],
    ]  # fmt: skip
    assert "mockingjay: sizes and schedules as published" in sweep("show", "ems_grid", "-o", "preset=paper")
    small = lines_after(sweep("show", "ems_grid", "-o", "preset=small"), "mockingjay: not as published")
    assert ["mockingjay.hidden", "128", "768"] in [line.split() for line in small]
    assert not [line for line in small if "npc" in line or "report_every" in line]


def test_show_refuses_what_launch_would_refuse():
    result = CliRunner().invoke(main, ["show", "ems_grid", "-o", "npc.mask_size=3"])
    assert result.exit_code == 2
    assert "npc.mask_size (a fixed setting) means nothing there: upstream 'mockingjay'" in result.stderr


def test_show_is_quick_and_loads_nothing_heavy():
    heavy = {"torch", "torchaudio", "ray", "mlflow", "pandas", "matplotlib", "soundfile"}
    code = (
        "import sys, click.testing, sweeps.cli as cli;"
        "shown = click.testing.CliRunner().invoke(cli.main, ['show', 'ems_ablation']);"
        f"print(shown.exit_code, sorted({heavy} & set(sys.modules)))"
    )
    before = os.times()
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "0 []"
    after = os.times()
    # Processor time: the wall clock of a shared machine says nothing.
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1


def test_a_dry_run_shows_each_arm_over_its_twin_and_controls(demo_workspace):
    options = ["--dry-run", "--workspace", str(demo_workspace.root)]
    lines = sweep("launch", "ems_controls", *options).splitlines()
    shown = [line.split("  seeds ")[0].split() for line in lines if line.startswith("  ")]
    assert shown == [
        ["ems", "r0.15", "s7", "t0.25"],
        ["twin", "random", "r0.15", "s7"],
        *[[name, "ems", name, "r0.15", "s7", "t0.25"] for name in ("loudness", "shuffled", "rolled", "inverse")],
    ]
    rows = json.loads(sweep("launch", "ems_controls", *options, "--json"))
    assert [row["control"] for row in rows["trials"][:3]] == ["none", "none", "loudness"]
    assert {row["twin"] for row in rows["trials"]} == {None, "random r0.15 s7"}
    assert {each["kind"] for each in rows["contrasts"]} == {"control"}


def test_a_plan_as_text_shows_an_arm_once_and_ticks_what_is_complete(demo_workspace):
    plan = make_plan(load_definition("ems_ablation"), demo_workspace, compute=Resources().compute_settings())
    done = plan.trials[0]
    lines = plan_text(plan, {trial.trial_key for trial in plan.trials[1:]}).splitlines()
    assert lines[0] == "sweep ems_ablation (preset smoke): 36 trials, 35 to run"
    assert lines[1].split() == [*done.arm.split(), "seeds", "0✓", "1"]
    assert len([line for line in lines if " seeds " in line]) == 18
    assert len([line for line in lines if line.endswith("(shown above)")]) == 6
    assert "  mask size: npc random_nominal r0.15 s7 npc.mask_size=7 − npc random_nominal r0.15 s7" in lines
