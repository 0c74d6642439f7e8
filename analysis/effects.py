"""How large a difference is beside how much speakers differ."""

from __future__ import annotations

__all__ = ["effect_size"]

import math

from scipy.special import gammaln


def effect_size(difference: float, *, variance: float, n_speakers: int) -> float:
    """The paired standardised mean difference d_z over speakers, corrected for small samples; NaN where undefined.

    d_z = mean / sd of the speakers' differences (Lakens 2013, eq. 7), of which `variance` is the variance of the mean;
    times J(m) = Γ(m/2) / (√(m/2) · Γ((m − 1)/2)), m = S − 1 (Hedges 1981, eq. 6e). 0.2, 0.5, 0.8 are called small,
    medium, large (Cohen 1988), which is no law.

    >>> round(effect_size(0.02, variance=0.01**2, n_speakers=10), 3)
    0.578
    """
    if n_speakers < 3 or not variance > 0:
        return math.nan
    freedom = n_speakers - 1
    exact = math.exp(gammaln(freedom / 2) - gammaln((freedom - 1) / 2)) / math.sqrt(freedom / 2)
    return difference / math.sqrt(variance * n_speakers) * exact
