"""What an estimate counts, refuses and says; what it measures is held against a real sweep in `integration`."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from core.config import InterimConfig
from core.errors import BadInputError
from core.features import make_features
from core.lookup import unmade
from core.resolve import resolve
from core.store import Workspace
from sweeps.definition import load_definition, trial_config
from sweeps.estimate import Estimate, estimate, parse_budget, refuse
from sweeps.estimate_disk import metrics_of, shared_bytes
from sweeps.estimate_text import check_fits
from sweeps.plan import make_plan
from sweeps.trial_cost import shapes

GB = 10**9
POINT = {"masking.ratio": 0.15, "masking.temperature": 1.0, "masking.span": 7}
SOME = Estimate(
    trials=24, upstreams=120, slots=2, device="CPU", device_hours=12.44, wall_seconds=23_000.0, shared_seconds=60.0,
    disk_bytes=3 * GB, shared_disk_bytes=2 * GB, temporary_bytes=GB, memory_per_trial_bytes=GB, memory_bytes=3 * GB,
    device_memory_bytes=0, stages={"pretrain": 40_000.0, "probe": 4_000.0, "shared features": 60.0},
    trial_seconds={}, elsewhere=False, notes=("the fit may stop early",), calibration_seconds=11.0,
)  # fmt: skip


def config_of(*overrides: str, **point):
    return trial_config(load_definition("ems_grid", overrides), POINT | point)


@pytest.mark.parametrize(
    ("text", "hours"), [("2h", 2.0), ("90m", 1.5), ("1.5", 1.5), (" .5 h ", 0.5), ("30 m", 0.5), ("7.", 7.0)]
)
def test_budgets(text, hours):
    assert parse_budget(text) == pytest.approx(hours)


@pytest.mark.parametrize("text", ["", "soon", "-1", "0", "0m", "1h30m", "2 days", "1e3", "nan", "inf"])
def test_a_budget_that_is_none_is_refused_with_what_one_looks_like(text):
    with pytest.raises(BadInputError, match=r"--budget .*: hours of CPU .* like 2h, 90m or 1.5"):
        parse_budget(text)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"budget_hours": 10.0}, "estimate: 12.4 CPU-hours are over the --budget of 10.0"),
        ({"disk_free": 3.9 * GB}, "estimate: 4.0 GB will be written, 3.9 GB are free on the disk"),
        ({"memory_free": 2.9 * GB}, "estimate: 2 trials at a time need 3.0 GB of memory, 2.9 GB are available"),
    ],
)
def test_what_does_not_fit_is_refused_with_value_and_bound(limits, message):
    room = {"disk_free": 4.1 * GB, "memory_free": 3.1 * GB, "budget_hours": 12.5}
    check_fits(SOME, **room)
    with pytest.raises(BadInputError) as refusal:
        check_fits(SOME, **room | limits)
    assert str(refusal.value).startswith(message)


def test_memory_elsewhere_and_a_budget_nobody_set_refuse_nothing():
    check_fits(replace(SOME, elsewhere=True), disk_free=5 * GB, memory_free=GB, budget_hours=None)
    check_fits(SOME, disk_free=5 * GB, memory_free=None, budget_hours=None)


def test_this_machine_is_asked_for_its_disk_and_memory(workspace):
    small = replace(SOME, disk_bytes=1, temporary_bytes=0, memory_bytes=1)
    refuse(small, workspace=workspace, budget_hours=13)
    with pytest.raises(BadInputError, match="free on the disk"):
        refuse(replace(small, disk_bytes=10**18), workspace=workspace, budget_hours=None)
    with pytest.raises(BadInputError, match="of memory"):
        refuse(replace(small, memory_bytes=10**18), workspace=workspace, budget_hours=None)


def test_the_text_says_what_matters():
    text = SOME.as_text()
    for part in (
        "24 trials (120 upstreams to pre-train), 2 at a time",
        "12.4 CPU-hours",
        "6 h 23 min",
        "3.0 GB",
        "pretrain 91%",
        "may stop early",
    ):
        assert part in text
    assert json.loads(json.dumps(SOME.as_json()))["stages"]["probe"] == 4_000.0


def test_masking_and_seeds_do_not_change_what_a_trial_costs_but_sizes_and_audio_do():
    base = shapes(config_of())
    assert shapes(config_of(**{"masking.temperature": 0.25})) == base
    assert shapes(config_of().model_copy(update={"seed": 9})) == base
    assert shapes(config_of("pretrain.lr=0.1", "pretrain.steps=7")) == base
    other_span = shapes(config_of(**{"masking.span": 14}))
    assert {kind for kind in base if base[kind] != other_span[kind]} == {"batch"}
    other_probe = shapes(config_of("probe.projection=8"))
    assert {kind for kind in base if base[kind] != other_probe[kind]} == {"probe"}
    head = shapes(config_of("score.head=true"))
    assert {kind for kind in base if base[kind] != head[kind]} == {"training", "batch"}
    for setting in ("mockingjay.layers=3", "features.n_mels=40", "pretraining_audio.source=transductive"):
        other = shapes(config_of(setting))
        assert all(base[kind] != other[kind] for kind in base), setting
    looked_at = config_of().model_copy(update={"interim": InterimConfig(at=(10,))})
    assert {name: shape for name, shape in shapes(looked_at).items() if name != "look"} == base


def test_what_is_made_is_found_by_the_stages_own_keys(demo_workspace, workspace):
    config = config_of()
    corpora = resolve(config, demo_workspace)
    before = unmade(config, corpora, workspace)
    assert [(work.stage, work.manifest.part) for work in before.shared] == [
        ("features", "main"), ("functionals", "intensity"), ("spectrograms", "intensity"), ("strengthnet", "intensity"),
        ("spectrograms", "main"), ("intensity", "main"),
    ]  # fmt: skip
    assert len(before.upstreams) == len(before.own["embed"]) == len(corpora.folds.folds) == 5
    assert not (workspace.root / "store").exists(), "looking makes nothing"
    made = make_features(corpora.evaluated, config.features, workspace)
    after = unmade(config, corpora, workspace)
    assert [work.key for work in before.shared if work.key not in {each.key for each in after.shared}] == [made.key]


def test_controls_need_a_track_of_their_own_and_other_probes_no_other_upstreams(demo_workspace, workspace):
    config = config_of()
    corpora = resolve(config, demo_workspace)
    lacking = unmade(config, corpora, workspace)
    control = config.model_copy(update={"intensity": config.intensity.model_copy(update={"control": "rolled"})})
    tracks = [work for work in unmade(control, corpora, workspace).shared if work.stage == "intensity"]
    assert [work.config.intensity.control for work in tracks] == ["none", "rolled"]
    assert tracks[0].key in {work.key for work in lacking.shared}
    probed = config.model_copy(update={"probe": config.probe.model_copy(update={"steps": 7})})
    assert unmade(probed, corpora, workspace).upstreams == lacking.upstreams
    longer = config.model_copy(update={"pretrain": config.pretrain.model_copy(update={"steps": 7})})
    assert not set(unmade(longer, corpora, workspace).upstreams) & set(lacking.upstreams)


def test_features_take_as_much_room_as_was_said(demo_workspace, workspace):
    config = config_of("features.n_mels=8", "features.deltas=0")
    corpora = resolve(config, demo_workspace)
    (work,) = (each for each in unmade(config, corpora, workspace).shared if each.stage == "features")
    said = shared_bytes(work, strengthnet_bytes=0)
    made = make_features(corpora.evaluated, config.features, workspace)
    assert said == pytest.approx(sum(path.stat().st_size for path in made.path.iterdir()), rel=0.05)


def test_metrics_are_counted_over_upstreams_reports_and_looks(demo_workspace):
    config = config_of("pretrain.steps=50", "pretrain.report_every=20", "probe.steps=100", "probe.evaluate_every=30")
    corpora = resolve(config, demo_workspace)
    one = metrics_of(config, corpora)
    more = metrics_of(config_of("pretrain.steps=61", "pretrain.report_every=20", "probe.steps=130"), corpora)
    assert more - one == 5 * 6 + 2 * (np.ceil(130 / 40) - np.ceil(100 / 30))


def test_nothing_to_run_costs_nothing_and_starts_no_process(demo_workspace):
    plan = make_plan(load_definition("ems_grid"), demo_workspace, compute={"compute.threads": 1})
    found = estimate(
        plan, Workspace(root=demo_workspace.root), open_trials=(), slots=2, cpus=1.0, gpus=0.0,
        progress=lambda *_: pytest.fail("something is measured"),
    )  # fmt: skip
    assert (found.trials, found.device_hours, found.wall_seconds, found.disk_bytes, found.memory_bytes) == (0,) * 5
    assert found.as_text() == "estimate: nothing to run"
