"""MSP-Podcast (Lotfian & Busso 2019), releases 1.6 and later: natural speech cut from podcasts, labelled by a crowd."""

from __future__ import annotations

__all__ = ["EMOTIONS", "LABEL_SETS", "list_msp_podcast"]

from collections.abc import Mapping
from pathlib import Path

from core.config import CorpusConfig, LabelSet
from core.corpora.checks import Candidate, Listing
from core.corpora.choices import refuse_choices
from core.corpora.recordings import recording_of
from core.corpora.text import read_score, read_table, read_transcript
from core.errors import CorpusError
from core.store import Workspace

EMOTIONS: Mapping[str, str] = {
    "A": "anger",
    "C": "contempt",
    "D": "disgust",
    "F": "fear",
    "H": "happiness",
    "N": "neutral",
    "S": "sadness",
    "U": "surprise",
}
"""Letter in the column EmoClass → class; beside them `O` is another emotion and `X` no agreement."""

LABEL_SETS: Mapping[LabelSet, tuple[str, ...]] = {
    "plain-4": ("A", "H", "N", "S"),
    "all": tuple(EMOTIONS),
    "dimensions": (*EMOTIONS, "O", "X"),
}
"""Label set → letters of the utterances in it. The first is the usual one."""

_LABEL_FILES = ("labels_consensus.csv", "labels_concensus.csv")
"""The second spelling is that of the early releases."""

_AUDIO_FOLDERS = ("Audios", "Audio")
_DIMENSIONS = ("EmoAct", "EmoVal", "EmoDom")
_COLUMNS = ("FileName", "EmoClass", *_DIMENSIONS, "SpkrID", "Split_Set")
_UNKNOWN = "Unknown"
_LOWEST, _HIGHEST = 1.0, 7.0

Row = tuple[str, Mapping[str, str]]
"""Place (file and line) of a row, and its cells by column."""


def list_msp_podcast(config: CorpusConfig, workspace: Workspace) -> Listing:
    """The rows of `Labels/labels_consensus.csv` below `config.root` that belong to a label set (`plain-4`) and subset.

    Recordings are `Audios/<FileName>` (or `Audio/`), transcripts `Transcripts/<name>.txt` where there are any. A subset
    is a value of the column Split_Set (`Train`, `Development`, `Test1` …). Speakers are sessions (ours: the test sets
    share speakers, so Split_Set would not keep them apart). An utterance of speaker `Unknown` is listed as known to be
    without a speaker: nobody could say in which part of a fold its voice is. Counts are not checked, they differ from
    release to release. Raises CorpusError for a folder that is not MSP-Podcast and for a row that cannot be read.
    """
    del workspace
    assert config.root is not None
    root = config.root.absolute()
    labels = next((root / "Labels" / name for name in _LABEL_FILES if (root / "Labels" / name).is_file()), None)
    audio = next((root / name for name in _AUDIO_FOLDERS if (root / name).is_dir()), None)
    if labels is None or audio is None:
        raise CorpusError(f"{root}: no MSP-Podcast here; expected Labels/{_LABEL_FILES[0]} and Audios/<FileName>")
    rows = _read_rows(labels)
    refuse_choices(config, subsets=sorted({row["Split_Set"] for _, row in rows}), labels=LABEL_SETS)
    label_set = config.labels or "plain-4"
    chosen = [
        (place, row)
        for place, row in rows
        if config.subset in (None, row["Split_Set"]) and row["EmoClass"] in LABEL_SETS[label_set]
    ]
    with_classes = label_set != "dimensions"
    candidates = tuple(_read_row(place, row, audio, with_class=with_classes) for place, row in chosen)
    if not candidates:
        raise CorpusError(
            f"{labels}: none of the {len(rows)} rows is of {label_set} and {config.subset or 'any split'}"
        )
    return Listing(
        corpus="msp-podcast",
        classes=tuple(EMOTIONS[letter] for letter in LABEL_SETS[label_set]) if with_classes else None,
        candidates=candidates,
        known={each.utterance: "unknown-speaker" for each in candidates if not each.speaker},
    )


def _read_rows(file: Path) -> list[Row]:
    rows = read_table(file)
    if len(rows) < 2:
        raise CorpusError(f"{file}: no utterance; expected a row per utterance below the header")
    header = rows[0][1]
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise CorpusError(f"{file}:{rows[0][0]}: missing column {', '.join(missing)}; has {', '.join(header)}")
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise CorpusError(f"{file}:{number}: {len(row)} cells, the header has {len(header)}")
    named: list[Row] = [(f"{file}:{number}", dict(zip(header, row, strict=True))) for number, row in rows[1:]]
    for place, cells in named:
        _check_cells(place, cells)
    return named


def _check_cells(place: str, row: Mapping[str, str]) -> None:
    for name in _COLUMNS:
        if not row[name]:
            raise CorpusError(f"{place}: {name} is empty")
    if row["FileName"] != Path(row["FileName"]).name or not row["FileName"].endswith(".wav"):
        raise CorpusError(f"{place}: FileName {row['FileName']!r} is not the name of a WAV file")
    if row["EmoClass"] not in LABEL_SETS["dimensions"]:
        allowed = ", ".join(LABEL_SETS["dimensions"])
        raise CorpusError(f"{place}: EmoClass {row['EmoClass']!r} is none of {allowed}")


def _read_row(place: str, row: Mapping[str, str], audio: Path, *, with_class: bool) -> Candidate:
    name = row["FileName"].removesuffix(".wav")
    activation, valence, dominance = (
        read_score(row[column], lowest=_LOWEST, highest=_HIGHEST, place=f"{place}: {column}") for column in _DIMENSIONS
    )
    speaker = row["SpkrID"] if row["SpkrID"] != _UNKNOWN else ""
    return Candidate(
        utterance=name,
        path=recording_of(audio / name),
        speaker=speaker,
        session=speaker,
        label=EMOTIONS[row["EmoClass"]] if with_class else "",
        transcript=read_transcript(audio.parent / "Transcripts" / f"{name}.txt", legacy="CP1252"),
        activation=activation,
        valence=valence,
        dominance=dominance,
    )
