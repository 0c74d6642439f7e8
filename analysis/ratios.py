"""The confound as a picture: the share of frames that each arm asked for, chose, and what its twin chose."""

from __future__ import annotations

__all__ = ["draw_ratios"]

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import DOUBLE, Drawing, Sheet, clean, name_rows, sheets
from analysis.masks import RATIO_TOLERANCE, chosen_frames
from analysis.svg import ACCENT, INK, SECOND, styled


def draw_ratios(results: pd.DataFrame) -> list[Drawing]:
    """Realised against nominal ratio of every arm with a twin, and the twin's; as many figures as the arms fill.

    Arms under policy `all`, which has no ratio to ask for, are left out; none when no mask of the others was audited.
    """
    audited = results["realised_ratio"].notna() & results["nominal_ratio"].notna()
    own = results[results["twin_key"].notna() & audited]
    by_key = results.set_index("arm_key")
    data = own[["arm", "twin", "upstream", "policy", "control", "nominal_ratio", "realised_ratio"]].copy()
    for name in ("policy", "realised_ratio"):
        data[f"twin_{name}"] = by_key[name].reindex(own["twin_key"]).to_numpy()
    data["mixed"] = (data["realised_ratio"] - data["twin_realised_ratio"]).abs() > RATIO_TOLERANCE
    return [_drawing(data.iloc[sheet.rows], sheet) for sheet in sheets(len(data))]


def _drawing(data: pd.DataFrame, sheet: Sheet) -> Drawing:
    with styled():
        figure = Figure(figsize=(DOUBLE, 0.85 + sheet.height), layout="constrained")
        axes = figure.subplots()
        _draw(axes, data, named=sheet.named)
        axes.set_xlabel(f"share of the valid frames {chosen_frames(list(data['upstream']))} (%)")
        figure.legend(loc="outside upper left", ncols=4)
    return Drawing(
        name=f"ratios{sheet.suffix}",
        title=f"Mask ratio: asked for and realised{sheet.note}",
        caption="A fair pair chooses the same share of frames in both arms: the filled and the open mark lie together, "
        "and both at the nominal ratio. A bar joins the marks of a pair that is not fair: its difference in UA mixes "
        "which frames with how many.",
        figure=figure,
        data=data,
    )


def _draw(axes: Axes, data: pd.DataFrame, *, named: bool) -> None:
    # In a crowd the arms stand in the order of what they asked for and got.
    data = data if named else data.sort_values(["nominal_ratio", "realised_ratio"], kind="stable")
    size = 1.0 if named else 0.4
    rows = np.arange(len(data))
    nominal, own, twin = (100 * data[name] for name in ("nominal_ratio", "realised_ratio", "twin_realised_ratio"))
    mixed = data["mixed"].to_numpy(dtype=bool)
    if mixed.any():
        ends = (np.minimum(own, twin)[mixed], np.maximum(own, twin)[mixed])
        axes.hlines(rows[mixed], *ends, color=SECOND, linewidth=4 * size, alpha=0.45, label="not a fair pair")
    axes.plot(nominal, rows, "|", color=INK, markersize=14 * size, label="nominal")
    axes.plot(own, rows - 0.12, "o", color=ACCENT, markersize=5 * size, label="arm, realised")
    axes.plot(twin, rows + 0.12, "D", color=SECOND, markersize=4.5 * size, fillstyle="none", label="twin, realised")
    right = float(np.nanmax([nominal, own, twin]))
    for row in np.flatnonzero(mixed) if named else ():
        text = f"{own.iloc[row]:.1f} against {twin.iloc[row]:.1f}"
        axes.annotate(text, (1.0, row), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=7)
    name_rows(axes, list(data["arm"]), named=named)
    axes.set_xlim(0, (1.3 if mixed.any() else 1.12) * right)
    axes.grid(axis="x")
    clean(axes)
