"""The head whose pooling is learnt with it: chosen on validation, blind to test, resumed bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from core.config import TrialConfig
from core.errors import NonFiniteLossError
from core.metrics import confusion, ua
from core.pooled_probe import fit_pooled_head
from core.progress import discard
from tests.core.frame_states import CLASSES, HIDDEN, folds_of, labels_of, with_speech, write_states

LEARNT = pytest.mark.parametrize("pooling", ["gap+sap+attention", "attention"])


def config(pooling: str, *, steps: int = 60) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "system": "sap",
            "sap": {"pooling": pooling, "heads": 2, "steps": steps, "lr": 2e-2},
            "probe": {"projection": 6, "batch": 8, "evaluate_every": 20},
            "seed": 3,
        }
    )


def fitted(folder, pooling, *, labels=None, changed=frozenset(), checkpoint=None, log=discard, stop_after=None):
    """The fit and the scores of the first fold; None when stopped after that many looks."""
    frames = with_speech(write_states(folder / f"states{len(changed)}", changed=changed))
    fitting = fit_pooled_head(
        frames, labels or labels_of(frames.frames), folds_of(frames.frames)[0], CLASSES, config=config(pooling),
        checkpoint=checkpoint or folder / "none" / "checkpoint.pt", log=log,
    )  # fmt: skip
    looks = 0
    while True:
        try:
            next(fitting)
        except StopIteration as end:
            return end.value
        looks += 1
        if looks == stop_after:
            fitting.close()
            return None


@LEARNT
def test_it_learns_what_the_pauses_would_hide(tmp_path, pooling):
    _, scores_UC = fitted(tmp_path, pooling)
    frames = write_states(tmp_path / "again")
    fold, labels = folds_of(frames)[0], labels_of(frames)
    predicted = [CLASSES[winner] for winner in scores_UC[fold.test].argmax(-1)]
    assert ua(confusion([labels[place] for place in fold.test], predicted, CLASSES)) > 0.6


@LEARNT
def test_nothing_of_the_test_part_reaches_the_head(tmp_path, pooling):
    """Other labels and other states of the test utterances: the same weights, the same scores of all others."""
    fit, scores_UC = fitted(tmp_path / "a", pooling)
    frames = write_states(tmp_path / "plain")
    fold, labels = folds_of(frames)[0], labels_of(frames)
    for place in fold.test:
        labels[place] = CLASSES[(CLASSES.index(labels[place]) + 1) % 3]
    other, other_UC = fitted(tmp_path / "b", pooling, labels=labels, changed=frozenset(fold.test.tolist()))
    for name, value in fit.head.state_dict().items():
        assert value.equal(other.head.state_dict()[name]), name
    kept = np.concatenate([fold.train, fold.validation])
    np.testing.assert_allclose(scores_UC[kept], other_UC[kept], atol=1e-6)
    assert np.abs(scores_UC[fold.test] - other_UC[fold.test]).max() > 0.1


@LEARNT
@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_an_interrupted_fit_continues_to_the_same_weights_and_says_all_again(tmp_path, pooling, stop_after):
    whole, whole_UC = fitted(tmp_path, pooling, checkpoint=tmp_path / "whole.pt")
    path, logged = tmp_path / "cut.pt", []
    assert fitted(tmp_path, pooling, checkpoint=path, stop_after=stop_after) is None
    fit, scores_UC = fitted(
        tmp_path, pooling, checkpoint=path, log=lambda values, step: logged.append((step, dict(values)))
    )  # fmt: skip
    assert np.array_equal(scores_UC, whole_UC)
    assert (fit.step, fit.positions, fit.flops, fit.best_step) == (
        whole.step, whole.positions, whole.flops, whole.best_step,
    )  # fmt: skip
    assert fit.curve == whole.curve
    assert logged == [(report["step"], report["values"]) for report in whole.curve]


def test_the_weights_are_those_of_the_first_best_look(tmp_path):
    fit, scores_UC = fitted(tmp_path, "attention")
    values = [report["values"]["probe/validation_ua"] for report in fit.curve]
    assert fit.best_step == fit.curve[int(np.argmax(values))]["step"]
    frames = write_states(tmp_path / "again")
    fold, labels = folds_of(frames)[0], labels_of(frames)
    predicted = [CLASSES[winner] for winner in scores_UC[fold.validation].argmax(-1)]
    assert ua(confusion([labels[place] for place in fold.validation], predicted, CLASSES)) == max(values)


def test_cost_by_hand(tmp_path):
    """Attention pooling learns a number per hidden dimension; then Linear(4, 6) and Linear(6, 3)."""
    fit, _ = fitted(tmp_path, "attention")
    utterances = fit.step // 2 * 15  # two batches of 8 and 7 make an epoch of 15
    assert fit.flops == 6 * (HIDDEN * fit.positions + (4 * 6 + 6 + 6 * 3 + 3) * utterances)
    lengths = write_states(tmp_path / "again").lengths[:15]
    assert fit.positions == fit.step // 2 * lengths.sum()


def test_a_loss_that_is_not_finite_stops_the_fit(tmp_path):
    frames = with_speech(write_states(tmp_path / "states"))
    frames.speech_F[frames.frames.slice_of(0)] = False  # no position counts: 0/0
    fitting = fit_pooled_head(
        frames, labels_of(frames.frames), folds_of(frames.frames)[0], CLASSES, config=config("gap+sap+attention"),
        checkpoint=tmp_path / "checkpoint.pt", log=discard,
    )  # fmt: skip
    with pytest.raises(NonFiniteLossError, match="probe: loss is nan at step 20"):
        next(fitting)
