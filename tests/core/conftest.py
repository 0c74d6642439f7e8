"""Packed features of 22 short utterances, and tiny configs of both upstreams."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from core.config import (
    IntensityConfig,
    MaskingConfig,
    MockingjayConfig,
    NpcConfig,
    PretrainConfig,
    ScoreConfig,
    TrialConfig,
)
from core.features import Features, FrameFile, write_index

DIMS = 6
TinyConfig = Callable[..., TrialConfig]


@pytest.fixture
def features(tmp_path) -> Features:
    rng = np.random.default_rng(0)
    lengths = [int(n) for n in rng.integers(30, 90, size=22)]
    with (
        FrameFile(tmp_path / "features.npy", dtype=np.float16, dims=DIMS) as packed,
        FrameFile(tmp_path / "energy.npy", dtype=np.float32) as energy,
    ):
        for length in lengths:
            wave = np.sin(np.arange(length)[:, None] * rng.uniform(0.05, 0.4, DIMS) + rng.uniform(0, 6, DIMS))
            packed.append(wave + 0.05 * rng.normal(size=wave.shape))
            energy.append(wave[:, 0])
    write_index(tmp_path / "index.parquet", [f"u{i:02d}" for i in range(22)], lengths)
    return Features.open(tmp_path)


@pytest.fixture
def tiny() -> TinyConfig:
    """Config of a trial over `features`: upstream, masking policy, score switches, steps."""

    def make(
        upstream: str = "mockingjay", *, policy: str = "ems", steps: int = 30, micro_batch: int | None = None,
        dropout: float = 0.1, added_to_input: bool = False, head: bool = False, control: str = "none",
    ) -> TrialConfig:  # fmt: skip
        base = TrialConfig()
        return TrialConfig(
            upstream=upstream,
            intensity=IntensityConfig(fit=base.intensity.fit, control=control),
            mockingjay=MockingjayConfig(hidden=16, layers=2, heads=2, ffn=32, dropout=dropout, stack=2),
            npc=NpcConfig(hidden=16, blocks=2, kernel=11, mask_size=3, dropout=dropout, codebooks=(8, 8)),
            pretrain=PretrainConfig(
                steps=steps, batch=5, micro_batch=micro_batch, max_frames=60, min_frames=33, lr=3e-3, report_every=5,
                checkpoint_every=7, validation_utterances=6,
            ),
            masking=MaskingConfig(policy=policy, ratio=0.3, span=5, temperature=0.5 if policy == "ems" else None),
            score=ScoreConfig(added_to_input=added_to_input, head=head),
            seed=4,
        )  # fmt: skip

    return make
