"""Teacher–student as an exported model: the upstream's last weights and the student of one fold, which hears alone.

The teacher is left behind: it reads words, and there are none beside a recording. P positions, L layers, H hidden
width, D dimensions, N samples.
"""

from __future__ import annotations

__all__ = ["StudentPredictor", "package", "predictor"]

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from core.config import TrialConfig
from core.errors import BadInputError
from core.exported import Answer, FinishedTrial, Package
from core.exported_parts import HEAD, fill, head_tensors, settings_in, tensors_in
from core.exported_upstream import ExportedUpstream, upstream_in
from core.frames import chosen_layers
from core.kept_upstream import described, keep, stored_artifacts, stored_weights, trained_upstreams
from core.models.summariser import Summariser
from core.progress import Progress
from core.records import DIMENSIONS
from core.store import Artifact

SCALE = "scale."
"""Prefix of the names of two tensors (D,), `centre_D` and `scale_D`: corpus's scale = centre + scale · output."""
_BUILT_FROM = {"weighting", "projection", "hidden", "reduce", "dropout"}
"""Of `config.teacher`; others are of the training, or name places."""


def package(trial: FinishedTrial, *, fold: int, progress: Progress) -> Package:
    """The upstream that this fold read, and its student at the step that its validation part chose.

    Raises BadInputError for an arm that tests the teacher, and when artifacts of the trial are no longer in the store.
    """
    del progress
    config = trial.config
    if config.teacher.weighting == "teacher":
        raise BadInputError(
            f"trial {trial.record.trial_key}: tests the teacher, which needs the words of a recording "
            "(teacher.weighting 'teacher'); students can be exported"
        )
    torch.set_num_threads(config.compute.threads)
    upstreams = trained_upstreams(trial)
    student = _student(trial, fold)
    notes = json.loads((student.path / "regression.json").read_text())
    kept = keep(config, upstreams[fold % len(upstreams)])
    return Package(
        config=described(
            trial, kept, fold=fold, kind="dimensions", outputs=DIMENSIONS, framed=False, own={"teacher": _BUILT_FROM}
        ),
        tensors=kept.tensors
        | head_tensors(stored_weights(student))
        | {f"{SCALE}{name}": np.array(notes[name], dtype=np.float64) for name in ("centre_D", "scale_D")},
    )


def _student(trial: FinishedTrial, fold: int) -> Artifact:
    for artifact in stored_artifacts(trial, "student"):
        settings = artifact.description()["settings"]
        # As `core.lessons` names it; folds count from 1.
        if isinstance(settings, Mapping) and settings.get("name") == f"student/fold{fold + 1}":
            return artifact
    raise BadInputError(
        f"trial {trial.record.trial_key}: its student of fold {trial.corpora.folds.folds[fold].name} is no longer in "
        f"{trial.workspace.store.root}"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class StudentPredictor:
    """Upstream and student on the CPU."""

    config: TrialConfig
    upstream: ExportedUpstream
    student: Summariser
    centre_D: NDArray[np.float64]
    scale_D: NDArray[np.float64]

    @torch.no_grad()
    def predict(self, samples_N: NDArray[np.float32]) -> Answer:
        """Dimensions of the recording; none of single positions: the GRU's last state is of all before it."""
        states_PLH = self.upstream.states(samples_N)
        chosen = chosen_layers(self.config.transformer.layers, exposed=states_PLH.shape[1])
        # As the trial kept them: in half precision.
        kept_PLH = torch.from_numpy(states_PLH[:, list(chosen)].astype(np.float16).astype(np.float32))
        reduced_PLH = torch.stack([part.mean(0) for part in torch.split(kept_PLH, self.config.teacher.reduce)])
        output_D = self.student(reduced_PLH[None], torch.tensor([len(reduced_PLH)]), None)[0].double().numpy()
        return Answer(kind="dimensions", values_C=(self.centre_D + self.scale_D * output_D).astype(np.float32))


def predictor(package: Package) -> StudentPredictor:
    """Raises BadInputError for settings or tensors that are not those of such a model."""
    config, own, scale = settings_in(package), tensors_in(package, HEAD), tensors_in(package, SCALE)
    what = f"exported model of trial {package.config.trial_key}"
    try:
        layers, width = len(own["layer_logits_L"]), own["project.weight"].shape[1]
        centre_D, scale_D = scale["centre_D"].numpy(), scale["scale_D"].numpy()
    except KeyError as error:
        raise BadInputError(f"{what}: no tensor {error}") from error
    student = Summariser(layers=layers, width=width, text=None, config=config.teacher)
    fill(student, own, what=what)
    torch.set_num_threads(package.config.threads)
    return StudentPredictor(
        config=config, upstream=upstream_in(package, config), student=student.eval(), centre_D=centre_D, scale_D=scale_D
    )
