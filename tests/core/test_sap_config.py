"""Settings of SAP: the twin, the arm's name, and what means nothing beside what."""

from __future__ import annotations

import pytest

from core.config import TrialConfig
from core.relevance import relevant_content
from core.resolve import twin_of
from core.sap_config import SapConfig


@pytest.mark.parametrize(
    ("arm", "twin"),
    [
        (SapConfig(), SapConfig(pooling="gap")),
        (SapConfig(pooling="sap", threshold=0.3, layers=(-1,)), SapConfig(pooling="gap", layers=(-1,))),
        (SapConfig(pooling="gap+sap+attention", heads=2, steps=9, lr=0.1), SapConfig(pooling="gap")),
        (SapConfig(pooling="attention", steps=9), SapConfig(pooling="gap")),
        (SapConfig(pooling="gap"), SapConfig(pooling="gap")),
        (SapConfig(pooling="gap", threshold=0.3), SapConfig(pooling="gap", threshold=0.3)),
    ],
)
def test_the_twin_is_gap_over_the_same_layers(arm, twin):
    assert arm.plain() == twin
    trial = TrialConfig(system="sap", sap=arm)
    found = twin_of(trial)
    assert found == (None if arm == twin else trial.model_copy(update={"sap": twin}))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (SapConfig(), ["gap+sap", "v0.5"]),
        (SapConfig(pooling="gap"), ["gap"]),
        (SapConfig(pooling="sap", threshold=0.35, layers=(0, -1)), ["sap", "v0.35", "l0,-1"]),
        (SapConfig(pooling="gap+sap+attention", heads=2), ["gap+sap+attention", "v0.5", "h2"]),
        (SapConfig(pooling="attention"), ["attention"]),
    ],
)
def test_the_arm_s_words(config, words):
    assert config.words() == words


@pytest.mark.parametrize(
    ("pooling", "meaningful"),
    [
        ("gap", {"pooling", "layers"}),
        ("sap", {"pooling", "layers", "threshold"}),
        ("gap+sap", {"pooling", "layers", "threshold"}),
        ("gap+sap+attention", {"pooling", "layers", "threshold", "heads", "steps", "lr"}),
        ("attention", {"pooling", "layers", "steps", "lr"}),
    ],
)
def test_what_means_nothing_is_no_part_of_a_trial(pooling, meaningful):
    config = SapConfig(pooling=pooling)
    assert set(SapConfig.model_fields) - set(config.unused()) == meaningful
    content = relevant_content(TrialConfig(system="sap", sap=config))
    assert set(content["sap"]) == meaningful  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{"threshold": 0}, {"threshold": 1}, {"layers": []}, {"heads": 0}, {"lr": 0}])
def test_what_cannot_be_is_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        SapConfig.model_validate(settings)
