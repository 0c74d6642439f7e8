"""Which frames are hidden (or, for NPC, enter the loss: ours), by which rule, and the audit of what was really hidden.

An utterance has L frames, a span C of them, and p is the configured ratio. Two families of rules.

**Realised ratio** (ours, after the user's three axes): `ems` and its twin `random`.

1. n = ⌊L·p/C + u⌋ spans, u uniform in [0, 1): the expected share of hidden frames is exactly p. The draw of u belongs
   to a stream that an arm and its twin share, so both hide the same number of frames in every utterance.
2. Spans are drawn one after the other with probability ∝ exp(z_s/τ) among the starts s that overlap no earlier span;
   z_s is the mean intensity over [s, s+C), standardised over the starts of the utterance. Random masking is τ = ∞.
   Drawing without replacement is done by ordering the starts by z_s/τ + Gumbel noise (Gumbel-top-k).
3. Should no free start be left before n spans are placed (high ratios only), spans may overlap until n·C frames are
   hidden, the last one cut so that the number is met exactly.

**Nominal ratio** (published): P = round(L·p/C) spans whose starts lie in [0, v], v = max(L−C−1, 0), and may overlap.

- `random_nominal`: P different starts, all equally probable (the usual rule of Mockingjay's toolkit).
- `ems_topk` (Liu & Ma 2024, released rule): of the 2P most intense frames the first P, in order of intensity, that are
  legal starts; P random starts as above where fewer are legal. Neighbours are about equally intense, so the spans
  pile up and far fewer frames are hidden than p says.
- `random_as_topk` (ours): the contiguous runs that `ems_topk` hides in this utterance, in random order at random
  places. Between it and `ems_topk` only the places differ: neither how many frames are hidden nor in runs of what
  length, which decides how hard they are to rebuild. Between it and `random_nominal` number and runs differ.
"""

from __future__ import annotations

__all__ = ["MaskAudit", "corrupt", "draw_mask", "hidden_runs", "span_scores"]

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.config import MaskingConfig
from core.errors import BadInputError

Mask = NDArray[np.bool_]
Frames = NDArray[np.float32]


def span_scores(intensity_T: Frames, span: int) -> NDArray[np.float64]:
    """Standardised mean intensity of each possible span, shape (T − span + 1,); all zero for constant intensity."""
    sums = np.concatenate([[0.0], np.cumsum(intensity_T, dtype=np.float64)])
    means = (sums[span:] - sums[:-span]) / span
    spread = means.std()
    # A constant track differs from its mean by rounding only: amplified, that noise would rank the spans.
    if spread <= 1e-9 * max(float(np.abs(means).max()), 1e-30):
        return np.zeros_like(means)
    return np.asarray((means - means.mean()) / spread)


def draw_mask(
    intensity_T: Frames, config: MaskingConfig, *, count: np.random.Generator, place: np.random.Generator
) -> Mask:
    """Draw the hidden frames of one utterance, shape (T,).

    Args:
        intensity_T: intensity of each valid frame; only the emotional policies and `random_as_topk` look at it.
        config: policy, ratio, span, temperature.
        count: stream of the number of spans (`random`, `ems`); an arm and its twin pass the same.
        place: stream of their positions.

    An utterance shorter than one span is one span. Raises BadInputError for an empty utterance or intensity that is
    not finite.
    """
    if len(intensity_T) == 0:
        raise BadInputError("masking: the utterance has no frames")
    _refuse_non_finite(intensity_T)
    if config.policy == "all":
        return np.ones(len(intensity_T), dtype=np.bool_)
    if config.policy == "ems_topk":
        return _union(_topk_starts(intensity_T, config, place=place), length=len(intensity_T), span=config.span)
    if config.policy == "random_nominal":
        return _union(_random_starts(len(intensity_T), config, place=place), length=len(intensity_T), span=config.span)
    if config.policy == "random_as_topk":
        return _as_topk(intensity_T, config, place=place)
    return _realised(intensity_T, config, count=count, place=place)


def _refuse_non_finite(intensity_T: Frames) -> None:
    if not np.isfinite(intensity_T).all():
        frame = int(np.flatnonzero(~np.isfinite(intensity_T))[0])
        raise BadInputError(f"intensity: frame {frame} is {intensity_T[frame]}; every frame must be finite")


def _realised(
    intensity_T: Frames, config: MaskingConfig, *, count: np.random.Generator, place: np.random.Generator
) -> Mask:
    length = len(intensity_T)
    span = min(config.span, length)
    spans = int(np.floor(length * config.ratio / span + count.random()))
    keys = place.gumbel(size=length - span + 1)
    if config.policy == "ems" and config.temperature is not None and not np.isinf(config.temperature):
        # The order of z/τ + g is that of z + τ·g, which stays finite as τ → 0.
        keys = span_scores(intensity_T, span) + config.temperature * keys
    return _place(np.argsort(-keys, kind="stable"), span=span, hidden=min(spans * span, length), length=length)


def _place(order: NDArray[np.intp], *, span: int, hidden: int, length: int) -> Mask:
    """Disjoint spans at the first free starts in `order`, then free frames of spans in that order, `hidden` in all."""
    mask = np.zeros(length, dtype=np.bool_)
    free = np.ones(len(order), dtype=np.bool_)
    missing = hidden
    for start in order:
        if missing < span:
            break
        if free[start]:
            mask[start : start + span] = True
            free[max(0, start - span + 1) : start + span] = False
            missing -= span
    for start in order:
        if missing <= 0:
            break
        fresh = start + np.flatnonzero(~mask[start : start + span])[:missing]
        mask[fresh] = True
        missing -= len(fresh)
    return mask


def _nominal_spans(length: int, config: MaskingConfig) -> tuple[int, int]:
    """How many spans the published rules start, and the last frame at which one may start."""
    return round(length * config.ratio / config.span), max(length - config.span - 1, 0)


def _random_starts(length: int, config: MaskingConfig, *, place: np.random.Generator) -> NDArray[np.intp]:
    spans, last = _nominal_spans(length, config)
    return place.permutation(last + 1)[:spans]


def _topk_starts(intensity_T: Frames, config: MaskingConfig, *, place: np.random.Generator) -> NDArray[np.intp]:
    spans, last = _nominal_spans(len(intensity_T), config)
    candidates = np.argsort(-intensity_T, kind="stable")[: 2 * spans]
    starts = candidates[candidates <= last][:spans]
    return starts if len(starts) == spans else _random_starts(len(intensity_T), config, place=place)


def _union(starts: NDArray[np.intp], *, length: int, span: int) -> Mask:
    mask = np.zeros(length, dtype=np.bool_)
    for start in starts:
        mask[start : start + span] = True
    return mask


def _as_topk(intensity_T: Frames, config: MaskingConfig, *, place: np.random.Generator) -> Mask:
    length = len(intensity_T)
    topk_T = _union(_topk_starts(intensity_T, config, place=place), length=length, span=config.span)
    runs = place.permutation(hidden_runs(topk_T)[:, 1])
    # A run goes into a gap between open frames of its own, so runs stay apart; every choice of gaps is equally likely.
    slots = length - int(runs.sum()) + 1
    before = np.sort(place.permutation(slots)[: len(runs)])
    starts = before + np.concatenate([[0], np.cumsum(runs[:-1])]) if len(runs) else before
    mask = np.zeros(length, dtype=np.bool_)
    for start, run in zip(starts, runs, strict=True):
        mask[start : start + run] = True
    return mask


def hidden_runs(mask_T: Mask) -> NDArray[np.int64]:
    """Start and length of each contiguous hidden run, shape (runs, 2).

    >>> hidden_runs(np.array([True, False, True, True])).tolist()
    [[0, 1], [2, 2]]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask_T, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    return np.stack([starts, ends - starts], axis=1)


def corrupt(frames_TD: Frames, mask_T: Mask, config: MaskingConfig, *, fate: np.random.Generator) -> Frames:
    """The utterance as Mockingjay sees it, shape (T, D): one draw per utterance decides what hidden frames become.

    With share `zero` they become zeros, with share `replace` the frames of uniformly drawn stretches of the same
    utterance, otherwise they stay (Mockingjay: 80/10/10; whole runs are replaced where spans touch, ours).
    """
    dice = fate.random()
    seen = frames_TD.copy()
    if dice < config.zero:
        seen[mask_T] = 0.0
    elif dice < config.zero + config.replace:
        for start, length in hidden_runs(mask_T):
            source = int(fate.integers(0, len(frames_TD) - length + 1))
            seen[start : start + length] = frames_TD[source : source + length]
    return seen


@dataclass(kw_only=True)
class MaskAudit:
    """Counts of what was really hidden; sums only, so that parts can be added and saved in a checkpoint."""

    hidden: int = 0
    valid: int = 0
    mass: float = 0.0
    """Σ over utterances of (share of the minimum-shifted intensity that was hidden) × frames."""
    z: float = 0.0
    """Σ over hidden frames of intensity standardised within the utterance."""
    runs: Counter[int] = field(default_factory=Counter)

    def count(self, mask_T: Mask, intensity_T: Frames) -> None:
        """Add one utterance: mask and intensity of its valid frames, shape (T,) each."""
        hidden = int(mask_T.sum())
        self.hidden += hidden
        self.valid += len(mask_T)
        shifted = intensity_T.astype(np.float64) - intensity_T.min()
        total = shifted.sum()
        self.mass += float(shifted[mask_T].sum() / total * len(mask_T)) if total > 0 else hidden
        spread = shifted.std()
        if spread > 0:
            self.z += float(((shifted[mask_T] - shifted.mean()) / spread).sum())
        self.runs.update(int(length) for length in hidden_runs(mask_T)[:, 1])

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return asdict(self) | {"runs": {str(length): times for length, times in sorted(self.runs.items())}}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> MaskAudit:
        """The audit that `to_json` wrote."""
        runs = Counter({int(length): times for length, times in content["runs"].items()})
        return cls(**{**content, "runs": runs})

    def add(self, other: MaskAudit) -> None:
        """Add another audit's counts to this one."""
        self.hidden += other.hidden
        self.valid += other.valid
        self.mass += other.mass
        self.z += other.z
        self.runs.update(other.runs)

    @property
    def realised_ratio(self) -> float:
        return self.hidden / self.valid if self.valid else 0.0

    @property
    def intensity_share(self) -> float:
        return self.mass / self.valid if self.valid else 0.0

    @property
    def intensity_z(self) -> float:
        return self.z / self.hidden if self.hidden else 0.0
