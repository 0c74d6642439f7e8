"""A whole trial of seconds on recordings that hold speech and pauses: 24 of the demo corpus, three speakers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.config import CorpusConfig, TrialConfig
from core.corpora.loading import load_manifest
from core.corpora.manifest import Manifest
from core.records import Record
from core.store import Workspace
from core.trial import run_trial
from tests.core.tiny_trial import tiny_trial

SPEAKERS = ("Ses01F", "Ses01M", "Ses02F")


def write_speech_corpus(folder: Path, demo: Workspace) -> None:
    """Four angry and four sad utterances of each speaker, and scores at random."""
    manifest = load_manifest(CorpusConfig(), demo)
    rng = np.random.default_rng(0)
    rows, scores = ["path,utterance,speaker,label"], ["file_path,score"]
    for utterance in chosen(manifest):
        name = f"{utterance.utterance}.wav"
        shutil.copy(utterance.path, folder / name)
        rows.append(f"{name},{utterance.utterance},{utterance.speaker},{utterance.label}")
        values = rng.uniform(size=int(utterance.duration_s * 100)).round(3)
        scores.append(f"{name},{' '.join(map(str, values))}")
    (folder / "corpus.csv").write_text("\n".join(rows) + "\n")
    (folder / "scores.csv").write_text("\n".join(scores) + "\n")


def chosen(manifest: Manifest) -> list[Any]:
    found = []
    for speaker in SPEAKERS:
        for label in ("ang", "sad"):
            own = [one for one in manifest.utterances if (one.speaker, one.label) == (speaker, label)]
            found += own[:4]
    return found


def run_poolings(corpus: Path, workspace: Workspace, poolings: Sequence[str]) -> dict[str, Record]:
    """A whole trial of each pooling → its record."""
    return {name: run_trial(speech_trial(corpus, {"pooling": name, "heads": 2}), workspace) for name in poolings}


def speech_trial(folder: Path, sap: dict[str, Any], changes: dict[str, Any] | None = None) -> TrialConfig:
    """A trial of SAP over the corpus in `folder`."""
    settings = {"system": "sap", "sap": sap, "pretrain": {"max_frames": 150}, "probe": {"steps": 40}}
    return tiny_trial(folder, settings | (changes or {}))
