"""Looks at validation: they change nothing, never see test, and come out the same however the trial got there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import interim
from core.config import TrialConfig
from core.corpora.folds import Fold
from core.embed import utterance_means
from core.interim import InterimProbe, due_steps, visible
from core.models.build import build_upstream
from core.records import InterimEntry, Record
from core.store import Workspace
from core.trial import Underway, trial_steps
from tests.core.conftest import DIMS
from tests.core.tiny_trial import tiny_trial

AT = (6, 12, 18, 30, 36)
"""In the first upstream, at its end, in the second, in the third, at the very end."""


def looking(folder: Path, **changes: Any) -> TrialConfig:
    return tiny_trial(folder, {"interim": {"at": AT, "probe_steps": 30}, **changes})


def follow(
    config: TrialConfig, root: Path, *, until: int | None = None
) -> tuple[list[InterimEntry], Record | None, dict[int, float]]:
    """The entries a trial yields, its record, and what it logs of them; stopped after so many yields."""
    logged: dict[int, float] = {}

    def log(values: Any, step: int) -> None:
        if "interim/validation_ua" in values:
            logged[step] = values["interim/validation_ua"]

    entries, record = [], None
    run = trial_steps(config, Workspace.at(root), log=log)
    for place, reached in enumerate(run, start=1):
        if isinstance(reached, Underway):
            entries += [reached.interim] if reached.interim else []
        else:
            record = reached
        if place == until:
            break
    run.close()  # type: ignore[attr-defined]
    return entries, record, logged


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    return root, *follow(looking(corpus), root)


def test_an_entry_holds_the_folds_whose_upstream_has_begun(undisturbed):
    _, entries, record, logged = undisturbed
    assert [(entry.step, sorted(entry.ua)) for entry in entries] == [
        (6, ["anna"]), (12, ["anna"]), (18, ["anna", "ben"]), (30, ["anna", "ben", "cleo"]),
        (36, ["anna", "ben", "cleo"]),
    ]  # fmt: skip
    by_step = {entry.step: entry for entry in entries}
    # A finished fold stays at its last upstream.
    assert by_step[12].ua["anna"] == by_step[18].ua["anna"] == by_step[36].ua["anna"]
    assert by_step[18].mean == pytest.approx((by_step[18].ua["anna"] + by_step[18].ua["ben"]) / 2)
    assert record.interim == tuple(entries)
    assert logged == {entry.step: entry.mean for entry in entries}


def test_one_upstream_for_all_is_looked_at_in_all_folds(corpus, tmp_path):
    config = looking(
        corpus, pretraining_audio={"source": "transductive"}, interim={"at": (5, 12, 13), "probe_steps": 30}
    )
    entries, _, _ = follow(config, tmp_path)
    assert [(entry.step, sorted(entry.ua)) for entry in entries] == [
        (5, ["anna", "ben", "cleo"]), (12, ["anna", "ben", "cleo"]),
    ]  # fmt: skip


@pytest.mark.parametrize("upstream", [pytest.param("mockingjay", marks=pytest.mark.slow), "npc"])
def test_looking_changes_nothing_in_the_result(corpus, tmp_path, upstream):
    npc = {"hidden": 16, "blocks": 2, "kernel": 11, "mask_size": 3, "codebooks": (8, 8)}
    found = {}
    for name, config in (
        ("blind", tiny_trial(corpus, {"upstream": upstream, "npc": npc})),
        ("looking", looking(corpus, upstream=upstream, npc=npc)),
    ):
        _, record, _ = follow(config, tmp_path / name)
        assert record is not None
        weights = sorted((tmp_path / name / "store/pretrain").glob("*/weights.pt"))
        folder = tmp_path / name / "trials" / record.trial_key
        found[name] = (
            record.trial_key, record.metrics, record.mask, record.pretraining, len(weights),
            [torch.load(path, weights_only=True) for path in weights], (folder / "predictions.parquet").read_bytes(),
        )  # fmt: skip
    blind, looked = found["blind"], found["looking"]
    assert blind[:5] == looked[:5]
    assert blind[4] == 3
    for one, other in zip(blind[5], looked[5], strict=True):
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert blind[6] == looked[6]


ANYWHERE = [until if until == 9 else pytest.param(until, marks=pytest.mark.slow) for until in range(1, 17)]


@pytest.mark.parametrize("until", ANYWHERE)
def test_stopped_anywhere_and_resumed_yields_the_same_entries(undisturbed, corpus, tmp_path, until):
    _, whole, expected, logged = undisturbed
    first, record, _ = follow(looking(corpus), tmp_path, until=until)
    assert (first, record) == (whole[: len(first)], None)
    again, record, logged_again = follow(looking(corpus), tmp_path)
    assert again == whole
    assert logged_again == logged
    assert record is not None
    assert record.interim == expected.interim
    assert record.metrics == expected.metrics


def test_a_trial_that_finds_its_upstreams_yields_what_was_seen_then(undisturbed, corpus):
    root, whole, expected, _ = undisturbed
    (root / "trials" / expected.trial_key / "record.json").unlink()
    stamps = {path: path.stat().st_mtime_ns for path in root.glob("store/pretrain/*")}
    again, record, _ = follow(looking(corpus), root)
    assert again == whole
    assert record is not None
    assert (record.interim, record.metrics, record.cost.flops) == (
        expected.interim, expected.metrics, expected.cost.flops,
    )  # fmt: skip
    assert stamps == {path: path.stat().st_mtime_ns for path in root.glob("store/pretrain/*")}


@pytest.mark.parametrize(
    "changes",
    [
        {"probe": {"lr": 3e-2}},
        pytest.param({"interim": {"at": AT, "probe_steps": 20}}, marks=pytest.mark.slow),
        pytest.param({}, marks=pytest.mark.slow),
    ],
)
def test_what_was_not_seen_while_training_is_not_invented(corpus, tmp_path, changes):
    """Upstreams of a trial that looked otherwise, or not at all, show what their last weights show and nothing else."""
    maker = looking(corpus) if changes else tiny_trial(corpus)
    follow(maker, tmp_path / "shared")
    for path in (tmp_path / "shared" / "trials").glob("*/record.json"):
        path.unlink()
    found, record, _ = follow(looking(corpus, **changes), tmp_path / "shared")
    own, _, _ = follow(looking(corpus, **changes), tmp_path / "own")
    assert [entry.step for entry in found] == [12, 36]
    assert found == [entry for entry in own if entry.step in (12, 36)]
    assert record is not None
    assert record.interim == tuple(found)


def test_a_checkpoint_of_a_trial_that_did_not_look_is_gone_on_from(corpus, tmp_path):
    follow(tiny_trial(corpus), tmp_path / "shared", until=2)  # at step 10 of the first upstream
    found, _, _ = follow(looking(corpus), tmp_path / "shared")
    own, _, _ = follow(looking(corpus), tmp_path / "own")
    assert [entry.step for entry in found] == [12, 18, 30, 36]
    assert found == own[1:]


def test_due_steps_leave_out_what_no_entry_needs(corpus):
    config = looking(corpus, interim={"at": (30, 37), "probe_steps": 30})
    assert [sorted(due_steps(config, place=place, upstreams=3)) for place in range(3)] == [[12], [12], [6]]
    assert due_steps(config, place=0, upstreams=1) == frozenset()


CLASSES = ("ang", "neu")
LABEL_OF = {f"u{place:02d}": CLASSES[place % 2] for place in range(22)}
FOLD = Fold(
    name="one",
    train=tuple(f"u{place:02d}" for place in range(12)),
    validation=tuple(f"u{place:02d}" for place in range(12, 16)),
    test=tuple(f"u{place:02d}" for place in range(16, 22)),
)


def test_the_test_part_is_out_of_reach(features, tiny):
    """Its labels do not exist here, and whoever read its features would read past their end."""
    config = tiny()
    torch.manual_seed(0)
    model = build_upstream(config, DIMS)
    seen = visible(FOLD, LABEL_OF)
    test = np.array([int(name[1:]) for name in FOLD.test])
    offsets = features.offsets.copy()
    offsets[test] += len(features.packed)
    beyond = replace(features, offsets=offsets)
    with pytest.raises(ValueError, match="broadcast"):
        utterance_means(model, beyond, device=torch.device("cpu"), progress=lambda *_: None)
    assert seen == visible(FOLD, {name: label for name, label in LABEL_OF.items() if name not in FOLD.test})
    assert not {*seen.train, *seen.validation} & set(FOLD.test)
    expected = InterimProbe(features, [seen], CLASSES, config=config).look(model)
    assert InterimProbe(beyond, [seen], CLASSES, config=config).look(model) == expected


def test_the_probe_of_a_fold_gets_no_other_utterances_than_its_train_and_validation(features, tiny, monkeypatch):
    """Also where another fold's train part, which is embedded beside it, is this one's test part."""
    other = Fold(name="two", train=FOLD.test + FOLD.validation, validation=FOLD.train[:6], test=FOLD.train[6:])
    config = tiny()
    torch.manual_seed(0)
    model = build_upstream(config, DIMS)
    given = []
    fit = interim.fit_probe

    def spy(means, labels, folds, classes, **settings):
        given.append((means.copy(), list(labels), folds))
        return fit(means, labels, folds, classes, **settings)

    monkeypatch.setattr(interim, "fit_probe", spy)
    InterimProbe(features, [visible(FOLD, LABEL_OF), visible(other, LABEL_OF)], CLASSES, config=config).look(model)
    everything = utterance_means(model, features, device=torch.device("cpu"), progress=lambda *_: None)
    for fold, (means, labels, folds) in zip((FOLD, other), given, strict=True):
        names = [*fold.train, *fold.validation]
        assert labels == [LABEL_OF[name] for name in names]
        assert means == pytest.approx(everything[[int(name[1:]) for name in names]], abs=1e-5)
        assert folds[0].test.size == 0
        assert [*folds[0].train, *folds[0].validation] == list(range(len(names)))


@pytest.mark.parametrize("upstream", ["mockingjay", "npc"])
def test_a_look_leaves_the_model_and_the_random_numbers_as_they_were(features, tiny, upstream):
    config = tiny(upstream)
    model = build_upstream(config, DIMS).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    InterimProbe(features, [visible(FOLD, LABEL_OF)], CLASSES, config=config).look(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
