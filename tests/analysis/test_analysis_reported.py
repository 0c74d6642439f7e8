"""The scores that an exported model's card carries are the report's, to the digit."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_sweep import SyntheticSweep, grid

from analysis.content import gather
from analysis.export import json_text
from analysis.load import load_sweep, open_test
from analysis.reported import ReportedArm, reported_arm
from core.errors import BadInputError

ARM, TWIN = "ems r0.15 t1.0 s7", "random r0.15 s7"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[SyntheticSweep, dict]:
    made = SyntheticSweep(
        root=tmp_path_factory.mktemp("reported"),
        arms=tuple(grid((0.15,), (1.0,), (7,))),
        seeds=(0, 1),
        outcomes={("random0.15s7", 1): "failed"},
    ).write()
    sweep = load_sweep(plan_path=made.plan_path, trials_root=made.trials_root)
    report = gather(sweep, open_test(sweep), opening=None)
    folder = made.plan_path.with_name("report")
    folder.mkdir()
    (folder / "report.json").write_text(json_text(report.as_json()), encoding="utf-8")
    return made, report.as_json()


def reported(made: SyntheticSweep, cell: str) -> ReportedArm:
    return reported_arm(cell, sweeps_root=made.root / "sweeps", trials_root=made.trials_root)


def test_scores_and_intervals_are_the_reports(written):
    made, report = written
    found = reported(made, f"synthetic:{ARM}")
    (row,) = (row for row in report["results"] if row["arm"] == ARM)
    (paired,) = (row for row in report["comparisons"] if row["arm"] == ARM and row["metric"] == "ua")
    scores = dict(found.scores())
    assert scores["UA"] == f"{100 * row['ua_mean']:.1f} ± {100 * row['ua_sd']:.1f} %"
    own = f"[{100 * row['ua_low']:.1f}, {100 * row['ua_high']:.1f}] %"
    assert scores["UA, 95 % interval over speakers"] == own
    assert scores["macro F1"] == f"{100 * row['f1_mean']:.1f} ± {100 * row['f1_sd']:.1f} %"
    low, high = (f"{100 * paired[name]:+.1f}".replace("-", "−") for name in ("ci_low", "ci_high"))
    shown = scores[f"UA − `{TWIN}`"]
    assert f"points, 95 % interval [{low}, {high}] (5 pairs, p = " in shown
    assert shown.startswith(f"{100 * paired['difference']:+.1f}".replace("-", "−"))
    assert found.trial_keys == ("ems0.15t1.0s7-0", "ems0.15t1.0s7-1")
    # The beginning of a key is as good as the name.
    assert reported(made, "synthetic:ems0.15t1") == found


def test_trials_that_did_not_end_well_are_left_out(written):
    made, _ = written
    assert dict(reported(made, f"synthetic:{TWIN}").scores())["WA, 95 % interval over speakers"].startswith("[")
    assert reported(made, f"synthetic:{TWIN}").trial_keys == ("random0.15s7-0",)


def test_a_column_and_an_absent_report_are_refused(written, tmp_path):
    made, _ = written
    for cell in (f"synthetic:{ARM}:wa", "synthetic:ems0.15t1:ua"):
        with pytest.raises(BadInputError, match="SWEEP:ARM is wanted, without a column"):
            reported(made, cell)
    with pytest.raises(BadInputError, match="write it first: sweep report other"):
        reported(made, "other:x")
    with pytest.raises(BadInputError, match="write it first"):
        reported_arm(f"synthetic:{ARM}", sweeps_root=Path(tmp_path), trials_root=made.trials_root)
