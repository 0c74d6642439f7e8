"""What differs from the commit, in real git checkouts of a copy of the code."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from core import provenance

ASK = (
    "import sys; from core.provenance import code_diff, commit_state, diff_digest;"
    "sys.stderr.write(f'{commit_state()[1]} {diff_digest()}'); sys.stdout.buffer.write(code_diff())"
)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True
    ).stdout


def ask(folder: Path) -> tuple[bool, str | None, bytes]:
    """Whether the code in `folder` is dirty, the hash of the difference, and the difference."""
    result = subprocess.run([sys.executable, "-c", ASK], cwd=folder, capture_output=True, check=True)
    dirty, digest = result.stderr.decode().split()
    return dirty == "True", None if digest == "None" else digest, result.stdout


@pytest.fixture(params=["", "below/here"], ids=["at the top", "in a subfolder"])
def checkout(tmp_path, request) -> Path:
    top = tmp_path / "checkout"
    folder = top / request.param
    for name in ("core", "sweeps", "analysis"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text('"""A package."""\n')
    (folder / "core" / "provenance.py").write_text(Path(provenance.__file__).read_text())
    (folder / "README.md").write_text("words\n")
    (top / ".gitignore").write_text("__pycache__\n")
    git(tmp_path, "init", "--quiet", str(top))
    # A user's own taste in diffs must not reach the record.
    for name in ("diff.noprefix", "diff.mnemonicPrefix"):
        git(top, "config", name, "true")
    git(top, "config", "diff.relative", "true")
    git(top, "config", "color.ui", "always")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "-m", "one")
    return folder


def test_a_clean_checkout_has_none(checkout):
    assert ask(checkout) == (False, None, b"")


def test_a_change_outside_the_code_is_dirty_but_no_difference_of_the_code(checkout):
    (checkout / "README.md").write_text("other words\n")
    assert ask(checkout) == (True, None, b"")


def test_the_difference_applied_to_the_commit_gives_the_code_that_ran(checkout, tmp_path):
    (checkout / "sweeps" / "__init__.py").write_text('"""Another package."""\nLIMIT = "µ"\n')
    (checkout / "core" / "new").mkdir()
    (checkout / "core" / "new" / "ärger.py").write_text("VALUE = 1\n" * 20_000)
    (checkout / "core" / "data.bin").write_bytes(b"\0\1")
    (checkout / "analysis" / "__init__.py").unlink()
    dirty, digest, diff = ask(checkout)
    assert dirty
    assert digest == hashlib.sha256(diff).hexdigest()
    top = Path(git(checkout, "rev-parse", "--show-toplevel").strip())
    git(tmp_path, "clone", "--quiet", str(top), "again")
    again = tmp_path / "again" / checkout.relative_to(top)
    (tmp_path / "code.diff").write_bytes(diff)
    git(tmp_path / "again", "apply", str(tmp_path / "code.diff"))
    for name in ("sweeps/__init__.py", "core/new/ärger.py", "core/__init__.py"):
        assert (again / name).read_bytes() == (checkout / name).read_bytes()
    assert not (again / "analysis" / "__init__.py").exists()
    assert not (again / "core" / "data.bin").exists()


def test_new_code_alone_makes_it_dirty(checkout):
    (checkout / "core" / "added.py").write_text("VALUE = 1\n")
    dirty, _, diff = ask(checkout)
    assert dirty
    assert b"+VALUE = 1" in diff


def test_outside_a_checkout_there_is_none(checkout, tmp_path):
    (tmp_path / "plain" / "core").mkdir(parents=True)
    for name in ("__init__.py", "provenance.py"):
        (tmp_path / "plain" / "core" / name).write_bytes((checkout / "core" / name).read_bytes())
    assert ask(tmp_path / "plain") == (True, None, b"")
