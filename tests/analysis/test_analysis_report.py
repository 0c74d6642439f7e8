"""The report folder: complete, self-contained, the same bytes for the same records, and honest about what is not in."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from gathered_report import gathered, page_of
from html_page import Page
from synthetic_sweep import SyntheticSweep, grid

from analysis.latex import latex_text
from analysis.markdown import markdown_text
from analysis.published import read_published
from analysis.report import ReportSummary, write_report
from core.errors import BadInputError

OUTCOMES = {
    ("random0.3s7", 1): "missing",
    ("ems0.3t1.0s7", 0): "failed",
    **{("ems0.3tinfs7", seed): "pruned" for seed in (0, 1)},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SyntheticSweep:
    return SyntheticSweep(
        root=tmp_path_factory.mktemp("sweep"),
        arms=tuple(grid((0.15, 0.3), (1.0, "inf"), (7,))),
        seeds=(0, 1),
        outcomes=OUTCOMES,
        transductive=True,
        validation="superb",
        incomplete="5,400 of 5,531 utterances (Ses02 ang 120, published 137)",
        leaks=("pre-training heard the test part's audio (without labels)", "validation shares speakers with training"),
    ).write()


def report(sweep: SyntheticSweep, out: Path) -> ReportSummary:
    return write_report(trials_root=sweep.trials_root, plan_path=sweep.plan_path, out=out, opened_by="a <test> & co")


@pytest.fixture(scope="module")
def summary(written: SyntheticSweep) -> ReportSummary:
    return report(written, written.root / "report")


@pytest.fixture(scope="module")
def out(summary: ReportSummary) -> Path:
    return summary.out


@pytest.fixture(scope="module")
def page(out: Path) -> Page:
    return Page((out / "index.html").read_text(encoding="utf-8"))


def test_every_file_of_the_contract_is_there(out: Path) -> None:
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    figures = {f"figures/{name}.{end}" for name in FIGURES for end in ("svg", "pdf", "csv")}
    tables = {"results.csv", "results.md", "results.tex", "comparisons.csv", "report.json", "index.html"}
    tables |= {"numbers.tex", "paragraphs.tex", "verdicts.csv", "fronts.csv", "budgets.csv", "importance.csv"}
    assert names == figures | tables


FIGURES = ("differences", "heatmap", "confusions", "speakers", "ratios", "best-of", "effects")


def test_page_is_well_formed_and_loads_nothing(page: Page, out: Path) -> None:
    text = (out / "index.html").read_text(encoding="utf-8")
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", re.sub(r"data:image/png;base64,[\w+/=\s]+", "", text))
    for tag, attributes in page.tags:
        assert tag not in {"link", "img", "iframe", "object"}
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,")), f"<{tag} {name}>"
    assert "default-src 'none'" in text


def test_inlined_references_are_all_defined(page: Page, out: Path) -> None:
    text = (out / "index.html").read_text(encoding="utf-8")
    wanted = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    assert wanted
    assert wanted <= set(page.ids)


def test_tables_are_accessible(page: Page) -> None:
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert tables == sum(tag == "caption" for tag, _ in page.tags) == 9
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    figures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(figures) == len(FIGURES)
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in figures)
    labels = {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes}
    assert labels <= set(page.ids)
    html = next(attributes for tag, attributes in page.tags if tag == "html")
    assert html["lang"] == "en"


@pytest.mark.parametrize(
    "said",
    [
        "Known leak: pre-training heard the test part's audio (without labels).",
        "Known leak: validation shares speakers with training.",
        "Incomplete corpus: 5,400 of 5,531 utterances (Ses02 ang 120, published 137)",
        "of 12 planned trials, 8 complete, 1 missing, 1 failed and 2 pruned",
        "pretrain: loss is nan at step 17",
        "ASHA at step 400",
        "no record: not run, or still running",
        "partial: no seed 1",
        "missing: no seed 0 and 1",
        "missing: no common seed",
        "To complete them: sweep retry synthetic , sweep resume synthetic .",
        "360 utterances; classes neu, hap, ang and sad. Set aside: 2 too short, 1 unreadable.",
        "UA, unweighted accuracy: the mean over classes of recall",
        "WA, weighted accuracy: the share of utterances",
        "Folds: leave-one-session-out, 5 folds",
        "10 speakers cannot go below p = .0020",
        "about these speakers alone: 5 folds × 2 seeds can go down to .0020",
        "read 1 time; this time 20",
        "by a <test> & co",
        "11 recorded trials: 11,000 optimizer steps, 2,750,000 frames, 138 device seconds",
        "0123456789abcdef0123456789abcdef01234567",
        "numpy 2.4.6, torch 2.13.0",
        "Results of others on the same corpus, percent. Not results of this sweep.",
        "obtained under other protocols",
        "SUPERB leaderboard, emotion recognition (mean of five folds)",
    ],
)
def test_the_page_says(page: Page, said: str) -> None:
    assert said in page.text


def test_rows_lead_to_trials_and_seeds(page: Page, written: SyntheticSweep) -> None:
    for arm in written.arms:
        for seed in written.seeds:
            assert re.search(rf"seed {seed}: {re.escape(f'{arm.key}-{seed}')}", page.text)


def test_files_hold_shares_and_people_see_percent(out: Path, page: Page) -> None:
    rows = {row["arm"]: row for row in csv.DictReader(io.StringIO((out / "results.csv").read_text()))}
    row = rows["ems r0.15 t1.0 s7"]
    ua, sd = float(row["ua_mean"]), float(row["ua_sd"])
    assert 0 < ua < 1
    assert f"{100 * ua:.1f} ± {100 * sd:.1f}" in page.text
    assert f"{100 * ua:.1f} ± {100 * sd:.1f}" in (out / "results.md").read_text()
    assert f"{100 * ua:.2f} $\\pm$ {100 * sd:.2f}" in (out / "results.tex").read_text()
    assert row["n_trials"] == row["n_expected"] == "2"
    assert rows["ems r0.3 tinf s7"]["ua_mean"] == ""
    assert rows["ems r0.3 tinf s7"]["n_trials"] == "0"


def test_json_and_csv_agree(out: Path) -> None:
    content = json.loads((out / "report.json").read_text())
    results = pd.read_csv(out / "results.csv").set_index("arm_key")
    for row in content["results"]:
        if row["ua_mean"] is not None:
            assert results.loc[row["arm_key"], "ua_mean"] == row["ua_mean"]
        assert len(row["trials"]) == row["n_expected"]
    comparisons = pd.read_csv(out / "comparisons.csv")
    assert len(comparisons) == len(content["comparisons"]) == 8
    assert content["comparisons"][0]["difference"] == comparisons["difference"][0]
    assert content["opening"]["number"] == 1
    assert content["cost"]["steps"] == 11_000
    assert content["published"][0]["wa"] == 0.4824
    statuses = [trial["status"] for row in content["results"] for trial in row["trials"]]
    assert (statuses.count("failed"), statuses.count("missing"), statuses.count("pruned")) == (1, 1, 2)


def test_latex_is_a_booktabs_table(out: Path) -> None:
    text = (out / "results.tex").read_text()
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 6
    columns = re.search(r"begin\{tabular\}\{([lr]+)\}", text)
    assert columns
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(columns[1]) - 1}
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert text.isascii()
    assert not re.search(r"(?<!\\)[%#_]", text)


def test_latex_escapes_names(tmp_path: Path) -> None:
    """Names with every character that TeX reads as its own."""
    arms = grid((0.15,), (1.0,), (7,))
    odd = tuple(replace(arm, name=f"{arm.name} 100% a_b {{x}} #1 $2 & ~ ^ \\n") for arm in arms)
    sweep = SyntheticSweep(root=tmp_path, arms=odd, seeds=(0,)).write()
    text = latex_text(gathered(sweep, resamples=100))
    expected = r"s7 100\% a\_b \{x\} \#1 \$2 \& \textasciitilde{} \textasciicircum{} \textbackslash{}n &"
    assert expected in text


@pytest.mark.slow
def test_same_records_give_the_same_bytes(written: SyntheticSweep, out: Path, tmp_path: Path) -> None:
    again = report(written, tmp_path / "again")
    assert again.openings == 2
    for path in sorted(out.rglob("*")):
        if path.is_dir():
            continue
        first = path.read_bytes()
        second = (tmp_path / "again" / path.relative_to(out)).read_bytes()
        if path.name in ("index.html", "numbers.tex"):
            differing = [a for a, b in zip(first.splitlines(), second.splitlines(), strict=True) if a != b]
            page = [b"Test read", b"<p>Trials were", b"<dt>Test part</dt>"]
            said = {"index.html": page, "numbers.tex": [b"{openings}"]}[path.name]
            assert [mark in line for mark, line in zip(said, differing, strict=True)] == [True] * len(said)
        elif path.name == "report.json":
            one, two = json.loads(first), json.loads(second)
            assert one.pop("opening")["number"] + 1 == two.pop("opening")["number"]
            assert one == two
        else:
            assert first == second, path.name


def test_every_look_is_logged(written: SyntheticSweep, out: Path) -> None:
    lines = (written.plan_path.parent / "openings.jsonl").read_text().splitlines()
    entry = json.loads(lines[0])
    assert (entry["by"], entry["trials"], entry["schema_version"]) == ("a <test> & co", 8, 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry["at"])


def test_summary_for_terminal_and_json(summary: ReportSummary, out: Path) -> None:
    assert (summary.n_complete, summary.n_expected, summary.n_failed, summary.n_missing) == (8, 12, 1, 1)
    text = summary.as_text()
    assert "test read 1 time\n" in text
    assert str(out / "index.html") in text
    assert "| random r0.15 s7 " in text
    assert json.loads(json.dumps(summary.as_json()))["results"][0]["arm"] == "random r0.15 s7"


def test_figures_are_valid_and_carry_their_numbers(out: Path) -> None:
    for name in FIGURES:
        root = ElementTree.parse(out / "figures" / f"{name}.svg").getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "<dc:date>" not in (out / "figures" / f"{name}.svg").read_text()
        assert (out / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    heat = pd.read_csv(out / "figures" / "heatmap.csv")
    comparisons = pd.read_csv(out / "comparisons.csv")
    ua = comparisons[comparisons["metric"] == "ua"].set_index("arm")["difference"]
    assert dict(zip(heat["arm"], heat["difference"], strict=True)) == pytest.approx(ua.to_dict(), nan_ok=True)
    labels = "".join(ElementTree.parse(out / "figures" / "heatmap.svg").getroot().itertext())
    for difference in ua.dropna():
        assert f"{100 * difference:+.1f}".replace("-", "−") in labels
    shares = pd.read_csv(out / "figures" / "confusions.csv").groupby(["arm", "true"])["share"].sum()
    assert shares.to_list() == pytest.approx([1.0] * 8)


@pytest.mark.slow
def test_stale_figures_do_not_survive(out: Path, tmp_path: Path) -> None:
    """A report of a sweep without temperatures, over an older one with a heat map."""
    folder = shutil.copytree(out, tmp_path / "report")
    assert (folder / "figures" / "heatmap.svg").exists()
    plain = SyntheticSweep(root=tmp_path / "plain", arms=tuple(grid((0.15,), (1.0,), (7,))), seeds=(0,)).write()
    report(plain, folder)
    assert not (folder / "figures" / "heatmap.svg").exists()
    assert (folder / "figures" / "differences.svg").exists()


def test_a_sweep_of_which_nothing_is_complete_says_so_and_opens_nothing(tmp_path: Path) -> None:
    arms = tuple(grid((0.15,), (1.0,), (7,)))
    outcomes = {(arm.key, seed): "missing" for arm in arms for seed in (0, 1)}
    sweep = SyntheticSweep(root=tmp_path, arms=arms, seeds=(0, 1), outcomes=outcomes).write()
    summary = report(sweep, tmp_path / "report")
    assert (summary.n_complete, summary.n_missing, summary.openings) == (0, 4, 0)
    assert not (sweep.plan_path.parent / "openings.jsonl").exists()
    text = Page((tmp_path / "report" / "index.html").read_text(encoding="utf-8")).text
    assert "No arm can be compared with its twin yet" in text
    assert "not read: no trial is complete" in text
    assert "test not read" in summary.as_text()


def test_a_clean_sweep_has_no_banner_and_says_that_no_leak_is_known(tmp_path: Path) -> None:
    arms = tuple(grid((0.15,), (1.0,), (7,)))
    sweep = SyntheticSweep(root=tmp_path, arms=arms, seeds=(0,), corpus="demo", quarantined={}).write()
    page = page_of(gathered(sweep))
    assert not any("banner" in (attributes.get("class") or "") for _, attributes in page.tags)
    assert "No leak is known" in page.text
    assert "No published result on this corpus is on file." in page.text


def test_what_was_set_aside_stands_in_every_table(tmp_path: Path) -> None:
    sweep = SyntheticSweep(root=tmp_path, arms=tuple(grid((0.15,), (1.0,), (7,))), seeds=(0,)).write()
    found = gathered(sweep)
    said = "Set aside, not in any number: 2 recordings (too short), 1 recording (unreadable)."
    assert said in page_of(found).text
    assert said in markdown_text(found)
    assert found.results["quarantined"].tolist() == [3, 3]
    assert found.results["left_out"].tolist() == [3, 3]


def test_unwritable_folder_is_one_clear_line(written: SyntheticSweep, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInputError, match=r"file.*: the report cannot be written \(Not a directory\)"):
        report(written, tmp_path / "file" / "report")


def test_published_rows_are_the_sources(tmp_path: Path) -> None:
    iemocap = read_published("iemocap")
    hubert = next(row for row in iemocap if row.system == "HuBERT Base")
    assert (hubert.ua, hubert.wa, hubert.protocol) == (None, 0.6492, "superb-loso5-frozen")
    assert "random 20 %" in hubert.description
    leaky = [row for row in iemocap if "leaky" in row.protocol]
    assert [row.wa for row in leaky] == [0.7448]
    assert len(read_published("ravdess")) == len(read_published("emodb")) == 10
    assert read_published("demo") == ()
