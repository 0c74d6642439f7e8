"""Sizes: `smoke` proves the path in seconds, `small` trains in minutes on CPU, `paper` is the published setting."""

from __future__ import annotations

__all__ = ["Preset", "Settings", "preset_settings"]

from typing import Any, Literal

from core.config import TRANSFORMERS, UpstreamName

Preset = Literal["smoke", "small", "paper"]
Settings = dict[str, Any]
"""Nested settings of a `TrialConfig`, only those that differ from its defaults."""

_SHARED: dict[Preset, Settings] = {
    "smoke": {
        "intensity": {
            "strengthnet": {
                "channels": (4, 8, 8, 16), "lstm": 16, "lr": 3e-3, "batch": 8, "max_epochs": 10, "patience": 4,
                "crop_s": 1.5,
            },
            "ranking": {"pairs_per_class": 500},
        },
        "probe": {"projection": 64, "steps": 600, "lr": 1e-2, "evaluate_every": 40},
        "alignment": {
            "k": 12, "layer": -1, "tapt_k": 24, "tapt_layer": -1,
            "units": {"updates": 60, "batch": 8, "crop_s": 1.6, "lr": 2e-3, "projection": 32},
            "tuning": {"epochs": 4, "batch": 16, "lr": 1e-3, "crop_s": 2.0},
        },
        "teacher": {
            "projection": 32, "hidden": 32, "reduce": 8, "inner_folds": 2, "steps": 120, "batch": 24, "lr": 5e-3,
            "evaluate_every": 20,
        },
        "sap": {"steps": 240, "lr": 5e-3},
    },
    "small": {
        "intensity": {
            "strengthnet": {
                "max_epochs": 8, "patience": 4, "crop_s": 1.5, "lr": 3e-4, "batch": 8,
                "level": "utterance", "scale": "log", "trim": True,
            },
            "ranking": {"strength": "any"},
        },
        "probe": {"steps": 3000, "lr": 1e-3, "evaluate_every": 100},
        "alignment": {
            "layer": -1, "tapt_k": 100, "tapt_layer": -1,
            "units": {"updates": 500, "batch": 12, "crop_s": 3.0, "lr": 1e-3, "projection": 128},
            "tuning": {"epochs": 15, "batch": 24, "lr": 3e-4, "crop_s": 4.0},
        },
        "teacher": {
            "projection": 64, "hidden": 64, "reduce": 2, "steps": 800, "lr": 2e-3, "evaluate_every": 40,
        },
        "sap": {"steps": 1000},
    },
    "paper": {},
}  # fmt: skip

_SMOKE_LOOP: Settings = {
    "steps": 60, "batch": 8, "max_frames": 160, "min_frames": 60, "lr": 2e-3, "validation_utterances": 16,
    "report_every": 20, "checkpoint_every": 20,
}  # fmt: skip
_SMALL_LOOP: Settings = {
    "steps": 500, "batch": 12, "max_frames": 300, "min_frames": 100, "lr": 1e-3, "report_every": 50,
    "checkpoint_every": 100,
}  # fmt: skip
_NPC_LOOP: Settings = {"weight_decay": 0.0, "warmup": 0.0, "decay": "none"}
"""Adam at a constant rate, as NPC was published."""

_LAST_LAYER: Settings = {"layer": -1, "tapt_layer": -1}

_UPSTREAM: dict[UpstreamName, dict[Preset, Settings]] = {
    "mockingjay": {
        "smoke": {
            "mockingjay": {"hidden": 48, "layers": 2, "heads": 4, "ffn": 96, "stack": 3},
            "pretrain": _SMOKE_LOOP,
        },
        "small": {
            "mockingjay": {"hidden": 128, "layers": 3, "heads": 4, "ffn": 512, "stack": 3},
            "pretrain": _SMALL_LOOP,
        },
        # The config's defaults are the published values; each field's docstring has the source. HuBERT's layer 9 of 12
        # is no layer of Mockingjay or NPC, whose last one is clustered (ours).
        "paper": {"alignment": _LAST_LAYER},
    },
    "npc": {
        "smoke": {
            "features": {"deltas": 0},
            "npc": {"hidden": 32, "codebooks": (16, 16)},
            "pretrain": _SMOKE_LOOP | _NPC_LOOP,
        },
        "small": {
            "features": {"deltas": 0},
            "npc": {"hidden": 96},
            "pretrain": _SMALL_LOOP | _NPC_LOOP,
        },
        # Published: 80 mel bands, no deltas; 100 epochs of LibriSpeech train-clean-360 in batches of 32; Adam 1e-3.
        "paper": {
            "features": {"deltas": 0},
            "alignment": _LAST_LAYER,
            "pretrain": _NPC_LOOP | {"steps": 325_000, "batch": 32, "lr": 1e-3, "min_frames": 30},
        },
    },
    # They come trained, at their own size.
    **{upstream: {"smoke": {}, "small": {}, "paper": {}} for upstream in TRANSFORMERS},
}


def preset_settings(preset: Preset, upstream: UpstreamName) -> tuple[Settings, Settings]:
    """Settings of a preset that hold for every upstream, and those of this one, which are laid over them."""
    return _SHARED[preset], _UPSTREAM[upstream][preset]
