"""Utterance means of hidden states: padding and batching change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.embed import utterance_means
from core.models.build import build_upstream
from core.progress import silent
from tests.core.conftest import DIMS

BOTH = pytest.mark.parametrize(("upstream", "layers"), [("mockingjay", 3), ("npc", 1)])


@BOTH
def test_padding_does_not_change_an_utterance(features, tiny, upstream, layers):
    torch.manual_seed(0)
    model = build_upstream(tiny(upstream), DIMS).eval()
    short = torch.from_numpy(features.frames("u00").astype(np.float32))[None]
    padded = torch.nn.functional.pad(short, (0, 0, 0, 40))
    length = torch.tensor([short.shape[1]])
    with torch.no_grad():
        alone, _ = model.hidden_states(short, length)
        crowded, padding = model.hidden_states(padded, length)
    valid = int((~padding).sum())
    assert len(alone) == layers
    for a, b in zip(alone, crowded, strict=True):
        assert torch.allclose(a[0], b[0, :valid], atol=1e-5)


@BOTH
def test_utterance_means_equal_one_at_a_time(features, tiny, upstream, layers):
    torch.manual_seed(0)
    model = build_upstream(tiny(upstream), DIMS).eval()
    means = utterance_means(model, features, device=torch.device("cpu"), progress=silent)
    assert means.shape == (22, layers, 16)
    for place, name in enumerate(features.utterances):
        fbank = torch.from_numpy(features.frames(name).astype(np.float32))[None]
        with torch.no_grad():
            states, _ = model.hidden_states(fbank, torch.tensor([fbank.shape[1]]))
        expected = torch.stack([state[0].mean(0) for state in states]).numpy()
        assert np.abs(means[place] - expected).max() < 1e-5
