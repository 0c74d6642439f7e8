"""Speaker by speaker: does the gain over the twin come from all of them or from a few?"""

from __future__ import annotations

__all__ = ["draw_speakers"]

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figures import DOUBLE, MAX_ROWS, ROW_INCHES, SINGLE, Drawing, clean, shortened
from analysis.load import Arm, Part
from analysis.svg import ACCENT, GRID, INK, MUTED, PAPER, styled


def draw_speakers(pairs: Sequence[tuple[Arm, Arm]], tests: Mapping[str, Part]) -> Drawing:
    """UA of each speaker's test utterances under the arm minus that under its twin, one panel per (arm, twin).

    A speaker's UA is the mean recall over the classes this speaker has (ours: a speaker who lacks a class has one all
    the same). Speakers stand in the order of their mean difference over the panels.
    """
    data = pd.DataFrame([row for pair in pairs for row in _rows(*pair, tests)])
    means = data.groupby("speaker", sort=True)["difference"].mean()
    speakers = list(means.sort_values(kind="stable", ascending=False).index)
    named = len(speakers) <= MAX_ROWS
    with styled():
        width = SINGLE if len(pairs) == 1 else DOUBLE
        figure = Figure(figsize=(width, 0.95 + ROW_INCHES * min(len(speakers), MAX_ROWS)), layout="constrained")
        panels = figure.subplots(1, len(pairs), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (arm, twin) in zip(panels, pairs, strict=True):
            own = data[(data["arm"] == arm.name) & (data["twin"] == twin.name)]
            _panel(axes, own, speakers)
            axes.set_title(shortened(arm.name))
            axes.set_xlabel("UA: arm − twin (points)")
        panels[0].set_ylim(len(speakers) - 0.4, -0.6)
        if named:
            counts = data.groupby("speaker")["n"].max()
            panels[0].set_yticks(range(len(speakers)), [f"{name} (n {counts[name]})" for name in speakers])
        else:
            panels[0].set_yticks([])
            panels[0].set_ylabel(f"{len(speakers)} speakers")
    return Drawing(
        name="speakers",
        title="Difference to the twin, speaker by speaker",
        caption="UA over the classes the speaker has, arm minus twin: mean over seeds (large) and each seed (small; "
        "only where there are several). Dashed: the mean over speakers; n: test utterances. A gain that a few speakers "
        "carry need not hold for others.",
        figure=figure,
        data=data,
    )


def _rows(arm: Arm, twin: Arm, tests: Mapping[str, Part]) -> list[dict[str, object]]:
    """One row per seed that both have and speaker."""
    others = {record.seed: tests[record.trial_key] for record in twin.records}
    rows: list[dict[str, object]] = []
    for record in arm.records:
        if record.seed not in others:
            continue
        own, other = tests[record.trial_key], others[record.seed]
        scores_S, twins_S = _speaker_ua(own), _speaker_ua(other)
        counts_S = own.counts.sum(axis=(0, 2, 3))
        for place, speaker in enumerate(own.speakers):
            row = {"arm": arm.name, "twin": twin.name, "seed": record.seed, "speaker": speaker}
            values = {"ua": float(scores_S[place]), "twin_ua": float(twins_S[place])}
            rows.append(row | {"n": int(counts_S[place])} | values | {"difference": values["ua"] - values["twin_ua"]})
    return rows


def _speaker_ua(part: Part) -> NDArray[np.float64]:
    """Mean recall over the classes that each speaker has, shape (S,), in [0, 1]."""
    counts_SCC = part.counts.sum(axis=0)
    right_SC, total_SC = np.diagonal(counts_SCC, axis1=1, axis2=2), counts_SCC.sum(axis=2)
    recall_SC = np.divide(right_SC, total_SC, out=np.full(total_SC.shape, np.nan), where=total_SC > 0)
    result: NDArray[np.float64] = np.nanmean(recall_SC, axis=1)
    return result


def _panel(axes: Axes, data: pd.DataFrame, speakers: Sequence[str]) -> None:
    means = 100 * data.groupby("speaker")["difference"].mean().reindex(list(speakers))
    rows = np.arange(len(speakers))
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.axvline(float(means.mean()), color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.hlines(rows, np.minimum(means, 0), np.maximum(means, 0), color=GRID, linewidth=1.2)
    if data["seed"].nunique() > 1:
        places = data["speaker"].map({name: place for place, name in enumerate(speakers)})
        axes.plot(100 * data["difference"], places, "o", color=MUTED, markersize=2.2, markeredgewidth=0)
    for above, face in ((True, ACCENT), (False, PAPER)):
        shown = (means > 0).to_numpy() == above
        axes.plot(means[shown], rows[shown], "o", color=ACCENT, markerfacecolor=face, markersize=5, markeredgewidth=1.1)
    axes.grid(axis="x")
    clean(axes)
