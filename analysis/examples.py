"""What a policy hides, seen on one utterance: its intensity and the masks of an arm and its twin over a spectrogram."""

from __future__ import annotations

__all__ = ["Example", "draw_examples", "read_example"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from analysis.figures import DOUBLE, Drawing, clean, shortened
from analysis.load import Arm
from analysis.svg import ACCENT, SECOND, styled
from core.errors import BadInputError
from core.records import MASK_EXAMPLE

SECONDS = 5.0
"""Longest stretch that is shown: beyond it spans of 40 ms become hairlines in print."""
CURVE, HALO = "#b34700", "#ffffff"
"""Of the intensity over the spectrogram, which stays white on dark pages: 5:1 on white and on its halo in grey."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One utterance as the trial left it in `MASK_EXAMPLE`; letters: T frames, M mel bands."""

    fbank_TM: NDArray[np.float32]
    intensity_T: NDArray[np.float32]
    mask_T: NDArray[np.bool_]
    """Frames that the trial's policy chose: hidden, or in the loss (NPC)."""
    hop_s: float
    utterance: str


def read_example(folder: Path) -> Example | None:
    """The example in a trial's folder; None where it left none. Raises BadInputError when the file is not one."""
    path = folder / MASK_EXAMPLE
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as content:
            found = Example(
                fbank_TM=content["fbank"],
                intensity_T=content["intensity"],
                mask_T=content["mask"].astype(bool),
                hop_s=float(content["hop_ms"]) / 1000,
                utterance=str(content["utterance"]),
            )
    except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
        raise BadInputError(f"{path}: cannot be read ({error})") from error
    shapes = (found.fbank_TM.shape, found.intensity_T.shape, found.mask_T.shape)
    if found.fbank_TM.ndim != 2 or shapes[1:] != ((len(found.fbank_TM),), (len(found.fbank_TM),)):
        raise BadInputError(f"{path}: needs fbank (T, M), intensity (T,) and mask (T,), got {shapes}")
    return found


def draw_examples(pairs: Sequence[tuple[Arm, Arm]], *, trials_root: Path) -> Drawing | None:
    """One utterance per (arm, twin), from the first seed that both have. None when no trial left an example.

    The data hold the curves and masks; the spectrogram is in the trial's `MASK_EXAMPLE`.
    """
    found = [(arm, twin, both) for arm, twin in pairs if (both := _both(arm, twin, trials_root)) is not None]
    if not found:
        return None
    with styled():
        figure = Figure(figsize=(DOUBLE, 2.35 * len(found)), layout="constrained")
        for subfigure, (arm, twin, (own, other)) in zip(_rows(figure, len(found)), found, strict=True):
            _draw(subfigure, own, other, names=(arm.name, twin.name))
    return Drawing(
        name="examples",
        title="Intensity and masks on one utterance",
        caption="Spectrogram (mel bands, dark is loud) with the intensity of each frame, and below it the frames that "
        "the arm and its twin choose in it: hidden, or for NPC in the loss. One draw of each policy under the arm's "
        f"first seed, on an utterance of middling length, at most its first {SECONDS:g} seconds.",
        figure=figure,
        data=pd.concat([_table(*each) for each in found], ignore_index=True),
    )


def _both(arm: Arm, twin: Arm, trials_root: Path) -> tuple[Example, Example] | None:
    """The same utterance under both; None where either left none, or another utterance."""
    seed = next(seed for seed in arm.seeds if seed in twin.seeds)
    keys = [next(each.trial_key for each in one.records if each.seed == seed) for one in (arm, twin)]
    own, other = (read_example(trials_root / key) for key in keys)
    if own is None or other is None or own.utterance != other.utterance or len(own.mask_T) != len(other.mask_T):
        return None
    frames = slice(0, round(SECONDS / own.hop_s))
    return _cut(own, frames), _cut(other, frames)


def _cut(example: Example, frames: slice) -> Example:
    return Example(
        fbank_TM=example.fbank_TM[frames],
        intensity_T=example.intensity_T[frames],
        mask_T=example.mask_T[frames],
        hop_s=example.hop_s,
        utterance=example.utterance,
    )


def _rows(figure: Figure, number: int) -> Sequence[SubFigure]:
    return list(figure.subfigures(number, 1, squeeze=False)[:, 0])


def _draw(figure: SubFigure, own: Example, other: Example, *, names: tuple[str, str]) -> None:
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    end = len(own.mask_T) * own.hop_s
    dark, light = np.percentile(own.fbank_TM, (98, 2))
    upper.imshow(
        own.fbank_TM.T, origin="lower", aspect="auto", cmap="gray_r", vmin=light, vmax=dark, interpolation="nearest",
        extent=(0, end, 0, own.fbank_TM.shape[1]),
    )  # fmt: skip
    upper.set_ylabel("mel band")
    curve = upper.twinx()
    times = (np.arange(len(own.mask_T)) + 0.5) * own.hop_s
    (line,) = curve.plot(times, own.intensity_T, color=CURVE, linewidth=1.2)
    line.set_path_effects([patheffects.Stroke(linewidth=3, foreground=HALO), patheffects.Normal()])
    curve.set_ylabel("intensity")
    curve.tick_params(length=0)
    curve.spines[:].set_visible(False)
    for row, (example, colour, hatch) in enumerate(((own, ACCENT, None), (other, SECOND, "//////"))):
        _strip(lower, example, row=row, colour=colour, hatch=hatch)
    shares = [
        f"{shortened(name, length=28)} ({100 * each.mask_T.mean():.0f} %)"
        for name, each in zip(names, (own, other), strict=True)
    ]
    lower.set_yticks([0, 1], shares)
    lower.set_ylim(1.5, -0.5)
    lower.set_xlim(0, end)
    lower.set_xlabel(f"seconds of {own.utterance}")
    for axes in (upper, lower):
        clean(axes)
        axes.spines[:].set_visible(False)


def _strip(axes: Axes, example: Example, *, row: int, colour: str, hatch: str | None) -> None:
    """The chosen stretches of frames as bars on one line."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], example.mask_T.astype(np.int8), [0]])))
    starts, ends = edges[::2] * example.hop_s, edges[1::2] * example.hop_s
    axes.broken_barh(
        list(zip(starts, ends - starts, strict=True)), (row - 0.36, 0.72),
        facecolor="none" if hatch else colour, edgecolor=colour, hatch=hatch, linewidth=0.6,
    )  # fmt: skip


def _table(arm: Arm, twin: Arm, both: tuple[Example, Example]) -> pd.DataFrame:
    own, other = both
    frames = np.arange(len(own.mask_T))
    return pd.DataFrame(
        {
            "arm": arm.name,
            "twin": twin.name,
            "utterance": own.utterance,
            "seconds": (frames * own.hop_s).round(6),
            "intensity": own.intensity_T.astype(np.float64),
            "arm_chooses": own.mask_T.astype(np.int64),
            "twin_chooses": other.mask_T.astype(np.int64),
        }
    )
