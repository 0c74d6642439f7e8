"""Supervised fine-tuning: balanced batches, the best epoch, and an interruption that changes nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from core.alignment_config import TuningConfig
from core.config import MaskingConfig
from core.errors import NonFiniteLossError
from core.finetune import Lesson, Tuned, epoch_rows, finetune, scores_of
from core.listening import UpstreamListener
from core.models.build import build_upstream
from core.progress import discard
from core.seeding import stream

CONFIG = TuningConfig(epochs=4, batch=4, lr=5e-3, crop_s=0.5)


def listener_over(features, config) -> UpstreamListener:
    torch.manual_seed(0)
    model = build_upstream(config, features.dims)
    return UpstreamListener(model, features, masking=MaskingConfig(policy="random"), stack=2, hop_s=0.01)


def lesson() -> Lesson:
    labels = tuple("sad" if place % 3 else "angry" for place in range(20))
    return Lesson(
        train=np.arange(14), train_labels=labels[:14], validation=np.arange(14, 20), validation_labels=labels[14:],
        classes=("angry", "sad"),
    )  # fmt: skip


def loop_over(features, config, folder, *, pooling="attention", log=discard, tuning=CONFIG, seed=0):
    return finetune(
        listener_over(features, config), lesson(), tuning, pooling=pooling, name="tuning", seed=seed,
        checkpoint=folder / "checkpoint.pt", log=log,
    )  # fmt: skip


def ended(loop) -> Tuned:
    while True:
        try:
            next(loop)
        except StopIteration as end:
            return end.value


def test_classes_are_equally_likely_however_rare():
    labels = ["rare"] * 3 + ["common"] * 57
    rows = np.concatenate([
        np.concatenate(epoch_rows(labels, size=8, random=stream(0, "test", epoch))) for epoch in range(40)
    ])  # fmt: skip
    counts = Counter(labels[row] for row in rows)
    assert len(rows) == 40 * 60
    assert abs(counts["rare"] / len(rows) - 0.5) < 0.04
    of_rare = Counter(row for row in rows if row < 3)
    assert all(abs(count / counts["rare"] - 1 / 3) < 0.05 for count in of_rare.values())


def test_batches_have_their_size_and_the_last_one_the_rest():
    sizes = [len(rows) for rows in epoch_rows(["a", "b"] * 7, size=4, random=stream(0, "test"))]
    assert sizes == [4, 4, 4, 2]


@pytest.mark.parametrize("after", [1, 3])
def test_interrupted_it_ends_with_the_same_bits(features, tiny, tmp_path, after):
    config, whole, broken = tiny(), [], []
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    undisturbed = ended(loop_over(features, config, tmp_path / "one", log=lambda *report: whole.append(report)))
    loop = loop_over(features, config, tmp_path / "two")
    for _ in range(after):
        next(loop)
    loop.close()
    resumed = ended(loop_over(features, config, tmp_path / "two", log=lambda *report: broken.append(report)))
    assert broken == whole
    assert (resumed.epoch, resumed.validation) == (undisturbed.epoch, undisturbed.validation)
    assert (resumed.state.step, resumed.state.frames) == (16, undisturbed.state.frames)
    for (name, first), second in zip(
        undisturbed.model.state_dict().items(), resumed.model.state_dict().values(), strict=True
    ):
        assert torch.equal(first, second), name


def test_a_kill_between_checkpoints_loses_steps_and_changes_nothing(features, tiny, tmp_path):
    config = tiny()
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    undisturbed = ended(loop_over(features, config, tmp_path / "one"))
    loop = loop_over(features, config, tmp_path / "two")
    next(loop)
    kept = (tmp_path / "two" / "checkpoint.pt").read_bytes()
    next(loop)
    # As a kill before the second checkpoint leaves it.
    loop.close()
    (tmp_path / "two" / "checkpoint.pt").write_bytes(kept)
    resumed = ended(loop_over(features, config, tmp_path / "two"))
    for first, second in zip(undisturbed.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(first, second)


def test_the_epoch_that_is_best_on_validation_is_kept(features, tiny, tmp_path):
    reached = []
    tuned = ended(loop_over(features, tiny(), tmp_path, log=lambda values, step: reached.append(dict(values))))
    values = [report["tuning/validation_ua"] for report in reached]
    assert len(values) == 4
    assert tuned.epoch == values.index(max(values)) + 1
    assert tuned.validation == max(values)
    listener, own = listener_over(features, tiny()), lesson()
    listener.model.load_state_dict(tuned.model.upstream.state_dict())
    tuned.model.upstream = listener.model
    predicted = scores_of(tuned.model, listener, own.validation).argmax(-1)
    truth = np.array([own.classes.index(label) for label in own.validation_labels])
    recalls = [float((predicted[truth == place] == place).mean()) for place in range(2)]
    assert np.mean(recalls) == pytest.approx(tuned.validation)


def test_scores_are_probabilities_and_depend_on_no_other_utterance(features, tiny, tmp_path):
    tuned = ended(loop_over(features, tiny(), tmp_path))
    listener = listener_over(features, tiny())
    listener.model.load_state_dict(tuned.model.upstream.state_dict())
    tuned.model.upstream = listener.model
    scores_UC = scores_of(tuned.model, listener, np.array([3, 18, 5]))
    np.testing.assert_allclose(scores_UC.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(scores_UC[1:2], scores_of(tuned.model, listener, np.array([18])))


def test_upstream_pooling_and_classifier_are_all_trained(features, tiny, tmp_path):
    before = {name: value.clone() for name, value in listener_over(features, tiny()).model.state_dict().items()}
    loop = loop_over(features, tiny(), tmp_path)
    state = next(loop)
    after = state.model.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[f"upstream.{name}"])}
    assert {"project.weight", "layers.0.linear1.weight", "layers.1.linear2.weight"} <= moved
    assert {"pooling.score.weight", "classify.weight"} <= set(after)
    # Reconstruction is no part of this loss.
    assert not any(name.startswith("head.") for name in moved)


def test_the_classifier_starts_the_same_under_either_pooling(features, tiny, tmp_path):
    started = {}
    for pooling in ("attention", "mean"):
        (tmp_path / pooling).mkdir()
        # No step moves anything: what is left is what was drawn.
        still = CONFIG.model_copy(update={"lr": 1e-30, "epochs": 1})
        started[pooling] = ended(loop_over(features, tiny(), tmp_path / pooling, pooling=pooling, tuning=still)).model
    attention, mean = (started[pooling].classify for pooling in ("attention", "mean"))
    assert torch.equal(attention.weight, mean.weight)
    assert torch.equal(attention.bias, mean.bias)


def test_divergence_is_an_error_that_names_the_step(features, tiny, tmp_path):
    loop = loop_over(features, tiny(), tmp_path, tuning=CONFIG.model_copy(update={"lr": 1e25, "clip": 1e30}))
    with pytest.raises(NonFiniteLossError, match="tuning: loss is nan at step"):
        ended(loop)
