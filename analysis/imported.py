"""Other people's systems in a sweep's report: `sweeps/<name>/imports/<system>/`, beside the plan, and no trials.

An imported system is known by its answers on the test part alone. Nobody here saw it train, so it has no validation
score, no mask and no cost: it is a row and something to compare with, and is never chosen.
"""

from __future__ import annotations

__all__ = [
    "EVERY_ARM", "NAME", "UPSTREAM", "ImportedSystem", "import_key", "imported_folder", "imported_sentence",
    "read_imports",
]  # fmt: skip

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import BadInputError
from core.records import CorpusEntry, MetricsEntry, ProtocolEntry, ProvenanceEntry, Record

EVERY_ARM = "all"
"""In `against`: every arm that is neither a twin nor a control."""
UPSTREAM = "external"
NAME = r"^\w[\w.-]{0,59}$"
"""What an imported system may be called."""


class ImportedSystem(BaseModel):
    """`import.json`. Beside it, per run, `<seed>/predictions.parquet` (`run/` without seeds), split `test` only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    kind: Literal["external"] = "external"
    name: str = Field(pattern=NAME)
    """The row's name, and the folder's."""
    source: str
    """Name of the file that was imported."""
    sha256: str
    """Of that file."""
    imported: str
    """UTC, ISO 8601, to the second."""
    against: tuple[str, ...]
    """Keys of the arms that are compared with it; `all` for EVERY_ARM."""
    corpus: CorpusEntry
    """Of the sweep, whose test part it was tested on."""
    folds: str
    """Scheme of the sweep's folds."""
    has_seeds: bool
    runs: dict[int, MetricsEntry] = Field(min_length=1)
    """Seed → metrics of the test part; without seeds one run under the first seed of the plan."""

    def record(self, seed: int) -> Record:
        """A run in the form of a record, so that tables and comparisons need no second form."""
        metrics = self.runs[seed]
        return Record(
            trial_key=f"{import_key(self.name)}-{seed}",
            status="complete",
            system=UPSTREAM,
            upstream=UPSTREAM,
            arm=self.name,
            arm_key=import_key(self.name),
            twin_key=None,
            seed=seed,
            corpus=self.corpus,
            protocol=ProtocolEntry(
                folds=self.folds,
                n_folds=len(metrics.folds),
                validation="none",
                pretraining_audio="external",
                pretraining_corpus="unknown",
                transductive=False,
                leaks=(),
            ),
            config={},
            metrics=metrics,
            provenance=ProvenanceEntry(
                commit=f"{self.source} {self.sha256[:12]}",
                dirty=False,
                packages={},
                hardware="unknown",
                started=self.imported,
                ended=self.imported,
            ),
        )

    def run_folder(self, seed: int) -> str:
        """Folder of the run's predictions below the system's own."""
        return str(seed) if self.has_seeds else "run"


def import_key(name: str) -> str:
    """The arm key of an imported system: no trial has one like it, theirs are hexadecimal.

    >>> import_key("wav2vec2-large")
    'import-wav2vec2-large'
    """
    return f"import-{name}"


def imported_folder(plan_path: Path) -> Path:
    """Where the imported systems of a sweep are."""
    return plan_path.with_name("imports")


def read_imports(plan_path: Path) -> dict[str, ImportedSystem]:
    """Arm key → imported system, by name. Raises BadInputError for one that cannot be read."""
    found = {}
    for path in sorted(imported_folder(plan_path).glob("*/import.json")):
        try:
            system = ImportedSystem.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise BadInputError(f"{path}: not an imported system of schema 1 ({place}: {first['msg']})") from error
        found[import_key(system.name)] = system
    return found


def imported_sentence(system: ImportedSystem) -> str:
    """What a reader must know of its row."""
    return (
        f"{system.name} was imported from {system.source} ({system.imported[:10]}, SHA-256 {system.sha256[:12]}): only "
        "its answers on the test part are known, so it was not and could not be chosen by validation, and how it was "
        "trained, on what and with which leaks, is its authors' to say."
    )
