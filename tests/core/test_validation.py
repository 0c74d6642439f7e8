"""Held-out reconstruction: the quarters, the same frames for arm and twin, and the loss against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.errors import BadInputError
from core.models.build import build_upstream
from core.models.upstream import FrameBatch, Rebuilt
from core.validation import HeldOut, quarters_of
from tests.core.conftest import DIMS

HELD_OUT = [f"u{place:02d}" for place in range(9)]
CPU = torch.device("cpu")


def held_out(features, settings, names=HELD_OUT) -> HeldOut:
    return HeldOut(features, names, settings, track=features.energy, source=features.energy)


def test_quarters_are_of_equal_size_within_an_utterance_and_ties_go_by_time():
    assert quarters_of(np.array([5, 1, 2, 8, 3, 9, 7, 4], np.float32)).tolist() == [2, 0, 0, 3, 1, 3, 2, 1]
    assert quarters_of(np.zeros(8, np.float32)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    counts = np.bincount(quarters_of(np.random.default_rng(0).normal(size=103).astype(np.float32)))
    assert counts.max() - counts.min() <= 1


class Recorder(torch.nn.Module):
    """Stands where an upstream stands, keeps what it was shown and rebuilds every frame as zero."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[FrameBatch] = []

    def rebuild(self, batch: FrameBatch) -> Rebuilt:
        assert not self.training
        self.shown.append(batch)
        return Rebuilt(features_BTD=torch.zeros_like(batch.clean_BTD))


@pytest.mark.parametrize("other", ["random", "ems_topk", "random_nominal", "random_as_topk"])
def test_every_policy_is_measured_on_the_same_frames(features, tiny, other):
    shown = []
    for policy in ("ems", other):
        recorder = Recorder()
        held_out(features, tiny(policy=policy)).measure(recorder, CPU)
        shown.append(recorder.shown)
    for one, two in zip(*shown, strict=True):
        assert torch.equal(one.seen_BTD, two.seen_BTD)
        assert torch.equal(one.clean_BTD, two.clean_BTD)


def test_every_frame_of_npc_is_measured_whatever_the_policy(features, tiny):
    torch.manual_seed(0)
    model = build_upstream(tiny("npc"), DIMS)
    qualities = [
        held_out(features, tiny("npc", policy=policy)).measure(model, CPU)
        for policy in ("ems", "random_nominal", "random_as_topk", "all")
    ]
    assert all(quality == qualities[0] for quality in qualities)
    assert qualities[0].frames > 250


def test_a_control_is_measured_by_the_quarters_of_its_source(features, tiny):
    """The same frames in the same quarters as its twin's, whatever the control takes for intensity."""
    shuffled = np.random.default_rng(0).permutation(features.energy)
    torch.manual_seed(0)
    model = build_upstream(tiny(), DIMS)
    control = HeldOut(features, HELD_OUT, tiny(control="shuffled"), track=shuffled, source=features.energy)
    assert control.measure(model, CPU) == held_out(features, tiny(policy="random")).measure(model, CPU)


def test_loss_by_quarter_is_that_of_a_plain_loop(features, tiny):
    """An upstream that answers zero has the error |x|; hidden frames are the zeroed ones (no true frame is zero)."""
    recorder = Recorder()
    quality = held_out(features, tiny()).measure(recorder, CPU)
    hidden: dict[int, list[float]] = {quarter: [] for quarter in range(4)}
    by_frame = {}
    for name in HELD_OUT:
        frames_TD = features.frames(name).astype(np.float32)[:60]
        quarters = quarters_of(features.energy[features.slice_of(name)][:60].astype(np.float32))
        by_frame |= {tuple(frame): quarter for frame, quarter in zip(frames_TD, quarters, strict=True)}
    for batch in recorder.shown:
        for clean, seen, length in zip(batch.clean_BTD, batch.seen_BTD, batch.lengths_B, strict=True):
            for frame in range(int(length)):
                if not seen[frame].any():
                    quarter = by_frame[tuple(clean[frame].numpy())]
                    hidden[int(quarter)].append(float(clean[frame].abs().mean()))
    assert quality.frames == sum(map(len, hidden.values()))
    assert quality.utterances == 6
    assert quality.by_quartile == pytest.approx([np.mean(hidden[quarter]) for quarter in range(4)], rel=1e-5)
    assert quality.loss == pytest.approx(np.mean([loss for losses in hidden.values() for loss in losses]), rel=1e-5)


def test_measuring_is_repeatable_and_leaves_the_model_in_training(features, tiny):
    settings = tiny("npc", head=True)
    torch.manual_seed(0)
    model = build_upstream(settings, DIMS).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sample = held_out(features, settings)
    assert sample.measure(model, CPU) == sample.measure(model, CPU)
    assert model.training
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_the_example_shows_the_mel_bands_of_one_held_out_utterance(features, tiny):
    settings = tiny().model_copy(update={"features": tiny().features.model_copy(update={"n_mels": 4})})
    torch.manual_seed(0)
    example = held_out(features, settings).example(build_upstream(settings, DIMS), CPU)
    assert example["utterance"] in HELD_OUT
    own_TD = features.frames(example["utterance"]).astype(np.float32)[:60, :4]
    assert np.array_equal(example["clean"], own_TD)
    assert not example["seen"][example["mask"]].any()
    assert np.array_equal(example["seen"][~example["mask"]], own_TD[~example["mask"]])
    assert example["rebuilt"].shape == own_TD.shape


def test_nothing_to_validate_on_is_refused(features, tiny):
    with pytest.raises(BadInputError, match="held_out_speakers"):
        held_out(features, tiny(), [])
    settings = tiny()
    masking = settings.masking.model_copy(update={"ratio": 0.01})
    with pytest.raises(BadInputError, match=r"no measured frame in one quarter of their intensity"):
        held_out(features, settings.model_copy(update={"masking": masking}))
