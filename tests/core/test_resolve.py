"""Twins, names and keys: a twin has nothing of EMS, and what means nothing in a trial is not in its key."""

from __future__ import annotations

import pytest

from core.config import (
    CorpusConfig,
    IntensityConfig,
    MaskingConfig,
    MockingjayConfig,
    NpcConfig,
    ScoreConfig,
    TrialConfig,
)
from core.errors import BadInputError
from core.resolve import key_content, meaningful_settings, resolve, trial_modules, twin_of
from core.store import Workspace
from core.trial import arm_name


def trial(upstream: str = "mockingjay", policy: str = "ems", *, added: bool = False, head: bool = False) -> TrialConfig:
    return TrialConfig(
        upstream=upstream,
        masking=MaskingConfig(policy=policy, temperature=0.25 if policy == "ems" else None),
        score=ScoreConfig(added_to_input=added, head=head),
    )


@pytest.mark.parametrize(
    ("arm", "twin"),
    [
        (trial(), trial(policy="random")),
        (trial(policy="ems_topk"), trial(policy="random_nominal")),
        (trial(policy="ems_topk", added=True, head=True), trial(policy="random_nominal")),
        (trial(policy="random_nominal", head=True), trial(policy="random_nominal")),
        (trial("npc"), trial("npc", "random")),
        (trial("npc", "all", head=True), trial("npc", "all")),
        (trial(policy="random"), None),
        (trial(policy="random_nominal"), None),
        (trial(policy="random_as_topk"), None),
        (trial(policy="random_as_topk", head=True), trial(policy="random_as_topk")),
        (trial("npc", "all"), None),
    ],
)
def test_a_twin_has_nothing_of_ems_and_all_else(arm, twin):
    assert twin_of(arm) == twin


def test_all_controls_share_the_twin_of_their_arm():
    intensity = TrialConfig().intensity
    controls = [
        trial().model_copy(update={"intensity": IntensityConfig(fit=intensity.fit, control=control)})
        for control in ("none", "loudness", "shuffled", "inverse")
    ]
    assert {twin.model_dump_json() for twin in map(twin_of, controls) if twin} == {
        trial(policy="random").model_dump_json()
    }


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (trial(), "ems r0.15 s7 t0.25"),
        (trial(policy="ems_topk", added=True, head=True), "ems_topk+input+head r0.15 s7"),
        (trial("npc", "random_nominal"), "npc random_nominal r0.15 s7"),
        (trial("npc", "all", head=True), "npc all+head"),
    ],
)
def test_names_tell_arms_apart(config, name):
    assert arm_name(config) == name


def test_settings_of_the_other_upstream_are_no_part_of_a_trial():
    wide = MockingjayConfig(hidden=96, heads=12)
    npc = trial("npc")
    assert meaningful_settings(npc) == meaningful_settings(npc.model_copy(update={"mockingjay": wide}))
    assert meaningful_settings(trial()) != meaningful_settings(trial().model_copy(update={"mockingjay": wide}))
    assert "npc" not in meaningful_settings(trial())
    assert "mockingjay" not in meaningful_settings(npc)


def test_the_code_of_one_upstream_is_no_part_of_the_other():
    assert set(trial_modules("mockingjay", "ems")) ^ set(trial_modules("npc", "ems")) == {
        "core.models.mockingjay",
        "core.models.npc",
    }


def test_the_key_knows_the_score_switches_and_the_mask_size(demo_workspace):
    corpora = resolve(TrialConfig(), demo_workspace)
    plain = key_content(trial("npc"), corpora)
    assert key_content(trial("npc", head=True), corpora) != plain
    smaller = trial("npc").model_copy(update={"npc": NpcConfig(mask_size=3)})
    assert key_content(smaller, corpora) != plain
    assert key_content(trial("npc"), corpora) == plain


def test_what_an_upstream_cannot_do_is_refused():
    with pytest.raises(ValueError, match="'all' would hide every frame from Mockingjay"):
        trial(policy="all")
    with pytest.raises(ValueError, match=r"score\.added_to_input: how the score enters NPC was never published"):
        trial("npc", added=True)


def test_a_corpus_without_classes_cannot_be_probed(tmp_path):
    (tmp_path / "LibriSpeech/train-clean-100/19/198").mkdir(parents=True)
    folder = tmp_path / "LibriSpeech/train-clean-100/19/198"
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    for place in range(4):
        soundfile.write(folder / f"19-198-000{place}.flac", 0.1 * rng.normal(size=16000), 16000)
    (folder / "19-198.trans.txt").write_text("".join(f"19-198-000{place} HELLO\n" for place in range(4)))
    corpus = CorpusConfig(name="librispeech", root=tmp_path / "LibriSpeech")
    config = TrialConfig().model_copy(
        update={"corpus": corpus, "intensity": IntensityConfig(fit=CorpusConfig(part="intensity"))}
    )
    with pytest.raises(BadInputError, match="librispeech as configured has no emotion classes to probe"):
        resolve(config, Workspace.at(tmp_path / "ws"))
