"""What every system's chain leaves for the record, and what a system is (ours)."""

from __future__ import annotations

__all__ = ["Outcome", "Stages", "System", "system_of"]

import importlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from core.config import SystemName, TrialConfig
from core.progress import LogMetrics, Progress
from core.records import InterimEntry
from core.resolve import Corpora
from core.store import Workspace
from core.underway import Underway

if TYPE_CHECKING:
    import pandas as pd

    from core.upstreams import Pretrained, SharedInputs


Stages = Mapping[str, tuple[str, ...]]
"""Kind of stage → `<stage>/<key>` of its artifacts. Those of a kind cost the same, but for what folds differ in."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of a chain."""

    predictions: pd.DataFrame
    """Columns as in `core.records.write_record`."""
    pretrained: Pretrained | None
    """None where no upstream was trained for this trial."""
    spent: Underway
    interim: tuple[InterimEntry, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    """What the system set aside, hid or fell back on, by name, over all folds."""


class System(Protocol):
    """A module of this package: one published system as a chain of stages."""

    def artifacts_of(
        self, config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs
    ) -> tuple[str, ...]:
        """`<stage>/<key>` of what the chain makes itself, made already or not."""

    def stages_of(self, config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs) -> Stages:
        """Which artifacts the chain makes after its upstreams, made already or not. Of `shared` only keys are read."""

    def run(
        self, config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs, log: LogMetrics,
        progress: Progress,
    ) -> Generator[Underway, None, Outcome]:  # fmt: skip
        """Run the chain, yielding now and then while under way; the generator's value is the outcome."""


_MODULES: dict[SystemName, str] = {
    "ems": "ems", "sap": "segmental_pooling", "frame_alignment": "frame_alignment",
    "teacher_student": "teacher_student",
}  # fmt: skip


def system_of(name: SystemName) -> System:
    """The system of that name; imports torch."""
    return cast("System", importlib.import_module(f"core.systems.{_MODULES[name]}"))
