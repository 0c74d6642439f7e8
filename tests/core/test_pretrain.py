"""The loop: resumes bit for bit, accumulates to the same gradient, learns, and stops on a non-finite loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.batches import Batches
from core.config import PretrainConfig, TrialConfig
from core.errors import NonFiniteLossError
from core.models.build import build_upstream
from core.models.mockingjay import Mockingjay
from core.models.upstream import FrameBatch, Rebuilt, frame_errors
from core.pretrain import learning_rate, pretrain
from core.seeding import torch_stream
from core.validation import HeldOut
from tests.core.conftest import DIMS

BOTH = pytest.mark.parametrize("upstream", ["mockingjay", "npc"])
HELD_OUT = ["u00", "u01", "u02", "u03"]


def start(features, settings: TrialConfig, checkpoint: Path, log):
    trained = [name for name in features.utterances if name not in HELD_OUT]
    batches = Batches(features, features.energy, trained, config=settings)
    held_out = HeldOut(features, HELD_OUT, settings, track=features.energy, source=features.energy)
    return pretrain(batches, held_out, settings, dims=DIMS, checkpoint=checkpoint, log=log)


def train(features, settings: TrialConfig, checkpoint: Path, *, stop_after: int | None = None):
    curve: dict[int, dict[str, float]] = {}
    run = start(features, settings, checkpoint, lambda values, step: curve.__setitem__(step, dict(values)))
    reports = 0
    while stop_after is None or reports < stop_after:
        try:
            next(run)
        except StopIteration as end:
            return end.value, curve
        reports += 1
    run.close()
    return None, curve


@pytest.mark.parametrize(
    ("upstream", "head", "added"), [("mockingjay", False, False), ("mockingjay", True, True), ("npc", True, False)]
)
def test_interrupted_and_resumed_equals_undisturbed_to_the_last_bit(features, tiny, tmp_path, upstream, head, added):
    settings = tiny(upstream, head=head, added_to_input=added)
    whole, curve = train(features, settings, tmp_path / "a.pt")
    _, first = train(features, settings, tmp_path / "b.pt", stop_after=2)
    _, second = train(features, settings, tmp_path / "b.pt", stop_after=1)
    resumed, third = train(features, settings, tmp_path / "b.pt")
    # What was reported before the interruption is reported again: nothing logged can be missing afterwards.
    assert second == {step: curve[step] for step in range(5, 16, 5)}
    assert third == curve
    assert first == {step: curve[step] for step in (5, 10)}
    assert resumed.step == whole.step == 30
    assert (resumed.audit, resumed.frames, resumed.quality) == (whole.audit, whole.frames, whole.quality)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_stopped_at_the_last_report_ends_with_the_same_quality(features, tiny, tmp_path):
    whole, whole_curve = train(features, tiny(), tmp_path / "a.pt")
    train(features, tiny(), tmp_path / "b.pt", stop_after=6)
    resumed, again = train(features, tiny(), tmp_path / "b.pt")
    assert again == whole_curve
    assert resumed.to_json(tiny().pretrain)["quality"] == whole.to_json(tiny().pretrain)["quality"]
    assert resumed.curve == whole.curve


def test_killed_between_checkpoints_repeats_the_same_values(features, tiny, tmp_path):
    """As after kill -9: the file of step 7 is there, steps 8 and 9 are lost and done again."""
    _, curve = train(features, tiny(), tmp_path / "a.pt")
    run = start(features, tiny(), tmp_path / "b.pt", lambda values, step: None)
    next(run)
    next(run)
    kept = (tmp_path / "b.pt").read_bytes()
    run.close()
    (tmp_path / "b.pt").write_bytes(kept)
    _, later = train(features, tiny(), tmp_path / "b.pt")
    assert later == curve


@pytest.mark.parametrize("head", [False, True])
def test_micro_batches_give_the_gradient_of_the_whole_batch(features, tiny, tmp_path, head):
    whole, curve = train(features, tiny(dropout=0.0, head=head), tmp_path / "a.pt")
    parts, curve_of_parts = train(features, tiny(dropout=0.0, head=head, micro_batch=2), tmp_path / "b.pt")
    for step, values in curve.items():
        assert curve_of_parts[step] == pytest.approx(values, rel=1e-3)
    assert whole.audit == parts.audit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("upstream", "metric", "share"),
    # Every utterance here has frequencies of its own: only the local rule NPC learns carries over to unheard ones.
    [("mockingjay", "pretrain/loss", 0.8), ("npc", "pretrain/loss", 0.8), ("npc", "pretrain/validation_loss", 0.95)],
)
def test_it_learns_to_reconstruct(features, tiny, tmp_path, upstream, metric, share):
    _, curve = train(features, tiny(upstream, steps=900), tmp_path / "a.pt")
    losses = [values[metric] for values in curve.values()]
    assert np.mean(losses[-10:]) < share * np.mean(losses[:3])


def test_looking_at_held_out_speakers_changes_nothing_in_training(features, tiny, tmp_path):
    settings = tiny("npc")
    rarely = settings.model_copy(update={"pretrain": settings.pretrain.model_copy(update={"report_every": 30})})
    often, _ = train(features, settings, tmp_path / "a.pt")
    once, _ = train(features, rarely, tmp_path / "b.pt")
    for name, value in often.model.state_dict().items():
        assert torch.equal(value, once.model.state_dict()[name]), name
    assert often.quality == once.quality
    # What goes into the record is measured over a window of its own.
    assert often.to_json(settings.pretrain)["final_loss"] == once.to_json(rarely.pretrain)["final_loss"]


def test_the_recorded_loss_is_that_of_the_last_tenth_of_the_steps(features, tiny, tmp_path):
    settings = tiny(steps=40)
    every = settings.model_copy(update={"pretrain": settings.pretrain.model_copy(update={"report_every": 1})})
    state, curve = train(features, every, tmp_path / "a.pt")
    by_hand = np.mean([curve[step]["pretrain/loss"] for step in (37, 38, 39, 40)])
    assert state.to_json(every.pretrain)["final_loss"] == pytest.approx(by_hand, rel=1e-9)


def test_a_second_head_draws_no_dropout_away_from_the_features(features, tiny, tmp_path):
    """The first loss, before any weight differs, is the same with and without it, in every micro-batch."""

    def first_loss(head: bool) -> float:
        settings = tiny(head=head, micro_batch=2, dropout=0.5)
        one = settings.model_copy(update={"pretrain": settings.pretrain.model_copy(update={"report_every": 1})})
        _, curve = train(features, one, tmp_path / f"{head}.pt", stop_after=1)
        return curve[1]["pretrain/loss"]

    assert first_loss(head=True) == first_loss(head=False)


@BOTH
def test_arms_with_the_second_head_start_from_the_weights_of_their_twin(tiny, upstream):
    models = []
    for head in (False, True):
        with torch_stream(0, "init"):
            models.append(build_upstream(tiny(upstream, head=head), DIMS))
    plain, two_heads = (model.state_dict() for model in models)
    assert set(plain) < set(two_heads)
    assert all(torch.equal(value, two_heads[name]) for name, value in plain.items())


def batch_of_one(clean_TD: np.ndarray, seen_TD: np.ndarray, score_T: np.ndarray, seen_T: np.ndarray) -> FrameBatch:
    def row(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.float32))[None]

    return FrameBatch(
        clean_BTD=row(clean_TD), seen_BTD=row(seen_TD), score_BT=row(score_T), seen_score_BT=row(seen_T),
        lengths_B=torch.tensor([len(clean_TD)]),
    )  # fmt: skip


def test_the_score_is_added_to_every_feature_of_its_frame(tiny):
    """x_in = x + s: the switched model on (x, s) is the plain one on x with s added by hand."""
    rng = np.random.default_rng(1)
    clean_TD, score_T = rng.normal(size=(12, DIMS)), rng.uniform(size=12)
    with torch_stream(0, "init"):
        switched = build_upstream(tiny(added_to_input=True), DIMS).eval()
    with torch_stream(0, "init"):
        plain = build_upstream(tiny(), DIMS).eval()
    by_hand = batch_of_one(clean_TD, clean_TD + score_T[:, None], score_T, score_T)
    got = switched.rebuild(batch_of_one(clean_TD, clean_TD, score_T, score_T)).features_BTD
    assert torch.allclose(got, plain.rebuild(by_hand).features_BTD, atol=1e-6)


def test_the_second_head_runs_the_same_transformer_on_the_hidden_score_alone(tiny):
    rng = np.random.default_rng(2)
    clean_TD, score_T, seen_T = rng.normal(size=(12, DIMS)), rng.uniform(size=12), rng.uniform(size=12)
    model = build_upstream(tiny(head=True), DIMS).eval()
    assert isinstance(model, Mockingjay)
    assert model.score_head is not None
    rebuilt = model.rebuild(batch_of_one(clean_TD, clean_TD, score_T, seen_T))
    broadcast_BTD = torch.from_numpy(np.repeat(seen_T[:, None], DIMS, axis=1).astype(np.float32))[None]
    states, _ = model.hidden_states(broadcast_BTD, torch.tensor([12]))
    assert rebuilt.score_BTD is not None
    assert torch.equal(rebuilt.score_BTD, model.score_head(states[-1]).reshape(1, 12, DIMS))
    assert rebuilt.score_target_BTD is not None
    assert torch.equal(rebuilt.score_target_BTD[0, :, 3], torch.from_numpy(score_T.astype(np.float32)))


def test_frame_errors_by_hand():
    clean = torch.tensor([[[1.0, 3.0], [0.0, 0.0]]])
    batch = FrameBatch(
        clean_BTD=clean, seen_BTD=clean, score_BT=torch.zeros(1, 2), seen_score_BT=torch.zeros(1, 2),
        lengths_B=torch.tensor([2]),
    )  # fmt: skip
    features, score = frame_errors(Rebuilt(features_BTD=torch.tensor([[[2.0, 1.0], [0.5, -0.5]]])), batch)
    assert features.tolist() == [[1.5, 0.5]]
    assert score is None
    two = Rebuilt(features_BTD=clean, score_BTD=torch.ones(1, 2, 2), score_target_BTD=torch.full((1, 2, 2), 0.25))
    features, score = frame_errors(two, batch)
    assert features.tolist() == [[0.0, 0.0]]
    assert score is not None
    assert score.tolist() == [[0.75, 0.75]]


def test_non_finite_loss_stops_with_its_step(features, tiny, tmp_path, monkeypatch):
    rebuild = Mockingjay.rebuild
    calls = []

    def broken(self, batch):
        rebuilt = rebuild(self, batch)
        if not self.training:
            return rebuilt
        calls.append(1)
        return Rebuilt(features_BTD=rebuilt.features_BTD * (float("nan") if len(calls) == 4 else 1.0))

    monkeypatch.setattr(Mockingjay, "rebuild", broken)
    with pytest.raises(NonFiniteLossError, match="step 4") as caught:
        train(features, tiny(), tmp_path / "a.pt")
    assert caught.value.step == 4


def test_learning_rate_by_hand():
    settings = PretrainConfig(steps=100, lr=1.0, warmup=0.1)
    assert learning_rate(settings, 0) == pytest.approx(0.1)
    assert learning_rate(settings, 9) == pytest.approx(1.0)
    assert learning_rate(settings, 10) == pytest.approx(1.0)
    assert learning_rate(settings, 55) == pytest.approx(0.5)
    assert learning_rate(settings, 99) == pytest.approx(1 / 90)
    constant = PretrainConfig(steps=100, lr=1.0, warmup=0.0, decay="none")
    assert {learning_rate(constant, step) for step in (0, 50, 99)} == {1.0}
