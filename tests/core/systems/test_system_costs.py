"""What an estimate knows of the stages after the upstreams: which there are, what they share, and how large they are.

How long they take is held against real trials in `benchmarks/bench_estimate.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from core.calibration import synthetic_features
from core.config import SystemName, TrialConfig
from core.corpora.manifest import Manifest
from core.errors import BadInputError
from core.frames import make_frames
from core.lookup import Unmade, unmade
from core.progress import discard, silent
from core.resolve import Corpora, resolve
from core.stage_calibration import StageCost, evenly, grid_of, synthetic_frames
from core.store import Workspace
from core.systems.costs import COSTED, costed
from core.trial import run_trial
from core.underway import Tally
from core.upstreams import prepare, pretrain_upstreams
from tests.core.tiny_alignment import ALIGNMENT, tiny_alignment
from tests.core.tiny_transformer import published_trial, save_transformer
from tests.core.tiny_trial import tiny_trial

MASKS = {"policy": "random", "ratio": 0.3, "span": 5}
TEACHER = {"projection": 4, "hidden": 4, "steps": 6, "batch": 4, "evaluate_every": 3, "outputs": "in-sample"}


def sap_trial(folder: Path, **sap: Any) -> TrialConfig:
    return tiny_trial(folder, {"system": "sap", "sap": {"heads": 2, **sap}})


def teacher_trial(folder: Path, **teacher: Any) -> TrialConfig:
    return tiny_trial(folder, {"system": "teacher_student", "teacher": {**TEACHER, **teacher}})


def hubert_trial(folder: Path, settings: dict[str, Any]) -> TrialConfig:
    return published_trial(folder, save_transformer(folder / "tiny-hubert"), settings)


def with_words(corpora: Corpora) -> Corpora:
    """The tiny corpus says nothing and feels in classes only: words and dimensions for it."""

    def said(manifest: Manifest) -> Manifest:
        rows = [
            replace(item, transcript=f"take {place}", activation=2.0, valence=1.0 + place % 4, dominance=3.0)
            for place, item in enumerate(manifest.utterances)
        ]
        return replace(manifest, utterances=tuple(rows))

    return replace(corpora, evaluated=said(corpora.evaluated), heard=said(corpora.heard))


def lacking(config: TrialConfig, workspace: Workspace) -> Unmade:
    corpora = resolve(config.model_copy(update={"system": "ems"}), workspace)
    return unmade(config, with_words(corpora), workspace)


def measured(kind: str, config: TrialConfig, workspace: Workspace, scratch: Path) -> StageCost:
    corpora = with_words(resolve(config.model_copy(update={"system": "ems"}), workspace))
    features = synthetic_features(corpora.evaluated, config.features)
    return costed(config.system).measure_stage(
        kind, config, corpora, features, scratch=scratch, patience_s=0.01
    )  # fmt: skip


def test_every_system_but_ems_says_what_it_costs() -> None:
    assert {*COSTED, "ems"} == {*get_args(SystemName)}


@pytest.mark.parametrize(
    ("config_of", "own", "each_trial"),
    [
        (lambda folder: sap_trial(folder, pooling="gap"), {"frames": 3}, {"pooled probe"}),
        (lambda folder: sap_trial(folder, pooling="gap+sap"), {"frames": 3, "vad": 1}, {"pooled probe"}),
        (lambda folder: sap_trial(folder, pooling="attention"), {"frames": 3, "pooled": 3}, set()),
        (
            tiny_alignment,
            {"tapt clusters": 3, "tapt": 3, "first tuning": 3, "clusters": 3, "alignment": 3, "tuning": 3},
            set(),
        ),
        (
            lambda folder: tiny_alignment(folder, {"aligned": False}),
            {"tapt clusters": 3, "tapt": 3, "tuning": 3},
            set(),
        ),
        (teacher_trial, {"frames": 3, "text": 1, "teacher": 3, "student": 3}, set()),
        (lambda folder: teacher_trial(folder, weighting="none"), {"frames": 3, "student": 3}, set()),
        (lambda folder: teacher_trial(folder, weighting="teacher"), {"frames": 3, "text": 1, "teacher": 3}, set()),
    ],
    ids=["gap", "gap+sap", "attention", "aligned", "tapt", "soft", "no teacher", "teacher"],
)
def test_each_stage_is_counted_and_has_a_cost(
    config_of: Any, own: dict[str, int], each_trial: set[str], tmp_path: Path, workspace: Workspace
) -> None:
    config = config_of(tmp_path)
    found = lacking(config, workspace)
    assert {kind: len(keys) for kind, keys in found.own.items() if keys} == own
    assert {*costed(config.system).kinds_of(config)} == {*own} | each_trial
    assert not (workspace.store.root / "features").exists(), "looking makes nothing"


def test_trials_share_what_does_not_tell_them_apart(tmp_path: Path, workspace: Workspace) -> None:
    found = [lacking(tiny_alignment(tmp_path, {"k": k}), workspace).own for k in (4, 5)]
    shared = {kind for kind in found[0] if found[0][kind] == found[1][kind]}
    assert shared == {"tapt clusters", "tapt", "first tuning"}
    soft, hard, none = (
        lacking(teacher_trial(tmp_path, weighting=each), workspace) for each in ("soft", "hard", "none")
    )
    assert soft.own["teacher"] == hard.own["teacher"]
    assert not set(soft.own["student"]) & set(hard.own["student"])
    assert soft.own["frames"] == none.own["frames"]
    assert soft.upstreams == lacking(sap_trial(tmp_path, pooling="gap"), workspace).upstreams


def test_adaptation_that_hears_everything_is_shared_by_folds_with_one_upstream(
    tmp_path: Path, workspace: Workspace
) -> None:
    transductive = {"pretraining_audio": {"source": "transductive"}}
    config = tiny_alignment(tmp_path, {"audio": "transductive"}, others=transductive)
    counts = {kind: len(keys) for kind, keys in lacking(config, workspace).own.items()}
    assert counts == {
        "tapt clusters": 1, "tapt": 1, "first tuning": 3, "clusters": 3, "alignment": 3, "tuning": 3
    }  # fmt: skip


def test_what_a_trial_has_made_is_not_made_again(tmp_path: Path, workspace: Workspace) -> None:
    config = sap_trial(tmp_path, pooling="attention", steps=4)
    corpora = resolve(config, workspace)
    run_trial(config, workspace)
    assert unmade(config, corpora, workspace).own == {"frames": (), "pooled": ()}
    longer = unmade(sap_trial(tmp_path, pooling="attention", steps=5), corpora, workspace).own
    assert (len(longer["frames"]), len(longer["pooled"])) == (0, 3)


def test_a_trial_that_cannot_be_is_refused_by_its_own_rule(tmp_path: Path, workspace: Workspace) -> None:
    config = teacher_trial(tmp_path, outputs="out-of-fold", inner_folds=3)
    with pytest.raises(BadInputError, match=r"teacher\.inner_folds: 3 is over the 1 training speakers of fold anna"):
        lacking(config, workspace)


def test_costs_depend_on_what_runs_and_not_on_what_is_learnt(tmp_path: Path) -> None:
    sap = costed("sap").kinds_of
    assert sap(sap_trial(tmp_path, threshold=0.3)) == sap(sap_trial(tmp_path, threshold=0.7))
    assert sap(sap_trial(tmp_path)) != sap(sap_trial(tmp_path, layers=(-1,)))
    teacher = costed("teacher_student").kinds_of
    assert teacher(teacher_trial(tmp_path, sigma=0.5)) == teacher(teacher_trial(tmp_path, sigma=2.0))
    assert teacher(teacher_trial(tmp_path)) != teacher(teacher_trial(tmp_path, reduce=2))
    alignment = costed("frame_alignment").kinds_of
    few, many = alignment(tiny_alignment(tmp_path)), alignment(tiny_alignment(tmp_path, {"k": 9}))
    assert {kind for kind in few if few[kind] != many[kind]} == {"clusters", "alignment"}


def test_states_have_the_lengths_and_width_that_they_will_have(tmp_path: Path, workspace: Workspace) -> None:
    config = sap_trial(tmp_path, pooling="gap")
    corpora = resolve(config, workspace)
    shared = prepare(config, corpora, workspace, progress=silent)
    training = pretrain_upstreams(
        config, corpora, workspace, shared=shared, tally=Tally(config=config, parameters=1, log=discard), log=discard
    )
    while True:
        try:
            next(training)
        except StopIteration as end:
            upstreams = end.value.upstreams
            break
    made = make_frames(config, workspace, shared, upstreams[0], progress=silent)
    features = synthetic_features(corpora.evaluated, config.features)
    grid, every = grid_of(config, corpora.evaluated, features), np.arange(len(features.lengths))
    guessed = synthetic_frames(grid, layers=None, places=every)
    real = np.load(made.path / "states.npy", mmap_mode="r")
    assert guessed.lengths.sum() == len(real)
    assert guessed.packed_FLH[0].size == real.shape[1]
    said = measured("frames", config, workspace, tmp_path)
    assert said.bytes == pytest.approx((made.path / "states.npy").stat().st_size, rel=0.01)
    with pytest.raises(BadInputError, match="layer 7: the upstream has"):
        synthetic_frames(grid, layers=(7,), places=every)


def test_the_utterances_that_stand_for_all_are_spread_over_their_lengths() -> None:
    lengths = np.random.default_rng(0).permutation(np.arange(1, 102))
    assert sorted(lengths[evenly(lengths, 5)]) == [1, 26, 51, 76, 101]
    assert evenly(lengths, 1000).tolist() == list(range(101))


@pytest.mark.slow
@pytest.mark.parametrize(
    "config_of",
    [
        lambda folder: sap_trial(folder, pooling="gap"),
        lambda folder: sap_trial(folder, pooling="gap+sap+attention", steps=5),
        tiny_alignment,
        teacher_trial,
        lambda folder: hubert_trial(folder, {"system": "sap", "sap": {"pooling": "gap", "layers": [-1]}}),
        lambda folder: hubert_trial(folder, {"system": "frame_alignment", "alignment": ALIGNMENT, "masking": MASKS}),
    ],
    ids=["linear", "learnt", "aligned", "soft", "linear on hubert", "aligned on hubert"],
)
def test_every_kind_can_be_measured_before_anything_is_made(
    config_of: Any, tmp_path: Path, workspace: Workspace
) -> None:
    config = config_of(tmp_path)
    for kind in costed(config.system).kinds_of(config):
        cost = measured(kind, config, workspace, tmp_path)
        assert cost.seconds > 0, kind
        assert cost.bytes > 0 or kind == "pooled probe", kind
    assert not workspace.store.root.exists() or not list(workspace.store.root.glob("*/*/weights.pt"))
