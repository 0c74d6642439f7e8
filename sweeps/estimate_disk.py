"""How much room a sweep's files take: arrays by their shapes, the rest by what such files were measured to take (ours).

U utterances, T frames, D feature dims, L layers, H hidden width. All sizes in bytes.
"""

from __future__ import annotations

__all__ = ["metrics_of", "shared_bytes", "sweep_bytes", "trial_bytes", "upstream_bytes"]

import math
from typing import TYPE_CHECKING

from core.config import FeaturesConfig, TrialConfig
from core.corpora.manifest import Manifest
from core.lookup import SharedWork
from core.resolve import Corpora
from core.store import Workspace
from core.units import SAMPLE_RATE, frame_count

if TYPE_CHECKING:
    from core.calibration import EmbeddingCost, TrainingCost

FLOAT32, FLOAT16 = 4, 2
DESCRIPTION = 1_000
"""`artifact.json`, and the header of an array."""
REPORT = 270
"""One report in `pretraining.json`."""
RECORD = 7_500
"""`record.json` and `artifacts.json`."""
PREDICTION = 6
"""A row of `predictions.parquet` beside its scores."""
PREDICTIONS = 5_000
PICTURES = 230_000
"""`confusion.png`, `masks.png`, `reconstruction.png`."""
PACKED_IMAGE = 0.62
"""Share that zip leaves of float32 features that were float16."""
METRIC_IN_JOURNAL, METRIC_IN_MLFLOW = 175, 345
"""One row and its indices, in SQLite."""
TRIAL_IN_JOURNAL, TRIAL_IN_MLFLOW = 5_000, 45_000
"""Its params and tags."""
TRIAL_IN_RAY = 70_000
EMPTY_JOURNAL, EMPTY_MLFLOW = 80_000, 850_000
WRITE_AHEAD = 4_150_000
"""SQLite's write-ahead log of one database, which stays beside it and is begun anew after 1,000 pages."""
PROBE_METRICS, FINAL_METRICS = 2, 30
FUNCTIONALS = {"IS09": 384, "eGeMAPSv02": 88}
"""openSMILE's functionals per utterance."""


def shared_bytes(work: SharedWork, *, strengthnet_bytes: int) -> int:
    """Of one artifact that trials share."""
    count = len(work.manifest.utterances)
    names = sum(len(utterance.utterance.encode()) for utterance in work.manifest.utterances)
    if work.stage == "features":
        config = work.config.features
        return DESCRIPTION + _frames(work.manifest, config) * (config.dims * FLOAT16 + FLOAT32) + names + 16 * count
    if work.stage == "intensity":
        return DESCRIPTION + _frames(work.manifest, work.config.features) * FLOAT32
    if work.stage == "functionals":
        return DESCRIPTION + count * FUNCTIONALS[work.config.intensity.ranking.feature_set] * FLOAT32
    if work.stage == "strengthnet":
        return DESCRIPTION + strengthnet_bytes + 100 * work.config.intensity.strengthnet.max_epochs
    from core.intensity.spectrograms import HOP, MELS

    frames = sum(1 + round(utterance.duration_s * SAMPLE_RATE) // HOP for utterance in work.manifest.utterances)
    return DESCRIPTION + frames * MELS * FLOAT32 + 2 * names + 100 * count


def _frames(manifest: Manifest, config: FeaturesConfig) -> int:
    from core.features import analysis_window

    window, hop = analysis_window(config)
    samples = (round(utterance.duration_s * SAMPLE_RATE) for utterance in manifest.utterances)
    return sum(frame_count(each, window=window, hop=hop) for each in samples)


def upstream_bytes(training: TrainingCost, config: TrialConfig) -> int:
    """Of the artifact of one upstream; its checkpoints vanish."""
    return DESCRIPTION + training.weights_bytes + training.example_bytes + REPORT * _reports(config)


def embedding_bytes(embedding: EmbeddingCost, corpora: Corpora) -> int:
    """Of one upstream's means (U, L, H)."""
    return DESCRIPTION + len(corpora.evaluated.utterances) * embedding.layers * embedding.hidden * FLOAT32


def trial_bytes(config: TrialConfig, corpora: Corpora, *, example_bytes: int) -> int:
    """Of what one trial leaves in `trials/` and MLflow's copy of it, and in journal, MLflow and Ray's state."""
    rows = sum(len(fold.validation) + len(fold.test) for fold in corpora.folds.folds)
    names = sum(len(utterance.utterance.encode()) + FLOAT32 for utterance in corpora.evaluated.utterances)
    predictions = PREDICTIONS + rows * (PREDICTION + FLOAT32 * len(corpora.evaluated.classes)) + names
    usual = sorted(utterance.duration_s for utterance in corpora.heard.utterances)[len(corpora.heard.utterances) // 2]
    frames = usual * 1000 / config.features.hop_ms
    mask_example = frames * config.features.n_mels * FLOAT32 * PACKED_IMAGE
    twice = 2 * (RECORD + predictions + PICTURES)
    rows_each = METRIC_IN_JOURNAL + METRIC_IN_MLFLOW
    tracked = metrics_of(config, corpora) * rows_each + TRIAL_IN_JOURNAL + TRIAL_IN_MLFLOW + TRIAL_IN_RAY
    return round(twice + mask_example + example_bytes + tracked)


def sweep_bytes(name: str, workspace: Workspace) -> int:
    """Of a sweep's journal and MLflow's database before they hold anything, where they are not there yet."""
    databases = ((workspace.sweep(name) / "journal.db", EMPTY_JOURNAL), (workspace.root / "mlflow.db", EMPTY_MLFLOW))
    return sum(empty + WRITE_AHEAD for path, empty in databases if not path.exists())


def metrics_of(config: TrialConfig, corpora: Corpora) -> int:
    """How many values a trial logs."""
    fold_wise = config.pretraining_audio.source == "fold"
    upstreams = (len(corpora.folds.folds) if fold_wise else 1) if config.pretrains else 0
    curves = 7 if config.score.head else 6
    looks = math.ceil(config.probe.steps / config.probe.evaluate_every)
    return upstreams * _reports(config) * curves + looks * PROBE_METRICS + len(config.interim.at) + FINAL_METRICS


def _reports(config: TrialConfig) -> int:
    return math.ceil(config.pretrain.steps / config.pretrain.report_every)
