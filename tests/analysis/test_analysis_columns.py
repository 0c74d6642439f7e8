"""Predictions however they were stored: the same counts, the same identity, one clear line for what is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_sweep import SyntheticArm, SyntheticSweep

from analysis.columns import PredictionsFile, TextColumn
from analysis.load import load_sweep, open_test
from analysis.parts import Part
from benchmarks.many_trials import write_many_trials
from core.errors import BadInputError

ARM = SyntheticArm(key="ems", name="ems")


@pytest.fixture
def written(tmp_path: Path) -> SyntheticSweep:
    return SyntheticSweep(root=tmp_path, arms=(ARM,), seeds=(0, 1)).write()


def parts(written: SyntheticSweep) -> list[Part]:
    return list(open_test(load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)).values())


def numbered(frame: pd.DataFrame) -> pd.DataFrame:
    """Speakers as numbers."""
    return frame.assign(speaker=frame["speaker"].factorize(sort=True)[0])


@pytest.mark.parametrize(
    "store",
    [
        lambda frame, path: frame.to_parquet(path, index=False, compression="zstd"),
        lambda frame, path: frame.to_parquet(path, index=False, row_group_size=50),
        lambda frame, path: frame.astype("category").to_parquet(path, index=False),
        lambda frame, path: pq.write_table(pa.Table.from_pandas(frame), path, use_dictionary=False),
        lambda frame, path: frame.sample(frac=1, random_state=0).to_parquet(path, index=False),
        lambda frame, path: frame[list(frame.columns[::-1])].to_parquet(path, index=False),
    ],
    ids=["compressed", "row groups", "categories", "no dictionary", "other order", "columns turned"],
)
def test_however_stored_the_same_part(written: SyntheticSweep, store: Callable[[pd.DataFrame, Path], None]) -> None:
    before = parts(written)
    path = written.trials_root / "ems-1" / "predictions.parquet"
    store(pd.read_parquet(path), path)
    for was, now in zip(before, parts(written), strict=True):
        assert now.identity == was.identity
        assert now.speakers == was.speakers
        assert (now.counts == was.counts).all()


@pytest.mark.parametrize("column", ["utterance", "speaker"])
def test_one_other_question_is_another_identity(written: SyntheticSweep, column: str) -> None:
    path = written.trials_root / "ems-1" / "predictions.parquet"
    frame = pd.read_parquet(path)
    first = frame.index[frame["split"] == "test"][0]
    frame.loc[first, column] = "Ses01M" if column == "speaker" else "another"
    frame.to_parquet(path, index=False)
    assert len({part.identity for part in parts(written)}) == 2


def test_numbers_are_read_as_text(written: SyntheticSweep) -> None:
    path = written.trials_root / "ems-0" / "predictions.parquet"
    numbered(pd.read_parquet(path)).to_parquet(path, index=False)
    assert parts(written)[0].speakers == tuple(map(str, range(10)))


def test_an_empty_cell_and_a_broken_file_are_named(written: SyntheticSweep) -> None:
    path = written.trials_root / "ems-1" / "predictions.parquet"
    frame = pd.read_parquet(path)
    frame.assign(predicted=frame["predicted"].where(frame.index > 2)).to_parquet(path, index=False)
    with pytest.raises(BadInputError, match="trial ems-1, validation: column 'predicted' is empty in 3 rows"):
        parts(written)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BadInputError, match=r"ems-1/predictions\.parquet: cannot be read \(") as error:
        parts(written)
    assert "\n" not in str(error.value)


def test_the_fingerprint_is_of_the_columns_asked_for(written: SyntheticSweep) -> None:
    files = [PredictionsFile(written.trials_root / f"ems-{seed}", where="here") for seed in (0, 1)]
    asked = [file.fingerprint(["utterance", "label"]) for file in files]
    answered = [file.fingerprint(["utterance", "predicted"]) for file in files]
    assert asked[0] == asked[1]
    assert answered[0] != answered[1]
    with pytest.raises(BadInputError, match="here: predictions have no column 'colour'"):
        files[0].fingerprint(["colour"])


def test_codes_that_run_together_are_not_the_same_text() -> None:
    codes_N = np.array([0, 1], np.int32)
    one, other = (TextColumn(values=values, codes_N=codes_N) for values in (("ab", "c"), ("a", "bc")))
    assert one.digest() != other.digest()
    unused = TextColumn(values=("z", "b", "a"), codes_N=np.array([2, 1], np.int32)).sorted()
    assert (unused.values, unused.codes_N.tolist()) == (("a", "b"), [0, 1])


def test_a_drawn_sweep_of_the_benchmark_reads_as_pandas_counts_it(tmp_path: Path) -> None:
    plan_path = write_many_trials(tmp_path, arms=3, seeds=2, per_class=(31, 40, 40, 29))
    sweep = load_sweep(plan_path=plan_path, trials_root=tmp_path / "trials")
    found = open_test(sweep)
    assert len(found) == 6
    assert len({part.identity for part in found.values()}) == 1
    frame = pd.read_parquet(tmp_path / "trials" / "00000001-1" / "predictions.parquet")
    test = frame[frame["split"] == "test"]
    assert len(test) == 140
    part = found["00000001-1"]
    for place, fold in enumerate(part.folds):
        table = pd.crosstab(test["label"], test["predicted"].where(test["fold"] == fold)).to_numpy()
        assert (part.counts[place].sum(axis=0) == table).all()


def test_many_arms_at_any_size_have_their_twin(tmp_path: Path) -> None:
    plan_path = write_many_trials(tmp_path, arms=12, seeds=1, per_class=(10, 10, 10, 10))
    arms = load_sweep(plan_path=plan_path, trials_root=tmp_path / "trials").arms.values()
    twins = [arm.twin_key for arm in arms]
    assert twins == [None, *["00000000"] * 9, None, "0000000a"]
