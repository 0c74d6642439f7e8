"""The batched utterance-mean probe is SUPERB's frame-level head, trained fold by fold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from core.config import ProbeConfig
from core.errors import NonFiniteLossError
from core.probe import FoldIndex, Heads, _train_batches, fit_probe

CLASSES = ("ang", "neu", "sad")


def folds_of(utterances: int) -> list[FoldIndex]:
    thirds = np.array_split(np.arange(utterances), 3)
    return [
        FoldIndex(name=f"fold{k}", train=thirds[k], validation=thirds[(k + 1) % 3], test=thirds[(k + 2) % 3])
        for k in range(3)
    ]


def sample(*, utterances: int = 45, layers: int = 3, hidden: int = 8):
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 12, size=utterances)
    frames = [rng.normal(size=(length, layers, hidden)).astype(np.float32) for length in lengths]
    labels = [CLASSES[i % 3] for i in range(utterances)]
    for states, label in zip(frames, labels, strict=True):
        states[:, 1, CLASSES.index(label)] += 0.7
    return frames, labels, np.stack([states.mean(0) for states in frames])


class FrameLevelHead(nn.Module):
    """SUPERB's: weighted sum of layers → Linear → mean over valid frames → Linear, on padded frames."""

    def __init__(self, layers: int, hidden: int, projection: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))
        self.projector = nn.Linear(hidden, projection)
        self.classifier = nn.Linear(projection, len(CLASSES))

    def forward(self, padded, lengths):
        mixed = (padded * self.weights.softmax(0)[None, None, :, None]).sum(2)
        projected = self.projector(mixed)
        valid = torch.arange(padded.shape[1])[None] < lengths[:, None]
        pooled = (projected * valid[..., None]).sum(1) / lengths[:, None]
        return self.classifier(pooled)


def test_equals_a_frame_level_superb_head_trained_on_the_same_batches():
    frames, labels, means = sample()
    folds = folds_of(len(labels))
    config = ProbeConfig(projection=6, steps=150, batch=8, lr=5e-3, evaluate_every=150)
    result = fit_probe(
        means, labels, folds, CLASSES, config=config, seed=7, device=torch.device("cpu"), log=lambda values, step: None
    )
    lengths = torch.tensor([len(states) for states in frames])
    padded = nn.utils.rnn.pad_sequence([torch.from_numpy(states) for states in frames], batch_first=True)
    targets = torch.tensor([CLASSES.index(label) for label in labels])
    for k, fold in enumerate(folds):
        start = Heads(layers=3, hidden=8, projection=6, classes=3, names=[fold.name], seed=7)
        head = FrameLevelHead(3, 8, 6)
        with torch.no_grad():
            head.projector.weight.copy_(start.project_KHP[0].T)
            head.projector.bias.copy_(start.project_bias_KP[0])
            head.classifier.weight.copy_(start.classify_KPC[0].T)
            head.classifier.bias.copy_(start.classify_bias_KC[0])
        optimizer = torch.optim.Adam(head.parameters(), lr=config.lr)
        batches = _train_batches(fold, config.batch, 7)
        for _ in range(config.steps):
            rows = torch.from_numpy(next(batches))
            loss = nn.functional.cross_entropy(head(padded[rows], lengths[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            expected = head(padded, lengths).softmax(-1).numpy()
        assert np.abs(result.scores_KUC[k] - expected).max() < 1e-5


def test_folds_do_not_touch_each_other():
    _, labels, means = sample()
    folds = folds_of(len(labels))
    config = ProbeConfig(projection=6, steps=60, batch=8, lr=5e-3, evaluate_every=20)

    def scores(chosen):
        return fit_probe(
            means, labels, chosen, CLASSES, config=config, seed=3, device=torch.device("cpu"), log=lambda v, s: None
        ).scores_KUC

    assert np.allclose(scores(folds)[1], scores([folds[1]])[0], atol=1e-6)


def test_each_fold_may_have_an_upstream_of_its_own():
    _, labels, means = sample()
    folds = folds_of(len(labels))
    config = ProbeConfig(projection=6, steps=60, batch=8, lr=5e-3, evaluate_every=20)

    def scores(features):
        return fit_probe(
            features, labels, folds, CLASSES, config=config, seed=3, device=torch.device("cpu"), log=lambda v, s: None
        ).scores_KUC

    own = scores(np.stack([means, means * 2, means]))
    shared, doubled = scores(means), scores(means * 2)
    assert np.allclose(own[0], shared[0], atol=1e-6)
    assert np.allclose(own[1], doubled[1], atol=1e-6)


def test_the_chosen_step_is_the_first_best_on_validation():
    _, labels, means = sample(utterances=90)
    folds = folds_of(90)
    config = ProbeConfig(projection=6, steps=200, batch=8, lr=2e-2, evaluate_every=10)
    curve: dict[int, float] = {}
    result = fit_probe(
        means, labels, folds[:1], CLASSES, config=config, seed=0, device=torch.device("cpu"),
        log=lambda values, step: curve.__setitem__(step, values["probe/validation_ua"]),
    )  # fmt: skip
    best = max(curve.values())
    assert result.best_steps[0] == min(step for step, value in curve.items() if value == best)


def test_the_chosen_heads_are_those_that_gave_the_scores():
    """Also where the last step is not the best: what is kept is not what training ended with."""
    _, labels, means = sample(utterances=90)
    folds = folds_of(90)
    config = ProbeConfig(projection=6, steps=200, batch=8, lr=2e-2, evaluate_every=10)
    result = fit_probe(
        means, labels, folds, CLASSES, config=config, seed=0, device=torch.device("cpu"), log=lambda v, s: None
    )
    assert min(result.best_steps) < 200
    for head, scores_UC in zip(result.heads, result.scores_KUC, strict=True):
        mixed_UH = np.einsum("l,ulh->uh", head.layer_weights_L, means)
        logits_UC = (mixed_UH @ head.project_HP + head.project_bias_P) @ head.classify_PC + head.classify_bias_C
        shares_UC = np.exp(logits_UC) / np.exp(logits_UC).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(shares_UC, scores_UC, atol=1e-5)


def test_test_labels_are_never_looked_at():
    """Shuffling the labels of the test part changes no score."""
    _, labels, means = sample()
    folds = folds_of(len(labels))[:1]
    config = ProbeConfig(projection=6, steps=40, batch=8, lr=5e-3, evaluate_every=10)
    changed = list(labels)
    for position in folds[0].test:
        changed[position] = CLASSES[(CLASSES.index(labels[position]) + 1) % 3]

    def scores(with_labels):
        return fit_probe(
            means, with_labels, folds, CLASSES, config=config, seed=0, device=torch.device("cpu"), log=lambda v, s: None
        ).scores_KUC

    assert np.array_equal(scores(labels), scores(changed))


def test_a_non_finite_loss_stops_with_its_step():
    _, labels, means = sample()
    means[3] = np.inf
    config = ProbeConfig(projection=6, steps=20, batch=8, evaluate_every=5)
    with pytest.raises(NonFiniteLossError, match="probe: loss is nan at step 5"):
        fit_probe(
            means, labels, folds_of(len(labels)), CLASSES, config=config, seed=0, device=torch.device("cpu"),
            log=lambda v, s: None,
        )  # fmt: skip


def test_batches_cover_every_utterance_once_per_epoch():
    fold = FoldIndex(name="f", train=np.arange(10), validation=np.arange(0), test=np.arange(0))
    batches = _train_batches(fold, 4, 0)
    drawn = np.concatenate([next(batches) for _ in range(5)])
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
