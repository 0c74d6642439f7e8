"""Which settings mean something in a trial: the others are refused where they are given, and stay out of its key."""

from __future__ import annotations

__all__ = ["OWN_SETTINGS", "looks_at_intensity", "own_part", "relevant_content", "unused_settings"]

import math

from core.config import MaskingConfig, SystemName, TrialConfig
from core.identity import Json

OWN_SETTINGS: dict[str, SystemName] = {
    "sap": "sap", "alignment": "frame_alignment", "teacher": "teacher_student",
}  # fmt: skip
"""Part of the config → the one system that it belongs to."""


def own_part(system: SystemName) -> str:
    """The part of the config that is this system's own; of `ems` that is `masking`."""
    return next((part for part, owner in OWN_SETTINGS.items() if owner == system), "masking")


def looks_at_intensity(config: TrialConfig) -> bool:
    """Whether emotional intensity chooses the hidden frames or enters the upstream; controls make sense only then."""
    masking = config.masking
    weighed = masking.policy == "ems" and masking.temperature is not None and not math.isinf(masking.temperature)
    return weighed or masking.policy == "ems_topk" or config.score.used


def unused_settings(config: TrialConfig) -> dict[str, str]:
    """Dotted prefix of every setting that can change nothing in this trial → why, in words (ours).

    A key stands for itself and for everything below it: `npc` covers `npc.kernel`.
    """
    unused: dict[str, str] = {}
    if config.upstream == "mockingjay":
        unused["npc"] = "upstream 'mockingjay' has no masked convolutions"
    else:
        unused["mockingjay"] = "upstream 'npc' is no Transformer"
        for key in ("masking.zero", "masking.replace"):
            unused[key] = "upstream 'npc' sees all frames as they are, its mask is a hole in its convolutions"
        unused["score.added_to_input"] = "how the score enters upstream 'npc' was never published"
    for part, system in OWN_SETTINGS.items():
        if config.system != system:
            unused[part] = f"settings of system {system!r}; this is {config.system!r}"
    unused |= _unused_masking(config.masking)
    if not looks_at_intensity(config) and config.masking.policy != "random_as_topk":
        at = " at infinite temperature" if config.masking.policy == "ems" else ""
        unused["intensity.control"] = f"policy {config.masking.policy!r}{at} and no score: nothing looks at intensity"
    if config.intensity.source == "external":
        for key in ("ranking", "strengthnet", "threads"):
            unused[f"intensity.{key}"] = "intensity.source 'external' fits no model"
        if config.intensity.control not in ("shuffled", "rolled"):
            unused["intensity.seed"] = "imported scores are drawn from no stream"
    if config.pretraining_audio.source == "fold" and config.folds.validation == "next-fold":
        reason = "with source 'fold' and validation 'next-fold' the fold's validation speakers are held out"
        unused["pretraining_audio.held_out_speakers"] = reason
    if config.folds.scheme != "speaker-folds":
        unused["folds.k"] = f"scheme {config.folds.scheme!r} makes its folds without a k"
    return unused


def _unused_masking(masking: MaskingConfig) -> dict[str, str]:
    unused = {}
    if masking.policy == "all":
        for key in ("masking.ratio", "masking.span"):
            unused[key] = "policy 'all' chooses no frames"
    if masking.policy != "ems":
        unused["masking.temperature"] = f"policy {masking.policy!r} draws without a temperature"
    return unused


def relevant_content(config: TrialConfig) -> dict[str, Json]:
    """The whole config as JSON values, without the settings that mean nothing in this trial."""
    content: dict[str, Json] = config.model_dump(mode="json")
    for key in unused_settings(config):
        *owners, last = key.split(".")
        place = content
        for owner in owners:
            inner = place[owner]
            assert isinstance(inner, dict)
            place = inner
        del place[last]
    return content
