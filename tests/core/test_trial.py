"""A whole trial: what it says on its way, what it leaves, and what its ends may not overwrite."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

from core.failures import is_disk_full
from core.progress import LogMetrics, discard
from core.provenance import now
from core.records import Record, read_predictions, read_record
from core.references import read_references
from core.resolve import resolve
from core.store import Workspace
from core.trial import Underway, fail_trial, identify, prune_trial, run_trial, trial_steps, unfinished_record
from tests.core.tiny_trial import FRAMES, PARAMETERS, STEPS, tiny_trial

ALL_FRAMES = 3 * STEPS * 4 * FRAMES
"""Three upstreams, batches of four recordings of the same length."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture(scope="module")
def complete(corpus, tmp_path_factory) -> tuple[Workspace, Record]:
    workspace = Workspace.at(tmp_path_factory.mktemp("complete"))
    return workspace, run_trial(looking(corpus), workspace)


def looking(corpus: Path):
    return tiny_trial(corpus, {"interim": {"at": (6, 18), "probe_steps": 20}})


def unfinished(corpus: Path, workspace: Workspace) -> Record:
    config = looking(corpus)
    corpora = resolve(config, workspace)
    return unfinished_record(config, corpora, identify(config, corpora), now())


def advance(corpus: Path, workspace: Workspace, *, until: int, log: LogMetrics = discard) -> Underway:
    run = trial_steps(looking(corpus), workspace, log=log)
    for _ in range(until - 1):
        next(run)
    reached = next(run)
    run.close()  # type: ignore[attr-defined]
    assert isinstance(reached, Underway)
    return reached


def results(record: Record) -> dict[str, object]:
    """The record without what a clock or the workspace's way says."""
    content = record.model_dump(exclude={"provenance"})
    del content["cost"]["device_seconds"]
    return content


def test_cost_by_hand(complete):
    _, record = complete
    assert record.cost is not None
    assert (record.cost.steps, record.cost.frames) == (3 * STEPS, ALL_FRAMES)
    assert record.cost.parameters == PARAMETERS
    assert record.cost.flops == 6 * PARAMETERS * ALL_FRAMES / 2


def test_steps_frames_and_seconds_only_grow_and_end_at_the_record_s(corpus, tmp_path):
    reached = list(trial_steps(tiny_trial(corpus), Workspace.at(tmp_path)))
    *steps, record = reached
    assert isinstance(record, Record)
    for earlier, later in pairwise(steps):
        assert isinstance(earlier, Underway)
        assert isinstance(later, Underway)
        assert (earlier.step, earlier.frames, earlier.seconds) <= (later.step, later.frames, later.seconds)
    last = steps[-1]
    assert record.cost is not None
    assert (last.step, last.frames, last.flops) == (record.cost.steps, record.cost.frames, record.cost.flops)
    assert record.cost.device_seconds == round(last.seconds, 3)
    assert last.interim is None


def test_it_yields_once_more_when_all_is_logged_and_the_record_is_not_written(corpus, tmp_path):
    """Here the caller makes its journal durable: a record that stands promises that nothing of it is missing."""
    workspace, logged = Workspace.at(tmp_path), []
    run = trial_steps(looking(corpus), workspace, log=lambda values, step: logged.append((tuple(values), step)))
    last, count = None, 0
    for reached in run:
        if isinstance(reached, Record):
            break
        last, count = reached, len(logged)
        assert read_record(tmp_path / "trials" / next((tmp_path / "trials").iterdir()).name) is None
    assert last is not None
    assert len(logged) == count
    assert logged[-1] == (("probe/loss", "probe/validation_ua"), 60)


def test_pruned_says_what_it_cost_and_saw(corpus, tmp_path):
    workspace = Workspace.at(tmp_path)
    reached = advance(corpus, workspace, until=2)  # the first look
    assert (reached.step, reached.frames) == (6, 6 * 4 * FRAMES)
    assert reached.interim is not None
    record = prune_trial(
        unfinished(corpus, workspace), workspace, reason="behind at step 6", underway=reached,
        interim=(reached.interim,),
    )  # fmt: skip
    assert read_record(workspace.trial(record.trial_key)) == record
    assert (record.status, record.reason, record.failure, record.metrics) == (
        "pruned", "behind at step 6", None, None,
    )  # fmt: skip
    assert record.interim == (reached.interim,)
    assert record.cost is not None
    assert (record.cost.steps, record.cost.parameters, record.cost.flops, record.cost.left_out) == (
        6, PARAMETERS, 6 * PARAMETERS * 6 * 4 * FRAMES / 2, 0,
    )  # fmt: skip
    # Its upstream is not finished: no artifact yet.
    assert {name.split("/")[0] for name in record.artifacts} == {"features", "intensity"}
    assert not (workspace.trial(record.trial_key) / "predictions.parquet").exists()


def test_a_pruned_trial_that_is_taken_up_again_ends_like_an_undisturbed_one(complete, corpus, tmp_path):
    _, expected = complete
    workspace = Workspace.at(tmp_path)
    reached = advance(corpus, workspace, until=7)
    prune_trial(unfinished(corpus, workspace), workspace, reason="too early", underway=reached, interim=())
    assert results(run_trial(looking(corpus), workspace)) == results(expected)


def test_failed_says_why_and_of_which_kind(corpus, tmp_path):
    workspace = Workspace.at(tmp_path)
    record = fail_trial(unfinished(corpus, workspace), workspace, reason="NonFiniteLossError: x", kind="non-finite")
    assert read_record(workspace.trial(record.trial_key)) == record
    assert (record.status, record.reason, record.failure) == ("failed", "NonFiniteLossError: x", "non-finite")
    assert (record.metrics, record.cost, record.artifacts) == (None, None, ())


def test_a_complete_record_is_never_overwritten(complete, corpus):
    """As when a worker that was given up for lost had in fact finished."""
    workspace, record = complete
    folder = workspace.trial(record.trial_key)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    plan = unfinished(corpus, workspace)
    underway = Underway(step=1, frames=1, seconds=0.0, flops=1.0, interim=None, parameters=1)
    assert fail_trial(plan, workspace, reason="lost", kind="lost-worker") == record
    assert prune_trial(plan, workspace, reason="late", underway=underway, interim=()) == record
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_record_names_every_artifact_of_the_trial(complete):
    workspace, record = complete
    made = sorted(
        f"{path.parent.parent.name}/{path.parent.name}" for path in workspace.store.root.glob("*/*/artifact.json")
    )
    assert sorted(record.artifacts) == made
    stages = [name.split("/")[0] for name in made]
    assert stages == ["embed"] * 3 + ["features", "intensity"] + ["pretrain"] * 3
    assert record.artifacts == tuple(sorted(read_references(workspace.trial(record.trial_key))))


def test_an_interrupted_trial_has_said_what_it_needs_its_checkpoint_included(complete, corpus, tmp_path):
    _, expected = complete
    workspace = Workspace.at(tmp_path)
    advance(corpus, workspace, until=1)
    needed = read_references(workspace.trial(expected.trial_key))
    assert needed == expected.artifacts
    under_way = [path.parent.name[1:].removesuffix(".scratch") for path in tmp_path.glob("store/*/.*/checkpoint.pt")]
    assert len(under_way) == 1
    assert f"pretrain/{under_way[0]}" in needed


def test_the_record_has_the_hash_of_the_code_s_difference_beside_it(complete):
    workspace, record = complete
    diff = workspace.trial(record.trial_key) / "code.diff"
    expected = hashlib.sha256(diff.read_bytes()).hexdigest() if diff.exists() else None
    assert record.provenance.diff == expected
    assert record.provenance.dirty or expected is None


@pytest.mark.parametrize("allowed", [0, 5, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3, 4, 9, 12, 25))])
def test_a_full_disk_leaves_nothing_half_written_and_the_trial_goes_on_from_its_checkpoint(
    complete, corpus, tmp_path, monkeypatch, allowed
):
    """The disk is full from the n-th durable file on, then has room again."""
    _, expected = complete
    workspace = Workspace.at(tmp_path)
    advance(corpus, workspace, until=1)
    kept = [path.read_bytes() for path in tmp_path.glob("store/pretrain/.*.scratch/checkpoint.pt")]
    sync, written = os.fsync, []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) > allowed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as caught:  # noqa: PT011
        run_trial(looking(corpus), workspace)
    monkeypatch.undo()
    assert is_disk_full(caught.value)
    assert not list(tmp_path.rglob("*.part.*"))
    assert read_record(workspace.trial(expected.trial_key)) is None
    for path in tmp_path.glob("store/*/*/artifact.json"):
        json.loads(path.read_text())
    if allowed < 2:
        assert [path.read_bytes() for path in tmp_path.glob("store/pretrain/.*.scratch/checkpoint.pt")] == kept
    record = run_trial(looking(corpus), workspace)
    assert results(record) == results(expected)
    assert read_predictions(workspace.trial(record.trial_key), split="test").shape[0] == 24
