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
from sweeps.tracking.journal import Journal, JournalError, Point, Registration
from sweeps.tracking.outbox import SWEEP, Outbox

KEY = "00000000000000aa"


def journal_at(folder: Path) -> Journal:
    journal = Journal(folder / "sweeps" / "grid" / "journal.db")
    journal.register(trial())
    return journal


def trial(key: str = KEY, *, ratio: str = "0.15", commit: str = "a", to_run: bool = True) -> Registration:
    tags = {"seed": "0", "commit": commit}
    return Registration(trial_key=key, name="ems seed 0", params={"masking.ratio": ratio}, tags=tags, to_run=to_run)


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
    journal.register(trial(f"own{writer}"))
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
    journal.register(trial(commit="b"))
    (entry,) = journal.trials()
    assert (entry.state, entry.reason, entry.tags["commit"]) == ("open", None, "b")
    journal.finish(KEY, status="complete")
    journal.register(trial(to_run=True))
    assert journal.trials()[0].state == "complete"


def test_other_params_under_the_same_key_are_an_error(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    with pytest.raises(BadInputError, match=r"masking\.ratio is '0\.3', was '0\.15'"):
        journal.register(trial(ratio="0.3"))


@pytest.mark.parametrize("metric", ["", "loss%", "a" * 251, "a\nb", "a//b", "a/", "./a"])
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
    with pytest.raises(BadInputError, match="not a journal of schema 2"):
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


def test_registering_what_is_known_changes_nothing_and_what_is_not_to_run_keeps_its_state(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    before = journal.trials()
    journal.register(trial())
    assert journal.trials() == before
    journal.finish(KEY, status="pruned", reason="below the median")
    ended = journal.trials()
    journal.register(trial(to_run=False))
    assert journal.trials() == ended
    journal.register(trial(), trial("other"))
    assert [entry.state for entry in journal.trials()] == ["open", "open"]


def test_one_bad_trial_registers_none(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    with pytest.raises(BadInputError, match=r"masking\.ratio"):
        journal.register(trial("new"), trial(ratio="0.3"))
    assert [entry.trial_key for entry in journal.trials()] == [KEY]


def test_trials_leave_the_plan_and_come_back(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    journal.register(trial("kept"), trial("done"))
    journal.finish("done", status="complete")
    versions = {entry.trial_key: entry.version for entry in journal.trials()}
    assert journal.keep_only({"kept"}) == (KEY, "done")
    assert journal.keep_only({"kept"}) == ()
    entries = {entry.trial_key: entry for entry in journal.trials()}
    assert {key: (entry.in_plan, entry.state) for key, entry in entries.items()} == {
        KEY: (False, "open"), "kept": (True, "open"), "done": (False, "complete"),
    }  # fmt: skip
    assert {key for key, entry in entries.items() if entry.version != versions[key]} == {KEY, "done"}
    assert Outbox(journal=journal, destination="x").backlog().trials_open == 1
    journal.register(trial(), trial("done", to_run=False))
    entries = {entry.trial_key: entry for entry in journal.trials()}
    assert all(entry.in_plan for entry in entries.values())
    assert (entries[KEY].state, entries[KEY].ended_ms) == ("open", None)


def test_points_are_durable_when_added_and_each_once(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    points = [Point("loss", step, 1.0 / (step + 1), 1000 + step) for step in range(3)]
    journal.add(KEY, points)
    journal.add(KEY, [*points, Point("loss", 3, math.nan, 2000)])
    assert stored(journal) == [("loss", 0, 1.0), ("loss", 1, 0.5), ("loss", 2, 1 / 3), ("loss", 3, None)]
    assert journal.trials()[0].began_ms == 1000
    with pytest.raises(BadInputError, match="not registered"):
        journal.add("unknown", points)


def test_a_full_disk_is_told_loses_nothing_confirmed_and_can_be_tried_again(tmp_path: Path) -> None:
    """SQLite's own answer to a disk without room, from its limit of pages."""
    journal = journal_at(tmp_path)
    journal.add(KEY, [Point("loss", 0, 1.0, 0)])
    pages = journal.query("PRAGMA page_count")[0][0]
    journal.query(f"PRAGMA max_page_count = {pages}")
    many = [Point("loss", step, float(step), step) for step in range(1, 5000)]
    for _ in range(2):
        with pytest.raises(JournalError, match="disk is full"):
            journal.add(KEY, many)
    assert stored(journal) == [("loss", 0, 1.0)]
    journal.query("PRAGMA max_page_count = 1000000")
    journal.add(KEY, many)
    assert len(stored(journal)) == 5000


def test_a_log_that_cannot_grow_is_told_as_such_and_leaves_no_transaction_open(tmp_path: Path) -> None:
    """The write-ahead log cannot grow (a limit on file sizes); later it can."""
    journal = journal_at(tmp_path)
    script = (
        "import pathlib, resource, sys\n"
        "from sweeps.tracking.journal import Journal, JournalError, Point\n"
        "journal = Journal(pathlib.Path(sys.argv[1]))\n"
        "points = [Point('loss', step, float(step), step) for step in range(2000)]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (16384, resource.RLIM_INFINITY))\n"
        "for _ in range(2):\n"
        "    try:\n"
        f"        journal.add('{KEY}', points)\n"
        "    except JournalError as error:\n"
        "        print(str(error).rpartition(': ')[2])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        f"journal.add('{KEY}', points)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script, str(journal.path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2, done.stdout
    assert "transaction" not in done.stdout, "what SQLite says of the disk, not of our own disorder"
    assert len(stored(journal)) == 2000


def test_pictures_are_due_once_per_version_of_the_files_they_are_drawn_from(tmp_path: Path) -> None:
    journal = journal_at(tmp_path)
    record, picture = tmp_path / "record.json", tmp_path / "masks.png"
    record.write_text("one")
    picture.write_text("png")
    for _ in range(2):
        journal.finish(KEY, status="complete", artifacts=(record,), pictures=True)
        assert journal.pictures_due() == (KEY,)
    assert Outbox(journal=journal, destination="x").backlog().pictures == 1
    journal.add_pictures(KEY, (picture,))
    journal.finish(KEY, status="complete", artifacts=(record,), pictures=True)
    assert journal.pictures_due() == ()
    assert [found.path.name for found in Outbox(journal=journal, destination="x").artifacts(KEY)] == [
        "masks.png", "record.json",
    ]  # fmt: skip
    record.write_text("another")
    journal.finish(KEY, status="complete", artifacts=(record,), pictures=True)
    assert journal.pictures_due() == (KEY,)
    journal.add_pictures(KEY, (), problem="no array 'mask'")
    assert (journal.pictures_due(), journal.trials()[0].pictures) == ((), "no array 'mask'")


def test_a_journal_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as database:
        database.executescript(Path(__file__).with_name("journal_schema_1.sql").read_text())
    journal = Journal(path)
    (entry,) = journal.trials()
    assert (entry.trial_key, entry.state, entry.in_plan, entry.pictures) == (KEY, "complete", True, "none")
    outbox = Outbox(journal=journal, destination="sqlite:///mlflow.db")
    assert outbox.run(KEY) == ("run", entry.version), "what was sent before is not sent again"
    assert stored(journal) == [("loss", 0, 1.0)]
    assert journal.query("PRAGMA user_version") == [(2,)]
