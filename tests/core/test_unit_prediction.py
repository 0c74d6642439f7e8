"""Masked prediction of pseudo-labels: what is heard, hidden and told, and the loss, in hand-sized cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from core.alignment_config import UnitsConfig
from core.config import MaskingConfig
from core.listening import Stretch, UpstreamListener
from core.models.build import build_upstream
from core.seeding import stream, torch_stream
from core.unit_batches import UnitBatches, UnitLabels
from core.unit_prediction import UnitPredictor, predict_units, unit_learning_rate

MASKING = MaskingConfig(policy="random", ratio=0.4, span=6, zero=1.0, replace=0.0)


def listener_over(features, config, *, masking=MASKING) -> UpstreamListener:
    torch.manual_seed(0)
    stack = config.mockingjay.stack if config.upstream == "mockingjay" else 1
    return UpstreamListener(
        build_upstream(config, features.dims).eval(), features, masking=masking, stack=stack, hop_s=0.01
    )


def labels_over(listener, *, k: int) -> UnitLabels:
    """Of every position its own number within the utterance, modulo k."""
    lengths = [listener.positions(int(length)) for length in listener.lengths_U]
    offsets = np.cumsum([0, *lengths[:-1]])
    return UnitLabels(
        offset_of=dict(zip(listener.utterances, offsets.tolist(), strict=True)),
        length_of=dict(zip(listener.utterances, lengths, strict=True)),
        packed=np.concatenate([np.arange(length) % k for length in lengths]).astype(np.int32),
    )


def batches_over(listener, *, longest: int = 1000, masking=MASKING, track=None, seed: int = 0, k: int = 50):
    return UnitBatches(
        listener, track, labels_over(listener, k=k), listener.utterances, masking=masking, batch=4, longest=longest,
        seed=seed,
    )  # fmt: skip


def test_hidden_positions_are_those_of_which_nothing_is_seen(features, tiny):
    listener = listener_over(features, tiny())  # two frames to a position
    mask_T = np.array([True, True, False, True, True, True, True])
    heard = listener.hear([Stretch(place=0, start=3, length=7)], masks=[mask_T], fates=[stream(0, "fate")])
    assert heard.hidden_BP.tolist() == [[True, False, True, True]]
    assert heard.valid_BP.tolist() == [[True] * 4]


def test_what_is_hidden_does_not_reach_the_states(features, tiny):
    listener = listener_over(features, tiny())
    mask_T = np.zeros(20, dtype=np.bool_)
    mask_T[4:10] = True
    stretch = Stretch(place=1, start=2, length=20)
    seen = listener.hear([stretch], masks=[mask_T], fates=[stream(0, "fate")]).layers[-1]
    packed = features.packed.copy()
    packed[int(features.offsets[1]) + 6 : int(features.offsets[1]) + 12] += 3
    object.__setattr__(features, "packed", packed)
    torch.testing.assert_close(
        seen, listener.hear([stretch], masks=[mask_T], fates=[stream(0, "fate")]).layers[-1], rtol=0, atol=0
    )
    assert not torch.equal(seen, listener.hear([stretch]).layers[-1])


@pytest.mark.parametrize("upstream", ["mockingjay", "npc"])
def test_a_stretch_is_heard_the_same_alone_and_in_a_batch(features, tiny, upstream):
    listener = listener_over(features, tiny(upstream))
    short, long = Stretch(place=0, start=1, length=12), Stretch(place=2, start=0, length=29)
    alone, together = listener.hear([short]), listener.hear([short, long])
    positions = listener.positions(12)
    assert together.valid_BP.sum(1).tolist() == [positions, listener.positions(29)]
    for one, both in zip(alone.layers, together.layers, strict=True):
        torch.testing.assert_close(one[0], both[0, :positions])


def test_labels_move_with_the_cut(features, tiny):
    listener = listener_over(features, tiny())
    batches = batches_over(listener, longest=21)
    starts = set()
    for step in range(6):
        batch = batches.at(step)
        for stretch, labels_P in zip(batch.stretches, batch.labels, strict=True):
            # Middle of the first position: frame start + 1, of position (start + 1) // 2.
            first = (stretch.start + 1) // 2
            last = listener.positions(int(listener.lengths_U[stretch.place])) - 1
            wanted = np.minimum(first + np.arange(11), last)
            assert stretch.length == 21
            np.testing.assert_array_equal(labels_P, wanted)
            starts.add(stretch.start)
    assert len(starts) > 10


def test_batches_are_a_function_of_seed_and_step(features, tiny):
    listener = listener_over(features, tiny())
    one, same, other = (batches_over(listener, longest=25, seed=seed) for seed in (1, 1, 2))
    one.at(0)
    for step in (5, 2):
        first, again = one.at(step), same.at(step)
        assert first.stretches == again.stretches
        for mask_T, other_T in zip(first.masks, again.masks, strict=True):
            np.testing.assert_array_equal(mask_T, other_T)
    assert [one.at(step).stretches for step in range(4)] != [other.at(step).stretches for step in range(4)]
    epoch = [stretch.place for step in range(6) for stretch in one.at(step).stretches]
    assert sorted(epoch) == list(range(22))


def hidden_counts(listener, masking, track, *, steps: int) -> tuple[list[int], int]:
    """Positions of which nothing is heard, of each utterance of each step; and how many positions there are."""
    batches, hidden, positions = batches_over(listener, masking=masking, track=track), [], 0
    with torch.no_grad():
        for step in range(steps):
            batch = batches.at(step)
            heard = listener.hear(batch.stretches, masks=batch.masks, fates=batch.fates)
            hidden += heard.hidden_BP.sum(1).tolist()
            positions += int(heard.valid_BP.sum())
    return hidden, positions


@pytest.mark.parametrize("stack", [2, 3])
def test_emotional_and_random_masking_hide_the_same_number_of_positions_and_the_nominal_share(features, tiny, stack):
    base = tiny()
    config = base.model_copy(update={"mockingjay": base.mockingjay.model_copy(update={"stack": stack})})
    listener = listener_over(features, config)
    track = np.random.default_rng(1).uniform(size=len(features.packed)).astype(np.float32)
    emotional = MaskingConfig(policy="ems", ratio=0.3, span=7, temperature=0.05, zero=1.0, replace=0.0)
    plain = emotional.model_copy(update={"policy": "random", "temperature": None})
    (hidden, positions), (of_twin, _) = (hidden_counts(listener, each, track, steps=60) for each in (emotional, plain))
    assert hidden == of_twin
    assert sum(hidden) / positions == pytest.approx(0.3, abs=0.012)


def test_spans_are_whole_positions_where_their_mean_intensity_is_highest(features, tiny):
    listener = listener_over(features, tiny())  # two frames to a position
    track = np.zeros(len(features.packed), dtype=np.float32)
    for place, length in enumerate(listener.lengths_U):
        start = int(features.offsets[place])
        # The odd last frame alone is no less intense than a whole position.
        track[start + 10 : start + 14] = track[start + length - 2 + length % 2] = 1.0
    masking = MaskingConfig(policy="ems", ratio=4 / 90, span=3, temperature=1e-4)
    batches = batches_over(listener, masking=masking, track=track)
    hidden = [mask_T for step in range(6) for mask_T in batches.at(step).masks if mask_T.any()]
    assert len(hidden) > 10
    for mask_T in hidden:
        # 3 frames are nearest to 2 positions (1.5 rounds to the even one).
        assert np.flatnonzero(mask_T).tolist() == [10, 11, 12, 13]


def test_emotional_masking_hides_the_intense_frames(features, tiny):
    listener = listener_over(features, tiny())
    rng = np.random.default_rng(0)
    track = np.repeat(rng.uniform(size=len(features.packed) // 10 + 1), 10)[: len(features.packed)].astype(np.float32)
    emotional = MaskingConfig(policy="ems", ratio=0.3, span=6, temperature=0.05)
    plain = emotional.model_copy(update={"policy": "random", "temperature": None})

    def hidden_intensity(masking) -> float:
        batches = batches_over(listener, masking=masking, track=track)
        values = []
        for step in range(6):
            batch = batches.at(step)
            for stretch, mask_T in zip(batch.stretches, batch.masks, strict=True):
                intensity_T = listener.on_grid(track, stretch.place)
                values += ((intensity_T - intensity_T.mean()) / intensity_T.std())[mask_T].tolist()
        return float(np.mean(values))

    assert hidden_intensity(emotional) > 0.8
    assert abs(hidden_intensity(plain)) < 0.2


def test_logits_are_cosines_over_the_temperature():
    config = UnitsConfig(projection=2, temperature=0.1)
    predictor = UnitPredictor(torch.nn.Identity(), hidden=2, k=3, config=config)
    with torch.no_grad():
        predictor.project.weight.copy_(torch.eye(2))
        predictor.project.bias.zero_()
        predictor.labels_KJ.copy_(torch.tensor([[2.0, 0.0], [0.0, 0.5], [-1.0, 0.0]]))
    wanted = torch.tensor([[10.0, 0.0, -10.0], [10 / math.sqrt(2), 10 / math.sqrt(2), -10 / math.sqrt(2)]])
    torch.testing.assert_close(predictor.logits(torch.tensor([[7.0, 0.0], [3.0, 3.0]])), wanted)


def test_heads_of_adaptation_and_alignment_start_the_same_but_for_their_labels():
    def head(k: int) -> UnitPredictor:
        with torch_stream(3, "test"):
            return UnitPredictor(torch.nn.Identity(), hidden=8, k=k, config=UnitsConfig(projection=4))

    assert torch.equal(head(5).project.weight, head(9).project.weight)


def test_learning_rate_rises_for_a_fifth_and_falls_to_zero():
    config = UnitsConfig(updates=10, lr=1.0, warmup=0.2)
    rates = [unit_learning_rate(config, step) for step in range(10)]
    np.testing.assert_allclose(rates, [0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_hidden_labels_are_learnt_beyond_the_most_frequent_one(features, tiny, tmp_path):
    """Labels that the neighbours give away: the quarter of the utterance in which a position lies."""
    config = tiny(dropout=0.0)
    listener = listener_over(features, config)
    labels = labels_over(listener, k=4)
    for name in labels.offset_of:
        own = labels.of(name)
        own[:] = np.arange(len(own)) * 4 // len(own)
    units = UnitsConfig(updates=60, batch=6, lr=1e-2, projection=8)
    batches = UnitBatches(
        listener, None, labels, listener.utterances, masking=MASKING, batch=6, longest=1000, seed=0
    )  # fmt: skip
    metrics: list[dict[str, float]] = []
    loop = predict_units(
        listener, batches, units, k=4, name="tapt", seed=0, checkpoint=tmp_path / "checkpoint.pt",
        log=lambda values, step: metrics.append(dict(values)),
    )  # fmt: skip
    for state in loop:
        (group,) = state.optimizer.param_groups
        assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.98), 1e-6, 0.01)
    assert metrics[0]["tapt/accuracy"] < 0.4
    assert metrics[-1]["tapt/accuracy"] > 0.6
    assert metrics[-1]["tapt/loss"] < metrics[0]["tapt/loss"]
