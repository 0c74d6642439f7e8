"""Torchaudio is there whether or not its native library fits this torch; each case in an interpreter of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def run(program: str, *path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, REPOSITORY]))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_the_installed_torchaudio_works_and_is_replaced_only_where_it_fails() -> None:
    plain = run("try:\n import torchaudio\n print('fits')\nexcept OSError:\n print('does not fit')")
    ours = run(
        "import sys, torch\n"
        "from core.torchaudio_import import import_torchaudio\n"
        "torchaudio = import_torchaudio()\n"
        "assert import_torchaudio() is torchaudio is sys.modules['torchaudio']\n"
        "from torchaudio.compliance.kaldi import fbank\n"
        "from torchaudio.functional import resample, compute_deltas\n"
        "assert fbank(torch.randn(1, 16000), num_mel_bins=80).shape == (98, 80)\n"
        "assert resample(torch.randn(1, 48000), 48000, 16000).shape == (1, 16000)\n"
        "print('fits' if torchaudio._extension.__file__ else '')"
        if plain == "fits"
        else "import sys, torch\n"
        "from core.torchaudio_import import import_torchaudio\n"
        "torchaudio = import_torchaudio()\n"
        "assert import_torchaudio() is torchaudio is sys.modules['torchaudio']\n"
        "from torchaudio.compliance.kaldi import fbank\n"
        "from torchaudio.functional import resample, forced_align\n"
        "assert fbank(torch.randn(1, 16000), num_mel_bins=80).shape == (98, 80)\n"
        "assert resample(torch.randn(1, 48000), 48000, 16000).shape == (1, 16000)\n"
        "try:\n forced_align(torch.zeros(1, 2, 2), torch.zeros(1, 1))\n"
        "except RuntimeError as error:\n assert 'forced_align' in str(error)\n print('does not fit')"
    )
    assert ours == plain


def test_a_torchaudio_that_imports_is_left_alone(tmp_path: Path) -> None:
    package = tmp_path / "torchaudio"
    package.mkdir()
    (package / "__init__.py").write_text("from . import _extension\n")
    (package / "_extension.py").write_text("_IS_ALIGN_AVAILABLE = True\n")
    program = (
        "from core.torchaudio_import import import_torchaudio\n"
        "torchaudio = import_torchaudio()\n"
        "print(torchaudio.__file__, torchaudio._extension._IS_ALIGN_AVAILABLE)"
    )
    assert run(program, tmp_path) == f"{package / '__init__.py'} True"


def test_a_torchaudio_that_is_broken_in_another_way_stays_an_error(tmp_path: Path) -> None:
    package = tmp_path / "torchaudio"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('half installed')\n")
    program = (
        "from core.torchaudio_import import import_torchaudio\n"
        "try:\n import_torchaudio()\nexcept ImportError as error:\n print(error)"
    )
    assert run(program, tmp_path) == "half installed"
