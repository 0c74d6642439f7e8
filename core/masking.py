"""Which frames are hidden: random and emotional masking at the same realised ratio, and the audit of what was hidden.

Both policies are one procedure (ours, after the user's three axes). For an utterance of L frames, span C and ratio p:

1. n = ⌊L·p/C + u⌋ spans, u uniform in [0, 1): the expected share of hidden frames is exactly p. The draw of u belongs
   to a stream that an arm and its twin share, so both hide the same number of frames in every utterance.
2. Spans are drawn one after the other with probability ∝ exp(z_s/τ) among the starts s that overlap no earlier span;
   z_s is the mean intensity over [s, s+C), standardised over the starts of the utterance. Random masking is τ = ∞.
   Drawing without replacement is done by ordering the starts by z_s/τ + Gumbel noise (Gumbel-top-k).
3. Should no free start be left before n spans are placed (high ratios only), spans may overlap until n·C frames are
   hidden, the last one cut so that the number is met exactly.
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
    """Standardised mean intensity of each possible span, shape (T − span + 1,); all zero for constant intensity.

    Raises BadInputError when a frame is not finite.
    """
    if not np.isfinite(intensity_T).all():
        frame = int(np.flatnonzero(~np.isfinite(intensity_T))[0])
        raise BadInputError(f"intensity: frame {frame} is {intensity_T[frame]}; every frame must be finite")
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
        intensity_T: intensity of each valid frame; only policy `ems` looks at it.
        config: policy, ratio, span, temperature.
        count: stream of the number of spans; an arm and its twin pass the same.
        place: stream of their positions.

    An utterance shorter than one span is one span. Raises BadInputError for an empty utterance or intensity that is
    not finite.
    """
    length = len(intensity_T)
    if length == 0:
        raise BadInputError("masking: the utterance has no frames")
    span = min(config.span, length)
    spans = int(np.floor(length * config.ratio / span + count.random()))
    starts = length - span + 1
    gumbel = place.gumbel(size=starts)
    if config.policy == "random" or config.temperature is None or np.isinf(config.temperature):
        keys = gumbel
    else:
        # The order of z/τ + g is that of z + τ·g, which stays finite as τ → 0.
        keys = span_scores(intensity_T, span) + config.temperature * gumbel
    return _place(np.argsort(-keys, kind="stable"), span=span, spans=spans, length=length)


def _place(order: NDArray[np.intp], *, span: int, spans: int, length: int) -> Mask:
    mask = np.zeros(length, dtype=np.bool_)
    free = np.ones(len(order), dtype=np.bool_)
    placed = 0
    for start in order:
        if placed == spans:
            return mask
        if free[start]:
            mask[start : start + span] = True
            free[max(0, start - span + 1) : start + span] = False
            placed += 1
    missing = min(spans * span, length) - int(mask.sum())
    for start in order:
        if missing <= 0:
            break
        fresh = start + np.flatnonzero(~mask[start : start + span])[:missing]
        mask[fresh] = True
        missing -= len(fresh)
    return mask


def hidden_runs(mask_T: Mask) -> NDArray[np.int64]:
    """Start and length of each contiguous hidden run, shape (runs, 2).

    >>> hidden_runs(np.array([True, False, True, True])).tolist()
    [[0, 1], [2, 2]]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask_T, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    return np.stack([starts, ends - starts], axis=1)


def corrupt(fbank_TD: Frames, mask_T: Mask, config: MaskingConfig, *, fate: np.random.Generator) -> Frames:
    """The utterance as the model sees it, shape (T, D): one draw per utterance decides what hidden frames become.

    With share `zero` they become zeros, with share `replace` the frames of uniformly drawn spans of the same utterance,
    otherwise they stay (Mockingjay: 80/10/10).
    """
    dice = fate.random()
    seen = fbank_TD.copy()
    if dice < config.zero:
        seen[mask_T] = 0.0
    elif dice < config.zero + config.replace:
        for start, length in hidden_runs(mask_T):
            source = int(fate.integers(0, len(fbank_TD) - length + 1))
            seen[start : start + length] = fbank_TD[source : source + length]
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
