"""Rooms and borders: top-level names are ours, help is fast, nothing heavy is imported early."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from core.config import TRANSFORMERS, SystemName, UpstreamName

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["core", "sweeps", "analysis"])
def test_no_foreign_package_takes_our_name(name):
    found = Path(importlib.import_module(name).__file__).resolve().parent
    assert found == ROOT / name, f"another top-level package {name!r} shadows ours: {found}"


def test_help_imports_nothing_heavy():
    code = (
        "import sys, click.testing, sweeps.cli as cli; click.testing.CliRunner().invoke(cli.main, ['--help']);"
        "print(sorted({'torch', 'ray', 'mlflow', 'pandas', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_no_room_without_a_name():
    nameless = {"utils.py", "common.py", "base.py", "helpers.py", "misc.py"}
    paths = [path for package in ("core", "sweeps", "analysis") for path in (ROOT / package).rglob("*.py")]
    assert len(paths) > 20
    assert not [path for path in paths if path.name in nameless]


def test_every_preset_and_module_of_the_trial_key_exists():
    from core.identity import code_version
    from core.resolve import trial_modules

    for upstream in get_args(UpstreamName):
        assert len(code_version(trial_modules(upstream, "ems"))) == 16


@pytest.mark.parametrize(
    "system", ["ems", *(pytest.param(name, marks=pytest.mark.slow) for name in get_args(SystemName) if name != "ems")]
)
def test_the_trial_key_covers_all_code_a_trial_runs(system):
    """Every module of core that a trial imports is in its key, but for those that only carry, name or write down."""
    from core.resolve import trial_modules

    carriers = {
        "core", "core.corpora", "core.intensity", "core.models", "core.systems", "core.errors", "core.identity",
        "core.interim", "core.progress", "core.provenance", "core.records", "core.references", "core.store",
        "core.systems.outcome", "core.underway",
    }  # fmt: skip
    # Settings and labels of other systems, which say nothing in this one's trials.
    others = {
        "sap": {"core.sap_config"},
        "frame_alignment": {"core.alignment_config"},
        "teacher_student": {
            "core.dimensions", "core.hub_files", "core.teacher_config", "core.text_files", "core.transcripts",
        },
    }  # fmt: skip
    carriers |= {module for other, modules in others.items() if other != system for module in modules}
    # Where a published model lies; its content is in the key.
    carriers |= {"core.hub_files", "core.model_files", "core.text_files"}
    # What turns files into a manifest shows in the corpus fingerprint, which is part of the key.
    carriers |= {f"core.corpora.{path.stem}" for path in (ROOT / "core" / "corpora").glob("*.py")} - {
        "core.corpora.folds"
    }
    code = (
        f"import sys, core.trial; from core.systems.outcome import system_of; system_of('{system}');"
        "print(' '.join(m for m in sys.modules if m.split('.')[0] == 'core'))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    known = {module for upstream in get_args(UpstreamName) for module in trial_modules(upstream, system)}
    assert set(shown) - carriers <= known


def imported(module: str) -> set[str]:
    """Modules of core that a module imports, from its source."""
    path = ROOT / (module.replace(".", "/") + ".py")
    tree = ast.parse(path.read_text() if path.exists() else "")
    return {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("core.")
    }


@pytest.mark.parametrize("upstream", [name for name in get_args(UpstreamName) if name not in TRANSFORMERS])
def test_the_keys_of_pretraining_and_embedding_cover_the_code_that_makes_them(upstream):
    """A module that a stage begins to use and its key does not know would leave stale artifacts valid."""
    from core.systems.ems import _embed_modules
    from core.upstreams import pretrain_modules

    of_others = {f"core.models.{other}" for other in get_args(UpstreamName) if other != upstream}
    for roots, known in (
        ({"core.pretrain", "core.batches", "core.validation"}, set(pretrain_modules(upstream))),
        ({"core.embed", "core.models.build"}, set(_embed_modules(upstream))),
    ):
        assert reached_from(roots, besides=of_others) <= known


@pytest.mark.parametrize("upstream", TRANSFORMERS)
def test_the_key_of_what_a_published_model_makes_covers_the_code_that_makes_it(upstream):
    from core.resolve import upstream_modules

    # The corpus is in the key by its fingerprint.
    reached = reached_from({"core.audio_states", "core.models.transformer"}, besides={"core.corpora.manifest"})
    assert reached <= set(upstream_modules(upstream))


def reached_from(roots: set[str], *, besides: set[str]) -> set[str]:
    """Modules that these import, and they in turn, but for what a key carries as settings or by an input's key."""
    elsewhere = besides | {
        "core.config", "core.errors", "core.features", "core.identity", "core.progress", "core.store",
    }  # fmt: skip
    reached, open_modules = set(), set(roots)
    while open_modules:
        module = open_modules.pop()
        reached.add(module)
        open_modules |= imported(module) - reached - elsewhere
    return reached
