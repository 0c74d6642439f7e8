"""Frame states of an upstream: the grid they lie on, and what poolings may rely on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.embed import utterance_means
from core.errors import BadInputError
from core.features import Features
from core.frames import Frames, StatesFile, chosen_layers, make_frames
from core.heard import heard_parts
from core.progress import discard, silent
from core.resolve import resolve
from core.store import Workspace
from core.trial import run_trial
from core.upstreams import prepare, pretrain_recipe, trained_upstream
from tests.core.tiny_trial import tiny_trial


def test_the_mean_over_positions_is_what_the_probe_of_ems_sees(tmp_path):
    config, workspace = tiny_trial(tmp_path), Workspace.at(tmp_path / "workspace")
    run_trial(config, workspace, log=discard)
    corpora = resolve(config, workspace)
    shared = prepare(config, corpora, workspace, progress=silent)
    part = heard_parts(config, corpora.heard, corpora.folds)[0]
    with pretrain_recipe(config, shared, part).claim(workspace.store) as claim:
        assert claim.done
    made = make_frames(config, workspace, shared, claim.artifact, progress=silent)
    frames = Frames.open(made.path)
    features = Features.open(shared.evaluated.path)
    model = trained_upstream(config, shared, claim.artifact)
    means_ULH = utterance_means(model, features, device=torch.device("cpu"), progress=silent)
    assert frames.utterances == features.utterances
    for place in (0, 7, len(frames.utterances) - 1):
        mean_LH = frames.states(place).astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(mean_LH, means_ULH[place], atol=5e-3)
        # A position covers `stack` frames: the grid ends where the utterance ends.
        seconds = features.lengths[place] * config.features.hop_ms / 1000
        assert 0 <= len(frames.states(place)) * frames.hop_s - seconds < frames.hop_s


def test_states_beyond_half_precision_are_refused_with_their_utterance(tmp_path):
    with StatesFile(tmp_path, layers=[0], hidden=2, hop_s=0.02) as states:
        states.append("u1", np.zeros((3, 1, 2)))
        with pytest.raises(BadInputError, match="'u2'"):
            states.append("u2", np.full((3, 1, 2), 1e6))
    assert Frames.open(tmp_path).utterances == ("u1",)


def test_layers_count_from_both_ends():
    assert chosen_layers(None, exposed=3) == (0, 1, 2)
    assert chosen_layers((-1, 0), exposed=3) == (2, 0)
    with pytest.raises(BadInputError, match="layer 3: the upstream has 3, from 0 to 2"):
        chosen_layers((3,), exposed=3)
