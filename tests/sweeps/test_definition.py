"""Definitions and overrides: what is understood, and that everything else is refused in one line."""

from __future__ import annotations

import json
import math
from typing import get_args

import pytest

from core.config import TrialConfig
from core.errors import BadInputError
from core.presets import Preset, preset_settings
from sweeps.definition import accept_corpora, checked, definition_names, load_definition, trial_config
from sweeps.settings import known_keys, merge
from sweeps.space import points


@pytest.mark.parametrize("preset", get_args(Preset))
@pytest.mark.parametrize(
    ("name", "spread"), [("ems_grid", 8), ("ems_published", 3), ("ems_ablation", 15), ("ems_controls", 1)]
)
def test_shipped_definitions_make_valid_trials_at_every_preset(name, spread, preset):
    found = points(load_definition(name, [f"preset={preset}"]))
    assert len(found) == spread
    assert {point.config.masking.ratio for point in found} <= {0.15, 0.3}


def test_every_shipped_definition_is_tested_and_described():
    assert definition_names() == [
        "ems_ablation",
        "ems_asha",
        "ems_controls",
        "ems_grid",
        "ems_pareto",
        "ems_published",
        "ems_race",
        "ems_tpe",
        "frame_alignment",
        "noisy_labels",
        "sap",
        "seed_systems",
        "teacher_student",
    ]
    for name in definition_names():
        definition = load_definition(name)
        assert definition.name == name
        assert 20 < len(definition.description) < 110


def test_ems_grid_has_the_three_axes_of_the_user():
    assert set(load_definition("ems_grid").axes) == {"masking.ratio", "masking.temperature", "masking.span"}


def test_paper_preset_is_the_published_setting():
    config = TrialConfig.model_validate(merge(*preset_settings("paper", "mockingjay")))
    model, training = config.mockingjay, config.pretrain
    assert (model.layers, model.hidden, model.heads, model.ffn, model.stack) == (3, 768, 12, 3072, 1)
    assert (training.steps, training.lr, training.warmup, training.clip, training.batch) == (
        1_000_000,
        2e-4,
        0.07,
        5,
        16,
    )
    assert config.features.dims == 240
    probe = config.probe
    assert (probe.projection, probe.steps, probe.batch, probe.lr) == (256, 30_000, 32, 1e-4)
    net = config.intensity.strengthnet
    assert (net.channels, net.lstm, net.dropout, net.lr, net.batch, net.patience) == (
        (16, 32, 64, 128),
        128,
        0.3,
        1e-4,
        64,
        30,
    )


def test_paper_preset_of_npc_is_the_published_setting():
    config = trial_config(load_definition("ems_grid", ["preset=paper", "upstream=npc", "masking.temperature=1"]), {})
    model, training = config.npc, config.pretrain
    assert (model.hidden, model.blocks, model.kernel, model.mask_size, model.codebooks) == (512, 4, 15, 5, (64,) * 4)
    assert (training.lr, training.batch, training.decay, training.warmup, config.features.dims) == (
        1e-3,
        32,
        "none",
        0,
        80,
    )


def test_override_replaces_an_axis_and_a_setting():
    definition = load_definition("ems_grid", ["axes.masking.span=[5]", "seeds=[3]", "pretrain.steps=9", "preset=small"])
    assert (definition.axes["masking.span"], definition.seeds, definition.preset) == ((5,), (3,), "small")
    assert trial_config(definition, {"masking.temperature": 1}).pretrain.steps == 9


def test_accepting_quarantined_files_reaches_every_corpus_named(tmp_path):
    """In the settings, and in an arm."""
    heard = {"source": "external", "corpus.name": "ravdess", "corpus.root": str(tmp_path)}
    arm = {f"pretraining_audio.{key}": value for key, value in heard.items()}
    definition = load_definition("ems_grid", [f"arms={json.dumps({'heard': arm})}", "pretraining_audio.source=null"])
    spread = points(accept_corpora(definition, quarantined=True, incomplete=False))
    assert len(spread) == 8
    for point in spread:
        corpora = (point.config.corpus, point.config.intensity.fit, point.config.pretraining_audio.corpus)
        assert all(corpus.allow_quarantined and not corpus.allow_incomplete for corpus in corpora)


def test_numbers_are_numbers_however_they_are_written():
    definition = load_definition("ems_grid", ["axes.pretrain.lr=[1e-4,.5,2E+3,3]", "intensity.strengthnet.lr=1e-4"])
    assert definition.axes["pretrain.lr"] == (0.0001, 0.5, 2000.0, 3)
    assert definition.settings["intensity"]["strengthnet"]["lr"] == 0.0001


def test_naming_another_corpus_drops_what_was_said_of_the_old_one(tmp_path):
    overrides = [
        f"intensity.fit.root={tmp_path}",
        "intensity.fit.name=ravdess",
        f"corpus.root={tmp_path}",
        "corpus.name=emodb",
    ]
    config = trial_config(load_definition("ems_grid", overrides), {"masking.temperature": 1})
    assert (config.intensity.fit.name, config.intensity.fit.part, config.intensity.fit.root) == (
        "ravdess",
        "main",
        tmp_path,
    )


def test_infinite_temperature_survives_the_way_through_json():
    config = trial_config(
        load_definition("ems_grid", ["axes.masking.temperature=[.inf]"]), {"masking.temperature": "inf"}
    )
    assert math.isinf(TrialConfig.model_validate_json(config.model_dump_json()).masking.temperature)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("masking.rato=0.2", r"unknown setting 'masking.rato'; the nearest is 'masking.ratio'"),
        ("axes.masking.temp=[1]", r"unknown setting 'masking.temp'; the nearest is 'masking.temperature'"),
        ("sedes=[1]", r"unknown setting 'sedes'; the nearest is 'seed"),
        ("seed=3", r"'seed' is set by the sweep: say seeds"),
        ("compute.threads=4", r"'compute.threads' is set by sweep launch --cpus-per-trial"),
        ("axes.masking.span=[]", r"axes.masking.span: .*at least 1 item"),
        (
            "controls=[loud]",
            r"controls.0: Input should be 'loudness', 'shuffled', 'rolled' or 'inverse' \(got 'loud'\)",
        ),
        ("controls=[inverse,inverse]", r"controls: 'inverse' is named twice"),
        ("arms={a: {masking.rato: 1}}", r"unknown setting 'masking.rato'; the nearest is 'masking.ratio'"),
        ("arms={a: {}}", r"arms.a: Dictionary should have at least 1 item"),
        ("when=3", r"when: Input should be a valid tuple \(got 3\)"),
        ("when=[{axes: {npc.hidden: [8]}}]", r"when.0.if: Field required"),
        ("when=[{if: {upstrem: npc}}]", r"unknown setting 'upstrem'; the nearest is 'upstream'"),
        (
            "when=[{if: {upstream: npc}, axes: {npc.hiden: [8]}}]",
            r"unknown setting 'npc.hiden'; the nearest is 'npc.hid",
        ),
        ("when=[{if: {upstream: npc}, settings: {npc: {hiden: 8}}}]", r"unknown setting 'npc.hiden'"),
        ("contrasts={x: {arm: a, against: a}}", r"contrasts.x: against: 'a' is the arm itself"),
        ("seeds=[-1]", r"seeds.0: Input should be greater than or equal to 0 \(got -1\)"),
        ("preset=huge", r"preset: Input should be 'smoke', 'small' or 'paper' \(got 'huge'\)"),
        ("masking.zero", r"expected key=value"),
        ("seeds=[", r"not YAML"),
        ("seeds=[]", r"seeds: .*at least 1 item"),
    ],
)
def test_a_bad_override_is_one_clear_line(override, message):
    with pytest.raises(BadInputError, match=message) as caught:
        load_definition("ems_grid", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "point", "message"),
    [
        ([], {"masking.ratio": 1.5}, r"masking.ratio: Input should be less than 1 \(got 1.5\)"),
        ([], {"masking.span": 0}, r"masking.span: Input should be greater than or equal to 1 \(got 0\)"),
        ([], {"masking.temperature": -1}, r"masking.temperature: .*greater than 0 \(got -1\)"),
        (["mockingjay.heads=5"], {}, r"heads: 5 does not divide hidden 48"),
        (["corpus.name=emodb"], {}, r"corpus 'emodb' needs its folder"),
        (["corpus.name=emodb", "corpus.root=/x"], {}, r"the demo corpus is synthetic"),
        (["masking.policy=random"], {}, r"temperature: needed by policy 'ems'"),
        (["intensity.source=external"], {}, r"file, hop_ms: both are needed"),
    ],
)
def test_a_bad_value_names_setting_value_and_bound(overrides, point, message):
    definition = load_definition("ems_grid", overrides)
    axes = {axis: values[0] for axis, values in definition.axes.items()}
    with pytest.raises(BadInputError, match=message):
        trial_config(definition, axes | point)


def test_a_definition_file_with_a_misspelt_setting_names_the_nearest(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nsettings: {masking: {spann: 3}}\n")
    with pytest.raises(
        BadInputError, match=r"mine.yaml: unknown setting 'masking.spann'; the nearest is 'masking.span'"
    ):
        load_definition(str(path))


def test_an_unknown_sweep_names_those_that_ship():
    with pytest.raises(BadInputError, match=r"no sweep 'ems_gird': not one of .*ems_grid"):
        load_definition("ems_gird")


def test_every_setting_of_the_config_can_be_overridden():
    keys = known_keys()
    assert {"corpus.root", "intensity.strengthnet.lr", "pretraining_audio.corpus.name", "compute.threads"} <= set(keys)
    assert checked(TrialConfig, {}, where="defaults").seed == 0
