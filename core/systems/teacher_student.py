"""Conditional teacher–student: upstreams → frame states, words → teachers (speech and words) → students (speech alone).

Each model is an artifact of its own, so arms that weigh the same teachers differently share them.
U utterances, K folds, W wanted utterances, N of a train part, D dimensions.
"""

from __future__ import annotations

__all__ = ["artifacts_of", "run", "stages_of"]

import io
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.config import TrialConfig
from core.dimensions import dimension_labels
from core.frames import Frames, frames_keys, make_frames
from core.identity import Json, code_version, digest
from core.lessons import FoldLessons, Lesson, lessons_of
from core.predictions import dimension_predictions
from core.pretrain import replay, trained_parameters
from core.progress import LogMetrics, Progress
from core.records import DIMENSIONS
from core.regression import Inputs, Task, fit_regression
from core.resolve import Corpora
from core.store import Artifact, Claim, Recipe, Workspace, write_atomically
from core.systems.outcome import Outcome, Stages
from core.text_embeddings import make_text_embeddings, text_embeddings, text_recipe
from core.transcripts import transcripts_of
from core.underway import Tally, Underway
from core.upstreams import SharedInputs, pretrain_upstreams, settings_of, upstream_artifacts

_MODULES = (
    "core.guidance", "core.lessons", "core.metrics", "core.models.summariser", "core.regression", "core.seeding",
    "core.systems.teacher_student", "core.teacher_config",
)  # fmt: skip

_OF_EVERY_MODEL = (
    "projection", "hidden", "reduce", "dropout", "steps", "batch", "lr", "clip", "evaluate_every",
)  # fmt: skip
"""Settings of `config.teacher` that teachers and students have in common."""
_OF_A_TAUGHT_STUDENT = ("weighting", "sigma", "tau", "weight")

# What makes an artifact is the code imported now, whatever happens to its files while a long trial runs.
code_version(_MODULES)


def artifacts_of(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs
) -> tuple[str, ...]:
    """`<stage>/<key>` of what the chain makes itself, made already or not."""
    own = upstream_artifacts(config, corpora, workspace, shared=shared)
    return (*own, *chain.from_iterable(stages_of(config, corpora, workspace, shared=shared).values()))


def stages_of(config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs) -> Stages:
    """Which artifacts the chain makes after its upstreams, by kind."""
    store = workspace.store
    frames = frames_keys(config, corpora, workspace, shared=shared, layers=None)
    text = text_recipe(config, corpora.evaluated).key(store) if config.teacher.reads else None
    trial = _Trial(config=config, corpora=corpora, workspace=workspace, frames=frames, text=text)
    taught, students = [], []
    for k, lessons in enumerate(trial.lessons()):
        teachers = [trial.recipe(k, lesson).key(store) for lesson in lessons.teachers]
        taught += [f"teacher/{key}" for key in teachers]
        if lessons.student is not None:
            students.append(f"student/{trial.recipe(k, lessons.student, teachers).key(store)}")
    stages: dict[str, tuple[str, ...]] = {"frames": tuple(f"frames/{key}" for key in frames)}
    read = {"text": (f"text/{text}",)} if text else {}
    return stages | read | {"teacher": tuple(taught), "student": tuple(students)}


def run(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs, log: LogMetrics,
    progress: Progress,
) -> Generator[Underway, None, Outcome]:  # fmt: skip
    """Run the chain, yielding now and then while under way; the generator's value is the outcome."""
    tally = Tally(config=config, parameters=trained_parameters(config, config.features.dims), log=log)
    pretrained = yield from pretrain_upstreams(config, corpora, workspace, shared=shared, tally=tally, log=log)
    states = [make_frames(config, workspace, shared, each, progress=progress) for each in pretrained.upstreams]
    text = (
        make_text_embeddings(config, corpora.evaluated, workspace, progress=progress) if config.teacher.reads else None
    )
    trial = _Trial(
        config=config, corpora=corpora, workspace=workspace,
        frames=tuple(each.key for each in states), text=text.key if text else None,
    )  # fmt: skip
    opened = [Frames.open(each.path) for each in states]
    text_UE = text_embeddings(text) if text else None
    labels_UD = dimension_labels(corpora.evaluated)
    outputs_KUD = np.full((len(corpora.folds.folds), *labels_UD.shape), np.nan)
    for k, lessons in enumerate(trial.lessons()):
        found = yield from _fold(trial, k, lessons, opened[k % len(opened)], text_UE, tally=tally, log=log)
        for name, output_D in found.items():
            outputs_KUD[k, trial.place_of[name]] = output_D
    return Outcome(
        predictions=dimension_predictions(corpora, outputs_KUD, labels_UD),
        pretrained=pretrained,
        spent=tally.now(),
        interim=tuple(tally.entries),
        counts=_counts(config, corpora),
    )


def _counts(config: TrialConfig, corpora: Corpora) -> dict[str, int]:
    if not config.teacher.reads:
        return {}
    said = transcripts_of(corpora.evaluated, config.teacher.transcripts)
    return {"utterances in which nothing is said": sum(not words for words in said.values())}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trial:
    """What the models of a trial are fitted on. `frames`, `text`: keys; of frames one for all folds or one per fold."""

    config: TrialConfig
    corpora: Corpora
    workspace: Workspace
    frames: tuple[str, ...]
    text: str | None

    @property
    def place_of(self) -> dict[str, int]:
        return {item.utterance: place for place, item in enumerate(self.corpora.evaluated.utterances)}

    def lessons(self) -> list[FoldLessons]:
        """Of each fold, in their order."""
        return [
            lessons_of(self.config.teacher, fold, self.corpora.evaluated, place=place)
            for place, fold in enumerate(self.corpora.folds.folds, start=1)
        ]

    def labels(self, utterances: Sequence[str]) -> NDArray[np.float64]:
        """Labels of these utterances and no others, (N, D)."""
        item_of = {item.utterance: item for item in self.corpora.evaluated.utterances}
        return np.array(
            [[getattr(item_of[name], each) for each in DIMENSIONS] for name in utterances], dtype=np.float64
        )

    def recipe(self, k: int, lesson: Lesson, teachers: Sequence[str] = ()) -> Recipe:
        """What a model of fold `k` is made from. `teachers`: keys of those that teach a student."""
        own = self.config.teacher.model_dump(mode="json")
        names = _OF_EVERY_MODEL + (_OF_A_TAUGHT_STUDENT if teachers else ())
        known = (*lesson.train, *lesson.validation)
        settings: dict[str, Json] = {
            "model": {name: own[name] for name in names if name not in self.config.teacher.unused()},
            "name": lesson.name,
            "utterances": digest([list(lesson.train), list(lesson.validation), list(lesson.wanted)]),
            "labels": digest(self.labels(known).tolist()),
            **settings_of(self.config, "compute", "seed"),
        }
        read = (self.text,) if lesson.role == "teacher" and self.text is not None else ()
        inputs = (self.frames[k % len(self.frames)], *read, *teachers)
        return Recipe(stage=lesson.role, settings=settings, inputs=inputs, modules=_MODULES)


def _fold(
    trial: _Trial, k: int, lessons: FoldLessons, frames: Frames, text_UE: NDArray[np.float32] | None, *, tally: Tally,
    log: LogMetrics,
) -> Generator[Underway, None, dict[str, NDArray[np.float64]]]:  # fmt: skip
    """Fit the models of one fold, or find them; the value is what the last of them says, by utterance."""
    said: dict[str, NDArray[np.float64]] = {}
    teachers = []
    device = torch.device(trial.config.compute.device)
    for lesson in lessons.teachers:
        inputs = Inputs(frames=frames, text_UE=text_UE, device=device)
        made = yield from _fit(trial, trial.recipe(k, lesson), lesson, inputs, None, tally=tally, log=log)
        teachers.append(made.key)
        said |= _outputs(made, lesson)
    if lessons.student is None:
        return said
    taught_ND = np.stack([said[name] for name in lessons.student.train]) if teachers else None
    recipe = trial.recipe(k, lessons.student, teachers)
    inputs = Inputs(frames=frames, text_UE=None, device=device)
    made = yield from _fit(trial, recipe, lessons.student, inputs, taught_ND, tally=tally, log=log)
    return _outputs(made, lessons.student)


def _fit(
    trial: _Trial, recipe: Recipe, lesson: Lesson, inputs: Inputs, taught_ND: NDArray[np.float64] | None, *,
    tally: Tally, log: LogMetrics,
) -> Generator[Underway, None, Artifact]:  # fmt: skip
    """Fit one model, or find it; the value is its artifact.

    `outputs.npy` float64 (W, D) in the order of `lesson.wanted`, `weights.pt`, `regression.json` (`Fitted.notes`).
    """
    with recipe.claim(trial.workspace.store) as claim:
        if not claim.done:
            yield from _train(trial, lesson, inputs, taught_ND, claim, tally=tally, log=log)
    notes: dict[str, Any] = json.loads((claim.artifact.path / "regression.json").read_text())
    if claim.done:
        replay(notes["curve"], log)
    positions = notes["positions"]
    yield tally.worked(
        steps=notes["steps"], frames=positions, seconds=notes["seconds"], flops=6.0 * notes["parameters"] * positions
    )
    return claim.artifact


def _train(
    trial: _Trial, lesson: Lesson, inputs: Inputs, taught_ND: NDArray[np.float64] | None, claim: Claim, *,
    tally: Tally, log: LogMetrics,
) -> Generator[Underway, None, None]:  # fmt: skip
    place_of = inputs.frames.place_of

    def places(names: Sequence[str]) -> NDArray[np.int64]:
        return np.array([place_of[name] for name in names], dtype=np.int64)

    task = Task(
        name=lesson.name, train_N=places(lesson.train), validation_V=places(lesson.validation),
        wanted_W=places(lesson.wanted), labels_ND=trial.labels(lesson.train),
        labels_VD=trial.labels(lesson.validation), teacher_ND=taught_ND,
    )  # fmt: skip
    training = fit_regression(
        inputs, task, trial.config.teacher,
        seed=trial.config.seed, checkpoint=claim.scratch / "checkpoint.pt", log=log,
    )  # fmt: skip
    while True:
        try:
            next(training)
        except StopIteration as end:
            fitted = end.value
            break
        yield tally.now()
    for file, content, write in (("outputs.npy", fitted.outputs_WD, np.save), ("weights.pt", fitted.weights, _save)):
        packed = io.BytesIO()
        write(packed, content)
        write_atomically(claim.out / file, packed.getvalue())
    write_atomically(claim.out / "regression.json", json.dumps(fitted.notes).encode())


def _save(packed: io.BytesIO, weights: Mapping[str, torch.Tensor]) -> None:
    torch.save(dict(weights), packed)


def _outputs(made: Artifact, lesson: Lesson) -> dict[str, NDArray[np.float64]]:
    """Utterance → the model's output on the corpus's scale, (D,)."""
    return dict(zip(lesson.wanted, np.load(made.path / "outputs.npy"), strict=True))
