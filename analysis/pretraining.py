"""How well the upstreams rebuild frames of speakers they never heard: the losses, by intensity quarter."""

from __future__ import annotations

__all__ = [
    "QUARTERS", "draw_losses", "loss_table", "measured_frames", "measured_sentence", "measured_with",
    "one_per_upstream",
]  # fmt: skip

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from analysis.figures import DOUBLE, Drawing, Sheet, clean, draw_spans, name_rows, sheets
from analysis.load import EMS, Arm, Sweep
from analysis.svg import ACCENT, GRID, INK, styled
from analysis.wording import count
from core.records import Record

QUARTERS = ("validation_loss_q1", "validation_loss_q2", "validation_loss_q3", "validation_loss_q4")
MARKS = (("o", 0.0), ("s", 0.3), ("D", 0.65), ("^", 1.0))
"""Shape and fill of the quarters, least to most intense: told apart by either alone."""


def loss_table(results: pd.DataFrame) -> pd.DataFrame:
    """Arm, upstream, control and losses (mean absolute error per feature value) of the arms that have any."""
    columns = ["arm", "upstream", "control", "pretrain_loss", "validation_loss", *QUARTERS, "arm_key"]
    columns += ["sharing"] if results.get("sharing", pd.Series(dtype=str)).any() else []
    return results.loc[results["validation_loss"].notna(), columns].reset_index(drop=True)


def one_per_upstream(results: pd.DataFrame, sweep: Sweep) -> pd.DataFrame:
    """The same rows with those of arms on the very same upstreams as one, under the first's name: `a and 5 more`.

    Arms of EMS stand by themselves: their upstreams are what is under test. Of other systems those share them whose
    records name the same artifacts of pre-training under every seed; a record that names none shares with none. A
    column `sharing` holds the names of the arms behind the first.
    """
    kept: dict[object, int] = {}
    sharing: dict[int, list[str]] = {}
    for place, key in enumerate(results["arm_key"]):
        arm = sweep.arms[key]
        first = kept.setdefault(_upstreams(arm), place)
        if first != place:
            sharing.setdefault(first, []).append(arm.name)
    rows = results.iloc[sorted(kept.values())].copy()
    names = [sharing.get(place, []) for place in sorted(kept.values())]
    rows["sharing"] = ["; ".join(more) for more in names]
    rows["arm"] = [f"{arm} and {len(more)} more" if more else arm for arm, more in zip(rows["arm"], names, strict=True)]
    return rows


def _upstreams(arm: Arm) -> object:
    """Equal for arms on the same upstreams."""
    if arm.system == EMS or not arm.records:
        return arm.key
    made = [
        (record.seed, *sorted(name for name in record.artifacts if name.startswith("pretrain/")))
        for record in arm.records
    ]
    return arm.key if min(map(len, made)) < 2 else tuple(sorted(made))


def measured_sentence(records: Sequence[Record]) -> str:
    """On how much the validation loss of each trial was measured; empty when no record has one."""
    entries = [record.pretraining for record in records if record.pretraining is not None]
    if not entries:
        return ""
    parts = [
        _range([entry.utterances for entry in entries], "utterance"),
        _range([entry.speakers for entry in entries], "speaker"),
        _range([entry.frames for entry in entries], "frame"),
    ]
    return f"Each trial is measured on {parts[0]} of {parts[1]} held out, {parts[2]}."


def measured_frames(results: pd.DataFrame) -> str:
    """How the frames of the validation loss are chosen: by upstream, whatever the policy (`core.records`)."""
    upstreams = set(results.loc[results["validation_loss"].notna(), "upstream"])
    if upstreams == {"npc"}:
        return "all frames whatever the arm's policy"
    drawn = "frames drawn by policy random whatever the arm's own"
    return f"{drawn} (NPC: all frames)" if "npc" in upstreams else drawn


def measured_with(results: pd.DataFrame) -> str:
    """Which settings of its own an arm is measured with, and what is comparable therefore."""
    upstreams = set(results.loc[results["validation_loss"].notna(), "upstream"])
    own = "ratio and span (NPC: mask size)" if "npc" in upstreams else "ratio and span"
    own = "mask size" if upstreams == {"npc"} else own
    return f"Each arm is measured with its own {own}: compare an arm with its twin and controls only"


def draw_losses(results: pd.DataFrame) -> list[Drawing]:
    """Validation loss of every arm in each intensity quarter, one panel per upstream; as many figures as the arms fill.

    None when no arm has a loss.
    """
    data = loss_table(results).drop(columns="arm_key")
    data = data.sort_values("upstream", key=lambda column: column.map(list(dict.fromkeys(column)).index), kind="stable")
    return [_drawing(data.iloc[sheet.rows], sheet, results) for sheet in sheets(len(data))]


def _drawing(data: pd.DataFrame, sheet: Sheet, results: pd.DataFrame) -> Drawing:
    groups = [(str(upstream), group) for upstream, group in data.groupby("upstream", sort=False)]
    several = results.loc[results["validation_loss"].notna(), "upstream"].nunique() > 1
    with styled():
        lengths = [len(group) for _, group in groups]
        figure = Figure(figsize=(DOUBLE, 0.85 + 0.35 * (len(groups) - 1) + sheet.height), layout="constrained")
        panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[length + 1 for length in lengths])
        for axes, (upstream, group) in zip(panels.flat, groups, strict=True):
            _panel(axes, group, named=sheet.named)
            if several:
                axes.set_title(upstream)
        panels[-1, 0].set_xlabel("validation loss (mean absolute error per feature value)")
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=5)
    return Drawing(
        name=f"pretraining{sheet.suffix}",
        title=f"Validation loss by intensity of the frames{sheet.note}",
        caption=f"Reconstruction of speech of speakers the upstream never heard, {measured_frames(results)}; mean over "
        "folds and seeds, by quarter of each utterance's frames from least (Q1) to most intense (Q4) on the source's "
        f"track, for control arms too. {measured_with(results)}. Smaller is better."
        + (" The upstreams rebuild different things." if several else ""),
        figure=figure,
        data=data,
    )


def _panel(axes: Axes, data: pd.DataFrame, *, named: bool) -> None:
    data = data if named else data.sort_values("validation_loss", kind="stable")
    size = 1.0 if named else 0.4
    rows = np.arange(len(data))
    values_AQ = data[list(QUARTERS)].to_numpy(dtype=np.float64)
    draw_spans(axes, values_AQ.min(axis=1), values_AQ.max(axis=1), rows, colour=GRID, width=1.2 * size)
    names = ("Q1, least intense", "Q2", "Q3", "Q4, most intense")
    for (shape, fill), name, values in zip(MARKS, names, values_AQ.T, strict=True):
        face = to_rgba(ACCENT, fill)
        axes.plot(
            values,
            rows,
            shape,
            color=ACCENT,
            markerfacecolor=face,
            markeredgecolor=ACCENT,
            markersize=4.5 * size,
            markeredgewidth=size,
            label=name,
        )
    axes.plot(data["validation_loss"], rows, "|", color=INK, markersize=13 * size, label="all frames")
    name_rows(axes, list(data["arm"]), named=named)
    axes.grid(axis="x")
    clean(axes)


def _range(numbers: Sequence[int], noun: str) -> str:
    low, high = min(numbers), max(numbers)
    return count(low, noun) if low == high else f"{low:,} to {count(high, noun)}"
