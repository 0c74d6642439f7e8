"""Every masking policy once more, frame by frame in plain loops, from the published rule and the agreed text alone.

Nothing here is shared with `core.masking`; only the order in which random numbers are drawn is the same.
"""

from __future__ import annotations

__all__ = ["hidden_frames"]

import math

import numpy as np

from core.config import MaskingConfig

Span = tuple[int, int]
"""First frame, and the frame after the last."""


def hidden_frames(
    intensity: list[float], config: MaskingConfig, *, count: np.random.Generator, place: np.random.Generator
) -> list[int]:
    """Hidden frames of one utterance, ascending."""
    frames = len(intensity)
    if config.policy == "all":
        return list(range(frames))
    if config.policy == "random_nominal":
        return _covered(_nominal_starts(frames, config, place), frames, config.span)
    if config.policy == "ems_topk":
        return _topk(intensity, config, place)
    if config.policy == "random_as_topk":
        return _runs_elsewhere(_topk(intensity, config, place), frames, place)
    return _realised(intensity, config, count, place)


def _falling(values: list[float]) -> list[int]:
    """Places of the values from the highest to the lowest, the earlier of two equal ones first."""
    return sorted(range(len(values)), key=lambda place: (-values[place], place))


def _runs_elsewhere(hidden: list[int], frames: int, place: np.random.Generator) -> list[int]:
    """The runs of `hidden` in random order, each put into a gap of its own between two open frames (or at an end)."""
    runs: list[int] = []
    for frame in hidden:
        if frame - 1 in hidden:
            runs[-1] += 1
        else:
            runs.append(1)
    runs = [int(run) for run in place.permutation(runs)]
    gaps = sorted(int(gap) for gap in place.permutation(frames - len(hidden) + 1)[: len(runs)])
    found, frame = [], 0
    for gap in range(frames - len(hidden) + 1):
        if gap in gaps:
            for _ in range(runs[gaps.index(gap)]):
                found.append(frame)
                frame += 1
        frame += 1
    return found


def _covered(starts: list[int], frames: int, span: int) -> list[int]:
    found = set()
    for start in starts:
        for frame in range(start, start + span):
            if frame < frames:
                found.add(frame)
    return sorted(found)


def _last_legal_start(frames: int, config: MaskingConfig) -> int:
    return max(frames - config.span - 1, 0)


def _nominal_spans(frames: int, config: MaskingConfig) -> int:
    return round(frames * config.ratio / config.span)


def _nominal_starts(frames: int, config: MaskingConfig, place: np.random.Generator) -> list[int]:
    shuffled = place.permutation(_last_legal_start(frames, config) + 1)
    return [int(start) for start in shuffled[: _nominal_spans(frames, config)]]


def _topk(intensity: list[float], config: MaskingConfig, place: np.random.Generator) -> list[int]:
    frames = len(intensity)
    wanted = _nominal_spans(frames, config)
    starts: list[int] = []
    for candidate in _falling(intensity)[: 2 * wanted]:
        if candidate <= _last_legal_start(frames, config) and len(starts) < wanted:
            starts.append(candidate)
    if len(starts) < wanted:
        starts = _nominal_starts(frames, config, place)
    return _covered(starts, frames, config.span)


def _realised(
    intensity: list[float], config: MaskingConfig, count: np.random.Generator, place: np.random.Generator
) -> list[int]:
    frames = len(intensity)
    span = min(config.span, frames)
    spans = math.floor(frames * config.ratio / span + count.random())
    keys = [float(g) for g in place.gumbel(size=frames - span + 1)]
    if config.policy == "ems" and config.temperature is not None and not math.isinf(config.temperature):
        scores = _standard_scores(intensity, span)
        keys = [z + config.temperature * g for z, g in zip(scores, keys, strict=True)]
    return _laid(_falling(keys), frames, span, min(spans * span, frames))


def _standard_scores(intensity: list[float], span: int) -> list[float]:
    means = []
    for start in range(len(intensity) - span + 1):
        means.append(math.fsum(intensity[start : start + span]) / span)
    centre = math.fsum(means) / len(means)
    spread = math.sqrt(math.fsum((mean - centre) ** 2 for mean in means) / len(means))
    if max(means) == min(means):
        return [0.0] * len(means)
    return [(mean - centre) / spread for mean in means]


def _laid(order: list[int], frames: int, span: int, wanted: int) -> list[int]:
    """Exactly `wanted` frames: whole spans without overlap, then whatever is free."""
    hidden = [False] * frames
    pieces = wanted // span
    for start in order:
        if pieces and not any(hidden[start : start + span]):
            hidden[start : start + span] = [True] * span
            pieces -= 1
    missing = wanted - sum(hidden)
    for start in order:
        for frame in range(start, start + span):
            if missing > 0 and not hidden[frame]:
                hidden[frame] = True
                missing -= 1
    return [frame for frame in range(frames) if hidden[frame]]
