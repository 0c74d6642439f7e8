"""`sweep export`: the chosen model of an arm into a folder and into MLflow's registry, whole or not at all."""

from __future__ import annotations

__all__ = ["Exported", "export_model"]

import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import BadInputError
from core.exported import WEIGHTS, package_files, weights_hash
from core.packaging import Checked, Choice, package_choice
from core.progress import Progress
from core.store import Workspace, write_atomically
from sweeps.model_card import CARD, ReportedScores, card_text
from sweeps.tracking.experiment import tracking_uri
from sweeps.tracking.registry import ModelRegistry, RegisteredModel, model_name


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    out: Path
    choice: Choice
    checked: Checked
    weights: str
    """SHA-256 of `model.safetensors`."""
    registered: RegisteredModel | None

    def as_json(self) -> dict[str, Any]:
        return {
            "out": str(self.out),
            "model": self.checked.package.config.model_dump(mode="json"),
            "weights_sha256": self.weights,
            "picked_by": {
                "rule": self.choice.rule,
                "metric": self.choice.metric,
                "mean": self.choice.mean,
                "fold": self.choice.reached,
            },
            "checked": {"utterances": self.checked.tried, "largest_difference": self.checked.difference},
            "registered": self.registered.as_json() if self.registered else None,
        }

    def as_text(self) -> str:
        config, choice = self.checked.package.config, self.choice
        lines = [
            f"{config.arm}: seed {config.seed}, fold {config.fold}, of trial {config.trial_key}",
            f"  picked by: {choice.rule}",
            f"  checked: {self.checked.tried} utterances score as in the trial (largest difference "
            f"{self.checked.difference:.1g})",
            f"written: {self.out}",
        ]
        if self.registered:
            again = "" if self.registered.made else " (was there before, with the same weights)"
            lines.append(f"registered: {self.registered.name!r} version {self.registered.version}{again}")
            lines.append(f"  {self.registered.page}")
        return "\n".join([*lines, f"next: sweep predict {self.out} recording.wav"])


def export_model(
    choice: Choice, scores: ReportedScores, workspace: Workspace, *, out: Path, register: bool, progress: Progress
) -> Exported:
    """Write config, weights and card to `out` and register them. The folder appears last, when all else is done.

    Raises BadInputError for a folder that is there already or cannot be made, a trial without a run in MLflow, and as
    `core.packaging.package_choice`; TrackingError when MLflow does not answer.
    """
    _check_place(out)
    key = choice.record.trial_key
    # Before the work, not after it.
    registry = ModelRegistry(tracking_uri(workspace.root), sweep=scores.sweep, trial_key=key) if register else None
    checked = package_choice(choice, workspace, progress=progress)
    files = package_files(checked.package)
    weights = weights_hash(files[WEIGHTS])
    card = card_text(choice, checked, scores, weights=weights)
    registered = None
    part = out.with_name(f".{out.name}.part.{uuid.uuid4().hex}")
    try:
        for name, content in {**files, CARD: card.encode()}.items():
            write_atomically(part / name, content)
        if registry is not None:
            registered = registry.register(
                part, name=model_name(scores.sweep, scores.arm), fold=choice.fold, weights=weights, description=card
            )
        _check_place(out)
        part.replace(out)
    except OSError as error:
        raise BadInputError(f"--out {out}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Exported(out=out, choice=choice, checked=checked, weights=weights, registered=registered)


def _check_place(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise BadInputError(f"--out {out}: is there already; name a folder that is not")
    nearest = next(parent for parent in out.parents if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise BadInputError(f"--out {out}: cannot be written ({nearest} is no folder that may be written to)")
