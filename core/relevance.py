"""Which settings mean something in a trial: the others are refused where they are given, and stay out of its key."""

from __future__ import annotations

__all__ = [
    "OWN_SETTINGS",
    "looks_at_intensity",
    "own_part",
    "relevant_content",
    "unused_settings",
    "upstream_part",
]

from typing import Protocol, runtime_checkable

from core.config import TRANSFORMERS, MaskingConfig, SystemName, TrialConfig, UpstreamName
from core.identity import Json

OWN_SETTINGS: dict[str, SystemName] = {
    "sap": "sap", "alignment": "frame_alignment", "teacher": "teacher_student",
}  # fmt: skip
"""Part of the config → the one system that it belongs to."""


def own_part(system: SystemName) -> str:
    """The part of the config that is this system's own; of `ems` that is `masking`."""
    return next((part for part, owner in OWN_SETTINGS.items() if owner == system), "masking")


def upstream_part(upstream: UpstreamName) -> str:
    """The part of the config that is this upstream's own."""
    return "transformer" if upstream in TRANSFORMERS else upstream


def looks_at_intensity(config: TrialConfig) -> bool:
    """Whether emotional intensity chooses the hidden frames or enters the upstream; controls make sense only then."""
    return config.looks_at_intensity


@runtime_checkable
class _Choosing(Protocol):
    """A system's own settings, some of which mean nothing beside others."""

    def unused(self) -> dict[str, str]: ...


def unused_settings(config: TrialConfig) -> dict[str, str]:
    """Dotted prefix of every setting that can change nothing in this trial → why, in words (ours).

    A key stands for itself and for everything below it: `npc` covers `npc.kernel`.
    """
    unused = _unused_upstream(config)
    for part, system in OWN_SETTINGS.items():
        own = getattr(config, part)
        if config.system != system:
            unused[part] = f"settings of system {system!r}; this is {config.system!r}"
        elif isinstance(own, _Choosing):
            unused |= {f"{part}.{key}": reason for key, reason in own.unused().items()}
    if config.system in ("frame_alignment", "teacher_student"):
        unused["probe"] = f"system {config.system!r} has no probe"
    if config.masks:
        unused |= _unused_masking(config.masking)
    if config.needs_intensity:
        unused |= _unused_intensity(config)
    if config.pretrains and config.pretraining_audio.source == "fold" and config.folds.validation == "next-fold":
        reason = "with source 'fold' and validation 'next-fold' the fold's validation speakers are held out"
        unused["pretraining_audio.held_out_speakers"] = reason
    if config.folds.scheme != "speaker-folds":
        unused["folds.k"] = f"scheme {config.folds.scheme!r} makes its folds without a k"
    return unused


def _unused_upstream(config: TrialConfig) -> dict[str, str]:
    """What other upstreams are made of, and what this one is not made with."""
    name, unused = config.upstream, {}
    if name != "mockingjay":
        unused["mockingjay"] = f"upstream {name!r} is no Transformer over filter banks"
    if name != "npc":
        unused["npc"] = f"upstream {name!r} has no masked convolutions"
    if config.pretrains:
        unused["transformer"] = f"upstream {name!r} is trained here, not read through transformers"
    if name == "npc":
        for key in ("masking.zero", "masking.replace"):
            unused[key] = "upstream 'npc' sees all frames as they are, its mask is a hole in its convolutions"
        unused["score.added_to_input"] = "how the score enters upstream 'npc' was never published"
    return unused if config.pretrains else unused | _unused_when_trained(config)


def _unused_when_trained(config: TrialConfig) -> dict[str, str]:
    """What the upstreams of `transformers` have no use for."""
    name = config.upstream
    unused = dict.fromkeys(("pretrain", "pretraining_audio", "score"), f"upstream {name!r} comes trained")
    if config.masks:
        for key in ("masking.zero", "masking.replace"):
            unused[key] = f"upstream {name!r} has an embedding of its own for what is hidden"
    else:
        unused["masking"] = f"upstream {name!r} comes trained and is only read: nothing is hidden from it"
    if config.system in ("sap", "frame_alignment"):
        unused["transformer.layers"] = f"system {config.system!r} names the layers that it reads itself"
    if config.system != "frame_alignment":
        unused["transformer.gradient_checkpointing"] = f"system {config.system!r} trains no weight of upstream {name!r}"
    if not config.needs_intensity:
        unused["features"] = f"upstream {name!r} hears the waveform itself"
        unused["intensity"] = f"nothing that is hidden from upstream {name!r} is chosen by intensity"
    return unused


def _unused_intensity(config: TrialConfig) -> dict[str, str]:
    unused, policy = {}, config.masking.policy
    if not config.looks_at_intensity and policy != "random_as_topk":
        at = " at infinite temperature" if policy == "ems" else ""
        unused["intensity.control"] = f"policy {policy!r}{at} and no score: nothing looks at intensity"
    if config.intensity.source == "external":
        for key in ("ranking", "strengthnet", "threads"):
            unused[f"intensity.{key}"] = "intensity.source 'external' fits no model"
        if config.intensity.control not in ("shuffled", "rolled"):
            unused["intensity.seed"] = "imported scores are drawn from no stream"
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
