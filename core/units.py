"""Conversions between seconds, samples and frames on the one grid the project uses."""

from __future__ import annotations

__all__ = ["SAMPLE_RATE", "frame_count", "frame_times"]

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Samples per second of all audio after decoding."""


def frame_count(samples: int, *, window: int, hop: int) -> int:
    """Number of whole analysis windows in a signal (Kaldi's `snip_edges`): 0 if shorter than one window."""
    return 0 if samples < window else 1 + (samples - window) // hop


def frame_times(frames: int, *, window_s: float, hop_s: float) -> NDArray[np.float64]:
    """Centre of each analysis window in seconds, shape (frames,)."""
    return np.arange(frames, dtype=np.float64) * hop_s + window_s / 2
