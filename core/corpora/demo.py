"""The demo corpus: rendered by espeak-ng into the workspace on first use, IEMOCAP-shaped, with planted intensity."""

from __future__ import annotations

__all__ = ["PlantedSegment", "list_demo", "planted_dimensions", "planted_intensity"]

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.config import CorpusConfig
from core.corpora.checks import Listing
from core.corpora.choices import refuse_choices
from core.corpora.demo_render import PLANTED_FILE, render
from core.corpora.demo_script import write_script
from core.corpora.espeak import espeak_version
from core.corpora.iemocap import CLASSES, labelled, read_turns
from core.errors import BadInputError
from core.store import Workspace

_MODULES = ("core.corpora.demo_render", "core.corpora.demo_script", "core.corpora.espeak", "core.seeding")


@dataclass(frozen=True, kw_only=True)
class PlantedSegment:
    """A stretch of speech and the emotional intensity it was rendered with; between segments there is silence.

    `start`, `end` in seconds, exact to about 10 ms (the synthesiser's marks); `intensity` in [0, 1], 0 throughout
    neutral utterances; `emphasised`: the few words that carry the full emotion.
    """

    start: float
    end: float
    words: str
    emphasised: bool
    intensity: float


def list_demo(config: CorpusConfig, workspace: Workspace) -> Listing:
    """The utterances of one part, rendered first where the workspace does not have them yet (some seconds).

    Raises MissingDependencyError when espeak-ng (`emsweep[demo]`) is not installed.
    """
    refuse_choices(config)
    return Listing(
        corpus="demo",
        part=config.part,
        classes=CLASSES,
        candidates=labelled(read_turns(_rendered(config, workspace)), "merged-4"),
    )


def planted_intensity(config: CorpusConfig, workspace: Workspace) -> Mapping[str, tuple[PlantedSegment, ...]]:
    """Ground truth of the demo corpus: utterance → its stretches of speech in order of time."""
    if config.name != "demo":
        raise BadInputError(f"planted intensity: only the demo corpus has it (got {config.name!r})")
    planted = json.loads((_rendered(config, workspace) / PLANTED_FILE).read_text(encoding="utf-8"))
    return {utterance: tuple(PlantedSegment(**row) for row in rows) for utterance, rows in planted.items()}


def planted_dimensions(config: CorpusConfig) -> Mapping[str, tuple[float, float, float]]:
    """Utterance → its activation, valence and dominance before they were rated, in that order, on the scale of the
    labels but not clipped. BadInputError for another corpus.
    """
    if config.name != "demo":
        raise BadInputError(f"planted dimensions: only the demo corpus has them (got {config.name!r})")
    return {line.utterance: line.meant for line in write_script(config.part)}


def _rendered(config: CorpusConfig, workspace: Workspace) -> Path:
    settings = {"part": config.part, "espeakng_loader": espeak_version()}
    with workspace.store.claim("demo-corpus", settings=settings, inputs=[], modules=_MODULES) as claim:
        if not claim.done:
            render(write_script(config.part), claim.out, scratch=claim.scratch)
    return claim.artifact.path
