"""A finished trial again: equal to the bit when nothing changed, and what changed is named when something did."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from filelock import FileLock
from tiny_trial import RATE, tiny_trial

from core.errors import BadInputError, CorpusError
from core.records import read_record
from core.replay import TOLERANCE, Comparison, Replay, replay_trial
from core.store import Workspace
from core.trial import run_trial

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A folder with a corpus and a workspace in which one trial is complete."""
    folder = tmp_path_factory.mktemp("replay")
    run_trial(tiny_trial(folder), Workspace.at(folder / "workspace"))
    return folder


@pytest.fixture
def finished(original, tmp_path) -> tuple[Workspace, str]:
    """A copy of it that a test may change; the corpus stays where it is."""
    shutil.copytree(original / "workspace", tmp_path / "workspace")
    workspace = Workspace.at(tmp_path / "workspace")
    return workspace, next(path.name for path in (workspace.root / "trials").iterdir())


def edit(finished: tuple[Workspace, str], change: Callable[[dict[str, Any]], object]) -> None:
    workspace, key = finished
    path = workspace.trial(key) / "record.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_predictions(finished: tuple[Workspace, str], change: Callable[[pd.DataFrame], object]) -> None:
    workspace, key = finished
    path = workspace.trial(key) / "predictions.parquet"
    frame = pd.read_parquet(path)
    change(frame)
    frame.to_parquet(path, index=False)


def changes(replay: Replay) -> dict[str, tuple[str, str]]:
    return {change.what: (change.then, change.now) for change in replay.changes}


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("from_scratch", [False, True])
def test_an_undisturbed_trial_is_bit_equal_and_leaves_nothing(finished, from_scratch):
    workspace, key = finished
    before = files(workspace.root)
    told: list[tuple[str, int, int]] = []
    replay = replay_trial(
        key, workspace, from_scratch=from_scratch, progress=lambda *now: told.append(now)
    )  # fmt: skip
    assert replay.verdict == "bit-equal"
    assert replay.comparison == Comparison(
        rows=48, unmatched=0, score=0.0, reclassified=0, relabelled=0, metrics_equal=True
    )
    assert (replay.key_now, replay.changes) == (key, ())
    assert replay.shared == (() if from_scratch else ("features", "intensity"))
    # Trained again, not found: the curves of all three upstreams passed by, and the store knows nothing of it.
    whole = [(what.partition("/")[0], done == total) for what, done, total in told]
    assert whole.count(("pretrain", True)) == 3
    assert whole.count(("embed", True)) == 3
    assert files(workspace.root) == before


@pytest.mark.slow
def test_what_was_shared_is_what_the_upstream_was_trained_on(finished):
    """Features changed behind the store's back are found by a replay from scratch, not by one that shares them."""
    workspace, key = finished
    path = next(workspace.root.glob("store/features/*/features.npy"))
    packed = np.load(path)
    np.save(path, packed[::-1].copy())
    assert replay_trial(key, workspace).verdict == "different"
    assert replay_trial(key, workspace, from_scratch=True).verdict == "bit-equal"


@pytest.mark.slow
def test_rounding_is_within_tolerance(finished):
    def nudge(frame: pd.DataFrame) -> None:
        frame["score_calm"] = frame["score_calm"].astype(np.float64)
        frame.loc[3, "score_calm"] += 1e-6

    edit_predictions(finished, nudge)
    replay = replay_trial(finished[1], finished[0])
    assert replay.verdict == "within tolerance"
    assert replay.comparison.score == pytest.approx(1e-6, rel=0.01)


@pytest.mark.slow
def test_another_class_is_different_however_close_the_scores(finished):
    def turn(frame: pd.DataFrame) -> None:
        frame.loc[0, "predicted"] = {"angry": "calm", "calm": "angry"}[frame.loc[0, "predicted"]]

    edit_predictions(finished, turn)
    replay = replay_trial(finished[1], finished[0])
    assert (replay.verdict, replay.comparison.reclassified, replay.comparison.score) == ("different", 1, 0.0)
    assert replay.changes == ()


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"score": TOLERANCE}, "within tolerance"),
        ({"score": TOLERANCE * 1.01}, "different"),
        ({"score": math.inf}, "different"),
        ({"unmatched": 1}, "different"),
        ({"relabelled": 1}, "different"),
        ({"metrics_equal": False}, "different"),
    ],
)
def test_the_verdict_at_its_bounds(change, verdict):
    equal = Comparison(rows=4, unmatched=0, score=0.0, reclassified=0, relabelled=0, metrics_equal=True)
    assert equal.verdict == "bit-equal"
    assert replace(equal, **change).verdict == verdict


def test_another_seed_in_the_record_is_different_and_named(finished):
    edit(finished, lambda record: record["config"].update(seed=5))
    replay = replay_trial(finished[1], finished[0])
    assert replay.verdict == "different"
    assert replay.comparison.score > TOLERANCE
    assert changes(replay) == {
        "trial key": (finished[1], replay.key_now), "seed": ("4 in the record", "5 in its config"),
    }  # fmt: skip


@pytest.mark.slow
def test_what_ran_then_and_runs_otherwise_now_is_named(finished):
    def elsewhere(record: dict[str, Any]) -> None:
        record["provenance"]["packages"]["torch"] = "1.0"
        record["provenance"]["hardware"] = "abacus"
        del record["config"]["pretrain"]["decay"]

    edit(finished, elsewhere)
    replay = replay_trial(finished[1], finished[0])
    assert replay.verdict == "bit-equal"
    found = changes(replay)
    assert set(found) == {"package torch", "hardware", "setting pretrain.decay"}
    assert found["package torch"][0] == "1.0"
    assert found["hardware"][0] == "abacus"
    assert found["setting pretrain.decay"] == ("did not exist", "linear")


@pytest.mark.slow
def test_the_commit_is_named_with_its_distance_and_the_modules_that_changed(finished):
    shown = subprocess.run(["git", "-C", str(ROOT), "rev-list", "HEAD"], capture_output=True, text=True)
    commits = shown.stdout.split()
    if len(commits) < 3:
        pytest.skip("no git history here")
    then = commits[2]
    edit(finished, lambda record: record["provenance"].update(commit=then, dirty=True, diff="f" * 64))
    (finished[0].trial(finished[1]) / "code.diff").write_text("--- a/core/pretrain.py\n+++ b/core/pretrain.py\n")
    found = changes(replay_trial(finished[1], finished[0]))
    later = subprocess.run(
        ["git", "-C", str(ROOT), "rev-list", "--count", f"{then}..HEAD"], capture_output=True, text=True
    ).stdout.strip()
    assert found["commit"] == (then, f"{commits[0]} ({later} commits later)")
    assert found["changes beside the commit"][0] == "f" * 12
    assert "core.pretrain" in found["modules of the trial"][1]


@pytest.mark.slow
def test_a_changed_recording_shows_as_another_corpus(finished, original, tmp_path):
    """The corpus is copied, the record points at the copy, and one recording of the copy gets louder."""
    corpus = tmp_path / "corpus"
    shutil.copytree(original, corpus, ignore=lambda *_: ["workspace"])

    def moved(record: dict[str, Any]) -> None:
        record["config"]["corpus"]["root"] = str(corpus / "corpus.csv")
        record["config"]["intensity"]["file"] = str(corpus / "scores.csv")

    edit(finished, moved)
    assert replay_trial(finished[1], finished[0]).verdict == "bit-equal", "where a corpus lies changes nothing"
    samples_N, _ = soundfile.read(corpus / "anna-calm-0.wav")
    soundfile.write(corpus / "anna-calm-0.wav", samples_N[::-1] * 1.5, RATE)
    replay = replay_trial(finished[1], finished[0])
    assert replay.verdict == "different"
    assert set(changes(replay)) == {"trial key", "corpus"}
    then, now = changes(replay)["corpus"]
    assert then != now
    (corpus / "corpus.csv").unlink()
    with pytest.raises(CorpusError, match=r"its corpus table is no longer at .*corpus\.csv"):
        replay_trial(finished[1], finished[0])


@pytest.mark.slow
def test_a_trial_that_diverges_now_is_different(finished):
    edit(finished, lambda record: record["config"]["pretrain"].update(lr=1e30))
    replay = replay_trial(finished[1], finished[0])
    assert (replay.verdict, replay.comparison) == ("different", None)
    assert "loss is" in replay.failure
    json.dumps(replay.as_json(), allow_nan=False)


@pytest.mark.slow
def test_kept_on_request_and_begun_afresh_each_time(finished):
    workspace, key = finished
    left = workspace.root / "replays" / key / "store" / "pretrain"
    left.mkdir(parents=True)
    (left / "of a killed replay").touch()
    replay = replay_trial(key, workspace, keep=True)
    assert Path(replay.folder) == workspace.root / "replays" / key
    assert not (left / "of a killed replay").exists()
    assert json.loads((workspace.root / "replays" / key / "verdict.json").read_text())["verdict"] == "bit-equal"
    again = read_record(Workspace(root=Path(replay.folder)).trial(key))
    assert again.metrics == read_record(workspace.trial(key)).metrics


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "failed", "reason": "loss is nan"}, r"is failed \(loss is nan\); only a complete one"),
        ({"config": {"pretrain": {"stepz": 3}}}, r"not one of this version of the program \(pretrain.stepz"),
        (
            {"config": {"intensity": {"source": "external", "file": "/no/s.csv", "hop_ms": 10}}},
            r"no longer at /no/s.csv",
        ),
    ],
)
def test_what_cannot_be_replayed_is_refused_in_one_line(finished, change, message):
    edit(finished, lambda record: record.update(change))
    with pytest.raises(BadInputError, match=message) as raised:
        replay_trial(finished[1], finished[0])
    assert "\n" not in str(raised.value)


def test_no_record_and_a_replay_under_way_are_refused(finished):
    workspace, key = finished
    with pytest.raises(BadInputError, match="trial nobody: has no record"):
        replay_trial("nobody", workspace)
    (workspace.root / "replays").mkdir()
    with (
        FileLock(workspace.root / "replays" / f".{key}.lock"),
        pytest.raises(BadInputError, match="is being replayed already"),
    ):
        replay_trial(key, workspace)
