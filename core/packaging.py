"""From complete trials to the one model that is exported: which it is, and that it says what the trial said (ours)."""

from __future__ import annotations

__all__ = ["Checked", "Choice", "choose", "package_choice"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import ValidationError

from core.audio import read_audio
from core.config import TrialConfig
from core.corpora.manifest import Utterance
from core.errors import BadInputError, CorpusError
from core.exported import Answer, FinishedTrial, Package, Predictor, exportable, predictor_of
from core.progress import Progress, silent
from core.records import Record, read_predictions
from core.replay import TOLERANCE
from core.resolve import resolve
from core.store import Workspace


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The seed and the fold whose model is exported, with the validation scores that chose them."""

    record: Record
    fold: str
    metric: str
    mean: float
    """Of the trial's validation parts."""
    reached: float
    """On the fold's own validation part."""

    @property
    def rule(self) -> str:
        name = "CCC" if self.metric == "ccc_mean" else self.metric.replace("_", " ").upper()
        return (
            f"seed with the highest mean validation {name} over folds (lowest seed on ties), then its fold with the "
            f"highest validation {name} (first on ties); the test part has no say"
        )


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A packaged model that says what its trial said, and how much it was fitted on."""

    package: Package
    train: int
    """Utterances of the fold's train part."""
    speakers: int
    """In the train part."""
    tried: int
    """Utterances of the fold's validation and test part that were scored again from their audio."""
    difference: float
    """Largest of a score to the trial's own."""


def choose(records: Sequence[Record]) -> Choice:
    """The model of an arm, picked by validation only (ours).

    First the seed, whose mean is over the same utterances as every other seed's; then its fold, whose score also says
    how easy its validation speakers are. `records`: the arm's complete replicates. Raises BadInputError without any.
    """
    measured = [record for record in records if record.status == "complete" and record.metrics is not None]
    if not measured:
        raise BadInputError("no trial of this arm is complete: there is no model to export")
    known = measured[0].metrics.mean["validation"] if measured[0].metrics else {}
    metric = str(measured[0].config.get("probe", {}).get("select_by", "ua"))
    # Trials of dimensions have no classes to be right about.
    metric = metric if metric in known else "ccc_mean"
    means = {record.seed: record.metrics.mean["validation"][metric] for record in measured if record.metrics}
    best = min(measured, key=lambda record: (-means[record.seed], record.seed))
    assert best.metrics is not None
    folds = [entry for entry in best.metrics.folds if entry.split == "validation"]
    chosen = max(folds, key=lambda entry: float(getattr(entry, metric)))
    reached = float(getattr(chosen, metric))
    return Choice(record=best, fold=chosen.fold, metric=metric, mean=means[best.seed], reached=reached)


def package_choice(choice: Choice, workspace: Workspace, *, progress: Progress = silent) -> Checked:
    """The chosen model, packaged and tried on its fold's validation and test audio.

    Raises BadInputError for a trial that cannot be exported, a corpus or artifact that is gone, and a model that does
    not say what the trial's predictions say; CorpusError for a corpus that has changed.
    """
    record = choice.record
    config = _config(record)
    corpora = resolve(config, workspace, progress=progress)
    if corpora.evaluated.fingerprint != record.corpus.fingerprint:
        raise CorpusError(
            f"trial {record.trial_key}: its corpus {record.corpus.name} is not what it was (fingerprint "
            f"{corpora.evaluated.fingerprint}, then {record.corpus.fingerprint})"
        )
    trial = FinishedTrial(record=record, config=config, corpora=corpora, workspace=workspace)
    place = [fold.name for fold in corpora.folds.folds].index(choice.fold)
    package = exportable(config.system).package(trial, fold=place, progress=progress)
    tried, difference = _try(trial, package, progress=progress)
    speaker_of = {utterance.utterance: utterance.speaker for utterance in corpora.evaluated.utterances}
    train = corpora.folds.folds[place].train
    return Checked(
        package=package,
        train=len(train),
        speakers=len({speaker_of[name] for name in train}),
        tried=tried,
        difference=difference,
    )


def _config(record: Record) -> TrialConfig:
    try:
        return TrialConfig.model_validate(record.config)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInputError(
            f"trial {record.trial_key}: its config is not one of this version of the program "
            f"({'.'.join(map(str, first['loc'])) or 'config'}: {first['msg']}); export it from commit "
            f"{record.provenance.commit}"
        ) from error


def _try(trial: FinishedTrial, package: Package, *, progress: Progress) -> tuple[int, float]:
    """Score the fold's recordings from their audio: how many, and the largest difference to the trial's scores.

    Test scores are compared and not shown: nothing is opened. Raises BadInputError beyond `core.replay.TOLERANCE`.
    """
    key, fold, activity = trial.record.trial_key, package.config.fold, "check against the trial's predictions"
    by_id = {utterance.utterance: utterance for utterance in trial.corpora.evaluated.utterances}
    parts = [read_predictions(trial.workspace.trial(key), split=split) for split in ("validation", "test")]
    rows = pd.concat(parts, ignore_index=True)
    rows = rows[rows["fold"] == fold]
    prefix = "score" if package.config.kind == "classes" else "predicted"
    expected = rows[[f"{prefix}_{name}" for name in package.config.outputs]].to_numpy(np.float64)
    predictor = predictor_of(package)
    worst, worst_at = 0.0, ""
    for place, name in enumerate(rows["utterance"]):
        progress(activity, place, len(rows))
        difference = float(np.abs(_answer(predictor, by_id[name]).scores - expected[place]).max())
        # Also where it is not a number.
        if not difference <= worst and not np.isnan(worst):
            worst, worst_at = difference, str(name)
    progress(activity, len(rows), len(rows))
    if not worst <= TOLERANCE:
        raise BadInputError(
            f"trial {key}: made again, its model of fold {fold} gives other scores than its predictions.parquet "
            f"(largest difference {worst:.2g} at {worst_at!r}, tolerance {TOLERANCE:g}); nothing is exported, what has "
            f"changed since is told by: sweep replay {key}"
        )
    return len(rows), worst


def _answer(predictor: Predictor, utterance: Utterance) -> Answer:
    return predictor.predict(read_audio(utterance.path, start=utterance.start, end=utterance.end))
