from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from core.config import StrengthNetConfig
from core.intensity.strengthnet import StrengthNet, strengthnet_loss

TINY = StrengthNetConfig(channels=(2, 3, 4, 5), lstm=6)


def _net(config: StrengthNetConfig = TINY, emotions: int = 3) -> StrengthNet:
    torch.manual_seed(0)
    return StrengthNet(config, emotions=emotions).eval()


def _batch(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    mel = torch.rand(len(lengths), max(lengths), 80)
    for row, length in zip(mel, lengths, strict=True):
        row[length:] = 0
    return mel, torch.tensor(lengths)


def test_the_published_net_has_the_published_size():
    dense = 80 * 257 + 257
    channels = [1] + [c for c in (16, 32, 64, 128) for _ in range(3)]
    convolutions = sum(9 * a * b + b for a, b in pairwise(channels))
    lstm = 2 * 4 * 128 * (512 + 128 + 2)  # PyTorch keeps two biases per gate where Keras has one
    branches = 2 * lstm + (256 * 128 + 128) + (128 + 1) + (256 * 4 + 4)
    net = StrengthNet(StrengthNetConfig(), emotions=4)
    assert sum(parameter.numel() for parameter in net.parameters()) == dense + convolutions + branches


def test_there_is_a_score_per_frame_and_a_logit_per_emotion():
    scores, logits = _net()(*_batch(31, 17))
    assert scores.shape == (2, 31)
    assert logits.shape == (2, 3)
    assert torch.all(scores[1, 17:] == 0)


def test_what_shares_a_batch_and_its_padding_change_nothing():
    mel, lengths = _batch(40, 23, 9, 1)
    net = _net()
    scores, logits = net(mel, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, alone_logits = net(mel[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(scores[row, :length], alone[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(logits[row], alone_logits[0], rtol=1e-4, atol=1e-6)


def test_gradients_of_a_padded_batch_are_those_of_its_utterances():
    mel, lengths = _batch(20, 7)
    strength, emotion = torch.tensor([0.2, 0.9]), torch.tensor([0, 2])

    def gradients(rows: list[slice], sizes: list[int]) -> list[torch.Tensor]:
        net = _net()
        total = None
        for row, size in zip(rows, sizes, strict=True):
            part = strengthnet_loss(
                *net(mel[row, :size], lengths[row]),
                lengths_B=lengths[row],
                strength_B=strength[row],
                emotion_B=emotion[row],
            )
            total = part if total is None else total + part
        total.mean().backward()
        return [parameter.grad for parameter in net.parameters()]

    together = gradients([slice(0, 2)], [20])
    apart = gradients([slice(0, 1), slice(1, 2)], [20, 7])
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_frames_far_from_the_end_hear_the_whole_utterance_through_the_bilstm():
    mel, lengths = _batch(60)
    changed = mel.clone()
    changed[0, 58] += 1
    net = _net()
    before, after = net(mel, lengths)[0], net(changed, lengths)[0]
    assert not torch.equal(before[0, 0], after[0, 0])


def test_a_signal_reaches_the_scores_at_the_start_of_training():
    mel, lengths = _batch(50, 50)
    scores, _ = _net(StrengthNetConfig())(mel * torch.tensor([1.0, 3.0])[:, None, None], lengths)
    assert (scores[0] - scores[1]).abs().mean() > 1e-3


def test_the_loss_is_two_mean_absolute_errors_and_a_cross_entropy():
    scores = torch.tensor([[0.5, 0.7, 0.0], [0.2, 0.4, 0.9]])
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
    loss = strengthnet_loss(
        scores,
        logits,
        lengths_B=torch.tensor([2, 3]),
        strength_B=torch.tensor([1.0, 0.3]),
        emotion_B=torch.tensor([0, 1]),
    )
    utterance = (abs(0.6 - 1.0) + abs(0.5 - 0.3)) / 2
    frame = (0.5 + 0.3 + 0.1 + 0.1 + 0.6) / 5
    emotion = (math.log(2) + math.log(4 / 3)) / 2
    assert float(loss.mean()) == pytest.approx(utterance + frame + emotion)


def test_a_neutral_utterance_has_strength_but_no_emotion_to_recognise():
    scores, logits = torch.tensor([[0.5], [0.1]]), torch.tensor([[0.0, 5.0], [2.0, 1.0]])
    lengths, strength = torch.tensor([1, 1]), torch.tensor([0.5, 0.1])
    loss = strengthnet_loss(scores, logits, lengths_B=lengths, strength_B=strength, emotion_B=torch.tensor([-1, 0]))
    assert float(loss.mean()) == pytest.approx(math.log(1 + math.exp(-1)))
    neutral = strengthnet_loss(scores, logits, lengths_B=lengths, strength_B=strength, emotion_B=torch.tensor([-1, -1]))
    assert float(neutral.mean()) == 0
