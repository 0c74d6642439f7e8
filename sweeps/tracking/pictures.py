"""Pictures of one trial for its run in MLflow: where the probe errs, and what pre-training hid (ours)."""

from __future__ import annotations

__all__ = ["draw_trial_pictures"]

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from core.metrics import confusion, ua, wa
from core.records import read_predictions
from core.store import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXAMPLE = "mask_example.npz"
_CURVE = "#d55e00"
"""Vermilion of the Okabe–Ito palette: told apart from the grey spectrogram and the blue masks by all."""
_MASK = "#0072b2"
_DPI = 130


def draw_trial_pictures(trial_folder: Path, out: Path) -> tuple[Path, ...]:
    """Draw into `out` what the trial left data for and return the files.

    `confusion.png`: validation predictions of all folds (the test part stays sealed for the report).
    `masks.png`: one utterance's spectrogram with the hidden spans and the intensity curve, from `mask_example.npz`:
    fbank (T, n_mels) and intensity (T,) float32, mask (T,) bool, hop_ms and utterance. Raises BadInputError when that
    file is not of this shape.
    """
    drawn = []
    if (trial_folder / "predictions.parquet").exists():
        drawn.append(_save(_draw_confusion(trial_folder), out / "confusion.png"))
    if (trial_folder / EXAMPLE).exists():
        drawn.append(_save(_draw_masks(trial_folder / EXAMPLE), out / "masks.png"))
    return tuple(drawn)


def _save(figure: Figure, path: Path) -> Path:
    content = BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    write_atomically(path, content.getvalue())
    return path


def _draw_confusion(trial_folder: Path) -> Figure:
    from matplotlib.figure import Figure

    predictions = read_predictions(trial_folder, split="validation")
    classes = [name.removeprefix("score_") for name in predictions.columns if name.startswith("score_")]
    counts = confusion(predictions["label"].tolist(), predictions["predicted"].tolist(), classes)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.2, 0.85 * len(classes) + 2.2)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="cividis", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        colour = "black" if share[row, column] > 0.6 else "white"
        text = f"{100 * share[row, column]:.0f} %\n{counts[row, column]}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=10)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    missing = (counts.sum(axis=1) == 0).any()
    accuracy = "UA undefined" if missing else f"UA {100 * ua(counts):.1f} %"
    axes.set_title(f"Validation, all folds\n{accuracy}, WA {100 * wa(counts):.1f} %, n = {counts.sum()}", fontsize=11)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    return figure


def _draw_masks(path: Path) -> Figure:
    from matplotlib.figure import Figure

    fbank_TM, intensity_T, mask_T, hop_s, utterance = _read_example(path)
    end = len(mask_T) * hop_s
    figure = Figure(figsize=(min(16.0, max(8.0, 3.2 * end)), 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    low, high = np.percentile(fbank_TM, (2, 98))
    upper.imshow(
        fbank_TM.T, origin="lower", aspect="auto", cmap="gray_r", vmin=low, vmax=high, interpolation="nearest",
        extent=(0.0, end, 0.0, float(fbank_TM.shape[1])),
    )  # fmt: skip
    upper.set_ylabel("mel band")
    upper.set_title(f"{utterance}: {100 * mask_T.mean():.1f} % of {len(mask_T)} frames hidden", fontsize=11)
    lower.plot((np.arange(len(intensity_T)) + 0.5) * hop_s, intensity_T, color=_CURVE, linewidth=1.6)
    lower.set_ylabel("intensity")
    lower.set_xlabel("time / s")
    lower.grid(alpha=0.3)
    lower.set_xlim(0.0, end)
    for axes, opacity in ((upper, 0.45), (lower, 0.25)):
        _shade(axes, mask_T, hop_s, opacity=opacity)
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper right", frameon=False)
    return figure


def _shade(axes: Axes, mask_T: NDArray[np.bool_], hop_s: float, *, opacity: float) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask_T, [False])).astype(np.int8)))
    for place, (start, stop) in enumerate(edges.reshape(-1, 2)):
        label = "hidden span" if place == 0 else None
        axes.axvspan(start * hop_s, stop * hop_s, color=_MASK, alpha=opacity, linewidth=0, label=label)


def _read_example(
    path: Path,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], float, str]:
    with np.load(path, allow_pickle=False) as content:
        missing = sorted({"fbank", "intensity", "mask", "hop_ms", "utterance"} - set(content.files))
        if missing:
            raise BadInputError(f"{path}: no array {missing[0]!r}")
        fbank_TM, intensity_T, mask_T = content["fbank"], content["intensity"], content["mask"]
        hop_s, utterance = float(content["hop_ms"]) / 1000, str(content["utterance"])
    if fbank_TM.ndim != 2 or not (len(fbank_TM) == len(intensity_T) == len(mask_T)) or mask_T.dtype != np.bool_:
        shapes = f"fbank {fbank_TM.shape}, intensity {intensity_T.shape}, mask {mask_T.shape} {mask_T.dtype}"
        raise BadInputError(f"{path}: need fbank (T, n_mels), intensity (T,), mask (T,) bool; got {shapes}")
    return fbank_TM, intensity_T, mask_T, hop_s, utterance
