"""What means nothing in a trial: told with its reason, and without effect on what names the trial."""

from __future__ import annotations

import pytest

from core.config import CorpusConfig, TrialConfig
from core.relevance import looks_at_intensity, relevant_content, unused_settings

EVERY_TRIAL = {"transformer", "folds.k", "pretraining_audio.held_out_speakers", "alignment", "sap", "teacher"}
"""Unused with the default folds, pre-training audio and system."""


def config(upstream="mockingjay", masking=None, **parts) -> TrialConfig:
    masking = {"policy": "ems", "temperature": 1.0} if masking is None else masking
    return TrialConfig.model_validate({"upstream": upstream, "masking": masking, **parts})


@pytest.mark.parametrize(
    ("trial", "unused"),
    [
        (config(), {"npc"}),
        (config(masking={"policy": "ems_topk"}), {"npc", "masking.temperature"}),
        (config(masking={"policy": "random"}), {"npc", "masking.temperature", "intensity.control"}),
        (config(masking={"policy": "random_nominal"}), {"npc", "masking.temperature", "intensity.control"}),
        (config(masking={"policy": "random_as_topk"}), {"npc", "masking.temperature"}),
        (config(masking={"policy": "random"}, score={"head": True}), {"npc", "masking.temperature"}),
        (config(masking={"policy": "ems", "temperature": "inf"}), {"npc", "intensity.control"}),
        (
            config("npc"),
            {"mockingjay", "masking.zero", "masking.replace", "score.added_to_input"},
        ),
        (
            config("npc", {"policy": "all"}, score={"head": True}),
            {
                "mockingjay", "masking.zero", "masking.replace", "score.added_to_input", "masking.ratio",
                "masking.span", "masking.temperature",
            },
        ),
        (
            config(intensity={"source": "external", "file": "scores.csv", "hop_ms": 16}),
            {"npc", "intensity.ranking", "intensity.strengthnet", "intensity.threads", "intensity.seed"},
        ),
    ],
)  # fmt: skip
def test_the_settings_that_mean_nothing(trial, unused):
    assert set(unused_settings(trial)) == unused | EVERY_TRIAL


@pytest.mark.parametrize(
    ("parts", "held_out_counts", "k_counts"),
    [
        ({}, False, False),
        ({"folds": {"validation": "superb"}}, True, False),
        ({"pretraining_audio": {"source": "transductive"}}, True, False),
        ({"folds": {"scheme": "speaker-folds", "k": 4}}, False, True),
    ],
)
def test_held_out_speakers_and_k_count_where_they_are_used(parts, held_out_counts, k_counts):
    unused = unused_settings(config(**parts))
    assert ("pretraining_audio.held_out_speakers" not in unused, "folds.k" not in unused) == (held_out_counts, k_counts)


def test_the_reason_names_what_makes_a_setting_mean_nothing():
    unused = unused_settings(config("npc", {"policy": "all"}))
    assert "upstream 'npc'" in unused["mockingjay"]
    assert "policy 'all'" in unused["masking.ratio"]
    assert "policy 'all'" in unused["intensity.control"]


@pytest.mark.parametrize(
    ("trial", "looks"),
    [
        (config(), True),
        (config(masking={"policy": "ems", "temperature": "inf"}), False),
        (config(masking={"policy": "ems_topk"}), True),
        (config(masking={"policy": "random_as_topk"}), False),
        (config(masking={"policy": "random"}), False),
        (config(masking={"policy": "random"}, score={"added_to_input": True}), True),
        (config("npc", {"policy": "all"}), False),
        (config("npc", {"policy": "all"}, score={"head": True}), True),
    ],
)
def test_which_trials_look_at_intensity(trial, looks):
    assert looks_at_intensity(trial) is looks


def test_content_without_what_means_nothing_is_blind_to_it_and_to_nothing_else():
    trial = config(masking={"policy": "ems_topk"})
    same = trial.model_copy(update={"npc": trial.npc.model_copy(update={"hidden": 64})})
    other = trial.model_copy(update={"mockingjay": trial.mockingjay.model_copy(update={"hidden": 48})})
    assert relevant_content(trial) == relevant_content(same)
    assert relevant_content(trial) != relevant_content(other)
    whole = trial.model_dump(mode="json")
    left_out = {key: value for key, value in whole.items() if key not in relevant_content(trial)}
    assert set(left_out) == {"npc", "transformer", "alignment", "sap", "teacher"}
    assert set(whole["masking"]) - set(relevant_content(trial)["masking"]) == {"temperature"}


def test_a_config_of_every_corpus_shape_has_a_content(tmp_path):
    """Keys that are left out stand in every config, whatever its source and scheme."""
    fit = CorpusConfig(name="emodb", root=tmp_path)
    trial = config(corpus={"name": "ravdess", "root": tmp_path}, intensity={"fit": fit.model_dump()})
    assert relevant_content(trial)["folds"] == {
        "scheme": "leave-one-session-out", "file": None, "validation": "next-fold",
    }  # fmt: skip
