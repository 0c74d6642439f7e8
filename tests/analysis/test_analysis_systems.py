"""Several systems in one report: each by its own metric, nothing said where there is nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from four_systems import four_systems, student_arms
from gathered_report import gathered, page_of
from html_page import Page
from synthetic_sweep import LOSSES, SyntheticArm, SyntheticSweep, grid

from analysis.banners import banners
from analysis.comparisons import comparisons_table, planned_pairs
from analysis.content import Report
from analysis.counts import counted_rows
from analysis.export import json_text
from analysis.load import load_sweep, open_test
from analysis.markdown import tables_text
from analysis.paragraphs import methods_paragraph, results_paragraph
from analysis.pretraining import loss_table, one_per_upstream
from analysis.tables import results_table


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return gathered(four_systems(tmp_path_factory.mktemp("four")))


@pytest.fixture(scope="module")
def page(report: Report) -> Page:
    return page_of(report)


def test_rows_stand_system_by_system_with_their_own_metrics(report: Report) -> None:
    results = report.results
    assert list(dict.fromkeys(results["system"])) == ["teacher_student", "ems", "sap", "frame_alignment"]
    assert int(results["system"].ne(results["system"].shift()).sum()) == 4
    of_dimensions = results["system"] == "teacher_student"
    assert results.loc[of_dimensions, "ua_mean"].isna().all()
    assert results.loc[~of_dimensions, "ccc_mean"].isna().all()
    assert results.loc[of_dimensions, "ccc_mean"].notna().all()
    assert results.loc[~of_dimensions, "ua_mean"].notna().all()
    lines = [line for line in tables_text(report).splitlines() if line.startswith("| teacher_student | soft s0.5 ")]
    assert [cell.strip() for cell in lines[0].split("|")[5:8]] == ["–", "–", "–"]


def test_an_arm_is_chosen_of_each_system_and_upstream_by_its_own_metric(report: Report) -> None:
    assert {group: key for group, key in report.chosen.items() if not group.startswith("sap")} == {
        "teacher_student mockingjay": "soft",
        "ems mockingjay": "ems0.15t1.0s7",
        "frame_alignment hubert": "k6",
    }
    sap = report.results[report.results["system"] == "sap"].set_index("arm_key")
    paired = sap[sap["twin_key"].notna()]
    assert report.chosen["sap mockingjay"] == paired["validation_ua"].idxmax()
    assert [one.metric for one in report.picked] == ["ccc_mean", "ua", "ua", "ua"]
    assert [one.candidates for one in report.picked] == [2, 4, 4, 4]
    said = " ".join(report.key_results)
    assert "Of the frame_alignment hubert arms with a twin, the best by validation UA, attention k6" in said
    assert "number 1 of the 2 arms compared" in results_paragraph(report)
    assert "The twin of teacher_student" in methods_paragraph(report)
    assert "random-masking" not in results_paragraph(report)


def test_families_are_apart_by_metric(report: Report) -> None:
    twins = report.comparisons[report.comparisons["kind"] == "twin"]
    assert twins.groupby("metric").size().to_dict() == {
        "ua": 4, "wa": 4, "ccc_mean": 2, "ccc_activation": 2, "ccc_valence": 2, "ccc_dominance": 2,
    }  # fmt: skip
    assert report.tally.startswith("Of 4 arms with a twin,")
    assert "Of 2 arms with a twin, 2 score above it in mean CCC" in report.tally
    ua = report.comparisons[report.comparisons["name"] == "sap against ems"]
    assert set(ua["metric"]) == {"ua", "wa"}
    assert [row["upstream"] for row in report.changes][-1] == "sap mockingjay against ems mockingjay"


def test_the_score_of_the_released_code_is_a_reference_only(report: Report, page: Page) -> None:
    rows = report.results.set_index("arm_key")
    own = rows.loc["k6"]
    for name in ("ua", "wa"):
        assert own[f"validation_test_{name}"] == pytest.approx((own[f"validation_{name}"] + own[f"{name}_mean"]) / 2)
        assert rows[f"validation_test_{name}"].notna().sum() == 2
        assert f"validation_test_{name}" not in set(report.comparisons["metric"])
    assert "Reference: WA, (validation + test) / 2" in page.text
    assert "reference: (validation + test) / 2, WA %" in tables_text(report)
    for text in (page.text, tables_text(report)):
        assert "(validation + test) / 2, as the released code reports it; not a test score" in text


def test_what_was_counted_is_shown(report: Report, page: Page) -> None:
    (first, second) = counted_rows(report.counts)
    assert (first["what"], first["n"]) == ("utterances without speech", "3")
    assert first["arms"] == ["gap+sap v0.3", "gap+sap v0.5"]
    assert second["arms"] == ["attention k6"]
    assert "utterances without speech 3 gap+sap v0.3 and gap+sap v0.5" in page.text
    content = json.loads(json_text(report.as_json()))
    assert content["counts"][0] == {
        "arm": "gap+sap v0.3", "what": "utterances without speech", "least": 3, "most": 3, "n_trials": 2,
        "arm_key": "sap0.3",
    }  # fmt: skip


def test_arms_on_the_same_upstreams_stand_in_one_row(report: Report, page: Page, tmp_path: Path) -> None:
    table = loss_table(one_per_upstream(report.results, report.sweep))
    assert list(table["arm"]) == ["gap and 2 more"]
    assert table["sharing"].item() == "gap+sap v0.3; gap+sap v0.5"
    assert "gap and 2 more gap+sap v0.3; gap+sap v0.5" in page.text
    # Of EMS the upstreams are what is under test, and another key is another upstream.
    arms = [
        SyntheticArm(key=f"{system}{place}", name=f"{system}{place}", system=system, losses=LOSSES, heard_by=heard)
        for system in ("ems", "sap")
        for place, heard in enumerate(("plain", "plain", "other", None, None))
    ]
    made = SyntheticSweep(root=tmp_path, arms=tuple(arms), seeds=(0,)).write()
    sweep = load_sweep(plan_path=made.plan_path, trials_root=made.trials_root)
    assert list(one_per_upstream(results_table(sweep, open_test(sweep)), sweep)["arm_key"]) == [
        *("ems0", "ems1", "ems2", "ems3", "ems4"), *("sap0", "sap2", "sap3", "sap4"),
    ]  # fmt: skip


def test_the_page_is_whole_and_links_lead_somewhere(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    linked = {attrs["href"][1:] for tag, attrs in page.tags if tag == "a" and (attrs.get("href") or "").startswith("#")}
    assert linked <= set(page.ids)


def test_a_sweep_of_ems_has_none_of_it(tmp_path: Path) -> None:
    made = SyntheticSweep(root=tmp_path, arms=tuple(grid((0.15,), (1.0,), (7,))), seeds=(0,)).write()
    found = gathered(made)
    assert not {"system", "ccc_mean", "validation_ccc", "validation_test_ua"} & set(found.results.columns)
    assert "counts" not in found.as_json()
    assert set(found.comparisons["metric"]) == {"ua", "wa"}
    assert "CCC" not in page_of(found).text


def test_arms_without_records_are_known_by_axes_definition_or_twin(tmp_path: Path) -> None:
    """Missing students are students: their cells are dashes, and classes are not asked of them."""
    arms = [*student_arms(), *grid((0.15,), (1.0,), (7,))]
    made = SyntheticSweep(root=tmp_path, arms=tuple(arms), seeds=(0,), outcomes={("soft", 0): "missing"}).write()
    sweep = load_sweep(plan_path=made.plan_path, trials_root=made.trials_root)
    assert (sweep.arms["soft"].system, sweep.arms["soft"].answers) == ("teacher_student", "dimensions")
    assert sweep.groups == ("teacher_student mockingjay", "ems mockingjay")
    table = comparisons_table(sweep, open_test(sweep), resamples=200)
    rows = table[table["arm_key"] == "soft"]
    assert set(rows["metric"]) == {"ccc_mean", "ccc_activation", "ccc_valence", "ccc_dominance"}
    assert (rows["n_pairs"] == 0).all()
    plan = json.loads(made.plan_path.read_text())
    made.plan_path.write_text(json.dumps(plan | {"definition": {"settings": {"system": "sap"}}}))
    for folder in made.trials_root.iterdir():
        folder.joinpath("record.json").unlink()
    empty = load_sweep(plan_path=made.plan_path, trials_root=made.trials_root)
    assert empty.systems == ("sap",)


def test_a_contrast_of_classes_with_dimensions_is_said_to_be_none(tmp_path: Path) -> None:
    arms = [*student_arms(), *grid((0.15,), (1.0,), (7,))]
    contrasts = (("contrast", "apples", "soft", "ems0.15t1.0s7"),)
    made = SyntheticSweep(root=tmp_path, arms=tuple(arms), seeds=(0,), contrasts=contrasts).write()
    sweep = load_sweep(plan_path=made.plan_path, trials_root=made.trials_root)
    assert {pair.kind for pair in planned_pairs(sweep)} == {"twin"}
    assert "Not compared, apples: soft s0.5 answers with dimensions, ems r0.15 t1.0 s7 with classes." in [
        banner.text for banner in banners(sweep, results_table(sweep, open_test(sweep)))
    ]
