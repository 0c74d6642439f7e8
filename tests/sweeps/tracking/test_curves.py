"""Learning curves read back from a real journal."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path

import pytest

from sweeps.tracking.curves import read_curves
from sweeps.tracking.entries import Registration
from sweeps.tracking.journal import Journal, JournalError


def test_the_points_of_the_asked_metrics_in_order(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.db")) as journal:
        for trial in ("b", "a"):
            journal.register(Registration(trial_key=trial, name=trial, params={}, tags={}))
        journal.log("b", {"pretrain/loss": 0.5, "probe/loss": 3.0}, step=100)
        journal.log("a", {"pretrain/loss": math.nan}, step=50)
        journal.log("b", {"pretrain/loss": 0.1 + 0.2}, step=20)
    table = read_curves(tmp_path / "journal.db", ["pretrain/loss", "pretrain/validation_loss"], trials=["a", "b"])
    assert table[["trial_key", "step"]].to_numpy().tolist() == [["a", 50], ["b", 20], ["b", 100]]
    assert math.isnan(table["value"][0])
    assert table["value"][1:].to_list() == [0.1 + 0.2, 0.5], "to the last bit"
    assert set(table["metric"]) == {"pretrain/loss"}
    assert set(read_curves(tmp_path / "journal.db", ["pretrain/loss"], trials={"a"})["trial_key"]) == {"a"}


def test_no_journal_has_no_points_and_makes_none(tmp_path: Path) -> None:
    assert read_curves(tmp_path / "journal.db", ["pretrain/loss"], trials=["a"]).empty
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_journal_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_text("not a database " * 100)
    with pytest.raises(JournalError, match=r"journal\.db"):
        read_curves(tmp_path / "journal.db", ["pretrain/loss"], trials=["a"])
