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
    upper, lower = pictures._draw_masks(tmp_path / "mask_example.npz").axes
    for axes in (upper, lower):
        spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]  # type: ignore[attr-defined]
        assert np.allclose(spans, [(0.20, 0.27), (0.50, 0.57)])
    assert np.allclose(lower.get_xlim(), (0, 1.0))
    assert "14.0 % of 100 frames hidden" in upper.get_title()
    line = lower.lines[0].get_xydata()
    assert np.allclose(line[0], (0.005, 0.0))  # type: ignore[index]
    assert np.allclose(line[-1], (0.995, 1.0))  # type: ignore[index]


def test_both_are_written_as_png_and_what_is_absent_is_not_drawn(tmp_path: Path) -> None:
    assert draw_trial_pictures(tmp_path, tmp_path / "out") == ()
    write_example(tmp_path)
    assert draw_trial_pictures(tmp_path, tmp_path / "out") == (tmp_path / "out" / "masks.png",)
    write_predictions(tmp_path)
    drawn = draw_trial_pictures(tmp_path, tmp_path / "out")
    assert [path.name for path in drawn] == ["confusion.png", "masks.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_wrong_examples_are_named(tmp_path: Path) -> None:
    write_example(tmp_path, mask=np.zeros(99, dtype=np.bool_))
    with pytest.raises(BadInputError, match=r"mask \(99,\) bool"):
        draw_trial_pictures(tmp_path, tmp_path)
    np.savez(tmp_path / "mask_example.npz", fbank=np.zeros((2, 2)))
    with pytest.raises(BadInputError, match="no array 'hop_ms'"):
        draw_trial_pictures(tmp_path, tmp_path)
