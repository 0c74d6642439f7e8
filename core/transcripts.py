"""What was said: the transcripts of the evaluated corpus, its own or from a CSV."""

from __future__ import annotations

__all__ = ["text_content", "transcripts_of"]

from collections.abc import Mapping
from pathlib import Path

from core.corpora.manifest import Manifest
from core.corpora.text import read_table
from core.errors import CorpusError
from core.identity import Json, digest
from core.teacher_config import TeacherConfig
from core.text_files import text_model_fingerprint

COLUMNS = ("utterance", "transcript")


def transcripts_of(manifest: Manifest, file: Path | None) -> dict[str, str]:
    """Utterance → its words, for every utterance of the manifest, in its order.

    Args:
        file: CSV with the columns `utterance` and `transcript`, in place of the corpus's own transcripts (recognised
            speech and human transcripts are never mixed; ours). An empty cell says that nothing was said, as in
            laughter; rows of other utterances are passed over.

    Raises CorpusError naming and counting the utterances without a transcript, and for a file that is no such CSV.
    """
    own = {utterance.utterance: utterance.transcript for utterance in manifest.utterances}
    known: Mapping[str, str | None] = own if file is None else _read(file)
    found = {name: (known.get(name) or "").strip() for name in own}
    missing = [name for name, words in found.items() if not words and (file is None or name not in known)]
    if missing:
        named = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise CorpusError(
            f"{file or f'corpus {manifest.corpus}'}: {len(missing)} of {len(found)} utterances have no transcript "
            f"({named}); the teacher reads one of each"
        )
    return found


def text_content(config: TeacherConfig, manifest: Manifest) -> dict[str, Json]:
    """What the teacher reads, and with which encoder, by content: no path, no name. Raises as `transcripts_of` and
    `text_model_folder` do."""
    said = transcripts_of(manifest, config.transcripts)
    return {"transcripts": digest(list(said.items())), "text_model": text_model_fingerprint(config.text_model)}


def _read(file: Path) -> dict[str, str]:
    rows = read_table(file)
    if not rows or tuple(rows[0][1]) != COLUMNS:
        raise CorpusError(f"{file}: not a CSV with the header {','.join(COLUMNS)}")
    said: dict[str, str] = {}
    for line, row in rows[1:]:
        if len(row) != len(COLUMNS):
            raise CorpusError(f"{file}:{line}: {len(row)} cells, the header has {len(COLUMNS)}")
        if row[0] in said:
            raise CorpusError(f"{file}:{line}: utterance {row[0]!r} is there twice")
        said[row[0]] = row[1]
    return said
