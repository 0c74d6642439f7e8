"""The chain of frame-level emotional state alignment: what it shares, what it hears, and what it never hears."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import torch

from core.alignment_config import AlignmentConfig
from core.config import TrialConfig, UpstreamName
from core.errors import BadInputError
from core.listening import UpstreamListener
from core.own_steps import own_steps
from core.records import Record, Split, read_predictions
from core.resolve import resolve, twin_of, upstream_modules
from core.store import Store, Workspace
from core.systems.alignment_chain import ALIGNMENT_MODULES
from core.systems.alignment_stages import read_notes
from core.trial import run_trial, trial_steps
from core.underway import Underway
from core.unit_batches import UnitBatches
from tests.core.tiny_alignment import artifact, chain, relabel, reword, tiny_alignment
from tests.core.tiny_trial import write_corpus
from tests.test_architecture import imported


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A finished trial, the workspace of its artifacts, and what it logged."""

    config: TrialConfig
    workspace: Workspace
    record: Record
    logged: list[tuple[int, dict[str, float]]]

    def predictions(self, split: Split) -> pd.DataFrame:
        return read_predictions(self.workspace.trial(self.record.trial_key), split=split)

    def weights(self, *, tested: str = "anna") -> dict[str, torch.Tensor]:
        """The last model of the fold that tests this speaker, its head included."""
        own = chain(self.config, self.workspace, tested=tested)
        folder = artifact(own.tuning, self.workspace).path
        parts = [torch.load(folder / name, weights_only=True) for name in ("weights.pt", "head.pt")]
        return parts[0] | parts[1]


def ran(folder: Path, workspace: Workspace, changes: dict[str, Any] | None = None, **others: Any) -> Ran:
    config = tiny_alignment(folder, changes, others=others or None)
    logged: list[tuple[int, dict[str, float]]] = []
    record = run_trial(config, workspace, log=lambda values, step: logged.append((step, dict(values))))
    return Ran(config=config, workspace=workspace, record=record, logged=logged)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace.at(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def arm(corpus, workspace) -> Ran:
    return ran(corpus, workspace)


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_record_has_every_test_utterance_once_and_probabilities(arm):
    tested = arm.predictions("test")
    assert sorted(tested["utterance"]) == sorted(set(tested["utterance"]))
    assert len(tested) == 24
    np.testing.assert_allclose(tested[["score_angry", "score_calm"]].sum(axis=1), 1, atol=1e-5)
    assert arm.record.status == "complete"


def test_artifacts_are_all_there_and_named_in_the_record(arm):
    named = {name for name in arm.record.artifacts if name.split("/")[0] in ("pretrain", "clusters", "units", "tuning")}
    made = {
        f"{stage}/{path.name}"
        for stage in ("pretrain", "clusters", "units", "tuning")
        for path in (arm.workspace.store.root / stage).iterdir()
        if not path.name.startswith(".")
    }
    assert named == made
    assert len(named) == 3 * 7


def test_costs_are_those_of_all_loops(arm):
    # Of each of three folds: 4 of pre-training, 2 times 4 updates, 2 times 2 epochs of 2 batches of 4 of 8 utterances.
    assert arm.record.cost.steps == 3 * (4 + 2 * 4 + 2 * 2 * 2)
    # In frames: batches of 4 utterances of 58, of tuning cut to 50.
    assert arm.record.cost.frames == 3 * (4 * 4 * 58 + 2 * 4 * 4 * 58 + 2 * 2 * 8 * 50)


def test_the_record_counts_what_each_stage_hid_and_heard(arm):
    """Of 58 frames two make a position; 4 updates of 4 utterances in each of three folds."""
    counts = arm.record.counts
    assert counts["positions heard in adaptation"] == counts["positions heard in alignment"] == 3 * 4 * 4 * 29
    # Both draw by the same streams, in spans of 2 positions (5 frames), of which there are 4 or 5 in an utterance.
    assert counts["positions hidden in adaptation"] == counts["positions hidden in alignment"]
    assert 48 * 2 * 4 < counts["positions hidden in alignment"] < 48 * 2 * 5
    own = chain(arm.config, arm.workspace, tested="anna")
    mask = read_notes(artifact(own.alignment, arm.workspace)).mask
    assert mask["valid"] == 4 * 4 * 29
    assert mask["hidden"] == sum(int(length) * times for length, times in mask["runs"].items())


def test_an_adaptation_that_folds_share_is_paid_for_once_as_planned(corpus, tmp_path):
    own = ran(
        corpus, Workspace.at(tmp_path), {"audio": "transductive", "aligned": False},
        pretraining_audio={"source": "transductive"},
    )  # fmt: skip
    resolved = resolve(own.config, own.workspace)
    assert own.record.cost.steps == 4 + own_steps(own.config, resolved.folds)
    assert own.record.counts["positions heard in adaptation"] == 4 * 4 * 29


def test_curves_are_named_by_stage_and_fold_and_none_is_logged_twice(arm):
    points = [(step, name) for step, values in arm.logged for name in values]
    assert len(points) == len(set(points))
    names = {name for _, name in points}
    for fold in ("fold1", "fold2", "fold3"):
        assert {
            f"tapt/loss/{fold}", f"first-tuning/validation_ua/{fold}", f"alignment/accuracy/{fold}",
            f"tuning/validation_ua/{fold}",
        } <= names  # fmt: skip


def test_another_k_makes_clusters_anew_and_what_follows_and_nothing_before(arm, corpus):
    other = tiny_alignment(corpus, {"k": 3})
    first, second = (chain(config, arm.workspace, tested="anna") for config in (arm.config, other))
    store: Store = arm.workspace.store
    same = [
        one.key(store) == two.key(store) for one, two in zip(first.named.values(), second.named.values(), strict=True)
    ]
    assert same == [True, True, True, False, False, False]
    before = {path: path.stat().st_mtime_ns for path in store.root.glob("*/*/notes.json")}
    again = ran(corpus, arm.workspace, {"k": 3})
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(store.root.glob("*/*/notes.json"))) == len(before) + 3 * 3
    assert again.record.cost.steps == arm.record.cost.steps


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"layer": 0}, [True, True, True, False, False, False]),
        ({"tapt_k": 5}, [False] * 6),
        ({"pooling": "mean"}, [True, True, True, True, True, False]),
    ],
)
def test_a_setting_reaches_its_stage_and_what_follows(arm, corpus, change, same):
    pair = [chain(config, arm.workspace, tested="ben") for config in (arm.config, tiny_alignment(corpus, change))]
    store = arm.workspace.store
    assert [
        one.key(store) == two.key(store) for one, two in zip(*(own.named.values() for own in pair), strict=True)
    ] == same


def test_the_twin_goes_from_adaptation_to_fine_tuning_and_shares_it(arm):
    twin = twin_of(arm.config)
    assert twin is not None
    assert twin_of(twin) is None
    store = arm.workspace.store
    own, other = (chain(config, arm.workspace, tested="anna") for config in (arm.config, twin))
    assert other.clusters is None
    assert other.tapt.key(store) == own.tapt.key(store)
    assert other.tuning.inputs[0] == own.tapt.key(store)
    # Without attention it is the model whose states the arm clusters.
    mean = twin.model_copy(update={"alignment": twin.alignment.model_copy(update={"pooling": "mean"})})
    assert chain(mean, arm.workspace, tested="anna").tuning.key(store) == own.first_tuning.key(store)


def test_twins_of_all_k_and_layers_are_one():
    arms = [AlignmentConfig(k=k, layer=layer) for k in (20, 80) for layer in (6, 9)]
    assert len({own.plain() for own in arms}) == 1
    assert arms[0].plain() == arms[0].plain().plain()
    assert set(arms[0].plain().unused()) == {"k", "layer"}
    # Whatever stands there, what means nothing makes no twin.
    assert AlignmentConfig(aligned=False, k=20).plain() == AlignmentConfig(aligned=False, k=20)


def test_words_tell_arms_apart():
    own = AlignmentConfig(k=20)
    assert own.words() == ["k20", "l9", "u20000", "attention"]
    assert own.plain().words() == ["tapt", "u20000", "attention"]
    assert own.model_copy(update={"audio": "transductive"}).words()[0] == "transductive"


def test_only_the_published_variant_has_a_leak():
    assert AlignmentConfig().leaks() == ()
    (leak,) = AlignmentConfig(audio="transductive").leaks()
    assert "test part's audio (without labels)" in leak


@pytest.mark.slow
@pytest.mark.parametrize("audio", ["fold", "transductive"])
def test_audio_of_the_test_part_reaches_the_published_variant_only(arm, corpus, tmp_path, audio):
    """Two corpora that differ in the recordings of one speaker, in the fold that tests this speaker."""
    changed = tmp_path / "changed"
    changed.mkdir()
    write_corpus(changed)
    reword(changed, "anna")
    as_it_was = arm if audio == "fold" else ran(corpus, arm.workspace, {"audio": audio})
    other = ran(changed, Workspace.at(tmp_path / "workspace"), {"audio": audio})
    assert equal(as_it_was.weights(), other.weights()) == (audio == "fold")
    # In the fold that trains on this speaker the models differ.
    assert not equal(as_it_was.weights(tested="ben"), other.weights(tested="ben"))


@pytest.mark.slow
@pytest.mark.parametrize("audio", ["fold", "transductive"])
def test_labels_of_the_test_part_reach_no_variant(arm, corpus, tmp_path, audio):
    changed = tmp_path / "changed"
    changed.mkdir()
    write_corpus(changed)
    relabel(changed, "anna")
    as_it_was = arm if audio == "fold" else ran(corpus, arm.workspace, {"audio": audio})
    other = ran(changed, Workspace.at(tmp_path / "workspace"), {"audio": audio})
    assert equal(as_it_was.weights(), other.weights())
    assert not equal(as_it_was.weights(tested="ben"), other.weights(tested="ben"))


@pytest.mark.slow
def test_interrupted_in_any_stage_it_ends_with_the_same_scores(arm, corpus, tmp_path):
    workspace, stops, logged, seen = Workspace.at(tmp_path / "workspace"), 0, [], []

    def leg(reports: int) -> bool:
        """Run until so many reports have been seen; whether that was the end."""
        logged.clear()
        seen.clear()
        steps = trial_steps(arm.config, workspace, log=lambda values, step: logged.append((step, dict(values))))
        for reached in steps:
            seen.append(reached)
            if isinstance(reached, Underway) and len(seen) > reports:
                steps.close()
                return False
        return True

    while not leg(3 * (stops + 1)):
        stops += 1
    assert stops > 5
    assert isinstance(seen[-1], Record)
    for split in ("validation", "test"):
        again = read_predictions(workspace.trial(seen[-1].trial_key), split=split)
        pd.testing.assert_frame_equal(again, arm.predictions(split))
    assert logged == arm.logged
    assert seen[-1].counts == arm.record.counts
    assert (seen[-1].cost.steps, seen[-1].cost.frames, seen[-1].cost.flops) == (
        arm.record.cost.steps, arm.record.cost.frames, pytest.approx(arm.record.cost.flops),
    )  # fmt: skip


def test_alignment_and_its_twins_adaptation_differ_in_the_labels_alone(corpus, tmp_path, monkeypatch):
    """Utterances, crops, what is hidden and by what it is replaced, dropout: the same in each step of either."""
    heard: list[tuple[Any, ...]] = []
    labels: list[list[int]] = []
    hear, at = UpstreamListener.hear, UnitBatches.at

    def kept_hear(self, stretches, *, masks=None, fates=()):
        if masks is not None:
            drawn = [fate.bit_generator.state["state"]["state"] for fate in fates]
            heard.append((*stretches, *(mask.tobytes() for mask in masks), *drawn, torch.initial_seed()))
        return hear(self, stretches, masks=masks, fates=fates)

    def kept_at(self, step):
        batch = at(self, step)
        labels.append(np.concatenate(batch.labels).tolist())
        return batch

    monkeypatch.setattr(UpstreamListener, "hear", kept_hear)
    monkeypatch.setattr(UnitBatches, "at", kept_at)
    config = tiny_alignment(corpus)
    run_trial(config, Workspace.at(tmp_path))
    # Four updates of adaptation, which the twin shares, then four of the alignment, in each of three folds.
    folds = [(heard[start : start + 4], heard[start + 4 : start + 8]) for start in (0, 8, 16)]
    assert len(heard) == 24
    for adaptation, alignment in folds:
        assert adaptation == alignment
        assert len(set(adaptation)) == 4
    assert labels[:4] != labels[4:8]


def test_emotional_masking_is_adaptation_of_its_own(arm, corpus):
    emotional = tiny_alignment(
        corpus, others={"masking": {"policy": "ems", "ratio": 0.3, "span": 5, "temperature": 0.5}}
    )
    own, other = (chain(config, arm.workspace, tested="anna") for config in (arm.config, emotional))
    assert own.tapt.key(arm.workspace.store) != other.tapt.key(arm.workspace.store)


@pytest.mark.slow
def test_npc_runs_every_stage(corpus, tmp_path):
    record = ran(
        corpus, Workspace.at(tmp_path), upstream="npc",
        npc={"hidden": 8, "blocks": 2, "kernel": 11, "mask_size": 3, "codebooks": [4, 4]},
    ).record  # fmt: skip
    assert record.status == "complete"


@pytest.mark.parametrize(
    ("changes", "others", "message"),
    [
        ({"layer": 2}, {}, "alignment.layer: layer 2: the upstream has 2, from 0 to 1"),
        ({"tapt_layer": -3}, {}, "alignment.tapt_layer: layer -3"),
        ({}, {"upstream": "npc", "masking": {"policy": "all", "temperature": None}}, "masking.policy: 'all'"),
        ({}, {"upstream": "npc", "npc": {"probed": "all"}}, "npc.probed: 'all' ends with a masked convolution"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(corpus, tmp_path, changes, others, message):
    workspace = Workspace.at(tmp_path)
    with pytest.raises(BadInputError, match=message):
        ran(corpus, workspace, changes, **others)
    assert not (workspace.store.root / "pretrain").exists()


def test_keys_cover_the_code_that_makes_the_stages():
    """A module that a stage begins to use and its key does not know would leave stale artifacts valid."""
    # Corpora, settings and errors are in no stage's key by their code; upstreams and finished inputs by their own.
    elsewhere = {
        "core.alignment_config", "core.config", "core.data_config", "core.corpora.folds", "core.corpora.manifest",
        "core.errors", "core.identity", "core.intensity.tracks", "core.models.build", "core.models.upstream",
        "core.predictions", "core.progress", "core.resolve", "core.store", "core.systems.alignment_chain",
        "core.systems.frame_alignment", "core.systems.outcome", "core.underway", "core.upstreams", "core.validation",
        *(module for upstream in get_args(UpstreamName) for module in upstream_modules(upstream)),
    }  # fmt: skip
    shared_with_others = {"core.batches", "core.features", "core.frames", "core.masking", "core.pretrain"}
    used = {module for known in {*ALIGNMENT_MODULES} - shared_with_others for module in imported(known)}
    assert used - elsewhere <= set(ALIGNMENT_MODULES)
