"""A cell of the report leads back to its trials, and says what it lacks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from synthetic_sweep import SyntheticSweep, grid

from analysis.explain import explain_cell
from analysis.logged import Logged
from analysis.report import write_report
from core.errors import BadInputError
from core.identity import digest

ARM, TWIN = "ems r0.15 t1.0 s7", "random r0.15 s7"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SyntheticSweep:
    sweep = SyntheticSweep(
        root=tmp_path_factory.mktemp("explained"),
        arms=tuple(grid((0.15,), (1.0, "inf"), (7,))),
        seeds=(0, 1),
        outcomes={("random0.15s7", 1): "missing", ("ems0.15tinfs7", 0): "failed"},
    ).write()
    out = sweep.plan_path.with_name("report")
    logged = Logged(pages={"ems0.15t1.0s7-0": "http://then/#/runs/1", "random0.15s7-0": "http://then/#/runs/2"})
    write_report(trials_root=sweep.trials_root, plan_path=sweep.plan_path, out=out, opened_by="a test", logged=logged)
    return sweep


def explain(sweep: SyntheticSweep, text: str, **more: str):
    return explain_cell(text, sweeps_root=sweep.root / "sweeps", trials_root=sweep.trials_root, **more)


def table(sweep: SyntheticSweep, name: str) -> pd.DataFrame:
    return pd.read_csv(sweep.plan_path.with_name("report") / name)


def test_a_mean_is_the_tables_and_names_its_trials(written):
    found = explain(written, f"synthetic:{ARM}")
    row = table(written, "results.csv").set_index("arm").loc[ARM]
    assert found.value == f"{100 * row['ua_mean']:.1f} % ± {100 * row['ua_sd']:.1f}"
    assert (found.column, found.used, found.expected, found.lacking) == ("ua_mean", 2, 2, ())
    assert [(source.seed, source.trial_key, source.replay) for source in found.sources] == [
        (seed, f"ems0.15t1.0s7-{seed}", f"sweep replay ems0.15t1.0s7-{seed}") for seed in (0, 1)
    ]
    record = json.loads((written.trials_root / "ems0.15t1.0s7-0" / "record.json").read_text())
    source = found.sources[0]
    assert source.config == digest(record["config"])
    assert source.commit.startswith(record["provenance"]["commit"])
    assert f"evaluated iemocap {record['corpus']['fingerprint']}" in source.corpora
    # By the beginning of the arm's key, and by column, it is the same cell.
    assert explain(written, "synthetic:ems0.15t1:ua") == found
    assert explain(written, f"synthetic:{ARM}:ua_mean") == found


def test_a_difference_names_both_sides_and_what_is_lacking(written):
    found = explain(written, f"synthetic:{ARM}:difference")
    rows = table(written, "comparisons.csv")
    row = rows[(rows["arm"] == ARM) & (rows["metric"] == "ua")].iloc[0]
    assert found.value.startswith(f"{100 * row['difference']:+.1f} points".replace("-", "−"))
    assert (found.against, found.used, found.expected) == (TWIN, 1, 2)
    assert [(source.side, source.seed, source.status) for source in found.sources] == [
        ("arm", 0, "complete"), ("arm", 1, "complete"), ("against", 0, "complete"), ("against", 1, "missing"),
    ]  # fmt: skip
    assert found.lacking == ("sweep resume synthetic",)
    text = found.as_text({"random0.15s7-0": "http://127.0.0.1:5000/#/runs/abc"})
    assert "from 1 of 2 pairs of seeds: partial" in text
    assert "mlflow   http://127.0.0.1:5000/#/runs/abc" in text, "where it is now"
    assert "mlflow   http://then/#/runs/1" in text, "else where it was when the report was written"
    assert "http://then/#/runs/2" not in text


def test_failures_are_retried(written):
    found = explain(written, "synthetic:ems r0.15 tinf s7:wa")
    assert found.lacking == ("sweep retry synthetic",)
    assert found.sources[0].reason == "pretrain: loss is nan at step 17"


def test_explaining_opens_nothing(written):
    log = written.plan_path.with_name("openings.jsonl")
    before = log.read_bytes()
    explain(written, f"synthetic:{ARM}")
    assert log.read_bytes() == before


@pytest.mark.parametrize(
    ("cell", "more", "message"),
    [
        ("never:x", {}, "write it first: sweep report never"),
        ("synthetic:no such arm", {}, f"with ARM one of {TWIN}, {ARM}"),
        ("synthetic:", {}, "SWEEP:ARM or SWEEP:ARM:COLUMN"),
        (f"synthetic:{ARM}:uax", {}, "column 'uax': none of ua, wa, f1"),
        (f"synthetic:{ARM}", {"against": TWIN}, "--against needs the column `difference`"),
        (f"synthetic:{TWIN}:difference", {}, f"arm '{TWIN}': not compared in 'ua' with a twin; it is with nothing"),
        (f"synthetic:{ARM}:difference", {"against": "x"}, f"not compared in 'ua' with x; it is with {TWIN}"),
    ],
)
def test_what_there_is_not_is_named(written, cell, more, message):
    with pytest.raises(BadInputError, match=re.escape(message)):
        explain(written, cell, **more)


def test_a_damaged_report_is_named(written, tmp_path: Path):
    path = tmp_path / "synthetic" / "report" / "report.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(BadInputError, match=r"report\.json: not a report"):
        explain_cell("synthetic:x", sweeps_root=tmp_path, trials_root=written.trials_root)
