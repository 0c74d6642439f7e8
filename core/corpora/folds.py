"""Manifest → Folds: who trains, who validates, who is tested; disjoint by speaker, and checked to be."""

from __future__ import annotations

__all__ = ["SUPERB_VALIDATION", "Fold", "Folds", "make_folds"]

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from core.config import FoldsConfig
from core.corpora.manifest import Manifest, Utterance
from core.errors import BadInputError, LeakageError
from core.seeding import stream

SUPERB_VALIDATION = 0.2
"""Share of the training utterances that SUPERB's emotion task validates on."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One division into three parts: utterance ids, each in manifest order."""

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Folds:
    """All folds of a scheme; each utterance is tested exactly once.

    `leaky`: the validation part shares its speakers with the train part (never with the test part).
    """

    scheme: str
    validation: str
    leaky: bool
    folds: tuple[Fold, ...]


def make_folds(manifest: Manifest, config: FoldsConfig, *, seed_for_superb: int = 0) -> Folds:
    """Divide a manifest's utterances. The order of folds is that of their group names (of the file, for `file`).

    `next-fold` validation is the test part of the following fold, cyclically (ours). `superb` validation is a random
    fifth of the training utterances, drawn from the stream (seed_for_superb, "superb-validation", fold).
    `speaker-folds`: speakers by falling number of utterances, each to the fold that has fewest so far (ours).

    Raises BadInputError for fewer than three groups, a fold file that does not test every speaker once, and a part
    without some class (UA is undefined there); LeakageError if parts share a speaker.
    """
    groups = _GROUPINGS[config.scheme](manifest, config)
    if len(groups) < 3:
        raise BadInputError(
            f"folds: {config.scheme} gives {len(groups)} groups of {manifest.corpus}, at least 3 needed"
        )
    _check_groups(groups)
    names = list(groups)
    folds = []
    for index, name in enumerate(names):
        following = names[(index + 1) % len(names)]
        if config.validation == "next-fold":
            train = [item for other in names if other not in (name, following) for item in groups[other]]
            validation = list(groups[following])
        else:
            seen = [item for other in names if other != name for item in groups[other]]
            train, validation = _split_superb(seen, seed=seed_for_superb, fold=name)
        parts = {"train": train, "validation": validation, "test": list(groups[name])}
        _check_parts(name, parts, manifest.classes, leaky=config.validation == "superb")
        folds.append(Fold(name=name, **{part: _ids(items) for part, items in parts.items()}))
    return Folds(
        scheme=config.scheme,
        validation=config.validation,
        leaky=config.validation == "superb",
        folds=tuple(folds),
    )


Groups = Mapping[str, Sequence[Utterance]]


def _ids(items: Sequence[Utterance]) -> tuple[str, ...]:
    return tuple(sorted(item.utterance for item in items))


def _by_session(manifest: Manifest, config: FoldsConfig) -> Groups:
    del config
    sessions = sorted({item.session for item in manifest.utterances})
    return {name: [item for item in manifest.utterances if item.session == name] for name in sessions}


def _by_speaker(manifest: Manifest, config: FoldsConfig) -> Groups:
    del config
    return _of_speakers(manifest, {speaker: [speaker] for speaker in manifest.speakers})


def _balanced(manifest: Manifest, config: FoldsConfig) -> Groups:
    if config.k > len(manifest.speakers):
        raise BadInputError(f"folds: k {config.k} is over the {len(manifest.speakers)} speakers of {manifest.corpus}")
    counts = dict.fromkeys(manifest.speakers, 0)
    for item in manifest.utterances:
        counts[item.speaker] += 1
    folds: list[list[str]] = [[] for _ in range(config.k)]
    for speaker in sorted(counts, key=lambda name: (-counts[name], name)):
        min(folds, key=lambda fold: sum(counts[name] for name in fold)).append(speaker)
    width = len(str(config.k))
    return _of_speakers(manifest, {f"fold{number:0{width}d}": names for number, names in enumerate(folds, start=1)})


def _from_file(manifest: Manifest, config: FoldsConfig) -> Groups:
    assert config.file is not None
    chosen = _read_fold_file(config.file, manifest.speakers)
    tested = [speaker for speakers in chosen.values() for speaker in speakers]
    for speaker in manifest.speakers:
        if tested.count(speaker) != 1:
            raise BadInputError(f"{config.file}: speaker {speaker} is tested {tested.count(speaker)} times, not once")
    return _of_speakers(manifest, chosen)


def _read_fold_file(file: Path, speakers: tuple[str, ...]) -> dict[str, list[str]]:
    """Fold → test speakers: the JSON object itself, or the object under its key `test_actors` (EmoBox)."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise BadInputError(f"{file}: not JSON ({error})") from error
    folds = content.get("test_actors", content) if isinstance(content, dict) else None
    if not isinstance(folds, dict) or not all(isinstance(names, list) for names in folds.values()):
        raise BadInputError(f"{file}: expected a JSON object of fold name → list of test speakers")
    return {fold: [_find_speaker(file, fold, name, speakers) for name in names] for fold, names in folds.items()}


def _find_speaker(file: Path, fold: str, name: object, speakers: tuple[str, ...]) -> str:
    """A speaker by name, or by the number at the end of the name (actor 1 is Actor_01)."""
    if isinstance(name, int):
        found = [speaker for speaker in speakers if (end := re.search(r"\d+$", speaker)) and int(end[0]) == name]
    else:
        found = [speaker for speaker in speakers if speaker == name]
    if len(found) != 1:
        raise BadInputError(f"{file}: {fold}: {name!r} names {len(found)} speakers of {', '.join(speakers)}, not one")
    return found[0]


def _of_speakers(manifest: Manifest, speakers: Mapping[str, Sequence[str]]) -> Groups:
    return {
        fold: [item for item in manifest.utterances if item.speaker in set(names)] for fold, names in speakers.items()
    }


_GROUPINGS = {
    "leave-one-session-out": _by_session,
    "leave-one-speaker-out": _by_speaker,
    "speaker-folds": _balanced,
    "file": _from_file,
}


def _split_superb(seen: Sequence[Utterance], *, seed: int, fold: str) -> tuple[list[Utterance], list[Utterance]]:
    ordered = sorted(seen, key=lambda item: item.utterance)
    order = stream(seed, "superb-validation", fold).permutation(len(ordered))
    train = int(len(ordered) * (1 - SUPERB_VALIDATION))
    return [ordered[index] for index in order[:train]], [ordered[index] for index in order[train:]]


def _check_groups(groups: Groups) -> None:
    for (one, some), (two, others) in combinations(groups.items(), 2):
        shared = {item.speaker for item in some} & {item.speaker for item in others}
        if shared:
            raise LeakageError(f"folds: speaker {min(shared)} is in {one} and in {two}")


def _check_parts(fold: str, parts: Mapping[str, Sequence[Utterance]], classes: tuple[str, ...], *, leaky: bool) -> None:
    for one, two in combinations(parts, 2):
        shared = {item.speaker for item in parts[one]} & {item.speaker for item in parts[two]}
        if shared and not (leaky and (one, two) == ("train", "validation")):
            raise LeakageError(f"fold {fold}: speaker {min(shared)} is in {one} and in {two}")
    for part, items in parts.items():
        missing = [label for label in classes if label not in {item.label for item in items}]
        if missing:
            raise BadInputError(f"fold {fold}: {part} has no utterance of class {missing[0]}, so UA is undefined")
