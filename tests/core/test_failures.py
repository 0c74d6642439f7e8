"""Errors as they really come: torch, NumPy, Parquet, SQLite and the operating system, provoked."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from core.alignment_config import TuningConfig
from core.errors import BadInputError, CorpusError, LeakageError, NonFiniteLossError, TimeLimitError
from core.failures import batch_setting, failure_kind, is_disk_full
from core.finetune import Lesson, finetune
from core.listening import UpstreamListener
from core.models.build import build_upstream
from core.progress import discard
from tests.core.test_pretrain import start


def raised(work: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        work()
    return caught.value


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NonFiniteLossError(stage="pretrain", step=3, value=float("nan")), "non-finite"),
        (TimeLimitError("over 5 minutes"), "time-out"),
        (BadInputError("x"), "bad-data"),
        (CorpusError("x"), "bad-data"),
        (LeakageError("x"), "bad-data"),
        (MemoryError(), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), "memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "memory"),
        (ValueError("a defect"), "error"),
        (KeyError("a defect"), "error"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), "error"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "error"),
        (OSError(errno.ENOSPC, "No space left on device"), "error"),
    ],
)
def test_kinds(error, kind):
    assert failure_kind(error) == kind


@pytest.mark.parametrize("work", [lambda: torch.empty(10**15), lambda: np.empty(10**14)])
def test_an_array_that_no_machine_holds(work):
    assert failure_kind(raised(work)) == "memory"


@pytest.mark.slow
def test_a_process_at_its_limit_of_memory():
    """Torch, NumPy and Python itself, each refused 8 GiB by the operating system."""
    code = """
        import resource, numpy, torch
        from core.failures import failure_kind
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, resource.RLIM_INFINITY))
        matrix = torch.ones(50_000, 10)
        works = [
            lambda: torch.ones(2**31), lambda: matrix @ matrix.T, lambda: numpy.ones(2**30), lambda: bytearray(2**33)
        ]
        for work in works:
            try:
                work()
            except (RuntimeError, MemoryError) as error:
                print(failure_kind(error))
    """
    shown = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["memory"] * 4


def cut(path: Path, *, to: int) -> Path:
    path.write_bytes(path.read_bytes()[:to])
    return path


def npy(folder: Path) -> Path:
    np.save(folder / "a.npy", np.zeros(10_000))
    return folder / "a.npy"


def weights(folder: Path) -> Path:
    torch.save({"a": torch.zeros(10_000)}, folder / "w.pt")
    return folder / "w.pt"


def parquet(folder: Path) -> Path:
    pd.DataFrame({"a": np.arange(10_000)}).to_parquet(folder / "a.parquet")
    return folder / "a.parquet"


def packed(folder: Path) -> Path:
    np.savez_compressed(folder / "a.npz", a=np.random.default_rng(0).normal(size=10_000))
    return folder / "a.npz"


def notes(folder: Path) -> Path:
    (folder / "a.json").write_text(json.dumps(list(range(1000))))
    return folder / "a.json"


@pytest.mark.parametrize("to", [0, 50, 1000])
@pytest.mark.parametrize(
    ("make", "read"),
    [
        (npy, np.load),
        (npy, lambda path: np.load(path, mmap_mode="r")),
        (packed, lambda path: np.load(path)["a"]),
        (weights, lambda path: torch.load(path, weights_only=True)),
        (parquet, pd.read_parquet),
        (notes, lambda path: json.loads(path.read_text())),
    ],
    ids=["npy", "npy-mapped", "npz", "torch", "parquet", "json"],
)
def test_a_file_cut_short_is_bad_data(tmp_path, make, read, to):
    path = cut(make(tmp_path), to=to)
    assert failure_kind(raised(lambda: read(path))) == "bad-data"


def test_a_checkpoint_of_something_else_is_bad_data(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"hello there")
    assert failure_kind(raised(lambda: torch.load(tmp_path / "w.pt", weights_only=True))) == "bad-data"
    assert failure_kind(pickle.UnpicklingError("invalid load key")) == "bad-data"


def test_a_defect_that_only_uses_numpy_is_no_bad_data():
    assert failure_kind(raised(lambda: np.reshape(np.zeros(3), (2, 2)))) == "error"
    assert failure_kind(raised(lambda: np.split(np.zeros(3), 2))) == "error"


def full(folder: Path, name: str) -> Path:
    (folder / name).symlink_to("/dev/full")
    return folder / name


def overflow(folder: Path) -> None:
    with sqlite3.connect(folder / "journal.db") as connection:
        connection.execute("PRAGMA max_page_count = 2")
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (?)", [("y" * 1000,)] * 100)


WRITERS: list[Callable[[Path], object]] = [
    lambda folder: np.save(full(folder, "a.npy"), np.zeros(100_000)),
    lambda folder: np.savez_compressed(full(folder, "a.npz"), a=np.zeros(100_000)),
    lambda folder: torch.save({"a": torch.zeros(100_000)}, full(folder, "large.pt")),
    lambda folder: torch.save({"a": torch.zeros(3)}, full(folder, "small.pt")),
    lambda folder: pd.DataFrame({"a": np.arange(100_000)}).to_parquet(full(folder, "a.parquet")),
    lambda folder: full(folder, "a.txt").write_text("x"),
    overflow,
]


@pytest.mark.parametrize("write", WRITERS)
def test_whatever_writes_to_a_full_disk_is_recognised(tmp_path, write):
    error = raised(lambda: write(tmp_path))
    assert is_disk_full(error)
    assert failure_kind(error) == "error"


@pytest.mark.slow
def test_a_real_file_system_that_fills_up(tmp_path):
    """A megabyte of memory as a disk: here NumPy writes a part and forgets the error number."""
    mounted = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs "$0" && "$@"']
    if shutil.which("unshare") is None or subprocess.run([*mounted, str(tmp_path), "true"]).returncode:
        pytest.skip("this machine lets nobody mount a file system of their own")
    code = """
        import sys, numpy, torch
        from pathlib import Path
        from core.failures import is_disk_full
        folder = Path(sys.argv[1])
        works = [
            lambda: numpy.save(folder / "a.npy", numpy.zeros(10**6)),
            lambda: torch.save({"a": torch.zeros(10**6)}, folder / "a.pt"),
            lambda: torch.save({"a": torch.zeros(10**6)}, (folder / "b.pt").open("wb")),
            lambda: (folder / "a").write_bytes(bytes(2**21)),
        ]
        for work in works:
            try:
                work()
            except (OSError, RuntimeError) as error:
                print(is_disk_full(error))
            for path in folder.iterdir():
                path.unlink()
    """
    command = [*mounted, str(tmp_path), sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["True"] * 4


def test_a_full_disk_behind_another_error_is_found():
    def work(*, suppressed: bool) -> None:
        try:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        except OSError as error:
            if suppressed:
                raise RuntimeError("cannot be saved") from None
            raise RuntimeError("cannot be saved") from error

    assert is_disk_full(raised(lambda: work(suppressed=False)))
    assert is_disk_full(raised(lambda: work(suppressed=True)))
    assert not is_disk_full(RuntimeError("cannot be saved"))
    assert not is_disk_full(OSError(errno.EIO, "Input/output error"))
    turning = ValueError("round")
    turning.__context__ = other = KeyError("and round")
    other.__context__ = turning
    assert not is_disk_full(turning)


def test_the_training_loop_that_an_error_came_through_names_its_batch(features, tiny, tmp_path, monkeypatch):
    """Raised where the model runs, inside the loop: an allocation that no machine can serve."""

    def too_much(*given: object, **named: object) -> None:
        del given, named
        torch.empty(10**15)

    monkeypatch.setattr("core.pretrain._optimize", too_much)
    config = tiny(policy="random")
    error = raised(lambda: next(start(features, config, tmp_path / "pretrain.pt", discard)))
    assert (failure_kind(error), batch_setting(error)) == ("memory", "pretrain.micro_batch")
    monkeypatch.setattr(UpstreamListener, "hear", too_much)
    upstream = build_upstream(config, features.dims)
    listener = UpstreamListener(upstream, features, masking=config.masking, stack=2, hop_s=0.01)
    lesson = Lesson(
        train=np.arange(4), train_labels=("sad", "angry") * 2, validation=np.arange(2),
        validation_labels=("sad", "angry"), classes=("angry", "sad"),
    )  # fmt: skip
    tuning = finetune(
        listener, lesson, TuningConfig(epochs=1, batch=2), pooling="mean", name="tuning", seed=0,
        checkpoint=tmp_path / "checkpoint.pt", log=discard,
    )  # fmt: skip
    error = raised(lambda: next(tuning))
    assert (failure_kind(error), batch_setting(error)) == ("memory", "alignment.tuning.batch")
    assert batch_setting(raised(lambda: torch.empty(10**15))) is None


def test_it_imports_no_torch():
    code = "import sys, core.failures as f; print(f.failure_kind(RuntimeError('x')), 'torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["error", "False"]
