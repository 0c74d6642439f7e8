"""Which artifacts a trial needs: what it is made from, what it has made, and what it is making (ours)."""

from __future__ import annotations

__all__ = ["note_references", "reachable", "read_references", "rendered"]

import json
from collections.abc import Iterable
from pathlib import Path

from core.corpora.manifest import Manifest
from core.store import Artifact, Store, write_atomically

FILE = "artifacts.json"
"""Beside the record: `<stage>/<key>` of all that the trial needs, whether finished or not (its scratch is then
`<stage>/.<key>.scratch`)."""


def reachable(store: Store, artifacts: Iterable[Artifact]) -> tuple[str, ...]:
    """`<stage>/<key>` of finished artifacts and of all that they were made from, sorted."""
    # Inputs are named by key alone, and some are hashes of what is no artifact.
    stages = sorted(path for path in store.root.iterdir() if path.is_dir())
    found: set[str] = set()
    waiting = list(artifacts)
    while waiting:
        artifact = waiting.pop()
        if f"{artifact.stage}/{artifact.key}" in found:
            continue
        found.add(f"{artifact.stage}/{artifact.key}")
        inputs = artifact.description()["inputs"]
        assert isinstance(inputs, list)
        waiting += [
            Artifact(stage=stage.name, key=str(key), path=stage / str(key))
            for key in inputs
            for stage in stages
            if (stage / str(key) / "artifact.json").exists()
        ]
    return tuple(sorted(found))


def rendered(store: Store, manifests: Iterable[Manifest]) -> tuple[str, ...]:
    """`<stage>/<key>` of the artifacts in which recordings of these corpora lie (the demo corpus), sorted."""
    folders = {utterance.path.parent for manifest in manifests for utterance in manifest.utterances}
    inside = {folder.relative_to(store.root).parts for folder in folders if folder.is_relative_to(store.root)}
    return tuple(sorted({"/".join(parts[:2]) for parts in inside}))


def note_references(folder: Path, names: Iterable[str]) -> None:
    """Say in `trials/<key>/` what the trial needs, before it is made: an interrupted trial needs it too."""
    write_atomically(folder / FILE, json.dumps(sorted(names), indent=1).encode())


def read_references(folder: Path) -> tuple[str, ...]:
    """What the trial said that it needs; empty when it said nothing yet."""
    path = folder / FILE
    return tuple(json.loads(path.read_text())) if path.exists() else ()
