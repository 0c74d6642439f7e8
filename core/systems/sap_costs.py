"""What the stages of SAP cost: frame states, speech flags, and the pooling with its head (ours).

U utterances, M of those that are measured, L layers, H hidden width, F positions.
"""

from __future__ import annotations

__all__ = ["kinds_of", "measure_stage"]

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from core.audio_calibration import measure_audio_frames
from core.calibration import SAFE_LR, measure_probe, value_of
from core.config import TrialConfig
from core.features import Features
from core.identity import Json
from core.pooled_probe import POOL_BATCHES, fit_pooled_head
from core.probe import FoldIndex
from core.progress import discard
from core.resolve import Corpora
from core.sap_config import LINEAR_POOLINGS, SPEECH_POOLINGS
from core.seeding import stream
from core.spoken_frames import SpokenFrames
from core.stage_calibration import (
    FLOAT32,
    Grid,
    StageCost,
    evenly,
    grid_of,
    measure_frames,
    measure_speech,
    per_fold,
    steps_within,
    synthetic_frames,
)

SPOKEN = 0.8
"""Share of positions that are speech in what is measured; a pooling takes no less time for the others."""
POOLED = 32
"""Utterances that are pooled to see how long all of them take."""


def kinds_of(config: TrialConfig) -> Mapping[str, Json]:
    """As `Costed.kinds_of`."""
    sap = config.sap
    layers: Json = None if sap.layers is None else list(sap.layers)
    kinds: dict[str, Json] = {"frames": layers}
    if sap.pooling in SPEECH_POOLINGS:
        kinds["vad"] = None
    loop = config.probe.model_dump(mode="json", exclude={"lr", "select_by"})
    if sap.pooling in LINEAR_POOLINGS:
        return kinds | {"pooled probe": [layers, sap.pooling, loop]}
    return kinds | {"pooled": [layers, sap.pooling, sap.heads, sap.steps, loop]}


def measure_stage(
    kind: str, config: TrialConfig, corpora: Corpora, features: Features, *, scratch: Path, patience_s: float
) -> StageCost:
    """As `Costed.measure_stage`."""
    if kind == "frames" and not config.pretrains:
        return measure_audio_frames(
            config, corpora.evaluated, layers=config.sap.layers, scratch=scratch, patience_s=patience_s
        )  # fmt: skip
    if kind == "frames":
        return measure_frames(config, features, layers=config.sap.layers, scratch=scratch, patience_s=patience_s)
    if kind == "vad":
        return measure_speech(corpora.evaluated, scratch)
    if kind == "pooled":
        return _measure_head(config, corpora, features, scratch=scratch, patience_s=patience_s)
    return _measure_probe(config, corpora, features, patience_s=patience_s)


def _spoken(config: TrialConfig, grid: Grid, count: int) -> SpokenFrames:
    frames = synthetic_frames(grid, layers=config.sap.layers, places=evenly(grid.lengths_U, count))
    speech_F = stream(0, "calibration-speech").random(len(frames.packed_FLH)) < SPOKEN
    return SpokenFrames(frames=frames, speech_F=speech_F, speechless=0, left_out=0)


def _measure_probe(config: TrialConfig, corpora: Corpora, features: Features, *, patience_s: float) -> StageCost:
    """Pooling every utterance of every upstream, and the probe over all folds."""
    spoken = _spoken(config, grid_of(config, corpora.evaluated, features), POOLED)
    spoken.pooled(config.sap.pooling)
    began = time.perf_counter()
    pooled_MLH = spoken.pooled(config.sap.pooling)
    each_s = (time.perf_counter() - began) / len(pooled_MLH)
    folds, (_, layers, hidden) = len(corpora.folds.folds), pooled_MLH.shape
    upstreams = folds if config.pretrains and config.pretraining_audio.source == "fold" else 1
    probe = measure_probe(config, corpora, layers=layers, hidden=hidden, folds=folds, patience_s=patience_s)
    fit_s = probe.seconds(steps=config.probe.steps, evaluate_every=config.probe.evaluate_every)
    return StageCost(seconds=upstreams * len(features.lengths) * each_s + fit_s, bytes=0)


def _measure_head(
    config: TrialConfig, corpora: Corpora, features: Features, *, scratch: Path, patience_s: float
) -> StageCost:
    """One fold's learnt pooling and head: a step, and telling the class of an utterance, on a sample of utterances."""
    batch, classes = config.probe.batch, corpora.evaluated.classes
    # As many as a pool of batches is cut from, so that the batches of the sample are padded as those of the corpus.
    grid = grid_of(config, corpora.evaluated, features)
    spoken = _spoken(config, grid, max(POOL_BATCHES * batch, 2 * len(classes)))
    count = len(spoken.frames.utterances)
    labels = [classes[place % len(classes)] for place in range(count)]
    every = np.arange(count)
    fold = FoldIndex(name="calibration", train=every, validation=every, test=every)

    def fit(steps: int) -> tuple[float, float]:
        """Seconds of a step, and of telling one utterance's class."""
        probe = config.probe.model_copy(update={"evaluate_every": steps})
        sap = config.sap.model_copy(update={"steps": steps, "lr": SAFE_LR})
        shortened = config.model_copy(update={"probe": probe, "sap": sap})
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            began = time.perf_counter()
            fitting = fit_pooled_head(
                spoken, labels, fold, classes, config=shortened, checkpoint=Path(folder) / "head.pt", log=discard
            )
            trained, _ = value_of(fitting)
            # One look at validation and the scores of all: the sample is told twice.
            told_s = time.perf_counter() - began - trained.seconds
        return trained.seconds / steps, told_s / (2 * count)

    step_s, tell_s = fit(steps_within(patience_s, fit))
    steps, folds = config.sap.steps or config.probe.steps, corpora.folds.folds
    looks = -(-steps // config.probe.evaluate_every)
    told = looks * per_fold(folds, lambda fold: len(fold.validation)) + len(features.lengths)
    return StageCost(
        seconds=steps * step_s + told * tell_s, bytes=FLOAT32 * len(features.lengths) * len(classes)
    )  # fmt: skip
