"""The report of a sweep with two upstreams, controls, named contrasts and losses: whole, honest, the same twice."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from html_page import Page
from synthetic_sweep import SyntheticArm, SyntheticSweep, grid, published_arms, published_contrasts

from analysis.report import ReportSummary, write_report

pytestmark = pytest.mark.slow

FIGURES = ("best-of", "changes", "confusions", "differences", "pretraining", "ratios", "speakers")


def report(sweep: SyntheticSweep, out: Path) -> ReportSummary:
    return write_report(trials_root=sweep.trials_root, plan_path=sweep.plan_path, out=out, opened_by="a test")


def npc_all() -> list[SyntheticArm]:
    """Policy `all` with and without the second head: axes of its own, no nominal ratio."""
    plain = SyntheticArm(
        key="npc-all", name="npc all", upstream="npc", policy="all", realised=1.0, axes={"npc.mask_size": 5}
    )
    head = replace(plain, key="npc-all-head", name="npc all+head", twin_key="npc-all", axes={"score.head": True})
    return [plain, head]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SyntheticSweep:
    return SyntheticSweep(
        root=tmp_path_factory.mktemp("sweep"),
        arms=(*published_arms("mockingjay", gain=0.2), *published_arms("npc"), *npc_all()),
        contrasts=(
            *published_contrasts("mockingjay"),
            *published_contrasts("npc"),
            ("contrast", "all frames", "npc-all", "npc-random"),
        ),
        seeds=(0, 1),
        outcomes={("npc-matched", 1): "missing", **{("npc-all-head", seed): "missing" for seed in (0, 1)}},
    ).write()


@pytest.fixture(scope="module")
def out(written: SyntheticSweep) -> Path:
    folder = written.root / "report"
    report(written, folder)
    return folder


@pytest.fixture(scope="module")
def page(out: Path) -> Page:
    return Page((out / "index.html").read_text(encoding="utf-8"))


def test_the_folder_has_the_figures_of_this_sweep(out: Path) -> None:
    names = {path.name for path in (out / "figures").iterdir()}
    assert names == {f"{name}.{end}" for name in FIGURES for end in ("svg", "pdf", "csv")}
    for name in FIGURES:
        assert ElementTree.parse(out / "figures" / f"{name}.svg").getroot().tag.endswith("svg")


def test_the_page_is_whole(page: Page, out: Path) -> None:
    text = (out / "index.html").read_text(encoding="utf-8")
    assert len(page.ids) == len(set(page.ids))
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert tables == sum(tag == "caption" for tag, _ in page.tags) == 12
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    labels = {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes}
    assert labels <= set(page.ids)
    wanted = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    assert wanted <= set(page.ids)
    assert "None" not in page.text
    assert "nan" not in page.text.split()


@pytest.mark.parametrize(
    "said",
    [
        "Of the mockingjay arms with a twin, the best by validation UA, ems_topk r0.15 s7, reaches",
        "Of the npc arms with a twin, the best by validation UA, npc ems_topk r0.15 s7, reaches",
        "6 pairs are not fair: ems_topk r0.15 s7 hides 7.1 % of the frames where its twin random_nominal r0.15 s7 "
        "hides 14.0 %, both nominally 15 %; npc ems_topk r0.15 s7 lets 7.1 % of the frames enter the loss where its "
        "twin npc random_nominal r0.15 s7 lets 14.0 % enter it, both nominally 15 %; 4 more pairs likewise: each "
        "comparison mixes which frames with how many.",
        "Is it the emotion?",
        "What each change does",
        "Realised: share of the frames in the loss.",
        "which frames partial: 1/2 seeds",
        "head missing: no common seed",
        "* The two choose different shares of the frames: how many is part of this change.",
        "the share of the valid frames really hidden (NPC: in the loss), mean over arms",
        "NPC's input is never hidden: its policy chooses the frames whose reconstruction enters the loss.",
        "control arms do not compete",
        "Each trial is measured on 320 utterances of 10 speakers held out, 64,000 to 64,001 frames.",
        "Upstreams rebuild different things: their losses are not comparable.",
        "frames drawn by policy random whatever the arm's own (NPC: all frames); the quarters are those of the "
        "source's intensity track, for control arms too. So an arm, its twin and its controls are measured on the same "
        "frames in the same quarters. Each arm is measured with its own ratio and span (NPC: mask size): compare an "
        "arm with its twin and controls only.",
        "another track: loudness, the intensity shuffled in time, rolled in time, or its inverse.",
        "because each of them must be shown by itself (intersection-union test)",
        "Arms against their controls: 10 speakers cannot go below p = .0020",
        "Named changes: 10 speakers cannot go below p = .0020",
    ],
)
def test_the_page_says(page: Page, said: str) -> None:
    assert said in page.text


def test_markdown_and_page_tell_the_same(page: Page, out: Path) -> None:
    markdown = (out / "results.md").read_text(encoding="utf-8")
    titles = ("Is it the emotion?", "What each change does", "Nominal against realised", "Pre-training")
    for title in titles:
        assert f"## {title}\n" in markdown
        assert title in page.text
    content = json.loads((out / "report.json").read_text())
    for sentence in itertools.chain(*content["specificity"]["sentences"], content["changes"]["sentences"]):
        assert sentence in page.text
        assert sentence in markdown
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()]
    assert ["npc", "all", "none", "–", "–", "1", "100.0", "–"] in rows
    assert ["mockingjay", "ems_topk", "none", "15.0", "7", "1", "7.1", "47"] in rows


def test_json_has_schema_2_with_what_is_new(out: Path) -> None:
    content = json.loads((out / "report.json").read_text())
    assert content["schema_version"] == 2
    assert content["chosen_arm_keys"] == {"mockingjay": "mockingjay-topk", "npc": "npc-topk"}
    assert [(row["arm_key"], row["control"]) for row in content["specificity"]["rows"]] == [
        ("mockingjay-topk", "loudness"),
        ("mockingjay-topk", "shuffled"),
        ("npc-topk", "loudness"),
        ("npc-topk", "shuffled"),
    ]
    assert [row["name"] for row in content["changes"]["rows"] if row["upstream"] == "npc"] == [
        "arm against its twin",
        "head",
        "which frames",
        "how many frames",
        "all frames",
    ]
    assert {row["policy"] for row in content["policies"]} == {"random_nominal", "ems_topk", "random_as_topk", "all"}
    results = pd.read_csv(out / "results.csv").set_index("arm_key")
    assert results.loc["npc-topk", "upstream"] == "npc"
    assert results.loc["npc-shuffled", "control"] == "shuffled"
    assert pd.isna(results.loc["npc-all", "nominal_ratio"])
    assert results.loc["npc-all", "realised_ratio"] == 1.0
    assert results.loc["npc-topk", "validation_loss_q4"] == pytest.approx(0.71 + 0.1 + 0.005)
    comparisons = pd.read_csv(out / "comparisons.csv")
    assert comparisons["kind"].value_counts().to_dict() == {"twin": 6, "control-twin": 8, "control": 8, "contrast": 10}


def test_latex_has_one_row_per_arm_with_its_own_twin(out: Path) -> None:
    """A contrast of the same arm must not take the place of its twin."""
    lines = [line for line in (out / "results.tex").read_text().splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + 12
    comparisons = pd.read_csv(out / "comparisons.csv")
    chosen = (comparisons["kind"] == "twin") & (comparisons["metric"] == "ua")
    own = comparisons[chosen].set_index("arm_key").loc["npc-topk", "difference"]
    line = next(line for line in lines if line.startswith(r"npc ems\_topk r0.15"))
    assert f"{100 * own:+.2f}" in line


def test_the_same_records_give_the_same_bytes(written: SyntheticSweep, out: Path, tmp_path: Path) -> None:
    report(written, tmp_path)
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        first, second = path.read_text("latin-1"), (tmp_path / path.relative_to(out)).read_text("latin-1")
        if path.name in ("index.html", "report.json", "numbers.tex"):
            looks = r"<dt>Test part.*|Readings of the test part so far: \d+|Test read \d+ times?"
            stamp = re.compile(looks + r'|"(number|at)": .*|.*{openings}.*')
            first, second = (stamp.sub("", text) for text in (first, second))
        assert first == second, path.name


def test_each_upstream_has_a_heat_map_of_its_own_axes(tmp_path: Path) -> None:
    """Ratios of one branch are no missing cells of the other; control arms are in no cell."""
    npc = [
        replace(arm, key=f"npc-{arm.key}", name=f"npc {arm.name}", twin_key=arm.twin_key and f"npc-{arm.twin_key}")
        for arm in grid((0.5,), (0.25, 1.0, "inf"), (14,))
    ]
    npc = [replace(arm, upstream="npc", axes={**arm.axes, "upstream": "npc", "npc.mask_size": 7}) for arm in npc]
    mockingjay = grid((0.15, 0.3), (1.0,), (7,))
    arm = mockingjay[1]
    control = replace(arm, key="loud", name="ems loudness", control="loudness", axes={**arm.axes, "masking.ratio": 0.9})
    contrasts = (("control", "loudness", arm.key, "loud"),)
    arms = (*mockingjay, control, *npc)
    sweep = SyntheticSweep(root=tmp_path, arms=arms, contrasts=contrasts, seeds=(0,), sessions=3).write()
    report(sweep, tmp_path / "report")
    figures = tmp_path / "report" / "figures"
    assert sorted(path.stem for path in figures.glob("heatmap*.svg")) == ["heatmap-mockingjay", "heatmap-npc"]
    for name, ratios, temperatures in (("mockingjay", [0.15, 0.3], [1.0]), ("npc", [0.5], [0.25, 1.0, float("inf")])):
        table = pd.read_csv(figures / f"heatmap-{name}.csv")
        assert sorted(table["ratio"].unique()) == ratios
        assert sorted(table["temperature"].unique()) == temperatures
        assert table["difference"].notna().all()
        texts = "".join(ElementTree.parse(figures / f"heatmap-{name}.svg").getroot().itertext())
        assert ("npc.mask_size 7" in texts) == (name == "npc")
    alone = SyntheticSweep(root=tmp_path / "alone", arms=tuple(grid((0.15, 0.3), (1.0,), (7,))), seeds=(0,)).write()
    report(alone, tmp_path / "report")
    assert sorted(path.name for path in figures.glob("heatmap*.svg")) == ["heatmap.svg"]


def test_a_sweep_without_controls_contrasts_or_losses_has_no_such_section(tmp_path: Path) -> None:
    sweep = SyntheticSweep(root=tmp_path, arms=tuple(grid((0.15,), (1.0,), (7,))), seeds=(0,), sessions=3).write()
    summary = report(sweep, tmp_path / "report")
    page = Page((tmp_path / "report" / "index.html").read_text(encoding="utf-8"))
    for title in ("Is it the emotion?", "What each change does", "Pre-training"):
        assert title not in page.words
        assert title not in summary.tables
    assert "Upstream" not in page.words
    assert not {"controls", "changes", "pretraining"} & set(page.ids)
