"""Small corpora of synthetic voices whose emotion is audible: `ang` is loud and high, `neu` soft and low."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from core.config import CorpusConfig, IntensityConfig, RankingConfig, StrengthNetConfig

VOICES = {"neu": (0.03, 110.0), "ang": (0.2, 220.0), "hap": (0.12, 260.0)}

MakeCorpus = Callable[..., CorpusConfig]


def voice(label: str, *, seconds: float, seed: int) -> np.ndarray:
    """A gliding harmonic tone with silence around it, louder and higher for the emotional classes."""
    random = np.random.default_rng(seed)
    level, pitch = VOICES[label]
    time = np.arange(round(seconds * 16_000)) / 16_000
    phase = 2 * np.pi * pitch * (time + 0.1 * random.random() * time**2)
    tone = sum(np.sin(k * phase) / k for k in range(1, 8))
    envelope = np.clip(np.minimum(time - 0.1, seconds - 0.1 - time) * 20, 0, 1)
    loudness = level * random.uniform(0.7, 1.3)
    return (loudness * tone * envelope / 2 + 1e-4 * random.standard_normal(len(time))).astype(np.float32)


@pytest.fixture
def make_corpus(tmp_path: Path) -> MakeCorpus:
    """Writes recordings and their table; the config that names it. Same arguments, same audio."""

    def make(
        name: str = "corpus",
        *,
        speakers: int = 4,
        takes: int = 2,
        first_seed: int = 0,
        labels: tuple[str, ...] = tuple(VOICES),
        relabel: dict[str, str] | None = None,
    ) -> CorpusConfig:
        folder = tmp_path / name
        folder.mkdir()
        with (folder / "table.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("path", "utterance", "speaker", "label"))
            seed = first_seed
            for speaker in range(speakers):
                for label in labels:
                    for take in range(takes):
                        seed += 1
                        utterance = f"s{speaker}_{label}_{take}"
                        samples = voice(label, seconds=0.6 + 0.1 * (seed % 3), seed=seed)
                        soundfile.write(folder / f"{utterance}.wav", samples, 16_000, subtype="PCM_16")
                        rows.writerow(
                            (f"{utterance}.wav", utterance, f"s{speaker}", (relabel or {}).get(utterance, label))
                        )
        return CorpusConfig(name="table", root=folder / "table.csv")

    return make


@pytest.fixture
def tiny() -> Callable[[CorpusConfig], IntensityConfig]:
    """StrengthNet's architecture at a size that fits in seconds."""

    def config(fit: CorpusConfig) -> IntensityConfig:
        net = StrengthNetConfig(
            channels=(2, 2, 4, 4), lstm=4, lr=3e-3, batch=4, max_epochs=3, crop_s=0.5, validation_speakers=1
        )
        return IntensityConfig(fit=fit, ranking=RankingConfig(pairs_per_class=50), strengthnet=net)

    return config
