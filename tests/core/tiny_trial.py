"""A whole trial small enough to run in a second: 24 recordings of three speakers, imported scores, three upstreams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from core.config import TrialConfig

RATE = 16_000
SECONDS = 0.6
FRAMES = 58
"""Of each recording: 1 + (0.6 s − 25 ms) / 10 ms."""
STEPS = 12
"""Of each upstream."""
PARAMETERS = 3104
"""By hand: input 16·16+16, norm 32, attention 4·(16·16+16), feed-forward 16·32+32 + 32·16+16, its norms 64, head
16·16+16 + 32 + 16·16+16."""


def write_corpus(folder: Path) -> None:
    """Two classes that sound different, four recordings each per speaker; scores at random."""
    rng = np.random.default_rng(0)
    rows, scores = ["path,utterance,speaker,label"], ["file_path,score"]
    time_N = np.arange(int(RATE * SECONDS)) / RATE
    for speaker in ("anna", "ben", "cleo"):
        for label, pitch in (("angry", 300.0), ("calm", 180.0)):
            for place in range(4):
                name = f"{speaker}-{label}-{place}"
                tone_N = np.sin(2 * np.pi * pitch * rng.uniform(0.7, 1.4) * time_N) * (1 + np.sin(9 * time_N))
                soundfile.write(folder / f"{name}.wav", 0.2 * tone_N + 0.05 * rng.normal(size=len(time_N)), RATE)
                rows.append(f"{name}.wav,{name},{speaker},{label}")
                values = rng.uniform(size=60).round(4)
                scores.append(f"{name}.wav,{' '.join(map(str, values))}")
    (folder / "corpus.csv").write_text("\n".join(rows) + "\n")
    (folder / "scores.csv").write_text("\n".join(scores) + "\n")


def tiny_trial(folder: Path, changes: dict[str, Any] | None = None) -> TrialConfig:
    """The trial over the corpus in `folder`, written there first; `changes`: nested settings that differ."""
    if not (folder / "corpus.csv").exists():
        write_corpus(folder)
    settings: dict[str, Any] = {
        "corpus": {"name": "table", "root": folder / "corpus.csv"},
        "folds": {"scheme": "leave-one-speaker-out"},
        "features": {"n_mels": 8, "deltas": 0},
        "intensity": {"source": "external", "file": folder / "scores.csv", "hop_ms": 10.0, "fit": None},
        "masking": {"policy": "ems", "ratio": 0.3, "span": 5, "temperature": 0.5},
        "mockingjay": {"hidden": 16, "layers": 1, "heads": 2, "ffn": 32, "stack": 2},
        "pretrain": {
            "steps": STEPS, "batch": 4, "max_frames": 60, "min_frames": 20, "lr": 3e-3, "report_every": 5,
            "checkpoint_every": 4, "validation_utterances": 4,
        },
        "probe": {"projection": 8, "steps": 60, "batch": 8, "lr": 1e-2, "evaluate_every": 20},
        "seed": 4,
    }  # fmt: skip
    for name, value in (changes or {}).items():
        settings[name] = settings[name] | value if isinstance(settings.get(name), dict) else value
    return TrialConfig.model_validate(settings)
