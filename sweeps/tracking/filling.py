"""What a plan and a record become in the journal, and so in MLflow."""

from __future__ import annotations

__all__ = ["finish", "flat", "journal_path", "registration", "settle", "sync", "uploader_for"]

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import BadInputError
from core.provenance import commit_state
from core.records import MASK_EXAMPLE, Record, read_record
from core.store import Workspace
from sweeps.plan import PlannedTrial
from sweeps.tracking.drawer import Drawer, draw_due
from sweeps.tracking.entries import Registration
from sweeps.tracking.experiment import tracking_uri
from sweeps.tracking.journal import Journal
from sweeps.tracking.outbox import Backlog
from sweeps.tracking.uploader import Uploader

_logger = logging.getLogger(__name__)


def registration(trial: PlannedTrial, *, twin: PlannedTrial | None, to_run: bool) -> Registration:
    """What the journal is told of a planned trial; `to_run`: it is to be run (again), whatever it ended as before."""
    tags = {
        "arm": trial.arm,
        "arm_key": trial.arm_key,
        "twin": twin.arm if twin else "",
        "twin_key": trial.twin_key or "",
        "seed": str(trial.seed),
        "corpus": str(trial.settings["corpus"]),
        "commit": commit_state()[0],
    }
    return Registration(
        trial_key=trial.trial_key,
        name=f"{trial.arm} seed {trial.seed}",
        params=flat(trial.settings),
        tags=tags,
        to_run=to_run,
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
    """Tell the journal that a trial has ended, its per-fold validation metrics and the files it left.

    The pictures of a complete one are due then; somebody else draws them.
    """
    folder = workspace.trial(record.trial_key)
    for look in record.interim:
        journal.log(record.trial_key, {"interim/ua": look.mean}, step=look.step)
    if record.metrics is not None and record.cost is not None:
        # The test part stays sealed for the report: a dashboard is where people pick.
        values = {f"validation/{name}": value for name, value in record.metrics.mean["validation"].items()}
        journal.log(record.trial_key, values, step=record.cost.steps)
        for place, entry in enumerate(fold for fold in record.metrics.folds if fold.split == "validation"):
            by_fold = {f"validation_by_fold/{name}": value for name, value in entry.scores.items()}
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
    complete = record.status == "complete"
    # What a report reads of a trial, so that one can be made from MLflow alone.
    files = ("record.json", "predictions.parquet") if complete else ("record.json",)
    example = (folder / MASK_EXAMPLE,) if complete and (folder / MASK_EXAMPLE).is_file() else ()
    journal.finish(
        record.trial_key, status=record.status, reason=record.reason,
        artifacts=(*(folder / name for name in files), *example), pictures=complete,
    )  # fmt: skip


def settle(journal: Journal, workspace: Workspace) -> None:
    """Finish every open trial that has a record: whoever should have told the journal was killed before."""
    for trial in journal.trials():
        if trial.state != "open":
            continue
        try:
            if (record := read_record(workspace.trial(trial.trial_key))) is not None:
                finish(journal, workspace, record)
        except BadInputError as error:
            _logger.warning("%s", error)


def journal_path(name: str, workspace: Workspace) -> Path:
    """Where the journal of a launched sweep is. Raises BadInputError when the workspace has no such sweep."""
    folder = workspace.sweep(name)
    if not (folder / "plan.json").exists():
        known = sorted(path.parent.name for path in workspace.root.glob("sweeps/*/plan.json"))
        raise BadInputError(f"sweep {name!r}: not launched in {workspace.root} (there: {', '.join(known) or 'none'})")
    return folder / "journal.db"


def uploader_for(name: str, workspace: Workspace, *, uri: str | None = None) -> Uploader:
    """The uploader of a launched sweep to the MLflow at `uri`, else the workspace's own.

    Raises BadInputError when the workspace has no such sweep.
    """
    path = journal_path(name, workspace)
    definition = json.loads((path.parent / "plan.json").read_text())["definition"]
    commit, dirty = commit_state()
    return Uploader(
        path,
        tracking_uri=uri or tracking_uri(workspace.root),
        sweep=name,
        artifact_root=workspace.root / "mlartifacts",
        # As a tag: MLflow refuses changed params, and a definition may be edited.
        parent_tags={"commit": commit, "dirty": str(dirty).lower(), "definition": json.dumps(definition)},
        parent_params={},
    )


def sync(name: str, workspace: Workspace, *, timeout: float) -> Backlog:
    """Finish by hand what a sweep left behind when its driver is gone: settle, draw, upload; returns what is unsent.

    Raises BadInputError while the sweep is being run, TrackingError when MLflow does not answer.
    """
    uploader = uploader_for(name, workspace)
    journal, drawer = Journal(journal_path(name, workspace)), Drawer()

    def catch_up() -> None:
        settle(journal, workspace)
        draw_due(journal, workspace, drawer, until=lambda: False)

    try:
        return uploader.drain(timeout=timeout, before=catch_up)
    finally:
        drawer.close()
        journal.close()
