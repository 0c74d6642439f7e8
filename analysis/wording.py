"""Shares, counts and p values as people read them."""

from __future__ import annotations

__all__ = ["DASH", "count", "interval", "joined", "loss", "mean_sd", "p_value", "percent", "points"]

import math
from collections.abc import Sequence

DASH = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as percent, without the sign: 0.6312 → `63.1`; an absent value is a dash.

    >>> percent(0.6312), percent(None)
    ('63.1', '–')
    """
    return DASH if share is None or math.isnan(share) else f"{100 * share:.{digits}f}"


def points(share: float | None, digits: int = 1) -> str:
    """A difference of shares in signed percentage points.

    >>> points(-0.0214), points(0.03)
    ('−2.1', '+3.0')
    """
    if share is None or math.isnan(share):
        return DASH
    text = f"{100 * share:+.{digits}f}".replace("-", "−")
    return text[1:] if not text.strip("+−0.") else text


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """An interval of a difference in percentage points.

    >>> interval(-0.01, 0.03), interval(None, None)
    ('[−1.0, +3.0]', '–')
    """
    return DASH if low is None else f"[{points(low, digits)}, {points(high, digits)}]"


def loss(value: float | None) -> str:
    """Three decimals.

    >>> loss(0.61234)
    '0.612'
    """
    return DASH if value is None or math.isnan(value) else f"{value:.3f}"


def mean_sd(mean: float | None, sd: float | None, digits: int = 1) -> str:
    """`63.1 ± 2.0`; only the mean when there is one cell.

    >>> mean_sd(0.631, 0.02)
    '63.1 ± 2.0'
    """
    tail = "" if sd is None or math.isnan(sd) else f" ± {percent(sd, digits)}"
    return percent(mean, digits) + tail


def p_value(p: float | None) -> str:
    """Four decimals, so that the floor of five folds is seen in full.

    >>> p_value(0.0625), p_value(0.00001)
    ('.0625', '< .0001')
    """
    if p is None or math.isnan(p):
        return DASH
    if p < 0.0001:
        return "< .0001"
    return "1" if p >= 1 else f"{p:.4f}".removeprefix("0")


def count(number: int, noun: str) -> str:
    """A number with its noun.

    >>> count(1, "fold"), count(5531, "utterance")
    ('1 fold', '5,531 utterances')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def joined(parts: Sequence[object]) -> str:
    """A list in a sentence.

    >>> joined([0, 1, 2])
    '0, 1 and 2'
    """
    texts = list(map(str, parts))
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)
