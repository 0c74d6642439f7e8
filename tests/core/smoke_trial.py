"""Trials on the demo corpus at preset `smoke`, without the intensity model that random masking does not look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.config import CorpusConfig, TrialConfig
from core.corpora.loading import load_manifest
from core.presets import preset_settings
from core.store import Workspace


def smoke_trial(own: dict[str, Any]) -> TrialConfig:
    """The preset with Mockingjay, and `own` laid over it."""
    settings: dict[str, Any] = {}
    for layer in (*preset_settings("smoke", "mockingjay"), own):
        for name, value in layer.items():
            settings[name] = {**settings.get(name, {}), **value} if isinstance(value, dict) else value
    return TrialConfig.model_validate(settings)


def imported_scores(corpus: CorpusConfig, workspace: Workspace, folder: Path) -> dict[str, Any]:
    """Settings of `intensity`: the same score for every second of the corpus."""
    rows = ["file_path,score"]
    for item in load_manifest(corpus, workspace).utterances:
        rows.append(f"{item.path},{' '.join(['0.5'] * max(1, round(item.duration_s)))}")
    path = folder / "scores.csv"
    path.write_text("\n".join(rows) + "\n")
    return {"source": "external", "file": path, "hop_ms": 1000, "fit": None}
