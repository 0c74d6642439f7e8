"""Sizes: `smoke` proves the path in seconds, `small` trains in minutes on CPU, `paper` is the published setting."""

from __future__ import annotations

__all__ = ["PRESETS", "Preset", "Settings"]

from typing import Any, Literal

Preset = Literal["smoke", "small", "paper"]
Settings = dict[str, Any]
"""Nested settings of a `TrialConfig`, only those that differ from its defaults."""

PRESETS: dict[Preset, Settings] = {
    "smoke": {
        "intensity": {
            "strengthnet": {
                "channels": (4, 8, 8, 16), "lstm": 16, "lr": 3e-3, "batch": 8, "max_epochs": 10, "patience": 4,
                "crop_s": 1.5,
            },
            "ranking": {"pairs_per_class": 500},
        },
        "mockingjay": {"hidden": 48, "layers": 2, "heads": 4, "ffn": 96, "stack": 3},
        "pretrain": {
            "steps": 60, "batch": 8, "max_frames": 160, "min_frames": 60, "lr": 2e-3, "report_every": 20,
            "checkpoint_every": 20,
        },
        "probe": {"projection": 64, "steps": 600, "lr": 1e-2, "evaluate_every": 40},
    },
    "small": {
        "intensity": {"strengthnet": {"max_epochs": 8, "patience": 4, "crop_s": 1.5, "lr": 3e-4, "batch": 8}},
        "mockingjay": {"hidden": 128, "layers": 3, "heads": 4, "ffn": 512, "stack": 3},
        "pretrain": {
            "steps": 500, "batch": 12, "max_frames": 300, "min_frames": 100, "lr": 1e-3, "report_every": 50,
            "checkpoint_every": 100,
        },
        "probe": {"steps": 3000, "lr": 1e-3, "evaluate_every": 100},
    },
    "paper": {},
}  # fmt: skip
"""`paper` is empty because the config's defaults are the published values; each field's docstring has the source."""
