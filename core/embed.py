"""Frozen upstream → per-layer utterance means, all that a mean-pooling linear probe can see (papers: SUPERB's head).

U utterances, L layers, H hidden width.
"""

from __future__ import annotations

__all__ = ["utterance_means"]

import numpy as np
import torch
from numpy.typing import NDArray

from core.features import Features
from core.models.upstream import Upstream
from core.progress import Progress

Index = NDArray[np.int64]

FRAMES_PER_BATCH = 24_000
"""Frames in one forward pass; bounds memory whatever the lengths (ours)."""


@torch.no_grad()
def utterance_means(
    model: Upstream, features: Features, *, device: torch.device, progress: Progress, only: Index | None = None
) -> NDArray[np.float32]:
    """Mean over valid positions of every exposed layer's output, (U, L, H), in evaluation mode and float32.

    In the order of `features.utterances`, or of `only`, positions in them; no other utterance is read. Leaves the model
    in the mode it had.
    """
    was_training = model.training
    model = model.to(device).eval()
    chosen = np.arange(len(features.lengths)) if only is None else only
    order = np.argsort(features.lengths[chosen], kind="stable")
    means: list[NDArray[np.float32] | None] = [None] * len(order)
    done = 0
    while done < len(order):
        places = _next_rows(order[done:], features.lengths[chosen])
        for place, mean_LH in zip(places, _batch_means(model, features, chosen[places], device), strict=True):
            means[place] = mean_LH
        done += len(places)
        progress("embed", done, len(order))
    model.train(was_training)
    return np.stack([mean for mean in means if mean is not None])


def _next_rows(order: NDArray[np.intp], lengths: NDArray[np.int64]) -> NDArray[np.intp]:
    """As many utterances, sorted by length, as fit into one padded batch; at least one."""
    padded = lengths[order] * np.arange(1, len(order) + 1)
    return order[: max(1, int(np.searchsorted(padded, FRAMES_PER_BATCH, side="right")))]


def _batch_means(
    model: Upstream, features: Features, rows: NDArray[np.intp], device: torch.device
) -> NDArray[np.float32]:
    lengths_B = features.lengths[rows]
    fbank_BTD = np.zeros((len(rows), int(lengths_B.max()), features.dims), dtype=np.float32)
    for place, row in enumerate(rows):
        start = int(features.offsets[row])
        fbank_BTD[place, : lengths_B[place]] = features.frames_at(slice(start, start + int(lengths_B[place])))
    states, padding_BP = model.hidden_states(
        torch.from_numpy(fbank_BTD).to(device), torch.from_numpy(lengths_B).to(device)
    )
    valid_BP1 = (~padding_BP)[..., None].float()
    means = [(state * valid_BP1).sum(1) / valid_BP1.sum(1) for state in states]
    return np.asarray(torch.stack(means, dim=1).float().cpu().numpy())
