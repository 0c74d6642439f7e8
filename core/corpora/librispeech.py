"""LibriSpeech (Panayotov et al. 2015): read English speech without emotion labels, to pre-train on."""

from __future__ import annotations

__all__ = ["PUBLISHED", "list_librispeech"]

import re
from collections.abc import Mapping
from pathlib import Path

from core.config import CorpusConfig
from core.corpora.checks import Candidate, Listing
from core.corpora.choices import refuse_choices
from core.corpora.recordings import find_recordings
from core.corpora.text import read_lines
from core.errors import CorpusError
from core.store import Workspace

PUBLISHED: Mapping[str, int] = {
    "dev-clean": 2703,
    "dev-other": 2864,
    "test-clean": 2620,
    "test-other": 2939,
    "train-clean-100": 28_539,
    "train-clean-360": 104_014,
    "train-other-500": 148_688,
}
"""Utterances of each folder."""

_NAME = re.compile(r"(?P<speaker>\d+)-(?P<chapter>\d+)-\d+")
_SAID = re.compile(r"(?P<utterance>\S+) (?P<words>.+)")


def list_librispeech(config: CorpusConfig, workspace: Workspace) -> Listing:
    """The utterances of `<folder>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.{flac,wav}` below `config.root`.

    A subset is one such folder (`train-clean-360`), None all that are there. An utterance that only the chapter's
    transcripts name is listed too, so that its recording will be missed. Speakers are sessions; there are no classes.
    Raises CorpusError when there is nothing, for a name of another shape, and for a line that is not a transcript.
    """
    del workspace
    assert config.root is not None
    root = config.root.absolute()
    folders = [path.name for path in sorted(root.glob("[!.]*")) if path.is_dir() and _has_chapters(path)]
    if not folders:
        raise CorpusError(
            f"{root}: no LibriSpeech here; expected <folder>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac "
            "in folders such as train-clean-360"
        )
    refuse_choices(config, subsets=folders)
    candidates: list[Candidate] = []
    short = []
    for name in [config.subset] if config.subset else folders:
        found = [each for chapter in sorted((root / name).glob("[0-9]*/[0-9]*")) for each in _read_chapter(chapter)]
        if len(found) != PUBLISHED.get(name, len(found)):
            short.append(f"{name} {len(found)} of {PUBLISHED[name]} utterances")
        candidates += found
    return Listing(
        corpus="librispeech",
        classes=None,
        candidates=tuple(candidates),
        incomplete="; ".join(short) or None,
    )


def _has_chapters(folder: Path) -> bool:
    return any(chapter.is_dir() for chapter in folder.glob("[0-9]*/[0-9]*"))


def _read_chapter(folder: Path) -> list[Candidate]:
    said = _transcripts(folder)
    paths = [(path.stem, path) for path in find_recordings(folder, "*")]
    missing = sorted(set(said) - {name for name, _ in paths})
    paths += [(name, folder / f"{name}.flac") for name in missing]
    for name, path in paths:
        _check_name(name, folder, place=str(path))
    speaker = folder.parent.name
    return [
        Candidate(utterance=name, path=path, speaker=speaker, session=speaker, label="", transcript=said.get(name))
        for name, path in paths
    ]


def _transcripts(folder: Path) -> dict[str, str]:
    path = folder / f"{folder.parent.name}-{folder.name}.trans.txt"
    if not path.exists():
        return {}
    said = {}
    for number, line in enumerate(read_lines(path), start=1):
        match = _SAID.fullmatch(line.strip())
        if match is None:
            raise CorpusError(f"{path}:{number}: not an utterance and its words: {line!r}")
        _check_name(match["utterance"], folder, place=f"{path}:{number}")
        said[match["utterance"]] = match["words"]
    return said


def _check_name(name: str, folder: Path, *, place: str) -> None:
    match = _NAME.fullmatch(name)
    if match is None or (match["speaker"], match["chapter"]) != (folder.parent.name, folder.name):
        raise CorpusError(f"{place}: {name!r} is not {folder.parent.name}-{folder.name}- and a number")
