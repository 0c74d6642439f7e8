"""What `sweep status` finds in a sweep's files, and how it says it."""

from __future__ import annotations

import json
import os
import time

import pytest
from written_sweep import (
    ARMS,
    CONTROL,
    NAME,
    SECRET,
    by_key,
    complete,
    driving,
    failed,
    pruned,
    put,
    written_plan,
)  # fmt: skip

from core.errors import BadInputError
from core.store import Workspace
from sweeps.driver import Driver
from sweeps.glance import Glances
from sweeps.matrix_text import matrix_lines
from sweeps.objective import read_validation
from sweeps.observer import Observer, snapshot
from sweeps.status import Status
from sweeps.status_text import status_text
from sweeps.strategy import SearchConfig, StopConfig
from sweeps.tracking.experiment import destination_name, tracking_uri
from sweeps.tracking.journal import Journal
from sweeps.tracking.outbox import Outbox

WEAK, STRONG = "ems-r0.15-s7-t0.25", "ems-r0.15-s7-t1"


def written(workspace: Workspace, **settings):
    plan = written_plan(**settings)
    plan.write(workspace)
    return by_key(plan)


def states(status: Status) -> dict[str, str]:
    return {trial.trial_key: trial.state for trial in status.trials}


def row(status: Status, arm_key: str):
    return next(row for row in status.matrix.rows if row.arm_key == arm_key)


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def test_a_pair_is_compared_on_validation_when_both_are_complete(workspace):
    trials = written(workspace)
    put(workspace, complete(trials["random-0"], 0.5), complete(trials["random-1"], 0.52))
    put(workspace, *(complete(trials[f"{STRONG}-{seed}"], ua) for seed, ua in ((0, 0.53), (1, 0.51), (2, 0.6))))
    status = snapshot(NAME, workspace)
    strong = row(status, STRONG)
    assert [cell.difference for cell in strong.cells] == [pytest.approx(0.03), pytest.approx(-0.01), None]
    assert (strong.pairs, strong.mean_difference) == (2, pytest.approx(0.01))
    assert strong.mean_ua == pytest.approx((0.53 + 0.51 + 0.6) / 3)
    assert (row(status, "random").role, row(status, "random").mean_ua) == ("twin", pytest.approx(0.51))
    assert row(status, "random").mean_difference is None
    lines = matrix_lines(status.matrix, width=100)
    assert lines[2].split() == ["random", "r0.15", "s7", "51.0", "50.0", "52.0", "·"]
    assert line_of("\n".join(lines), "ems r0.15 s7 t1").split()[4:] == ["+1.0", "(2/3)", "+3.0", "−1.0", "✓"]


def test_no_test_result_is_ever_shown(workspace):
    trials = written(workspace)
    put(workspace, *(complete(trial, 0.5) for trial in trials.values()))
    status = snapshot(NAME, workspace)
    for shown in (json.dumps(status.as_json()), status_text(status)):
        assert str(SECRET) not in shown
        assert f"{100 * SECRET:.1f}" not in shown
    # The parser itself keeps nothing of it: a record whose test part is rubbish reads the same.
    path = workspace.trial("random-0") / "record.json"
    path.write_text(path.read_text().replace(str(SECRET), '"sealed"'))
    assert snapshot(NAME, workspace).trials == status.trials


def test_status_and_search_see_the_same_validation(workspace):
    trials = written(workspace)
    put(workspace, complete(trials["random-0"], 0.517))
    assert Glances(workspace).at("random-0").ua == pytest.approx(read_validation(workspace, "random-0").ua)


def test_failures_say_why_and_which_pairs_they_leave_incomplete(workspace):
    trials = written(workspace, arms=(*ARMS, CONTROL))
    put(workspace, failed(trials["random-0"], "memory", "OutOfMemoryError: 12 GB\nwanted"))
    put(workspace, failed(trials[f"{WEAK}-1"], "non-finite", "NonFiniteLossError: nan at step 17"))
    put(workspace, failed(trials["random-2"], "memory", "OutOfMemoryError: 13 GB"))
    put(workspace, failed(trials[f"{WEAK}-2"], None, "an old record"), complete(trials[f"{STRONG}-0"], 0.6))
    status = snapshot(NAME, workspace)
    assert [(each.kind, len(each.trials)) for each in status.failures] == [
        ("memory", 2),
        ("non-finite", 1),
        ("error", 1),
    ]
    by_kind = {each.kind: each.trials for each in status.failures}
    assert by_kind["memory"][0].pairs == (ARMS[0][0], ARMS[1][0], CONTROL[0])
    assert by_kind["non-finite"][0].pairs == (ARMS[0][0],)
    text = status_text(status)
    assert line_of(text, "failed, memory: 2")
    assert line_of(text, "random r0.15 s7 seed 0") == "  random r0.15 s7 seed 0 → 3 pairs incomplete"
    assert line_of(text, "OutOfMemoryError: 12 GB") == "    OutOfMemoryError: 12 GB"
    weak, strong = (line_of(text, f"ems r0.15 s7 {t} ").split("(0/3)")[1].split() for t in ("t0.25", "t1"))
    assert weak == ["unpaired", "✗", "non-finite", "✗", "error"]
    assert strong == ["unpaired", "·", "unpaired"]
    assert "(control) ems loudness" in text
    retries = [step for step in status.next_steps if "retry" in step]
    assert retries == [f"sweep retry {NAME} --reason {kind}" for kind in ("memory", "non-finite", "error")]


def test_lanes_and_trials_of_a_running_sweep(workspace):
    written(workspace)
    with driving(workspace) as driver:
        driver.tell("lane", "random-0", 0.4)
        driver.tell("complete", "random-1", 0.5)
        status = snapshot(NAME, workspace)
        assert (status.driven, status.driver.pid, status.driver.state) == (True, driver.pid, "running")
        assert [(lane.trial_key, lane.step, lane.total_steps) for lane in status.lanes] == [("random-0", 16, 40)]
        assert dict(status.counts) == {
            "complete": 1, "running": 1, "interrupted": 0, "waiting": 7, "pruned": 0, "failed": 0, "total": 9,
        }  # fmt: skip
        assert status.exit_code == 4
        assert status.next_steps == (f"sweep watch {NAME}", f"sweep stop {NAME}")
        text = status_text(status)
        assert line_of(text, "random r0.15 s7  ").split()[3:] == ["50.0", "▶", "40", "%", "50.0", "·"]
        assert "40 %  0:0" in line_of(text, "random r0.15 s7 seed 0")
        assert "1/9 complete, 1 running, ETA " in text
        driver.tell("state", "waiting for disk", "0.2 GB free, 0.5 GB wanted")
        assert status_text(snapshot(NAME, workspace)).splitlines()[1] == "waiting for disk: 0.2 GB free, 0.5 GB wanted"


def test_after_a_killed_driver_the_trials_under_way_are_interrupted(workspace):
    written(workspace)
    with driving(workspace) as driver:
        driver.tell("lane", "random-0", 0.4)
        driver.kill()
    status = snapshot(NAME, workspace)
    assert (status.driven, status.died, status.driver, status.lanes) == (False, True, None, ())
    assert states(status)["random-0"] == "interrupted"
    assert status.next_steps == (f"sweep resume {NAME}",)
    assert "nobody runs it: its driver was killed" in status_text(status)
    assert "‖ 40 %" in status_text(status)
    with Driver(NAME, workspace, slots=1) as heartbeat:
        heartbeat.planned(written_plan())
        assert states(snapshot(NAME, workspace))["random-0"] == "interrupted"
    assert not snapshot(NAME, workspace).died


def test_a_driver_that_is_silent_is_said_to_be(workspace):
    written(workspace)
    with driving(workspace):
        path = workspace.sweep(NAME) / "heartbeat.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"written": "2026-01-01T00:00:00+00:00", "later_field": 1}))
        assert "SILENT for " in status_text(snapshot(NAME, workspace))
        path.write_text("no heartbeat")
        status = snapshot(NAME, workspace)
        assert (status.driven, status.driver) == (True, None)
        assert "its driver has said nothing yet" in status_text(status)


@pytest.mark.parametrize(
    ("records", "code"),
    [
        ({"complete": 9}, 0),
        ({"complete": 8, "pruned": 1}, 0),
        ({"complete": 8, "failed": 1}, 3),
        ({"failed": 9}, 1),
        ({"complete": 8}, 4),
    ],
)
def test_exit_codes_of_the_sweep(workspace, records, code):
    trials = list(written(workspace, stop=StopConfig(rule="asha", first=2)).values())
    make = {"complete": lambda trial: complete(trial, 0.5), "pruned": lambda trial: pruned(trial, "rung 2")}
    make["failed"] = lambda trial: failed(trial, "error", "no reason")
    kinds = [kind for kind, count in records.items() for _ in range(count)]
    put(workspace, *(make[kind](trial) for kind, trial in zip(kinds, trials, strict=False)))
    status = snapshot(NAME, workspace)
    assert status.exit_code == code
    assert status.as_json()["exit_code"] == code
    assert (f"sweep resume {NAME}" in status.next_steps) == (code == 4)
    assert (f"sweep report {NAME}" in status.next_steps) == ("complete" in records)


def test_pruned_trials_have_their_reason_until_the_rule_is_gone(workspace):
    trials = written(workspace, stop=StopConfig(rule="asha", first=2))
    put(workspace, pruned(trials[f"{WEAK}-0"], "rung 2: not among the best"))
    status = snapshot(NAME, workspace)
    assert [(each.trial.reason, each.pairs) for each in status.pruned] == [
        ("rung 2: not among the best", (ARMS[0][0],))
    ]
    assert "stopped early: 1" in status_text(status)
    written(workspace)
    assert states(snapshot(NAME, workspace))[f"{WEAK}-0"] == "waiting"


def test_a_search_says_how_many_points_it_has_tried(workspace):
    written(workspace, search=SearchConfig(method="tpe", points=40))
    status = snapshot(NAME, workspace)
    assert (status.search.method, status.search.tried, status.search.points) == ("tpe", 2, 40)
    assert "search (tpe): 2 of 40 points tried" in status_text(status)


def test_a_search_killed_between_two_batches_is_unfinished(workspace):
    trials = written(workspace, search=SearchConfig(method="tpe", points=40))
    put(workspace, *(complete(trial, 0.5) for trial in trials.values()))
    assert snapshot(NAME, workspace).exit_code == 0  # as far as anyone knows, the space has no more points
    with driving(workspace) as driver:
        driver.kill()
    assert snapshot(NAME, workspace).exit_code == 4


def test_unsent_events_of_the_journal_are_counted(workspace):
    written(workspace)
    assert snapshot(NAME, workspace).backlog_trouble == "no journal yet"
    path = workspace.sweep(NAME) / "journal.db"
    path.write_bytes(b"no database, but something of that name" * 100)
    assert str(path) in snapshot(NAME, workspace).backlog_trouble
    path.unlink()
    journal = Journal(path)
    unsent = Outbox(journal=journal, destination=destination_name(tracking_uri(workspace.root))).backlog()
    journal.close()
    status = snapshot(NAME, workspace)
    assert (status.backlog.runs, status.backlog.metrics) == (unsent.runs, unsent.metrics) == (1, 0)
    assert f"sweep sync {NAME}" in status.next_steps
    with Driver(NAME, workspace, slots=1) as heartbeat:
        heartbeat.backlog(runs=0, metrics=1234, artifacts=1)
        heartbeat.write()
        assert "unsent: 1234 metrics, 1 artifacts, 0 runs" in status_text(snapshot(NAME, workspace))


def test_disk_use_tells_checkpoints_from_the_rest(workspace):
    written(workspace)
    scratch, done = workspace.store.root / "pretrain" / ".k.scratch", workspace.store.root / "pretrain" / "k2"
    for folder, size in ((scratch, 3000), (done, 5000), (workspace.root / "elsewhere", 700)):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(bytes(size))
    disk = snapshot(NAME, workspace).disk
    assert (disk.store, disk.checkpoints) == (8000, 3000)
    assert disk.workspace == 8700 + sum(path.stat().st_size for path in workspace.sweep(NAME).iterdir())
    assert disk.free > 0


def test_an_observer_reads_again_what_has_changed(workspace):
    trials = written(workspace)
    observer = Observer(NAME, workspace)
    put(workspace, failed(trials["random-0"], "memory", "out of it"))
    assert states(observer.look())["random-0"] == "failed"
    # What is damaged without a change of size and time is not looked at again; what was replaced is.
    path = workspace.trial("random-0") / "record.json"
    stamp, content = path.stat().st_mtime_ns, path.read_bytes()
    with path.open("r+b") as file:
        file.write(b"x" * len(content))
    os.utime(path, ns=(stamp, stamp))
    assert states(observer.look())["random-0"] == "failed"
    path.unlink()
    assert states(observer.look())["random-0"] == "waiting"
    put(workspace, complete(trials["random-0"], 0.4))
    assert states(observer.look())["random-0"] == "complete"
    time.sleep(0.01)
    written(workspace, seeds=(0,))
    assert len(observer.look().trials) == 3
    path.write_text("{}")
    with pytest.raises(BadInputError, match=r"random-0/record.json: no record \(status: Field required\)"):
        observer.look()


def test_json_has_everything_in_full(workspace):
    long = (
        "ems_topk+input+head r0.15 s7 t0.25 pretrain.steps=1000 probe.layers=last probe.pooling=mean",
        "random",
        "none",
    )
    trials = written(workspace, arms=(long, ARMS[2]), seeds=(0, 1))
    put(workspace, *(complete(trials[f"random-{seed}"], 0.5) for seed in (0, 1)))
    put(workspace, failed(next(iter(trials.values())), "time-out", "TimeLimitError: 10 minutes " + "and more " * 40))
    status = snapshot(NAME, workspace)
    content = json.loads(json.dumps(status.as_json()))
    assert content["matrix"]["rows"][0]["arm"] == long[0]
    assert content["matrix"]["rows"][0]["cells"][1] == {
        "seed": 1, "trial_key": f"{long[0].replace(' ', '-')}-1", "twin_trial_key": "random-1", "difference": None,
        "unpaired": False,
    }  # fmt: skip
    assert content["failures"][0]["trials"][0]["reason"].endswith("and more ")
    assert {trial["trial_key"] for trial in content["trials"]} == set(trials)
    text = status_text(status)
    assert max(map(len, text.splitlines())) <= 100
    shown = line_of(text, "ems_topk+input")
    assert "…" in shown
    assert "pooling=mean" in shown


def test_many_seeds_are_shown_in_blocks_that_fit(workspace):
    trials = written(workspace, seeds=tuple(range(20)))
    put(workspace, *(complete(trial, 0.5 + 0.001 * trial.seed) for trial in trials.values()))
    lines = matrix_lines(snapshot(NAME, workspace).matrix, width=100)
    assert max(map(len, lines)) <= 100
    heads = [line.split() for line in lines if "seed" in line]
    assert [seed for head in heads for seed in head if seed.isdigit()] == [str(seed) for seed in range(20)]
    assert sum(line.count("+0.0") for line in lines) == 2 * 20 + 2


def test_rows_that_do_not_fit_give_way_to_those_under_way(workspace):
    arms = tuple((f"ems r0.{i:02d} s7 t1", "random", "none") for i in range(1, 31))
    written(workspace, arms=(*arms, ARMS[2]), seeds=(0,))
    with Driver(NAME, workspace, slots=2) as heartbeat:
        heartbeat.planned(written_plan(arms=(*arms, ARMS[2]), seeds=(0,)))
        heartbeat.lane("ems-r0.29-s7-t1-0", share=0.5)
        heartbeat.write()
        lines = matrix_lines(snapshot(NAME, workspace).matrix, width=100, rows=3)
    assert [line.split()[1] for line in lines[2:5]] == ["r0.01", "r0.02", "r0.29"]
    assert lines[5] == "… 28 more arms: sweep status"


def test_a_sweep_nobody_knows(workspace):
    written(workspace)
    with pytest.raises(BadInputError, match=rf"sweep 'wirtten': not launched in .* \(there: {NAME}\)"):
        snapshot("wirtten", workspace)
    assert not workspace.sweep("wirtten").exists()


def test_a_sweep_that_is_being_prepared_has_no_plan_yet(workspace):
    with Driver("new", workspace, slots=2) as heartbeat:
        heartbeat.progress("features", 3, 10)
        heartbeat.write()
        status = snapshot("new", workspace)
        assert (status.trials, status.driver.message, status.exit_code) == ((), "features: 3/10", 4)
        assert "preparing: features: 3/10" in status_text(status)
