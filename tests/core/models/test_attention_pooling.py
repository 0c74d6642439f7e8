"""Attention and mean pooling, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from core.models.attention_pooling import AttentionPooling, MeanPooling

STATES = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [50.0, 50.0]]])
PADDING = torch.tensor([[False, False, True]])


def pooling_with(*weights: float) -> AttentionPooling:
    pooling = AttentionPooling(len(weights))
    with torch.no_grad():
        pooling.score.weight.copy_(torch.tensor([weights]))
    return pooling


def test_two_frames_by_hand():
    # e = tanh(1), tanh(-4): a_1 = 1 / (1 + exp(tanh(-4) − tanh(1))).
    first = 1 / (1 + math.exp(math.tanh(-4.0) - math.tanh(1.0)))
    pooling = pooling_with(1.0, -2.0)
    torch.testing.assert_close(pooling.weights(STATES, PADDING), torch.tensor([[first, 1 - first, 0.0]]))
    torch.testing.assert_close(pooling(STATES, PADDING), torch.tensor([[first, 2 * (1 - first)]]))


def test_no_frame_weighs_more_than_e_squared_times_another():
    """tanh bounds the scores to ±1."""
    weights_BP = pooling_with(1e6, -1e6).weights(STATES, PADDING)
    assert (weights_BP[0, 0] / weights_BP[0, 1]).item() == pytest.approx(math.e**2, rel=1e-4)


def test_without_preference_it_is_the_mean():
    torch.testing.assert_close(pooling_with(0.0, 0.0)(STATES, PADDING), torch.tensor([[0.5, 1.0]]))
    torch.testing.assert_close(MeanPooling()(STATES, PADDING), torch.tensor([[0.5, 1.0]]))


@pytest.mark.parametrize("pooling", [pooling_with(0.3, -0.7), MeanPooling()])
def test_what_stands_on_padding_reaches_neither_value_nor_gradient(pooling):
    other = STATES.clone()
    other[0, 2] = torch.nan
    other.requires_grad_()
    pooled = pooling(other, PADDING)
    torch.testing.assert_close(pooled, pooling(STATES, PADDING))
    pooled.sum().backward()
    assert torch.isfinite(other.grad[0, :2]).all()
    assert (other.grad[0, 2] == 0).all()
