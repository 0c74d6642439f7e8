"""Numbers for the paper: those of the tables, under names, in LaTeX and in the paragraphs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from synthetic_sweep import SyntheticSweep, grid

from analysis.content import Report, gather
from analysis.load import load_sweep, open_test
from analysis.numbers import macros_text, numbers_of
from analysis.paragraphs import methods_paragraph, paragraphs_latex, results_paragraph
from analysis.picked import seeds_needed
from analysis.tables import as_rows
from analysis.wording import percent, points


def gathered(root: Path, **changes: object) -> Report:
    arms = tuple(grid((0.15,), (1.0, "inf"), (7,)))
    written = SyntheticSweep(root=root, arms=arms, seeds=(0, 1), **changes).write()
    sweep = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)
    return gather(sweep, open_test(sweep), opening=None, resamples=500)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return gathered(tmp_path_factory.mktemp("numbers"))


def test_every_number_of_the_tables_has_its_name(report):
    numbers = numbers_of(report)
    for row in as_rows(report.results):
        assert numbers["UA", row["arm"]] == percent(row["ua_mean"])
        assert numbers["WASd", row["arm"]] == percent(row["wa_sd"])
    for row in as_rows(report.comparisons):
        before = "" if row["metric"] == "ua" else "WA"
        assert numbers[f"{before}Diff", row["arm"]] == points(row["difference"])
        assert numbers[f"{before}LowAll", row["arm"]] == points(row["ci_low_all"])
        assert numbers[f"{before}SeedsNeeded", row["arm"]] == seeds_needed(row["seeds_for_80"])
    assert numbers["Sweep", "utterances"] == "360"
    assert numbers["Sweep", "folds"] == "5"
    assert numbers["Arm", "chosen"] in {row["arm"] for row in as_rows(report.results)}
    assert numbers["Rank", numbers["Arm", "chosen"]] == str(report.picked[0].rank)


def test_what_is_absent_has_no_name(tmp_path):
    report = gathered(tmp_path, outcomes={("ems0.15t1.0s7", seed): "failed" for seed in (0, 1)})
    values = numbers_of(report).values
    assert ("UA", "ems r0.15 t1.0 s7") not in values
    assert values["Trials", "ems r0.15 t1.0 s7"] == "0"
    assert ("Diff", "ems r0.15 t1.0 s7") not in values


def test_the_paragraphs_in_latex_are_the_plain_ones_with_macros(report):
    numbers, written = numbers_of(report), paragraphs_latex(report)
    plain = "\n\n".join([results_paragraph(report), methods_paragraph(report)]) + "\n"
    macro = re.compile(r"\\ems([A-Za-z]+)\{([^}]*)\}")
    assert {match[1] for match in macro.finditer(written)} >= {"UA", "WA", "Diff", "Low", "High", "PCorrected", "Sweep"}
    filled = macro.sub(lambda match: numbers[match[1], match[2]], written)
    assert filled.replace(r"\%", "%") == plain
    # Not one digit typed by hand but those of the level and of arms' names.
    typed = re.sub(r"[rst]\d[\d.]*", "", macro.sub("", written)).replace("95", "")
    assert not re.search(r"\d\.\d", typed.split("\n\n")[0])


def test_no_gain_is_claimed_where_none_is_shown(tmp_path):
    report = gathered(tmp_path, sessions=5)
    said = results_paragraph(report)
    shown = as_rows(report.comparisons)
    if all(row["p_corrected"] is None or row["p_corrected"] >= 0.05 for row in shown):
        assert "the arm is better" not in said
    assert "Of all 2 arms with a twin" in said


def test_latex_takes_the_macros(report, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex on this machine")
    (tmp_path / "numbers.tex").write_text(macros_text(numbers_of(report)), encoding="utf-8")
    (tmp_path / "paragraphs.tex").write_text(paragraphs_latex(report), encoding="utf-8")
    document = "\\documentclass{article}\\input{numbers}\\begin{document}\\input{paragraphs}\\end{document}"
    (tmp_path / "paper.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    unknown = document.replace("\\input{paragraphs}", "\\emsUA{no such arm}")
    (tmp_path / "paper.tex").write_text(unknown, encoding="utf-8")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "no \\emsUA for `no such arm'" in done.stdout
