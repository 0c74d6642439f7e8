"""What a plan and a record become in the journal, and so in MLflow."""

from __future__ import annotations

__all__ = ["finish", "flat", "register", "uploader_for"]

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import BadInputError
from core.provenance import commit_state
from core.records import Record
from core.store import Workspace
from sweeps.plan import PlannedTrial
from sweeps.tracking.experiment import tracking_uri
from sweeps.tracking.journal import Journal
from sweeps.tracking.pictures import draw_trial_pictures
from sweeps.tracking.uploader import Uploader


def register(journal: Journal, trial: PlannedTrial, *, twin: PlannedTrial | None) -> None:
    """The trial is part of the sweep: its settings and keys are known before it takes a step."""
    tags = {
        "arm": trial.arm,
        "arm_key": trial.arm_key,
        "twin": twin.arm if twin else "",
        "twin_key": trial.twin_key or "",
        "seed": str(trial.seed),
        "corpus": str(trial.settings["corpus"]),
        "commit": commit_state()[0],
    }
    journal.register_trial(
        trial.trial_key,
        name=f"{trial.arm} seed {trial.seed}",
        params=flat(trial.settings),
        tags=tags,
    )


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names, values as text.

    >>> flat({"masking": {"ratio": 0.15}, "seed": 0})
    {'masking.ratio': '0.15', 'seed': '0'}
    """
    rows: dict[str, str] = {}
    for name, value in settings.items():
        rows |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: str(value)}
    return rows


def finish(journal: Journal, workspace: Workspace, record: Record) -> None:
    """Tell the journal that a trial has ended, its per-fold validation metrics and the files it left."""
    folder = workspace.trial(record.trial_key)
    if record.metrics is not None and record.cost is not None:
        # The test part stays sealed for the report: a dashboard is where people pick.
        values = {f"validation/{name}": value for name, value in record.metrics.mean["validation"].items()}
        journal.log(record.trial_key, values, step=record.cost.steps)
        for place, entry in enumerate(fold for fold in record.metrics.folds if fold.split == "validation"):
            by_fold = {f"validation_by_fold/{name}": getattr(entry, name) for name in ("ua", "wa", "macro_f1")}
            journal.log(record.trial_key, by_fold, step=place)
        if record.mask is not None:
            mask = {name: getattr(record.mask, name) for name in ("realised_ratio", "intensity_share", "intensity_z")}
            journal.log(record.trial_key, {f"mask/{k}": v for k, v in mask.items()}, step=record.cost.steps)
        if record.pretraining is not None:
            losses = {"loss": record.pretraining.validation_loss}
            quartiles = enumerate(record.pretraining.validation_by_quartile, start=1)
            losses |= {f"loss_q{place}": loss for place, loss in quartiles}
            values = {f"held_out/{name}": loss for name, loss in losses.items()}
            journal.log(record.trial_key, values, step=record.cost.steps)
    artifacts: tuple[Path, ...] = (folder / "record.json",)
    if record.status == "complete":
        artifacts += (folder / "predictions.parquet", *draw_trial_pictures(folder, folder))
    journal.finish(record.trial_key, status=record.status, reason=record.reason, artifacts=artifacts)


def uploader_for(name: str, workspace: Workspace) -> Uploader:
    """The uploader of a launched sweep. Raises BadInputError when the workspace has no such sweep."""
    folder = workspace.sweep(name)
    plan = folder / "plan.json"
    if not plan.exists():
        known = sorted(path.parent.name for path in workspace.root.glob("sweeps/*/plan.json"))
        raise BadInputError(f"sweep {name!r}: not launched in {workspace.root} (there: {', '.join(known) or 'none'})")
    definition = json.loads(plan.read_text())["definition"]
    commit, dirty = commit_state()
    return Uploader(
        folder / "journal.db",
        tracking_uri=tracking_uri(workspace.root),
        sweep=name,
        artifact_root=workspace.root / "mlartifacts",
        # As a tag: MLflow refuses changed params, and a definition may be edited.
        parent_tags={"commit": commit, "dirty": str(dirty).lower(), "definition": json.dumps(definition)},
        parent_params={},
    )
