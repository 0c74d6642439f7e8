from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.errors import BadInputError
from sweeps.tracking import pictures
from sweeps.tracking.pictures import draw_trial_pictures


def write_predictions(folder: Path) -> None:
    """Validation: 3 of 4 right (ang 1/2, sad 2/2); test: all wrong, and must not be seen."""
    rows = [
        ("validation", "ang", "ang"),
        ("validation", "ang", "sad"),
        ("validation", "sad", "sad"),
        ("validation", "sad", "sad"),
        ("test", "ang", "sad"),
        ("test", "sad", "ang"),
    ]
    frame = pd.DataFrame(rows, columns=["split", "label", "predicted"])
    frame["utterance"] = [f"u{place}" for place in range(len(frame))]
    frame["score_ang"] = frame["score_sad"] = 0.5
    frame.to_parquet(folder / "predictions.parquet", index=False)


def write_example(folder: Path, **changed: object) -> None:
    mask = np.zeros(100, dtype=np.bool_)
    mask[20:27] = mask[50:57] = True
    example: dict[str, object] = {
        "fbank": np.random.default_rng(0).normal(size=(100, 80)).astype(np.float32),
        "intensity": np.linspace(0, 1, 100, dtype=np.float32),
        "mask": mask,
        "hop_ms": 10.0,
        "utterance": "Ses01F_impro01_F000",
        "upstream": "mockingjay",
    }
    np.savez(folder / "mask_example.npz", **{**example, **changed})  # type: ignore[arg-type]


def test_confusion_counts_validation_only(tmp_path: Path) -> None:
    write_predictions(tmp_path)
    axes = pictures._draw_confusion(tmp_path).axes[0]
    cells = [text.get_text() for text in axes.texts]
    assert cells == ["50 %\n1", "50 %\n1", "0 %\n0", "100 %\n2"]
    assert "UA 75.0 %, WA 75.0 %, n = 4" in axes.get_title()
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["ang", "sad"]


def test_masks_lie_where_frames_are_hidden_in_seconds(tmp_path: Path) -> None:
    write_example(tmp_path)
    example = pictures._read_example(tmp_path / "mask_example.npz", images=("fbank",))
    upper, lower = pictures._draw_masks(example).axes
    for axes in (upper, lower):
        spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]  # type: ignore[attr-defined]
        assert np.allclose(spans, [(0.20, 0.27), (0.50, 0.57)])
    assert np.allclose(lower.get_xlim(), (0, 1.0))
    assert "hidden frames, 14.0 % of 100" in upper.get_title()
    line = lower.lines[0].get_xydata()
    assert np.allclose(line[0], (0.005, 0.0))  # type: ignore[index]
    assert np.allclose(line[-1], (0.995, 1.0))  # type: ignore[index]


def write_reconstruction(folder: Path, *, upstream: str = "mockingjay") -> None:
    """Rebuilt is 0.5 off in the 10 masked frames and exact elsewhere."""
    mask = np.zeros(40, dtype=np.bool_)
    mask[5:15] = True
    clean = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    np.savez(
        folder / "reconstruction.npz", clean=clean, seen=clean * ~mask[:, None], rebuilt=clean + 0.5 * mask[:, None],
        mask=mask, intensity=np.linspace(0, 1, 40, dtype=np.float32), hop_ms=10.0, utterance="u1", upstream=upstream,
    )  # fmt: skip


@pytest.mark.parametrize(("upstream", "panels", "word"), [("mockingjay", 5, "hidden"), ("npc", 4, "measured")])
def test_reconstruction_shows_truth_input_output_and_error(
    tmp_path: Path, upstream: str, panels: int, word: str
) -> None:
    write_reconstruction(tmp_path, upstream=upstream)
    example = pictures._read_example(tmp_path / "reconstruction.npz", images=("clean", "seen", "rebuilt"))
    axes = pictures._draw_reconstruction(example).axes
    assert len(axes) == panels
    assert f"10 {word} frames: 0.50" in axes[0].get_title()
    error = axes[-2].lines[0].get_ydata()
    assert np.allclose(error, np.where(example.mask_T, 0.5, 0.0), atol=1e-6)


def test_all_are_written_as_png_and_what_is_absent_is_not_drawn(tmp_path: Path) -> None:
    assert draw_trial_pictures(tmp_path, tmp_path / "out") == ()
    write_example(tmp_path)
    assert draw_trial_pictures(tmp_path, tmp_path / "out") == (tmp_path / "out" / "masks.png",)
    write_predictions(tmp_path)
    write_reconstruction(tmp_path)
    drawn = draw_trial_pictures(tmp_path, tmp_path / "out")
    assert [path.name for path in drawn] == ["confusion.png", "masks.png", "reconstruction.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_wrong_examples_are_named(tmp_path: Path) -> None:
    write_example(tmp_path, mask=np.zeros(99, dtype=np.bool_))
    with pytest.raises(BadInputError, match=r"mask \(99,\) bool"):
        draw_trial_pictures(tmp_path, tmp_path)
    np.savez(tmp_path / "mask_example.npz", fbank=np.zeros((2, 2)))
    with pytest.raises(BadInputError, match="no array 'intensity'"):
        draw_trial_pictures(tmp_path, tmp_path)
