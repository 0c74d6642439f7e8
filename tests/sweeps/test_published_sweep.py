"""Sweeps in which published models stand beside upstreams that are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import BadInputError
from core.store import Workspace
from sweeps.definition import SweepDefinition
from sweeps.estimate import estimate
from sweeps.plan import make_plan
from sweeps.summary import summarise
from tests.core.tiny_transformer import save_transformer
from tests.core.tiny_trial import tiny_trial

CPU = {"compute.threads": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sweep")
    tiny_trial(root)
    save_transformer(root / "tiny-hubert")
    return root


def definition(folder: Path, **changes: Any) -> SweepDefinition:
    scores = {"source": "external", "file": str(folder / "scores.csv"), "hop_ms": 10.0, "fit": None}
    ems = {"masking.policy": "ems", "masking.temperature": 1.0, **{f"intensity.{k}": v for k, v in scores.items()}}
    content: dict[str, Any] = {
        "name": "both",
        "settings": {
            "corpus": {"name": "table", "root": str(folder / "corpus.csv")},
            "folds": {"scheme": "leave-one-speaker-out"},
        },
        "arms": {
            "published": {"upstream": "hubert", "transformer.model": str(folder / "tiny-hubert")},
            "own": {"upstream": "mockingjay", **ems},
        },
    }  # fmt: skip
    return SweepDefinition.model_validate(content | changes)


def test_each_kind_has_its_own_corpora_and_number_of_upstreams(folder, tmp_path):
    published, own, twin = make_plan(definition(folder), Workspace.at(tmp_path), compute=CPU).trials
    assert (published.arm, published.twin_key, published.upstreams) == ("hubert tiny-hubert", None, 0)
    assert (own.upstreams, twin.upstreams) == (3, 3)
    assert own.twin_key == twin.arm_key
    assert published.unfinished.protocol.pretraining_corpus == "that of the published hubert"
    assert own.unfinished.protocol.pretraining_corpus == "table"
    assert not {"intensity", "masking", "features", "pretrain"} & set(published.settings)


def test_autocast_may_be_said_for_all_and_is_of_upstreams_that_are_trained_here(folder, tmp_path):
    settings = {**definition(folder).settings, "compute": {"autocast": "off"}}
    plans = [
        make_plan(each, Workspace.at(tmp_path), compute=CPU).trials
        for each in (definition(folder), definition(folder, settings=settings))
    ]
    keys = [[trial.trial_key for trial in trials] for trials in plans]
    assert [one == other for one, other in zip(*keys, strict=True)] == [True, False, False]
    assert "autocast" not in plans[1][0].settings["compute"]


def test_show_says_what_a_published_upstream_heard(folder):
    published, own = summarise(definition(folder))["corpora"]
    assert published == "table evaluated, hubert as published"
    assert "intensity from" in own


@pytest.mark.slow
def test_what_reads_a_published_model_is_estimated_without_training_it(folder, tmp_path):
    alone = definition(
        folder, arms={"published": {"upstream": "hubert", "transformer.model": str(folder / "tiny-hubert")}}
    )
    place = Workspace.at(tmp_path)
    plan = make_plan(alone, place, compute=CPU)
    found = estimate(plan, place, open_trials=plan.trials, slots=1, cpus=1, gpus=0, progress=lambda *_: None)
    assert found.trials == 1
    assert {*found.stages} == {"start and record", "probe", "embed"}
    assert all(seconds > 0 for seconds in found.stages.values())
    assert (found.temporary_bytes, found.shared_seconds) == (0, 0)
    assert found.memory_per_trial_bytes > 0
    assert found.disk_bytes > 0


def test_settings_of_pre_training_are_refused_for_a_published_model(folder):
    arms = {"published": {"upstream": "hubert", "pretrain.steps": 5}}
    with pytest.raises(BadInputError, match=r"pretrain\.steps .* upstream 'hubert' comes trained"):
        summarise(definition(folder, arms=arms))
