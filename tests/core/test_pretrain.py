"""The loop: resumes bit for bit, accumulates to the same gradient, learns, and stops on a non-finite loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.batches import Batches
from core.config import MaskingConfig, MockingjayConfig, PretrainConfig, TrialConfig
from core.embed import utterance_means
from core.errors import BadInputError, NonFiniteLossError
from core.features import Features, FrameFile, write_index
from core.masking import MaskAudit
from core.models.mockingjay import Mockingjay
from core.pretrain import learning_rate, pretrain
from core.progress import silent

DIMS = 6


@pytest.fixture
def features(tmp_path) -> Features:
    rng = np.random.default_rng(0)
    lengths = [int(n) for n in rng.integers(30, 90, size=22)]
    with (
        FrameFile(tmp_path / "features.npy", dtype=np.float16, dims=DIMS) as packed,
        FrameFile(tmp_path / "energy.npy", dtype=np.float32) as energy,
    ):
        for length in lengths:
            wave = np.sin(np.arange(length)[:, None] * rng.uniform(0.05, 0.4, DIMS) + rng.uniform(0, 6, DIMS))
            packed.append(wave + 0.05 * rng.normal(size=wave.shape))
            energy.append(wave[:, 0])
    write_index(tmp_path / "index.parquet", [f"u{i:02d}" for i in range(22)], lengths)
    return Features.open(tmp_path)


def config(
    *, steps: int = 30, micro_batch: int | None = None, dropout: float = 0.1, policy: str = "ems"
) -> TrialConfig:
    return TrialConfig(
        mockingjay=MockingjayConfig(hidden=16, layers=2, heads=2, ffn=32, dropout=dropout, stack=2),
        pretrain=PretrainConfig(
            steps=steps, batch=5, micro_batch=micro_batch, max_frames=60, min_frames=33, lr=3e-3, report_every=5,
            checkpoint_every=7,
        ),
        masking=MaskingConfig(policy=policy, ratio=0.3, span=5, temperature=0.5 if policy == "ems" else None),
        seed=4,
    )  # fmt: skip


def batches_of(features: Features, settings: TrialConfig) -> Batches:
    return Batches(
        features, features.energy, features.utterances, pretrain=settings.pretrain, seed=settings.seed
    )  # fmt: skip


def train(features: Features, settings: TrialConfig, checkpoint: Path, *, stop_after: int | None = None):
    curve: dict[int, float] = {}
    run = pretrain(
        batches_of(features, settings), settings, dims=DIMS, checkpoint=checkpoint,
        log=lambda values, step: curve.__setitem__(step, values["pretrain/loss"]),
    )  # fmt: skip
    reports = 0
    while stop_after is None or reports < stop_after:
        try:
            next(run)
        except StopIteration as end:
            return end.value, curve
        reports += 1
    run.close()
    return None, curve


def test_interrupted_and_resumed_equals_undisturbed_to_the_last_bit(features, tmp_path):
    whole, curve = train(features, config(), tmp_path / "a.pt")
    _, first = train(features, config(), tmp_path / "b.pt", stop_after=2)
    _, second = train(features, config(), tmp_path / "b.pt", stop_after=1)
    resumed, third = train(features, config(), tmp_path / "b.pt")
    assert first | second | third == curve
    assert resumed.step == whole.step == 30
    assert resumed.audit == whole.audit
    assert resumed.frames == whole.frames
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_killed_between_checkpoints_repeats_the_same_values(features, tmp_path):
    """As after kill -9: the file of step 7 is there, steps 8 and 9 are lost and done again."""
    _, curve = train(features, config(), tmp_path / "a.pt")
    run = pretrain(
        batches_of(features, config()), config(), dims=DIMS, checkpoint=tmp_path / "b.pt", log=lambda v, s: None
    )
    next(run)
    next(run)
    kept = (tmp_path / "b.pt").read_bytes()
    run.close()
    (tmp_path / "b.pt").write_bytes(kept)
    _, later = train(features, config(), tmp_path / "b.pt")
    assert later == {step: curve[step] for step in later}
    assert 10 in later


def test_micro_batches_give_the_gradient_of_the_whole_batch(features, tmp_path):
    whole, curve = train(features, config(dropout=0.0), tmp_path / "a.pt")
    parts, curve_of_parts = train(features, config(dropout=0.0, micro_batch=2), tmp_path / "b.pt")
    assert list(curve.values()) == pytest.approx(list(curve_of_parts.values()), rel=1e-4)
    assert whole.audit == parts.audit


def test_it_learns_to_reconstruct(features, tmp_path):
    _, curve = train(features, config(steps=900), tmp_path / "a.pt")
    losses = list(curve.values())
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:3])


def test_twins_see_the_same_crops_and_hide_as_many_frames(features):
    arm, twin = config(), config(policy="random")
    a, b = batches_of(features, arm), batches_of(features, twin)
    for step in range(12):
        assert a.crops(step) == b.crops(step)
        one = a.at(step, masking=arm.masking, audit=MaskAudit())
        other = b.at(step, masking=twin.masking, audit=MaskAudit())
        assert np.array_equal(one.clean_BTD, other.clean_BTD)
        assert np.array_equal(one.mask_BT.sum(1), other.mask_BT.sum(1))


def test_twins_share_the_fate_of_every_utterance(features):
    """Zeroed, replaced or kept: the same in both arms, although replacing draws more where there are more spans."""

    def fates(settings: TrialConfig) -> list[str]:
        found = []
        for step in range(40):
            batch = batches_of(features, settings).at(step, masking=settings.masking, audit=MaskAudit())
            for clean, seen, mask in zip(batch.clean_BTD, batch.seen_BTD, batch.mask_BT, strict=True):
                zeroed = mask.any() and not seen[mask].any()
                found.append("zeroed" if zeroed else "kept" if np.array_equal(clean, seen) else "replaced")
        return found

    even = MaskingConfig(policy="ems", ratio=0.4, span=3, temperature=0.3, zero=0.4, replace=0.5)
    arm = config().model_copy(update={"masking": even})
    twin_masking = even.model_copy(update={"policy": "random", "temperature": None})
    arm_fates, twin_fates = fates(arm), fates(arm.model_copy(update={"masking": twin_masking}))
    assert arm_fates == twin_fates
    assert {"zeroed", "replaced", "kept"} == set(arm_fates)


def test_an_epoch_visits_every_long_enough_utterance_once(features):
    batches = batches_of(features, config())
    assert batches.left_out == int((features.lengths < 33).sum())
    assert len(batches.used) + batches.left_out == 22
    seen = []
    for step in range(batches.steps_per_epoch):
        for part in batches.crops(step):
            seen.append(int(np.searchsorted(features.offsets, part.start, side="right")) - 1)
    assert sorted(seen) == batches.used.tolist()


def test_no_utterance_long_enough_is_refused(features):
    settings = config().pretrain.model_copy(update={"min_frames": 500})
    with pytest.raises(BadInputError, match=r"none of 22 utterances has at least 500 frames"):
        Batches(features, features.energy, features.utterances, pretrain=settings, seed=0)


def test_non_finite_loss_stops_with_its_step(features, tmp_path, monkeypatch):
    forward = Mockingjay.forward
    calls = []

    def broken(self, fbank, lengths):
        calls.append(1)
        return forward(self, fbank, lengths) * (float("nan") if len(calls) == 4 else 1.0)

    monkeypatch.setattr(Mockingjay, "forward", broken)
    with pytest.raises(NonFiniteLossError, match="step 4") as caught:
        train(features, config(), tmp_path / "a.pt")
    assert caught.value.step == 4


def test_learning_rate_by_hand():
    settings = PretrainConfig(steps=100, lr=1.0, warmup=0.1)
    assert learning_rate(settings, 0) == pytest.approx(0.1)
    assert learning_rate(settings, 9) == pytest.approx(1.0)
    assert learning_rate(settings, 10) == pytest.approx(1.0)
    assert learning_rate(settings, 55) == pytest.approx(0.5)
    assert learning_rate(settings, 99) == pytest.approx(1 / 90)


def test_padding_does_not_change_an_utterance(features):
    torch.manual_seed(0)
    model = Mockingjay(DIMS, config().mockingjay).eval()
    short = torch.from_numpy(features.frames("u00").astype(np.float32))[None]
    padded = torch.nn.functional.pad(short, (0, 0, 0, 40))
    length = torch.tensor([short.shape[1]])
    with torch.no_grad():
        alone, _ = model.hidden_states(short, length)
        crowded, padding = model.hidden_states(padded, length)
    valid = int((~padding).sum())
    for a, b in zip(alone, crowded, strict=True):
        assert torch.allclose(a[0], b[0, :valid], atol=1e-5)


def test_utterance_means_equal_one_at_a_time(features):
    torch.manual_seed(0)
    model = Mockingjay(DIMS, config().mockingjay).eval()
    means = utterance_means(model, features, device=torch.device("cpu"), progress=silent)
    assert means.shape == (22, 3, 16)
    for place, name in enumerate(features.utterances):
        fbank = torch.from_numpy(features.frames(name).astype(np.float32))[None]
        with torch.no_grad():
            states, _ = model.hidden_states(fbank, torch.tensor([fbank.shape[1]]))
        expected = torch.stack([state[0].mean(0) for state in states]).numpy()
        assert np.abs(means[place] - expected).max() < 1e-5
