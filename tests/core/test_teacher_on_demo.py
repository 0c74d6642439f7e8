"""What the demo corpus has planted: valence is in the words, so a teacher who reads them knows it, out of fold too."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.config import TrialConfig
from core.dimensions import dimension_labels
from core.lessons import lessons_of
from core.metrics import ccc
from core.resolve import resolve
from core.store import Workspace
from core.trial import run_trial
from tests.core.smoke_trial import smoke_trial

VALENCE = 1


def trial(weighting: str) -> TrialConfig:
    return smoke_trial({
        "system": "teacher_student",
        "folds": {"scheme": "speaker-folds", "k": 3},
        "intensity": {"fit": {"name": "demo", "part": "intensity"}},
        "masking": {"policy": "random"},
        "pretrain": {"steps": 10, "report_every": 10},
        "teacher": {"weighting": weighting, "sigma": 0.5, "steps": 80},
    })  # fmt: skip


@pytest.mark.slow
def test_words_carry_valence_to_the_teacher_and_out_of_fold_to_what_students_are_taught(demo_workspace: Workspace):
    config = trial("soft")
    corpora = resolve(config, demo_workspace)
    labels_UD = dimension_labels(corpora.evaluated)
    place_of = {item.utterance: place for place, item in enumerate(corpora.evaluated.utterances)}
    records = {weighting: run_trial(trial(weighting), demo_workspace) for weighting in ("none", "teacher", "soft")}
    tested = {name: record.metrics.mean["test"]["ccc_valence"] for name, record in records.items() if record.metrics}
    # 0.1–0.3 by ear, about 0.8 by the words.
    by_ear = max(tested["none"], tested["soft"])
    assert tested["teacher"] > max(0.6, by_ear + 0.3)

    said = {}
    for artifact in (demo_workspace.store.root / name for name in records["soft"].artifacts):
        if artifact.parent.name == "teacher":
            name = json.loads((artifact / "artifact.json").read_text())["settings"]["name"]
            said[name] = np.load(artifact / "outputs.npy")
    for place, fold in enumerate(corpora.folds.folds, start=1):
        teachers = lessons_of(config.teacher, fold, corpora.evaluated, place=place).teachers
        taught_ND = np.concatenate([said[lesson.name] for lesson in teachers])
        true_ND = labels_UD[[place_of[name] for lesson in teachers for name in lesson.wanted]]
        assert ccc(true_ND[:, VALENCE], taught_ND[:, VALENCE]) > by_ear + 0.15
