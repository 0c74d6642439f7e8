"""Frame alignment over the tiny corpus: three folds, each stage a few steps long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from core.config import TrialConfig
from core.progress import silent
from core.resolve import resolve
from core.store import Artifact, Recipe, Workspace
from core.systems.alignment_chain import Chain, chain_of
from core.upstreams import prepare, upstream_keys
from tests.core.tiny_trial import RATE, tiny_trial

ALIGNMENT: dict[str, Any] = {
    "k": 4, "layer": -1, "tapt_k": 6, "tapt_layer": 0,
    "units": {"updates": 4, "batch": 4, "projection": 8, "lr": 1e-2},
    "tuning": {"epochs": 2, "batch": 4, "lr": 1e-2, "crop_s": 0.5},
}  # fmt: skip
STEPS = 4


def tiny_alignment(
    folder: Path, changes: dict[str, Any] | None = None, *, others: dict[str, Any] | None = None
) -> TrialConfig:
    """The trial over the corpus in `folder`; `changes`: of its alignment settings, `others`: of all others."""
    settings = {
        "system": "frame_alignment",
        "alignment": ALIGNMENT | (changes or {}),
        "masking": {"policy": "random", "ratio": 0.3, "span": 5, "temperature": None},
        "pretrain": {"steps": STEPS},
    }
    return tiny_trial(folder, settings | (others or {}))


def reword(folder: Path, speaker: str) -> None:
    """Give one speaker other recordings, as long as before."""
    rng = np.random.default_rng(7)
    for path in sorted(folder.glob(f"{speaker}-*.wav")):
        samples, _ = soundfile.read(path)
        soundfile.write(path, 0.1 * rng.normal(size=len(samples)), RATE)


def relabel(folder: Path, speaker: str) -> None:
    """Exchange the two labels of one speaker."""
    other = {"angry": "calm", "calm": "angry"}
    lines = (folder / "corpus.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    changed = [[*row[:3], other[row[3]] if row[2] == speaker else row[3]] for row in rows]
    (folder / "corpus.csv").write_text("\n".join([lines[0], *map(",".join, changed)]) + "\n")


def chain(config: TrialConfig, workspace: Workspace, *, tested: str) -> Chain:
    """The chain of the fold that tests one speaker, as the trial makes it where nothing looks at intensity."""
    corpora = resolve(config, workspace)
    shared = prepare(config, corpora, workspace, progress=silent)
    upstreams = upstream_keys(config, corpora, workspace, shared=shared)
    place = next(k for k, fold in enumerate(corpora.folds.folds) if tested in fold.test[0])
    return chain_of(
        config, corpora, corpora.folds.folds[place], store=workspace.store,
        upstream=upstreams[place % len(upstreams)], inputs=(shared.evaluated.key,),
    )  # fmt: skip


def artifact(recipe: Recipe, workspace: Workspace) -> Artifact:
    """The finished artifact of a recipe."""
    key = recipe.key(workspace.store)
    return Artifact(stage=recipe.stage, key=key, path=workspace.store.root / recipe.stage / key)
