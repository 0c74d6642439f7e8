"""What nothing refers to goes, what anybody may need stays; under a quota pairs go together or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from core.errors import BadInputError
from core.records import CorpusEntry, ProtocolEntry, ProvenanceEntry, Record, read_record, write_record
from core.store import Workspace
from sweeps.pruning import find_prunable, prune, prune_text
from sweeps.quota import free_for_quota
from sweeps.references import find_trial

MB = 1_000_000


def made(workspace: Workspace, stage: str, what: str, *inputs: str, size: int = 1000, age_s: float = 0) -> str:
    """A real artifact; `inputs` are names (`<stage>/<key>`). Returns its own."""
    keys = [name.partition("/")[2] for name in inputs]
    with workspace.store.claim(stage, settings={"what": what}, inputs=keys, modules=("core.units",)) as claim:
        if not claim.done:
            (claim.out / "content").write_bytes(b"x" * size)
    description = claim.artifact.path / "artifact.json"
    os.utime(description, (time.time() - age_s,) * 2)
    return f"{stage}/{claim.artifact.key}"


def finished(
    workspace: Workspace,
    key: str,
    *artifacts: str,
    status: str = "complete",
    schema: int = 3,
    ended: str = "2026-11-21",
) -> None:
    record = Record(
        schema_version=schema,
        trial_key=key,
        status=status,
        system="ems",
        upstream="mockingjay",
        arm=f"arm of {key}",
        arm_key=key.rpartition("-")[0],
        twin_key=None,
        seed=0,
        corpus=CorpusEntry(name="demo", fingerprint="f", utterances=2, quarantined={}, classes=("a",), incomplete=None),
        protocol=ProtocolEntry(
            folds="leave-one-session-out", n_folds=1, validation="next-fold", pretraining_audio="fold",
            pretraining_corpus="demo", transductive=False, leaks=(),
        ),
        config={},
        artifacts=artifacts,
        provenance=ProvenanceEntry(
            commit="c", dirty=False, packages={}, hardware="CPU", started=ended, ended=ended
        ),
    )  # fmt: skip
    write_record(workspace.trial(key), record, None)


def unfinished(workspace: Workspace, key: str, *artifacts: str) -> None:
    workspace.trial(key).mkdir(parents=True)
    (workspace.trial(key) / "artifacts.json").write_text(json.dumps(artifacts))


def planned(workspace: Workspace, name: str, *arms: str, twins: dict[str, str] | None = None, seeds=(0,), contrasts=()):
    """A plan of trials `<arm>-<seed>`."""
    trials = [
        {
            "trial_key": f"{arm}-{seed}",
            "arm": f"the {arm}",
            "arm_key": arm,
            "twin_key": (twins or {}).get(arm),
            "seed": seed,
        }
        for arm in arms
        for seed in seeds
    ]
    folder = workspace.sweep(name)
    folder.mkdir(parents=True, exist_ok=True)
    named = [{"arm_key": arm, "against_key": against} for arm, against in contrasts]
    (folder / "plan.json").write_text(json.dumps({"trials": trials, "contrasts": named}))


def there(workspace: Workspace, *names: str) -> list[bool]:
    return [(workspace.store.root / name / "content").exists() for name in names]


def going(workspace: Workspace) -> dict[str, str]:
    """`<stage>/<name>` → kind, of everything that would go, locks of finished artifacts aside."""
    found = find_prunable(workspace).candidates
    return {f"{x.path.parent.name}/{x.path.name}": x.kind for x in found if x.kind != "lock"}


def test_what_no_plan_refers_to_goes_and_inputs_stay(workspace):
    features = made(workspace, "features", "f")
    track = made(workspace, "intensity", "t", features)
    pretrained = made(workspace, "pretrain", "p", features, track)
    corpus = made(workspace, "demo-corpus", "d")
    alone = made(workspace, "pretrain", "nobody's", features, size=5000)
    finished(workspace, "arm-0", pretrained)
    planned(workspace, "one", "arm")
    assert going(workspace) == {alone: "artifact"}
    found = find_prunable(workspace)
    assert found.candidates[0].why == "no trial refers to it"
    assert found.candidates[0].size > 5000
    done = prune(workspace, found.chosen(trials=False))
    assert done.freed == sum(each.size for each in found.candidates)
    assert done.in_use == ()
    assert there(workspace, features, track, pretrained, corpus, alone) == [True] * 4 + [False]
    assert find_prunable(workspace).candidates == ()
    assert not list(workspace.root.glob("store/*/.*"))


def test_results_of_trials_in_no_plan_go_only_when_asked(workspace):
    kept, lost = made(workspace, "pretrain", "kept"), made(workspace, "pretrain", "lost")
    finished(workspace, "arm-0", kept)
    finished(workspace, "old-0", lost)
    planned(workspace, "one", "arm")
    assert going(workspace) == {lost: "artifact", "trials/old-0": "trial"}
    text = prune_text(find_prunable(workspace), trials=False)
    assert "results of trials in no plan (kept; --trials removes them): 1" in text
    assert "only trials in no plan refer to it" in text
    prune(workspace, find_prunable(workspace).chosen(trials=False))
    assert read_record(workspace.trial("old-0")) is not None
    assert there(workspace, kept, lost) == [True, False]
    prune(workspace, find_prunable(workspace).chosen(trials=True))
    assert not workspace.trial("old-0").exists()
    assert read_record(workspace.trial("arm-0")) is not None


def test_an_unfinished_trial_keeps_what_it_lists_and_its_checkpoint(workspace):
    own, other = made(workspace, "pretrain", "own"), made(workspace, "pretrain", "other")
    unfinished(workspace, "arm-0", own, "pretrain/feed")
    planned(workspace, "one", "arm")
    for key in ("feed", "beef"):
        (workspace.store.root / "pretrain" / f".{key}.scratch").mkdir()
    assert going(workspace) == {other: "artifact", "pretrain/.beef.scratch": "left over"}
    # The list outlives a trial that failed, and with it the checkpoint to go on from.
    finished(workspace, "arm-0", own, status="failed")
    assert going(workspace) == {other: "artifact", "pretrain/.beef.scratch": "left over"}


def test_a_fit_that_was_interrupted_before_any_trial_keeps_its_checkpoint(workspace):
    planned(workspace, "one", "arm")
    for stage in ("strengthnet", "pretrain"):
        (workspace.store.root / stage / ".feed.scratch").mkdir(parents=True)
    assert going(workspace) == {"pretrain/.feed.scratch": "left over"}


def test_a_trial_that_was_never_run_keeps_what_trials_share(workspace):
    features, upstream = made(workspace, "features", "f"), made(workspace, "pretrain", "p")
    planned(workspace, "one", "arm")
    assert going(workspace) == {upstream: "artifact"}
    notes = find_prunable(workspace).notes
    assert notes == ("1 trial (first arm-0) yet to run: artifacts that trials share are kept",)
    finished(workspace, "arm-0", status="failed")
    assert going(workspace) == {upstream: "artifact"}
    (workspace.sweep("one") / "plan.json").unlink()
    assert set(going(workspace)) == {features, upstream, "trials/arm-0"}


@pytest.mark.parametrize(("status", "schema"), [("complete", 2), ("complete", 3), ("failed", 2)])
def test_a_record_without_a_list_keeps_every_artifact(workspace, status, schema):
    made(workspace, "pretrain", "somebody's")
    finished(workspace, "old-0", status=status, schema=schema)
    finished(workspace, "new-0", made(workspace, "pretrain", "new"))
    planned(workspace, "one", "old", "new")
    assert going(workspace) == {}
    assert "from before records listed artifacts: every artifact is kept" in find_prunable(workspace).notes[0]


def test_what_killed_processes_left_goes_unless_somebody_holds_its_lock(workspace):
    stage = workspace.store.root / "pretrain"
    name = made(workspace, "pretrain", "p")
    key = name.partition("/")[2]
    finished(workspace, "arm-0", name)
    planned(workspace, "one", "arm")
    for left in (f".{key}.scratch", ".feed.part.1", ".beef.part.1"):
        (stage / left).mkdir()
        (stage / left / "half").write_bytes(b"x" * 100)
    fresh, stale = workspace.trial("arm-0") / ".record.json.part.1", workspace.trial("arm-0") / ".record.json.part.2"
    for path in (fresh, stale):
        path.write_text("half")
    os.utime(stale, (time.time() - 7200,) * 2)
    with FileLock(stage / ".beef.lock"):
        assert going(workspace) == {
            f"pretrain/.{key}.scratch": "left over", "pretrain/.feed.part.1": "left over",
            "arm-0/.record.json.part.2": "left over",
        }  # fmt: skip
        shown = find_prunable(workspace).candidates
        prune(workspace, shown)
        assert [path.name for path in stage.glob(".*.part.*")] == [".beef.part.1"]
    assert fresh.exists()
    assert set(going(workspace)) == {"pretrain/.beef.part.1"}
    assert there(workspace, name) == [True]


def test_what_was_taken_up_after_it_was_shown_stays(workspace):
    first, second = made(workspace, "pretrain", "1"), made(workspace, "pretrain", "2")
    shown = find_prunable(workspace).candidates
    finished(workspace, "arm-0", first)
    planned(workspace, "one", "arm")
    with FileLock(workspace.store.root / "pretrain" / f".{second.partition('/')[2]}.lock"):
        done = prune(workspace, [each for each in shown if each.kind == "artifact"])
    assert there(workspace, first, second) == [True, True]
    assert len(done.in_use) == 2
    assert (done.removed, done.freed) == (0, 0)


HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_nothing_that_a_sweep_at_work_may_use_goes(workspace):
    """The driver is another process, as it will be."""
    used, older = made(workspace, "pretrain", "used", age_s=100), made(workspace, "pretrain", "older", age_s=100)
    finished(workspace, "arm-0", used)
    planned(workspace, "one", "arm", seeds=(0, 1))
    (workspace.root / "trials" / "arm-1").mkdir()
    lock = workspace.sweep("one") / ".driver.lock"
    driver = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert driver.stdout.readline() == b"held\n"
        assert going(workspace) == {}, "trial arm-1 may be about to use any artifact"
        unfinished_list = workspace.trial("arm-1") / "artifacts.json"
        unfinished_list.write_text(json.dumps([used]))
        younger = made(workspace, "pretrain", "younger", age_s=-100)
        assert going(workspace) == {older: "artifact"}
        assert find_prunable(workspace).notes == ("at work: one; what was made since it began is kept",)
    finally:
        driver.communicate()
    assert set(going(workspace)) == {older, younger}


def test_an_unreadable_plan_or_list_stops_everything(workspace):
    alone = made(workspace, "pretrain", "alone")
    planned(workspace, "one", "arm")
    unfinished(workspace, "arm-0")
    (workspace.trial("arm-0") / "artifacts.json").write_text("[[1], 2]")
    with pytest.raises(BadInputError, match=r"its artifacts.json is no list of artifacts"):
        find_prunable(workspace)
    (workspace.sweep("one") / "plan.json").write_text('{"trials": [')
    with pytest.raises(BadInputError, match=r"plan.json: not a plan"):
        find_prunable(workspace)
    assert there(workspace, alone) == [True]


def test_a_replay_that_was_killed_goes_and_one_at_work_stops_everything(workspace):
    alone = made(workspace, "pretrain", "alone")
    for name in ("killed", "kept"):
        (workspace.root / "replays" / name).mkdir(parents=True)
    (workspace.root / "replays" / "kept" / "verdict.json").write_text("{}")
    assert going(workspace) == {alone: "artifact", "replays/killed": "left over"}
    with FileLock(workspace.root / "replays" / ".killed.lock"):
        assert going(workspace) == {}


def family(workspace: Workspace, arm: str, twin: str, seed: int, *, ended: str) -> dict[str, str]:
    """Weights (1 MB) and embeddings (1 MB) of an arm and its twin under one seed."""
    names = {}
    for side in (arm, twin):
        weights = made(workspace, "pretrain", f"{side}{seed}", size=MB)
        means = made(workspace, "embed", f"{side}{seed}", weights, size=MB)
        finished(workspace, f"{side}-{seed}", weights, means, ended=ended)
        names |= {f"{side}{seed} pretrain": weights, f"{side}{seed} embed": means}
    return names


def test_under_a_quota_pairs_go_together_oldest_first_embeddings_first(workspace):
    old = family(workspace, "ems", "random", 0, ended="2026-11-20T10:00:00+00:00")
    new = family(workspace, "ems", "random", 1, ended="2026-11-21T10:00:00+00:00")
    planned(workspace, "one", "ems", "random", twins={"ems": "random"}, seeds=(0, 1))
    spare = made(workspace, "pretrain", "nobody's", size=MB)
    store = workspace.store.root
    assert not free_for_quota(workspace, limit_bytes=10 * MB, running=set()).removed
    freed = free_for_quota(workspace, limit_bytes=8 * MB + MB // 2, running=set())
    assert there(workspace, spare) == [False]
    assert (freed.removed, freed.trials, freed.over) == (1, (), False)
    # A byte too much: both embeddings of the older pair go, not one.
    freed = free_for_quota(workspace, limit_bytes=8 * MB - 1, running=set())
    assert freed.trials == ("ems-0", "random-0")
    assert there(workspace, *old.values()) == [True, False, True, False]
    assert there(workspace, *new.values()) == [True] * 4
    assert freed.size == sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    freed = free_for_quota(workspace, limit_bytes=3 * MB, running=set())
    assert there(workspace, *old.values()) == [False] * 4
    assert there(workspace, *new.values()) == [True, False, True, False]
    assert not freed.over
    assert free_for_quota(workspace, limit_bytes=0, running={"ems-1"}).over
    freed = free_for_quota(workspace, limit_bytes=0, running=set())
    assert (freed.size, freed.over) == (0, False)
    assert there(workspace, *new.values()) == [False] * 4
    assert all(read_record(workspace.trial(key)) for key in ("ems-0", "ems-1", "random-0", "random-1"))


def test_a_pair_with_one_side_open_or_running_stays_whole(workspace):
    pair = family(workspace, "ems", "random", 0, ended="2026-11-20")
    planned(workspace, "one", "ems", "random", twins={"ems": "random"}, seeds=(0,))
    assert free_for_quota(workspace, limit_bytes=0, running={"ems-0"}).over
    (workspace.trial("random-0") / "record.json").unlink()
    finished(workspace, "random-0", *[name for what, name in pair.items() if "random" in what], status="failed")
    assert free_for_quota(workspace, limit_bytes=0, running=set()).trials == ()
    assert there(workspace, *pair.values()) == [True] * 4
    (workspace.trial("random-0") / "record.json").unlink()
    free_for_quota(workspace, limit_bytes=0, running=set())
    assert there(workspace, pair["ems0 pretrain"], pair["ems0 embed"]) == [True, True]


def test_controls_and_arms_that_share_a_twin_count_as_one_family(workspace):
    first = family(workspace, "ems", "random", 0, ended="2026-11-20")
    control = made(workspace, "pretrain", "loudness", size=MB)
    unfinished(workspace, "loudness-0", control)
    planned(workspace, "one", "ems", "random", "loudness", twins={"ems": "random"}, contrasts=[("ems", "loudness")])
    free_for_quota(workspace, limit_bytes=0, running={"loudness-0"})
    assert there(workspace, *first.values(), control) == [True] * 5
    # Its twin serves an arm of another sweep, which is still open.
    finished(workspace, "loudness-0", control)
    planned(workspace, "two", "hot", "random", twins={"hot": "random"})
    free_for_quota(workspace, limit_bytes=0, running=set())
    assert there(workspace, *first.values(), control) == [True] * 5
    finished(workspace, "hot-0", control, status="pruned")
    free_for_quota(workspace, limit_bytes=0, running=set())
    assert there(workspace, *first.values(), control) == [False] * 5


def test_checkpoints_of_trials_that_were_stopped_early_go_with_their_family(workspace):
    pair = family(workspace, "ems", "random", 0, ended="2026-11-20")
    planned(workspace, "one", "ems", "random", "hot", twins={"ems": "random", "hot": "random"})
    unfinished(workspace, "hot-0", "pretrain/feed")
    scratch = workspace.store.root / "pretrain" / ".feed.scratch"
    scratch.mkdir()
    (scratch / "checkpoint.pt").write_bytes(b"x" * MB)
    free_for_quota(workspace, limit_bytes=0, running=set())
    assert scratch.exists()
    finished(workspace, "hot-0", status="pruned")
    free_for_quota(workspace, limit_bytes=0, running=set())
    assert not scratch.exists()
    assert there(workspace, *pair.values()) == [False] * 4


def test_what_an_open_trial_uses_too_is_not_evicted(workspace):
    pair = family(workspace, "ems", "random", 0, ended="2026-11-20")
    planned(workspace, "one", "ems", "random", twins={"ems": "random"})
    unfinished(workspace, "other-0", pair["ems0 embed"])
    planned(workspace, "two", "other")
    free_for_quota(workspace, limit_bytes=0, running={"other-0"})
    # The open trial's embeddings, and the weights they were made from.
    assert there(workspace, *pair.values()) == [True, True, False, False]


def test_a_trial_is_found_by_key_beginning_or_place(workspace):
    for key in ("abc1", "abd2"):
        finished(workspace, key)
    planned(workspace, "one", "ems", seeds=(0, 3))
    assert find_trial("abc", workspace) == find_trial("abc1", workspace) == "abc1"
    assert find_trial("one:the ems:3", workspace) == "ems-3"
    for text, message in (
        ("ab", "2 keys begin so"), ("x", "none of that key"), ("", "none of that key"),
        ("two:the ems:3", "was not launched"), ("one:the ems:5", "its arms: the ems"),
    ):  # fmt: skip
        with pytest.raises(BadInputError, match=message):
            find_trial(text, workspace)


def test_a_store_that_is_not_there_is_empty(workspace):
    shutil.rmtree(workspace.root)
    assert find_prunable(workspace).candidates == ()
    assert prune_text(find_prunable(workspace), trials=False) == "nothing to remove"
    assert not free_for_quota(workspace, limit_bytes=0, running=set()).over
    assert isinstance(workspace.root, Path)
