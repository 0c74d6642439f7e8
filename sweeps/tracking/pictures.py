"""Pictures of one trial for its run in MLflow: where the probe errs, what pre-training hid and rebuilt (ours)."""

from __future__ import annotations

__all__ = ["draw_trial_pictures"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from core.masking import hidden_runs
from core.metrics import confusion, ua, wa
from core.records import MASK_EXAMPLE, RECONSTRUCTION, read_predictions
from core.store import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"clean": "true", "seen": "seen by the model", "rebuilt": "rebuilt"}
_CURVE = "#d55e00"
"""Vermilion of the Okabe–Ito palette: told apart from the grey spectrogram and the blue masks by all."""
_MASK = "#0072b2"
_DPI = 100
_COMPRESSION = 3
"""Of zlib: half the time of the usual 6 for a tenth more bytes."""


@dataclass(frozen=True, kw_only=True)
class _Example:
    """One utterance: images (T, n_mels) and curves (T,) over its frames."""

    images: Mapping[str, NDArray[np.float32]]
    intensity_T: NDArray[np.float32]
    mask_T: NDArray[np.bool_]
    hop_s: float
    utterance: str
    upstream: str

    @property
    def end_s(self) -> float:
        return len(self.mask_T) * self.hop_s

    @property
    def chosen(self) -> str:
        """What being in the mask means: NPC hides nothing of its input."""
        return "frames in the loss" if self.upstream == "npc" else "hidden frames"


def draw_trial_pictures(trial_folder: Path, out: Path) -> tuple[Path, ...]:
    """Draw into `out` what the trial left data for and return the files.

    `confusion.png`: validation predictions of all folds, where they are of classes (the test part stays sealed for the
    report).
    `masks.png`: one utterance's spectrogram with the hidden spans and the intensity curve, from `mask_example.npz`
    (fbank). `reconstruction.png`: a held-out speaker's utterance as it is, as the model saw it and as it was rebuilt,
    with the error of each frame, from `reconstruction.npz` (clean, seen, rebuilt). Images are (T, n_mels) float32;
    both files also hold intensity (T,) float32, mask (T,) bool, hop_ms, utterance and upstream. Raises BadInputError
    when a file is not of this shape.
    """
    drawn = []
    if (trial_folder / "predictions.parquet").exists() and "label" in read_predictions(
        trial_folder, split="validation"
    ):
        drawn.append(_save(_draw_confusion(trial_folder), out / "confusion.png"))
    if (trial_folder / MASK_EXAMPLE).exists():
        example = _read_example(trial_folder / MASK_EXAMPLE, images=("fbank",))
        drawn.append(_save(_draw_masks(example), out / "masks.png"))
    if (trial_folder / RECONSTRUCTION).exists():
        example = _read_example(trial_folder / RECONSTRUCTION, images=tuple(PANELS))
        drawn.append(_save(_draw_reconstruction(example), out / "reconstruction.png"))
    return tuple(drawn)


def _save(figure: Figure, path: Path) -> Path:
    """Render once: `savefig` draws twice, and these figures know their own layout."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    content = BytesIO()
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    image = Image.fromarray(pixels[:, :, :3])
    image.save(content, format="png", compress_level=_COMPRESSION, dpi=(_DPI, _DPI))
    write_atomically(path, content.getvalue())
    return path


def _panels(heights: Sequence[float], *, width: float, gap: float = 0.25) -> tuple[Figure, list[Axes]]:
    """Axes one below the other over the same time axis, all in inches. Laid out by hand: a solver costs more than
    the drawing."""
    from matplotlib.figure import Figure

    left, right, top, bottom = 0.75, 0.15, 0.55, 0.75
    height = sum(heights) + gap * (len(heights) - 1) + top + bottom
    figure = Figure(figsize=(width, height), dpi=_DPI)
    rows: list[Axes] = []
    upper = height - top
    for tall in heights:
        place = (left / width, (upper - tall) / height, (width - left - right) / width, tall / height)
        rows.append(figure.add_axes(place))
        upper -= tall + gap
    for axes in rows:
        # Not shared: hidden ticks would be laid out too. All show the same seconds.
        axes.xaxis.set_visible(axes is rows[-1])
        # Ticks are what costs most of a drawing.
        axes.locator_params(axis="y", nbins=3)
        axes.locator_params(axis="x", nbins=6)
    return figure, rows


def _draw_confusion(trial_folder: Path) -> Figure:
    from matplotlib.figure import Figure

    predictions = read_predictions(trial_folder, split="validation")
    classes = [name.removeprefix("score_") for name in predictions.columns if name.startswith("score_")]
    counts = confusion(predictions["label"].tolist(), predictions["predicted"].tolist(), classes)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(2.6, 0.75 * len(classes))
    label = 0.5 + 0.085 * max(map(len, classes))
    width, height = label + side + 1.2, side + 1.4
    figure = Figure(figsize=(width, height), dpi=_DPI)
    axes = figure.add_axes((label / width, 0.75 / height, side / width, side / height))
    image = axes.imshow(share, cmap="cividis", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        colour = "black" if share[row, column] > 0.6 else "white"
        text = f"{100 * share[row, column]:.0f} %\n{counts[row, column]}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=10)
    axes.set_xticks(range(len(classes)), classes, rotation=20 if len(classes) > 4 else 0)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    missing = (counts.sum(axis=1) == 0).any()
    accuracy = "UA undefined" if missing else f"UA {100 * ua(counts):.1f} %"
    axes.set_title(f"Validation, all folds\n{accuracy}, WA {100 * wa(counts):.1f} %, n = {counts.sum()}", fontsize=11)
    beside = figure.add_axes(((label + side + 0.15) / width, 0.75 / height, 0.15 / width, side / height))
    figure.colorbar(image, cax=beside, label="share of the true class", ticks=(0, 0.5, 1))
    return figure


def _draw_masks(example: _Example) -> Figure:
    figure, (upper, lower) = _panels((2.4, 0.8), width=_width(example))
    _draw_spectrogram(upper, example.images["fbank"], example)
    share = f"{100 * example.mask_T.mean():.1f} % of {len(example.mask_T)}"
    upper.set_title(f"{example.utterance}: {example.chosen}, {share}", fontsize=11)
    _draw_curve(lower, example.intensity_T, example, label="intensity")
    for axes, opacity in ((upper, 0.45), (lower, 0.25)):
        _shade(axes, example, label=example.chosen, opacity=opacity)
    upper.set_xlabel("")
    figure.legend(*upper.get_legend_handles_labels(), loc="lower right", frameon=False)
    return figure


def _draw_reconstruction(example: _Example) -> Figure:
    panels = {name: title for name, title in PANELS.items() if name != "seen" or example.upstream != "npc"}
    figure, rows = _panels([1.4] * len(panels) + [0.8, 0.8], width=_width(example))
    limits = np.percentile(example.images["clean"], (2, 98))
    for axes, (name, title) in zip(rows, panels.items(), strict=False):
        _draw_spectrogram(axes, example.images[name], example, limits=(limits[0], limits[1]))
        axes.set_ylabel(f"{title}\nmel band")
    error_T = np.abs(example.images["rebuilt"] - example.images["clean"]).mean(axis=1)
    _draw_curve(rows[-2], error_T, example, label="error")
    _draw_curve(rows[-1], example.intensity_T, example, label="intensity")
    chosen = "measured frames" if example.upstream == "npc" else example.chosen
    for axes in rows[-2:]:
        _shade(axes, example, label=chosen, opacity=0.25)
    rows[-2].set_xlabel("")
    inside = f"{error_T[example.mask_T].mean():.2f}" if example.mask_T.any() else "none"
    rows[0].set_title(
        f"{example.utterance} (never trained on)\nmean absolute error of {example.mask_T.sum()} {chosen}: {inside}",
        fontsize=11,
    )  # fmt: skip
    figure.legend(*rows[-1].get_legend_handles_labels(), loc="lower right", frameon=False)
    return figure


def _width(example: _Example) -> float:
    return min(14.0, max(7.0, 3.2 * example.end_s))


def _draw_spectrogram(
    axes: Axes, image_TM: NDArray[np.float32], example: _Example, *, limits: tuple[float, float] | None = None
) -> None:
    low, high = limits or np.percentile(image_TM, (2, 98))
    axes.imshow(
        image_TM.T, origin="lower", aspect="auto", cmap="gray_r", vmin=low, vmax=high, interpolation="nearest",
        extent=(0.0, example.end_s, 0.0, float(image_TM.shape[1])),
    )  # fmt: skip
    axes.set_ylabel("mel band")


def _draw_curve(axes: Axes, values_T: NDArray[np.float32], example: _Example, *, label: str) -> None:
    axes.plot((np.arange(len(values_T)) + 0.5) * example.hop_s, values_T, color=_CURVE, linewidth=1.6)
    axes.set_ylabel(label)
    axes.set_xlabel("time / s")
    axes.grid(alpha=0.3, axis="y")
    axes.set_xlim(0.0, example.end_s)


def _shade(axes: Axes, example: _Example, *, label: str, opacity: float) -> None:
    for place, (start, length) in enumerate(hidden_runs(example.mask_T) * example.hop_s):
        named = label if place == 0 else None
        axes.axvspan(start, start + length, color=_MASK, alpha=opacity, linewidth=0, label=named)


def _read_example(path: Path, *, images: tuple[str, ...]) -> _Example:
    try:
        with np.load(path, allow_pickle=False) as content:
            needed = (*images, "intensity", "mask", "hop_ms", "utterance", "upstream")
            missing = [name for name in needed if name not in content.files]
            if missing:
                raise BadInputError(f"{path}: no array {missing[0]!r}")
            example = _Example(
                images={name: content[name] for name in images},
                intensity_T=content["intensity"],
                mask_T=content["mask"],
                hop_s=float(content["hop_ms"]) / 1000,
                utterance=str(content["utterance"]),
                upstream=str(content["upstream"]),
            )
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise BadInputError(f"{path}: cannot be read ({error})") from error
    mask_T, shapes = example.mask_T, {image.shape for image in example.images.values()}
    frames = {shape[0] for shape in shapes if len(shape) == 2} | {len(example.intensity_T), len(mask_T)}
    if len(shapes) != 1 or len(frames) != 1 or mask_T.dtype != np.bool_ or {len(shape) for shape in shapes} != {2}:
        raise BadInputError(
            f"{path}: need {', '.join(images)} (T, n_mels), intensity (T,), mask (T,) bool; got "
            f"{', '.join(map(str, sorted(shapes)))}, intensity {example.intensity_T.shape}, mask {mask_T.shape} "
            f"{mask_T.dtype}"
        )
    return example
