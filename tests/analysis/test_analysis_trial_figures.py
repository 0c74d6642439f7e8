"""Figures of what trials left beside their predictions: learning curves, and masks on an utterance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_sweep import SyntheticSweep, grid

from analysis.examples import SECONDS, draw_examples, read_example
from analysis.learning import MOST_STEPS, draw_learning, learning_table
from analysis.load import Arm, Sweep, load_sweep
from core.errors import BadInputError
from core.records import MASK_EXAMPLE, InterimEntry, read_record, write_record

ARMS = tuple(grid((0.15,), (1.0,), (7,)))
TWIN, ARM = ARMS[0].key, ARMS[1].key
HOP_MS = 10.0


def written(root: Path) -> SyntheticSweep:
    return SyntheticSweep(root=root, arms=ARMS, sessions=2, seeds=(0, 1)).write()


def loaded(sweep: SyntheticSweep) -> tuple[Sweep, tuple[Arm, Arm]]:
    found = load_sweep(plan_path=sweep.plan_path, trials_root=sweep.trials_root)
    return found, (found.arms[ARM], found.arms[TWIN])


def write_example(folder: Path, mask_T: np.ndarray, **changes: object) -> None:
    frames = len(mask_T)
    content: dict[str, object] = {
        "fbank": np.random.default_rng(0).normal(size=(frames, 8)).astype(np.float32),
        "intensity": np.linspace(0, 1, frames, dtype=np.float32),
        "mask": mask_T,
        "hop_ms": HOP_MS,
        "utterance": "Ses01F_impro01_F000",
        "upstream": "mockingjay",
    }
    np.savez(folder / MASK_EXAMPLE, **(content | changes))  # type: ignore[arg-type]


def test_curves_come_from_the_log_and_looks_from_the_records(tmp_path: Path) -> None:
    sweep = written(tmp_path)
    for seed in (0, 1):
        folder = sweep.trials_root / f"{ARM}-{seed}"
        record = read_record(folder)
        assert record is not None
        looks = (InterimEntry(step=100, ua={"a": 0.4, "b": 0.5}), InterimEntry(step=200, ua={"a": 0.6 + seed / 10}))
        write_record(folder, record.model_copy(update={"interim": looks, "schema_version": 3}), None)
    _, pair = loaded(sweep)
    points = [(f"{ARM}-0", "pretrain/loss", 50, 0.7), (f"{ARM}-0", "pretrain/loss", 100, 0.6)]
    points += [(f"{TWIN}-1", "pretrain/validation_loss", 50, 0.8), (f"{ARM}-0", "probe/loss", 5, 1.0)]
    logged = pd.DataFrame(
        [*points, ("another", "pretrain/loss", 50, 9.0)], columns=["trial_key", "metric", "step", "value"]
    )
    table = learning_table([pair], logged)
    found = {tuple(row) for row in table[["trial_key", "curve", "step", "value"]].to_numpy().tolist()}
    assert found == {
        *points[:3],
        *((f"{ARM}-{seed}", "interim UA", 100, 0.45) for seed in (0, 1)),
        (f"{ARM}-0", "interim UA", 200, 0.6),
        (f"{ARM}-1", "interim UA", 200, 0.7),
    }
    drawing = draw_learning([pair], logged)
    assert drawing is not None
    labels = [axes.get_ylabel() for axes in drawing.figure.axes]
    assert labels == ["training loss", "validation loss", "validation UA (%)"]
    means = next(line for line in drawing.figure.axes[2].lines if line.get_label() == pair[0].name)
    assert list(means.get_xdata()) == [100, 200]
    assert list(means.get_ydata()) == pytest.approx([45, 65]), "the mean over seeds, percent"
    styles = [(line.get_linestyle(), line.get_marker()) for line in drawing.figure.axes[2].lines[-2:]]
    assert len(set(styles)) == 2


def test_without_a_log_and_looks_there_is_no_learning_figure(tmp_path: Path) -> None:
    _, pair = loaded(written(tmp_path))
    assert draw_learning([pair]) is None
    nothing = pd.DataFrame(columns=["trial_key", "metric", "step", "value"])
    assert draw_learning([pair], nothing) is None


def test_long_logs_are_thinned_to_the_same_steps_in_arm_and_twin(tmp_path: Path) -> None:
    _, pair = loaded(written(tmp_path))
    steps = range(10, 25_010, 10)
    logged = pd.DataFrame(
        [(key, "pretrain/loss", step, 1 / step) for key in (f"{ARM}-0", f"{TWIN}-0") for step in steps],
        columns=["trial_key", "metric", "step", "value"],
    )
    few = logged[logged["step"] <= 10 * MOST_STEPS]
    assert len(learning_table([pair], few)) == len(few), "as many as can be drawn stay as they are"
    table = learning_table([pair], logged.sample(frac=1, random_state=0))
    kept = {key: own["step"].to_list() for key, own in table.groupby("trial_key")}
    assert kept[f"{ARM}-0"] == kept[f"{TWIN}-0"]
    assert len(kept[f"{ARM}-0"]) == MOST_STEPS
    assert (kept[f"{ARM}-0"][0], kept[f"{ARM}-0"][-1]) == (10, 25_000)
    assert set(np.diff(kept[f"{ARM}-0"])) == {120, 130}, "evenly"
    assert (table["value"] == 1 / table["step"]).all(), "values as logged, no means of them"
    drawing = draw_learning([pair], logged)
    assert drawing is not None
    assert f"Of longer logs {MOST_STEPS} steps are drawn" in drawing.caption
    assert "2 trials of 4 left no log in this sweep" in drawing.caption


def test_masks_are_drawn_where_they_are(tmp_path: Path) -> None:
    sweep = written(tmp_path)
    own, other = np.zeros(700, dtype=bool), np.zeros(700, dtype=bool)
    own[10:20] = own[499:520] = other[0:7] = True
    write_example(sweep.trials_root / f"{ARM}-0", own)
    write_example(sweep.trials_root / f"{TWIN}-0", other)
    found, pair = loaded(sweep)
    drawing = draw_examples([pair], trials_root=found.trials_root)
    assert drawing is not None
    lower = drawing.figure.axes[1]
    spans = [
        sorted({round(float(x), 6) for x in path.vertices[:, 0]})
        for bars in lower.collections
        for path in bars.get_paths()
    ]  # type: ignore[index]
    assert spans == [[0.1, 0.2], [4.99, 5.0], [0.0, 0.07]]
    assert [bool(bars.get_hatch()) for bars in lower.collections] == [False, True], "told apart without colour"
    data = drawing.data
    assert len(data) == SECONDS / (HOP_MS / 1000)
    assert data["arm_chooses"].to_list() == own[: len(data)].astype(int).tolist()
    assert data["twin_chooses"].to_list() == other[: len(data)].astype(int).tolist()
    assert data["seconds"].iloc[-1] == 4.99


def test_no_example_or_not_the_same_utterance_is_no_figure(tmp_path: Path) -> None:
    sweep = written(tmp_path)
    found, pair = loaded(sweep)
    assert draw_examples([pair], trials_root=found.trials_root) is None
    write_example(sweep.trials_root / f"{ARM}-0", np.ones(9, dtype=bool))
    assert draw_examples([pair], trials_root=found.trials_root) is None
    write_example(sweep.trials_root / f"{TWIN}-0", np.ones(9, dtype=bool), utterance="another")
    assert draw_examples([pair], trials_root=found.trials_root) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mask": np.ones(4, dtype=bool)}, r"needs fbank \(T, M\), intensity \(T,\) and mask \(T,\), got .*\(4,\)"),
        ({"fbank": np.ones(9)}, r"needs fbank \(T, M\)"),
    ],
)
def test_an_example_of_another_shape_is_one_clear_line(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    write_example(tmp_path, np.ones(9, dtype=bool), **changes)
    with pytest.raises(BadInputError, match=f"{MASK_EXAMPLE}: {said}"):
        read_example(tmp_path)


def test_a_file_that_is_no_example_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / MASK_EXAMPLE).write_bytes(b"PK no archive")
    with pytest.raises(BadInputError, match=f"{MASK_EXAMPLE}: cannot be read"):
        read_example(tmp_path)
    np.savez(tmp_path / MASK_EXAMPLE, fbank=np.ones((3, 2)))
    with pytest.raises(BadInputError, match=f"{MASK_EXAMPLE}: cannot be read .*intensity"):
        read_example(tmp_path)
