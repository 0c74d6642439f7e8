"""Artifacts are whole or absent, and made once however many want them."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest

from core.errors import BadInputError
from core.failures import is_disk_full
from core.store import Recipe, Store, Workspace, write_atomically

MODULES = ("core.units",)


def make(root: Path, *, value: int = 1, marks: Path | None = None) -> str:
    with Store(root=root).claim("stage", settings={"value": value}, inputs=["abc"], modules=MODULES) as claim:
        if not claim.done:
            if marks is not None:
                (marks / f"{time.monotonic_ns()}").touch()
                time.sleep(0.3)
            (claim.out / "result.txt").write_text(str(value))
    return (claim.artifact.path / "result.txt").read_text()


def test_made_once_and_found_again(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    assert make(tmp_path, marks=marks) == make(tmp_path, marks=marks) == "1"
    assert len(list(marks.iterdir())) == 1
    assert make(tmp_path, value=2) == "2"


def test_four_processes_compute_it_once(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=make, args=(tmp_path,), kwargs={"marks": marks}) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(list(marks.iterdir())) == 1


def test_a_failed_build_leaves_nothing_but_its_scratch(tmp_path):
    def interrupted() -> None:
        with Store(root=tmp_path).claim("stage", settings={}, inputs=[], modules=MODULES) as claim:
            (claim.scratch / "checkpoint").write_text("half way")
            (claim.out / "half.txt").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with Store(root=tmp_path).claim("stage", settings={}, inputs=[], modules=MODULES) as claim:
        assert not claim.done
        assert list(claim.out.iterdir()) == []
        assert (claim.scratch / "checkpoint").read_text() == "half way"
    assert not claim.scratch.exists()
    assert claim.artifact.description()["stage"] == "stage"


def test_a_full_disk_leaves_the_checkpoint_and_nothing_else(tmp_path):
    """`/dev/full` takes no byte, as a full disk; what writes to it is NumPy itself."""

    def build() -> None:
        with Store(root=tmp_path).claim("stage", settings={}, inputs=[], modules=MODULES) as claim:
            write_atomically(claim.scratch / "checkpoint", b"half way")
            (claim.out / "half.npy").symlink_to("/dev/full")
            np.save(claim.out / "half.npy", np.zeros(100_000))

    with pytest.raises(OSError) as caught:  # noqa: PT011
        build()
    assert is_disk_full(caught.value)
    left = sorted(path.relative_to(tmp_path).parts[1:] for path in tmp_path.rglob("*") if path.is_file())
    key = Store(root=tmp_path).key("stage", settings={}, inputs=[], modules=MODULES)
    assert left == [(f".{key}.lock",), (f".{key}.scratch", "checkpoint")]


def test_a_recipe_knows_the_key_of_what_it_makes(tmp_path):
    store = Store(root=tmp_path)
    recipe = Recipe(stage="stage", settings={"value": 1}, inputs=["abc"], modules=MODULES)
    with recipe.claim(store) as claim:
        (claim.out / "result.txt").write_text("1")
    assert recipe.key(store) == claim.artifact.key
    assert make(tmp_path) == "1"


def test_what_a_killed_process_left_is_cleared(tmp_path):
    key = Store(root=tmp_path).key("stage", settings={}, inputs=[], modules=MODULES)
    left = tmp_path / "stage" / f".{key}.part.0123"
    left.mkdir(parents=True)
    (left / "half.txt").write_text("x")
    with Store(root=tmp_path).claim("stage", settings={}, inputs=[], modules=MODULES) as claim:
        (claim.out / "result.txt").write_text("1")
    assert not left.exists()
    assert sorted(path.name for path in claim.artifact.path.iterdir()) == ["artifact.json", "result.txt"]


def test_key_covers_settings_inputs_and_code(tmp_path):
    store = Store(root=tmp_path)
    keys = {
        store.key("s", settings={"a": 1}, inputs=["x"], modules=MODULES),
        store.key("s", settings={"a": 2}, inputs=["x"], modules=MODULES),
        store.key("s", settings={"a": 1}, inputs=["y"], modules=MODULES),
        store.key("s", settings={"a": 1}, inputs=["x"], modules=("core.metrics",)),
        store.key("t", settings={"a": 1}, inputs=["x"], modules=MODULES),
    }
    assert len(keys) == 5


def test_workspace_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match="cannot be made"):
        Workspace.at(tmp_path / "file")
