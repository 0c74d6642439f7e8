"""A finished trial again, from its record alone: is it still what it was, and if not, what has changed since?"""

from __future__ import annotations

__all__ = ["TOLERANCE", "Comparison", "Replay", "Verdict", "compare", "replay_trial"]

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from pydantic import ValidationError

from core.changes import Change, changes_since
from core.config import CorpusConfig, InterimConfig, TrialConfig
from core.errors import BadInputError, CorpusError, NonFiniteLossError
from core.progress import LogMetrics, Progress, silent
from core.records import DIMENSIONS, Record, read_predictions, read_record
from core.resolve import Corpora, resolve
from core.store import Workspace, write_atomically
from core.trial import identify, run_trial

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-4
"""Largest difference of any class's score (a logit) that is still rounding: sums in another order, on other hardware
(ours). A predicted class that changes is a difference whatever the scores."""
MADE_ANEW = ("clusters", "embed", "frames", "pooled", "pretrain", "student", "teacher", "tuning", "units")
"""Stages that a replay makes again in any case; a probe leaves no artifact."""
ROW = ["fold", "split", "utterance"]

Verdict = Literal["bit-equal", "within tolerance", "different"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Predictions then and now. `score` and the counts are over the rows that both have."""

    rows: int
    """Predictions then."""
    unmatched: int
    """Rows that only one of them has: another corpus or other folds."""
    score: float
    """Largest absolute difference of a score, or of a predicted dimension; infinite where one is not finite."""
    reclassified: int
    """Rows with another predicted class."""
    relabelled: int
    """Rows with another true class, or another true value of a dimension."""
    metrics_equal: bool

    @property
    def verdict(self) -> Verdict:
        if self.unmatched or self.reclassified or self.relabelled or not self.metrics_equal:
            return "different"
        if self.score == 0:
            return "bit-equal"
        return "within tolerance" if self.score <= TOLERANCE else "different"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """How a replay came out."""

    trial_key: str
    arm: str
    seed: int
    verdict: Verdict
    key_now: str
    """Of the same config with today's code and corpora."""
    comparison: Comparison | None
    """None where the replay failed."""
    failure: str | None
    """How training diverged now; None where it did not."""
    then: str
    """When the trial began, ISO 8601."""
    changes: tuple[Change, ...]
    """What is not as it was, whether or not it changed anything."""
    shared: tuple[str, ...]
    """Stages that were taken from the store and not made anew."""
    folder: str | None
    """Where it was made, if it was kept."""

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints; an infinite score as text."""
        content = asdict(self)
        if self.comparison is not None and math.isinf(self.comparison.score):
            content["comparison"]["score"] = "inf"
        return content


def replay_trial(
    key: str, workspace: Workspace, *, from_scratch: bool = False, keep: bool = False, progress: Progress = silent
) -> Replay:
    """Run the trial again in `replays/<key>/` of its workspace and compare predictions and metrics.

    Upstreams, embeddings and probe are always made anew; features, intensity and corpora only with `from_scratch`. The
    folder is removed at the end unless `keep`. Raises BadInputError without a complete record, for a config that is no
    longer understood, a corpus or file that is gone, a device that is not here, and a replay that is under way.
    """
    record = _finished(key, workspace)
    config = _config(record)
    _check_there(record, config)
    with _apart(key, workspace, keep=keep) as own:
        shared = () if from_scratch else _share(workspace, own)
        corpora = _resolved(record, config, own, progress)
        now = identify(config, corpora).trial_key
        comparison, failure = None, None
        try:
            again = run_trial(config, own, arm=record.arm, log=_showing(config, progress), progress=progress)
            comparison = compare(record, workspace.trial(key), again, own.trial(again.trial_key))
        except NonFiniteLossError as error:
            failure = str(error)
        replay = Replay(
            trial_key=key,
            arm=record.arm,
            seed=record.seed,
            verdict=comparison.verdict if comparison else "different",
            key_now=now,
            comparison=comparison,
            failure=failure,
            then=record.provenance.started,
            changes=changes_since(record, config, corpora, key_now=now, folder=workspace.trial(key)),
            shared=shared,
            folder=str(own.root) if keep else None,
        )
        write_atomically(own.root / "verdict.json", json.dumps(replay.as_json(), indent=1).encode())
    return replay


def _finished(key: str, workspace: Workspace) -> Record:
    record = read_record(workspace.trial(key))
    if record is None:
        raise BadInputError(f"trial {key}: has no record in {workspace.root}; only a finished trial can be replayed")
    if record.status != "complete":
        raise BadInputError(f"trial {key}: is {record.status} ({record.reason}); only a complete one can be replayed")
    return record


def _config(record: Record) -> TrialConfig:
    try:
        config = TrialConfig.model_validate(record.config)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "config"
        raise BadInputError(
            f"trial {record.trial_key}: its config is not one of this version of the program ({place}: "
            f"{first['msg']}); replay it from commit {record.provenance.commit}"
        ) from error
    # Looks change no result.
    return config.model_copy(update={"interim": InterimConfig()})


def _check_there(record: Record, config: TrialConfig) -> None:
    """Refuse what can be known to fail before anything is computed."""
    if config.compute.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise BadInputError(
                f"trial {record.trial_key}: ran on cuda ({record.provenance.hardware}), not to be had here"
            )
    corpora = {"corpus": config.corpus, "heard": config.pretraining_audio.corpus, "fit": config.intensity.fit}
    for role, corpus in corpora.items():
        if isinstance(corpus, CorpusConfig) and corpus.root is not None and not corpus.root.exists():
            raise CorpusError(f"trial {record.trial_key}: its {role} {corpus.name} is no longer at {corpus.root}")
    for name, path in {"intensity.file": config.intensity.file, "folds.file": config.folds.file}.items():
        if path is not None and not path.exists():
            raise BadInputError(f"trial {record.trial_key}: its {name} is no longer at {path}")


def _resolved(record: Record, config: TrialConfig, workspace: Workspace, progress: Progress) -> Corpora:
    try:
        return resolve(config, workspace, progress=progress)
    except BadInputError as error:
        raise type(error)(f"trial {record.trial_key}: cannot be replayed: {error}") from error


@contextmanager
def _apart(key: str, workspace: Workspace, *, keep: bool) -> Iterator[Workspace]:
    """An empty workspace of the replay's own for the length of the block; what a killed replay left is removed."""
    folder = workspace.root / "replays" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f".{key}.lock")
    try:
        with FileLock(lock, timeout=0):
            if folder.exists():
                shutil.rmtree(folder)
            done = False
            try:
                yield Workspace.at(folder)
                done = True
            finally:
                if not (keep and done):
                    shutil.rmtree(folder, ignore_errors=True)
                lock.unlink(missing_ok=True)
    except Timeout as error:
        raise BadInputError(f"trial {key}: is being replayed already ({lock} is held)") from error


def _share(workspace: Workspace, own: Workspace) -> tuple[str, ...]:
    """Link every finished artifact that is not made anew, and copy what is known of recordings' files."""
    stages = []
    for stage in sorted(workspace.root.glob("store/[!.]*")):
        if stage.name in MADE_ANEW:
            continue
        place = own.store.root / stage.name
        place.mkdir(parents=True)
        for path in stage.glob("[!.]*"):
            if (path / "artifact.json").exists():
                (place / path.name).symlink_to(path, target_is_directory=True)
            elif path.suffix == ".json":
                shutil.copy2(path, place / path.name)
        if any(path.is_symlink() for path in place.iterdir()):
            stages.append(stage.name)
    return tuple(stages)


def _showing(config: TrialConfig, progress: Progress) -> LogMetrics:
    """The curve of pre-training as progress: one activity per upstream."""

    def log(values: Mapping[str, float], step: int) -> None:
        for name in values:
            if name == "pretrain/loss" or name.startswith("pretrain/loss/"):
                progress(name.replace("/loss", ""), step, config.pretrain.steps)

    return log


def compare(then: Record, folder_then: Path, now: Record, folder_now: Path) -> Comparison:
    """Predictions and metrics of two runs. What the test part's scores are is not said, only whether they moved."""
    before, after = _predictions(folder_then), _predictions(folder_now)
    common = before.index.intersection(after.index)
    unmatched = len(before) + len(after) - 2 * len(common)
    names = sorted(name for name in {*before.columns, *after.columns} if str(name).startswith(("score_", "predicted_")))
    if any(name not in frame.columns for name in names for frame in (before, after)):
        unmatched, common = len(before) + len(after), common[:0]
    left, right = before.loc[common], after.loc[common]
    differences = (
        np.abs(left[names].to_numpy(np.float64) - right[names].to_numpy(np.float64)) if len(common) else np.zeros(1)
    )
    return Comparison(
        rows=len(before),
        unmatched=unmatched,
        score=float(differences.max()) if np.isfinite(differences).all() else float("inf"),
        reclassified=_differing(left, right, "predicted"),
        relabelled=max(_differing(left, right, name) for name in ("label", *(f"true_{each}" for each in DIMENSIONS))),
        metrics_equal=then.metrics == now.metrics,
    )


def _differing(left: pd.DataFrame, right: pd.DataFrame, column: str) -> int:
    """Rows that differ in a column; none where neither has it."""
    return int((left[column] != right[column]).sum()) if column in left and column in right else 0


def _predictions(folder: Path) -> pd.DataFrame:
    import pandas as pd

    parts = [read_predictions(folder, split=split) for split in ("validation", "test")]
    return pd.concat(parts).set_index(ROW).sort_index()
