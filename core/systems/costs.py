"""What the stages of a system that follow its upstreams cost, for the estimate: each system says how to measure its own
(ours).

The stages of EMS, embedding and probe, are measured by `core.calibration`.
"""

from __future__ import annotations

__all__ = ["COSTED", "Costed", "costed"]

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from core.config import SystemName, TrialConfig
from core.identity import Json
from core.resolve import Corpora

if TYPE_CHECKING:
    from core.features import Features
    from core.stage_calibration import StageCost

COSTED: Mapping[SystemName, str] = {
    "sap": "sap_costs", "frame_alignment": "alignment_costs", "teacher_student": "teacher_costs",
}  # fmt: skip
"""System → the module of this package that is its `Costed`."""


class Costed(Protocol):
    """How to measure the stages of a system. Those that leave artifacts have the kinds of its `stages_of`; a kind that
    `stages_of` does not have is work that every trial does once.
    """

    def kinds_of(self, config: TrialConfig) -> Mapping[str, Json]:
        """Kind of stage → what of the settings, beside upstream, corpus and folds, its cost depends on."""

    def measure_stage(
        self, kind: str, config: TrialConfig, corpora: Corpora, features: Features, *, scratch: Path, patience_s: float
    ) -> StageCost:
        """Measure one kind with a few real steps. `features`: random ones, of the evaluated corpus.

        Raises BadInputError where the trial itself would.
        """


def costed(system: SystemName) -> Costed:
    """The costs of a system other than EMS; imports torch."""
    return cast("Costed", importlib.import_module(f"core.systems.{COSTED[system]}"))
