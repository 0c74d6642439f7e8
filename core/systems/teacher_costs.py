"""What the stages of conditional teacher–student cost: frame states, words, fits of teachers and students (ours).

M utterances that are measured, D dimensions, E width of the text encoder.
"""

from __future__ import annotations

__all__ = ["kinds_of", "measure_stage"]

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from core.audio_calibration import measure_audio_frames
from core.calibration import SAFE_LR, value_of
from core.config import TrialConfig
from core.features import Features
from core.frames import layers_of
from core.identity import Json
from core.lessons import Lesson, lessons_of
from core.models.text import TextEncoder
from core.progress import discard
from core.records import DIMENSIONS
from core.regression import Inputs, Task, fit_regression
from core.resolve import Corpora
from core.seeding import stream
from core.stage_calibration import (
    FLOAT32,
    Grid,
    StageCost,
    evenly,
    grid_of,
    measure_frames,
    measure_text,
    steps_within,
    synthetic_frames,
)
from core.text_files import text_model_folder

BATCHES = 4
"""Of so many the measured sample of utterances is."""
_FREE = {"weighting", "modality", "sigma", "tau", "weight", "lr", "clip", "transcripts"}
"""Settings that a fit costs nothing by; what they choose besides is which fits there are."""


def kinds_of(config: TrialConfig) -> Mapping[str, Json]:
    """As `Costed.kinds_of`."""
    own = config.teacher.model_dump(mode="json", exclude=_FREE)
    kinds: dict[str, Json] = {"frames": None}
    if config.teacher.reads:
        kinds["text"] = own["text_model"]
    if config.teacher.weighting != "none":
        kinds["teacher"] = [own, config.teacher.reads, config.teacher.weighting == "teacher"]
    return kinds if config.teacher.weighting == "teacher" else kinds | {"student": own}


def measure_stage(
    kind: str, config: TrialConfig, corpora: Corpora, features: Features, *, scratch: Path, patience_s: float
) -> StageCost:
    """As `Costed.measure_stage`."""
    if kind == "frames" and not config.pretrains:
        return measure_audio_frames(
            config, corpora.evaluated, layers=layers_of(config), scratch=scratch, patience_s=patience_s
        )  # fmt: skip
    if kind == "frames":
        return measure_frames(config, features, layers=None, scratch=scratch, patience_s=patience_s)
    if kind == "text":
        return measure_text(config, corpora.evaluated, scratch)
    grid = grid_of(config, corpora.evaluated, features)
    step_s, tell_s, size = _measure_fit(kind, config, grid, scratch=scratch, patience_s=patience_s)
    lessons, teacher = _lessons(kind, config, corpora), config.teacher
    looks = -(-teacher.steps // teacher.evaluate_every)
    told = sum(looks * len(lesson.validation) + len(lesson.wanted) for lesson in lessons) / len(lessons)
    return StageCost(seconds=teacher.steps * step_s + told * tell_s, bytes=size)


def _lessons(kind: str, config: TrialConfig, corpora: Corpora) -> list[Lesson]:
    """All that models of this kind learn in one trial."""
    folds = [
        lessons_of(config.teacher, fold, corpora.evaluated, place=place)
        for place, fold in enumerate(corpora.folds.folds, start=1)
    ]
    if kind == "teacher":
        return [lesson for fold in folds for lesson in fold.teachers]
    return [fold.student for fold in folds if fold.student is not None]


def _measure_fit(
    kind: str, config: TrialConfig, grid: Grid, *, scratch: Path, patience_s: float
) -> tuple[float, float, int]:
    """Seconds of a step and of one utterance's output, and bytes of the weights."""
    places = evenly(grid.lengths_U, BATCHES * config.teacher.batch)
    frames = synthetic_frames(grid, layers=layers_of(config), places=places)
    count, random = len(places), stream(0, "calibration-labels")
    text_UE = None
    if kind == "teacher" and config.teacher.reads:
        encoder = TextEncoder(text_model_folder(config.teacher.text_model), device=torch.device("cpu"))
        text_UE = random.standard_normal((count, encoder.width), dtype=np.float32)
    labels_MD, taught_MD = random.standard_normal((2, count, len(DIMENSIONS)))
    every = np.arange(count)
    guided = kind == "student" and config.teacher.weighting != "none"
    task = Task(
        name="calibration", train_N=every, validation_V=every, wanted_W=every, labels_ND=labels_MD,
        labels_VD=labels_MD, teacher_ND=taught_MD if guided else None,
    )  # fmt: skip
    inputs = Inputs(frames=frames, text_UE=text_UE, device=torch.device(config.compute.device))

    def fit(steps: int) -> tuple[float, float, int]:
        shortened = config.teacher.model_copy(update={"steps": steps, "evaluate_every": steps, "lr": SAFE_LR})
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            began = time.perf_counter()
            training = fit_regression(
                inputs, task, shortened, seed=0, checkpoint=Path(folder) / "fit.pt", log=discard
            )  # fmt: skip
            fitted = value_of(training)
            told_s = time.perf_counter() - began - fitted.notes["seconds"]
        # The loop's own seconds hold one look, at as many utterances as are told in the end.
        step_s = max(0.0, fitted.notes["seconds"] - told_s) / steps
        return step_s, told_s / count, FLOAT32 * fitted.notes["parameters"]

    return fit(steps_within(patience_s, fit))
