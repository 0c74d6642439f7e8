"""Every pooling by hand, and what none of them may see."""

from __future__ import annotations

import math

import pytest
import torch

from core.errors import BadInputError
from core.models.pooled_head import PooledHead
from core.models.pooling import AttendedMean, Pooling
from core.sap_config import SapConfig

STATES_PH = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 4.0], [7.0, -2.0]])
SPEECH_P = torch.tensor([False, True, True, False])
GAP, SAP = [4.0, 1.0], [4.0, 3.0]
ALL = ("gap", "sap", "gap+sap", "gap+sap+attention", "attention")


def pooled(pooling: Pooling, *, padding: int = 0) -> list[float]:
    """The vector of the utterance above, padded by what nobody may see."""
    states_PH = torch.cat([STATES_PH, torch.full((padding, 2), 99.0)])
    none = torch.zeros(padding, dtype=torch.bool)
    valid_P = torch.cat([torch.ones(4, dtype=torch.bool), none])
    with torch.no_grad():
        return pooling(states_PH[None], valid_P[None], torch.cat([SPEECH_P, none])[None])[0].tolist()


@pytest.mark.parametrize(("name", "expected"), [("gap", GAP), ("sap", SAP), ("gap+sap", GAP + SAP)])
def test_means_by_hand(name, expected):
    pooling = Pooling(name, 2, heads=1)
    assert pooled(pooling) == pytest.approx(expected)
    assert pooling.width == len(expected)


def test_attention_pooling_by_hand():
    """w = (0.1, 0): energies tanh(0.1), tanh(0.3), tanh(0.5), tanh(0.7) of the four positions, speech or not."""
    pooling = Pooling("attention", 2, heads=1)
    with torch.no_grad():
        for parameter in pooling.parameters():
            parameter.copy_(torch.tensor([0.1, 0.0]).reshape(parameter.shape))
    shares = [math.exp(math.tanh(energy)) for energy in (0.1, 0.3, 0.5, 0.7)]
    expected = [
        sum(share * float(value) for share, value in zip(shares, STATES_PH[:, h], strict=True)) / sum(shares)
        for h in (0, 1)
    ]
    assert pooled(pooling) == pytest.approx(expected)
    assert pooling.width == 2


def test_self_attention_by_hand():
    """Queries and keys are zero, so both speech positions attend to both alike: each gets their mean value, twice."""
    pooling = Pooling("gap+sap+attention", 2, heads=1)
    attention = next(part.attention for part in pooling.parts if isinstance(part, AttendedMean))
    with torch.no_grad():
        attention.in_proj_weight.zero_()
        attention.in_proj_weight[4:] = 2 * torch.eye(2)
        attention.in_proj_bias.zero_()
        attention.out_proj.weight.copy_(torch.eye(2))
        attention.out_proj.bias.zero_()
    assert pooled(pooling) == pytest.approx([*GAP, *(mean + 2 * mean for mean in SAP)])
    assert pooling.width == 4


@pytest.mark.parametrize("name", ALL)
def test_padding_changes_nothing(name):
    torch.manual_seed(0)
    pooling = Pooling(name, 2, heads=2)
    assert pooled(pooling) == pytest.approx(pooled(pooling, padding=3), abs=1e-6)


@pytest.mark.parametrize(("name", "blind"), [("sap", slice(0, 2)), ("gap+sap+attention", slice(2, 4))])
def test_positions_without_speech_are_left_out_of_the_speech_part_and_their_gradient_is_zero(name, blind):
    torch.manual_seed(0)
    pooling = Pooling(name, 2, heads=1)
    states_BPH = STATES_PH[None].clone().requires_grad_()
    valid_BP = torch.ones(1, 4, dtype=torch.bool)
    pooling(states_BPH, valid_BP, SPEECH_P[None])[0, blind].square().sum().backward()
    assert states_BPH.grad is not None
    assert (states_BPH.grad[0, ~SPEECH_P] == 0).all()
    assert (states_BPH.grad[0, SPEECH_P] != 0).all()


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(BadInputError, match=r"sap\.heads: 3 does not divide the upstream's hidden width 8"):
        Pooling("gap+sap+attention", 8, heads=3)


def test_the_head_mixes_layers_before_it_pools():
    """Layer weights of 3/4 and 1/4 over two layers, the second twice the first: the pooled vector grows by 5/4."""
    head = PooledHead(layers=2, hidden=2, projection=2, classes=2, config=SapConfig(pooling="sap"))
    with torch.no_grad():
        head.layer_logits_L.copy_(torch.tensor([math.log(3.0), 0.0]))
        for linear in (head.project, head.classify):
            linear.weight.copy_(torch.eye(2))
            linear.bias.zero_()
        states_BPLH = torch.stack([STATES_PH, 2 * STATES_PH], dim=1)[None]
        logits_BC = head(states_BPLH, torch.ones(1, 4, dtype=torch.bool), SPEECH_P[None])
    assert logits_BC[0].tolist() == pytest.approx([1.25 * value for value in SAP])
