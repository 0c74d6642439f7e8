"""Named random streams. Each draw belongs to a stream keyed by (seed, name, indices), never to hidden state (ours).

Because a stream depends on nothing that ran before it, a resumed trial draws what the undisturbed one drew, and a twin
shares every stream except the one under test.
"""

from __future__ import annotations

__all__ = ["stream", "stream_seed", "torch_stream"]

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream_seed(seed: int, name: str, *indices: int | str) -> int:
    """63-bit seed of the stream `name` at `indices` (a step, an utterance …) under the trial's seed."""
    text = "\x1f".join([str(seed), name, *map(str, indices)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def stream(seed: int, name: str, *indices: int | str) -> np.random.Generator:
    """NumPy generator of the stream `name` at `indices` under the trial's seed."""
    return np.random.Generator(np.random.PCG64(stream_seed(seed, name, *indices)))


@contextmanager
def torch_stream(seed: int, name: str, *indices: int | str) -> Iterator[torch.Generator]:
    """Seed torch's default generators for the block (dropout reads no other) and restore them after it."""
    import torch

    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        value = stream_seed(seed, name, *indices)
        torch.manual_seed(value)
        yield torch.default_generator
