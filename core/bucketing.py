"""One epoch as batches of like length: little padding, random order (ours)."""

from __future__ import annotations

__all__ = ["epoch_batches"]

import numpy as np
from numpy.typing import NDArray


def epoch_batches(
    positions: NDArray[np.int64], lengths: NDArray[np.int64], *, size: int, pool: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Every position once, in batches of at most `size`.

    Args:
        positions: what to batch, shape (N,).
        lengths: length in frames by position, as the batch will hold it; shape (largest position + 1,) or more.
        size: positions per batch.
        pool: number of batches that are cut from one shuffled pool sorted by length.
        rng: draws the shuffle and the order of batches.
    """
    shuffled = rng.permutation(positions)
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(shuffled), size * pool):
        chosen = shuffled[start : start + size * pool]
        chosen = chosen[np.argsort(lengths[chosen], kind="stable")]
        batches += [chosen[first : first + size] for first in range(0, len(chosen), size)]
    return [batches[place] for place in rng.permutation(len(batches))]
