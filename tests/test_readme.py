"""The README says what the commands say, and every command has help with an example."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.reference import commands

README = Path(__file__).parents[1] / "README.md"


def test_the_reference_is_the_present_help(tmp_path):
    copy = tmp_path / "README.md"
    shutil.copy(README, copy)
    # Another process: a command remembers the help option of whoever called it first.
    subprocess.run([sys.executable, "-m", "sweeps.reference", str(copy)], check=True)
    assert README.read_text(encoding="utf-8") == copy.read_text(encoding="utf-8"), "run `make readme`"


@pytest.mark.parametrize(
    ("name", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_has_an_example_of_itself(name, command):
    assert f"Example: {name}" in (command.help or "")


def test_the_two_set_up_commands_are_promised():
    text = README.read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text
