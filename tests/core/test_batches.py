"""Batches: twins share everything but placement, every utterance is visited, and the score goes where frames go."""

from __future__ import annotations

import numpy as np
import pytest

from core.batches import Batches, model_score
from core.config import MaskingConfig
from core.errors import BadInputError
from core.masking import MaskAudit


def batches_of(features, settings) -> Batches:
    return Batches(features, features.energy, features.utterances, config=settings)


@pytest.mark.parametrize("upstream", ["mockingjay", "npc"])
def test_twins_see_the_same_crops_and_choose_as_many_frames(features, tiny, upstream):
    a, b = batches_of(features, tiny(upstream)), batches_of(features, tiny(upstream, policy="random"))
    for step in range(12):
        assert a.crops(step) == b.crops(step)
        one, other = a.at(step, audit=MaskAudit()), b.at(step, audit=MaskAudit())
        assert np.array_equal(one.clean_BTD, other.clean_BTD)
        assert np.array_equal(one.mask_BT.sum(1), other.mask_BT.sum(1))


def test_random_as_topk_hides_as_many_frames_as_topk_even_where_topk_falls_back_on_random_starts(features, tiny):
    """The tracks of the test peak anywhere, also at the end, where no span may start."""
    a, b = batches_of(features, tiny(policy="ems_topk")), batches_of(features, tiny(policy="random_as_topk"))
    for step in range(30):
        one, other = a.at(step, audit=MaskAudit()), b.at(step, audit=MaskAudit())
        assert np.array_equal(one.mask_BT.sum(1), other.mask_BT.sum(1))


def fates(features, settings) -> list[str]:
    found = []
    for step in range(40):
        batch = batches_of(features, settings).at(step, audit=MaskAudit())
        for clean, seen, mask in zip(batch.clean_BTD, batch.seen_BTD, batch.mask_BT, strict=True):
            zeroed = mask.any() and not seen[mask].any()
            found.append("zeroed" if zeroed else "kept" if np.array_equal(clean, seen) else "replaced")
    return found


def test_twins_share_the_fate_of_every_utterance(features, tiny):
    """Zeroed, replaced or kept: the same in both arms, although replacing draws more where there are more spans."""
    even = MaskingConfig(policy="ems", ratio=0.4, span=3, temperature=0.3, zero=0.4, replace=0.5)
    arm = tiny().model_copy(update={"masking": even})
    twin_masking = even.model_copy(update={"policy": "random", "temperature": None})
    arm_fates, twin_fates = fates(features, arm), fates(features, arm.model_copy(update={"masking": twin_masking}))
    assert arm_fates == twin_fates
    assert {"zeroed", "replaced", "kept"} == set(arm_fates)


def test_the_score_shares_the_draw_of_its_frames(features, tiny):
    """One draw hides features and score alike (published): zero with zero, replaced by the same source frame."""
    masking = MaskingConfig(policy="random", ratio=0.4, span=3, zero=0.4, replace=0.5)
    batches = batches_of(features, tiny(head=True).model_copy(update={"masking": masking}))
    replaced = 0
    for step in range(30):
        batch = batches.at(step, audit=MaskAudit())
        for row, length in enumerate(batch.lengths_B):
            clean_TD, seen_TD = batch.clean_BTD[row, :length], batch.seen_BTD[row, :length]
            score_T, seen_T = batch.score_BT[row, :length], batch.seen_score_BT[row, :length]
            for frame in range(length):
                same = np.flatnonzero((clean_TD == seen_TD[frame]).all(axis=1))
                if len(same):
                    assert seen_T[frame] in score_T[same]
                    replaced += int(frame not in same)
                else:
                    assert not seen_TD[frame].any()
                    assert seen_T[frame] == 0
    assert replaced > 100


def test_npc_sees_every_frame_as_it_is(features, tiny):
    batch = batches_of(features, tiny("npc")).at(0, audit=MaskAudit())
    assert np.array_equal(batch.seen_BTD, batch.clean_BTD)
    assert 0 < batch.mask_BT.sum() < batch.lengths_B.sum()
    whole = batches_of(features, tiny("npc", policy="all")).at(0, audit=MaskAudit())
    assert whole.mask_BT.sum() == whole.lengths_B.sum()


def test_loudness_enters_a_model_in_the_range_of_a_score(features, tiny):
    """Scaled by its whole utterance: a frame's score does not depend on the crop that was drawn."""
    whole = features.slice_of("u03")
    energy_T = features.energy[whole].astype(np.float64)
    by_hand = (energy_T - energy_T.min()) / (energy_T.max() - energy_T.min())
    crop = slice(whole.start + 4, whole.start + 20)
    assert model_score(features.energy, features, crop, tiny(control="loudness")) == pytest.approx(
        by_hand[4:20], abs=1e-6
    )
    constant = np.full(len(features.energy), 7.0, np.float32)
    assert not model_score(constant, features, crop, tiny(control="loudness")).any()
    assert np.array_equal(model_score(features.energy, features, crop, tiny()), features.energy[crop])


def test_an_epoch_visits_every_long_enough_utterance_once(features, tiny):
    batches = batches_of(features, tiny())
    assert batches.left_out == int((features.lengths < 33).sum())
    assert len(batches.used) + batches.left_out == 22
    seen = []
    for step in range(batches.steps_per_epoch):
        for part in batches.crops(step):
            seen.append(int(np.searchsorted(features.offsets, part.start, side="right")) - 1)
    assert sorted(seen) == batches.used.tolist()


def test_no_utterance_long_enough_is_refused(features, tiny):
    settings = tiny()
    settings = settings.model_copy(update={"pretrain": settings.pretrain.model_copy(update={"min_frames": 500})})
    with pytest.raises(BadInputError, match=r"none of 22 utterances has at least 500 frames"):
        batches_of(features, settings)
