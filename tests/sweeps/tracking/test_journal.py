from __future__ import annotations

import math
import multiprocessing
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadInputError
from sweeps.tracking.journal import Journal, JournalError
from sweeps.tracking.outbox import SWEEP, Outbox

KEY = "00000000000000aa"


def journal_at(folder: Path) -> Journal:
    journal = Journal(folder / "sweeps" / "grid" / "journal.db")
    journal.register_trial(KEY, name="ems seed 0", params={"masking.ratio": "0.15"}, tags={"seed": "0"})
    return journal


def stored(journal: Journal) -> list[tuple[str, int, float | None]]:
    """Read with plain SQLite, not with our own reader."""
    with sqlite3.connect(journal.path) as database:
        return database.execute("SELECT metric, step, value FROM metrics ORDER BY id").fetchall()


def test_repeating_a_step_changes_nothing(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    for _ in range(2):
        journal.log(KEY, {"loss": 0.5, "lr": 1e-4}, step=10, time_ms=1)
    journal.flush()
    assert stored(journal) == [("loss", 10, 0.5), ("lr", 10, 1e-4)]
    assert journal.conflicts() == ()


def test_another_value_for_a_step_is_told_and_the_first_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = journal_at(tmp_path)
    journal.log(KEY, {"loss": 0.5}, step=10)
    for _ in range(2):
        journal.log(KEY, {"loss": 0.25}, step=10)
    journal.flush()
    (conflict,) = journal.conflicts()
    assert (conflict.metric, conflict.step, conflict.kept, conflict.refused) == ("loss", 10, 0.5, 0.25)
    assert stored(journal) == [("loss", 10, 0.5)]
    assert journal.trials()[0].conflicts == Outbox(journal=journal, destination="x").backlog().conflicts == 1
    assert "loss at step 10 is 0.25, was 0.5" in caplog.text


def test_nan_and_infinity_survive_and_nan_equals_itself(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    for _ in range(2):
        journal.log(KEY, {"a": math.nan, "b": math.inf, "c": -math.inf}, step=0)
    journal.flush()
    values = {event.metric: event.value for event in Outbox(journal=journal, destination="x").metrics(KEY, limit=10)}
    assert math.isnan(values["a"])
    assert (values["b"], values["c"]) == (math.inf, -math.inf)
    assert journal.conflicts() == ()


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.floats(allow_nan=False, width=32)), max_size=40),
    st.integers(1, 7),
)
def test_first_value_of_each_step_is_what_arrives_in_any_batching(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int, float]], batch: int
) -> None:
    journal = journal_at(tmp_path_factory.mktemp("journal"))
    outbox = Outbox(journal=journal, destination="x")
    expected: dict[tuple[str, int], float] = {}
    for place, (metric, step, value) in enumerate(events):
        expected.setdefault((metric, step), value)
        journal.log(KEY, {metric: value}, step=step)
        if place % 5 == 0:
            journal.flush()
    journal.flush()
    outbox.remember(KEY, run_id="run")
    arrived: list[tuple[tuple[str, int], float]] = []
    while found := outbox.metrics(KEY, limit=batch):
        arrived += [((event.metric, event.step), event.value) for event in found]
        outbox.sent_metrics(KEY, up_to=found[-1].order)
    assert arrived == list(expected.items())
    assert outbox.backlog().metrics == 0
    journal.close()


def _write_many(path: str, writer: int) -> None:
    journal = Journal(Path(path))
    journal.register_trial(f"own{writer}", name="own", params={}, tags={})
    for step in range(300):
        journal.log(f"own{writer}", {"loss": step + writer / 10}, step=step)
        journal.log(KEY, {"shared": float(step)}, step=step)
        if step % 7 == 0:
            journal.flush()
    journal.close()


def test_four_processes_writing_at_once_lose_nothing(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(str(journal.path), n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    rows = stored(journal)
    assert len(rows) == 4 * 300 + 300
    assert sorted(step for metric, step, _ in rows if metric == "shared") == list(range(300))
    for n in range(4):
        own = Outbox(journal=journal, destination="x").metrics(f"own{n}", limit=1000)
        assert [(event.step, event.value) for event in own] == [(step, step + n / 10) for step in range(300)]
    assert journal.conflicts() == ()


def test_what_was_flushed_outlives_a_killed_writer(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    script = (
        "import os, pathlib, sys; from sweeps.tracking.journal import Journal\n"
        "journal = Journal(pathlib.Path(sys.argv[1]))\n"
        f"[journal.log('{KEY}', {{'loss': 1.0}}, step=step) for step in range(20)]; journal.flush()\n"
        f"journal.log('{KEY}', {{'loss': 1.0}}, step=20); os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script, str(journal.path)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    steps = [step for _, step, _ in stored(journal)]
    assert steps == list(range(20))
    journal.log(KEY, {"loss": 1.0}, step=20)
    journal.flush()
    assert len(stored(journal)) == 21


def test_registering_again_reopens_all_but_complete_trials(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    journal.finish(KEY, status="failed", reason="out of memory")
    journal.register_trial(KEY, name="ems seed 0", params={"masking.ratio": "0.15"}, tags={"seed": "0", "commit": "b"})
    (trial,) = journal.trials()
    assert (trial.state, trial.reason, trial.tags["commit"]) == ("open", None, "b")
    journal.finish(KEY, status="complete")
    journal.register_trial(KEY, name="ems seed 0", params={"masking.ratio": "0.15"}, tags={})
    assert journal.trials()[0].state == "complete"


def test_other_params_under_the_same_key_are_an_error(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    with pytest.raises(BadInputError, match=r"masking\.ratio is '0\.3', was '0\.15'"):
        journal.register_trial(KEY, name="ems seed 0", params={"masking.ratio": "0.3"}, tags={})


@pytest.mark.parametrize("metric", ["", "loss%", "a" * 251, "a\nb"])
def test_metric_names_that_mlflow_refuses_are_refused_here(tmp_path: Path, metric: str) -> None:
    with pytest.raises(BadInputError, match="at most 250"):
        journal_at(tmp_path).log(KEY, {metric: 1.0}, step=0)


def test_unknown_trials_and_missing_artifacts_are_errors(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    with pytest.raises(BadInputError, match="not registered"):
        journal.finish("unknown", status="complete")
    with pytest.raises(BadInputError, match=r"none\.json: no such file"):
        journal.finish(KEY, status="complete", artifacts=(tmp_path / "none.json",))
    journal.log("unknown", {"loss": 1.0}, step=0)
    with pytest.raises(BadInputError, match="not registered"):
        journal.flush()


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE other (x)")
    with pytest.raises(BadInputError, match="not a journal of schema 1"):
        Journal(path)
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(JournalError, match="not a database"):
        Journal(path)


def test_artifacts_wait_again_when_changed_and_follow_a_moved_workspace(tmp_path: Path) -> None:
    home = tmp_path / "home"
    journal = journal_at(home)
    record = home / "trials" / KEY / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text("one")
    journal.finish(KEY, status="failed", artifacts=(record,))
    outbox = Outbox(journal=journal, destination="x")
    (artifact,) = outbox.artifacts(KEY)
    assert artifact.path == record
    outbox.sent_artifact(KEY, artifact)
    assert outbox.artifacts(KEY) == ()
    record.write_text("another")
    journal.finish(KEY, status="complete", artifacts=(record,))
    assert [found.path for found in outbox.artifacts(KEY)] == [record]
    journal.close()
    home.rename(tmp_path / "moved")
    moved = Outbox(journal=Journal(tmp_path / "moved" / "sweeps" / "grid" / "journal.db"), destination="x")
    assert [found.path for found in moved.artifacts(KEY)] == [tmp_path / "moved" / "trials" / KEY / "record.json"]


def test_backlog_counts_by_destination(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    here, there = Outbox(journal=journal, destination="here"), Outbox(journal=journal, destination="there")
    assert here.backlog().runs == 1  # The sweep's own: no trial has begun.
    journal.log(KEY, {"loss": 1.0, "lr": 2.0}, step=0)
    journal.flush()
    assert (here.backlog().runs, here.backlog().metrics, here.backlog().trials_open) == (2, 2, 1)
    assert here.waiting() == {KEY, SWEEP}
    here.remember(KEY, run_id="run")
    here.sent_metrics(KEY, up_to=here.metrics(KEY, limit=10)[-1].order)
    here.sent_status(KEY, version=journal.trials()[0].version)
    here.remember(SWEEP, run_id="parent")
    here.sent_status(SWEEP, version=here.sweep_version())
    assert here.backlog().empty
    assert here.waiting() == frozenset()
    assert not there.backlog().empty
    journal.set_sweep("interrupted")
    assert here.waiting() == {KEY, SWEEP}
    here.forget(KEY)
    assert here.backlog().metrics == 2


def test_the_journal_is_durable_by_its_settings(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    assert journal.query("PRAGMA journal_mode")[0][0] == "wal"
    assert journal.query("PRAGMA synchronous")[0][0] == 2  # FULL: each commit reaches the disk.


def test_the_journal_needs_no_mlflow() -> None:
    script = "import sys, sweeps.tracking.journal, sweeps.tracking.uploader; print('mlflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
