"""Calibration: the trial's own loops on the corpus's own lengths, files of real size, costs that tell sizes apart."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from core.calibration import (
    ProbeCost,
    measure_batches,
    measure_embedding,
    measure_probe,
    measure_training,
    synthetic_features,
)
from core.config import FeaturesConfig, FoldsConfig, MockingjayConfig, PretrainingAudioConfig, ProbeConfig, TrialConfig
from core.corpora.folds import make_folds
from core.corpora.manifest import Manifest, Utterance
from core.errors import BadInputError
from core.features import compute_features
from core.models.build import build_upstream
from core.resolve import Corpora
from core.units import SAMPLE_RATE

CLASSES = ("angry", "neutral", "sad")


def corpora(*, utterances: int = 60, longest_s: float = 1.2) -> Corpora:
    """Twelve speakers in three sessions; durations spread evenly from 0.4 s to `longest_s`."""
    durations = np.linspace(0.4, longest_s, utterances)
    rows = tuple(
        Utterance(
            utterance=f"u{place:03d}", path="nowhere.wav", speaker=f"s{place % 12:02d}", session=f"{place % 3}",
            label=CLASSES[place // 12 % 3], duration_s=float(durations[place * 7 % utterances]), content=str(place),
        )
        for place in range(utterances)
    )  # fmt: skip
    manifest = Manifest(corpus="made-up", part="main", classes=CLASSES, utterances=rows)
    folds = make_folds(manifest, FoldsConfig())
    return Corpora(evaluated=manifest, heard=manifest, fit=None, folds=folds)


@pytest.fixture(autouse=True)
def _one_thread():
    """As trials have: with more of them than cores are free, threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def config(tiny) -> TrialConfig:
    return tiny().model_copy(
        update={
            "features": FeaturesConfig(n_mels=4, deltas=0),
            "probe": ProbeConfig(projection=8, steps=40, batch=8, evaluate_every=10),
        }
    )


def test_the_features_have_the_lengths_that_the_corpus_will_have(config):
    data = corpora()
    features = synthetic_features(data.heard, config.features)
    for utterance, length in zip(data.heard.utterances, features.lengths, strict=True):
        samples = np.random.default_rng(0).normal(size=round(utterance.duration_s * SAMPLE_RATE)) / 10
        assert len(compute_features(samples.astype(np.float32), config.features)[0]) == length
    assert (features.offsets + features.lengths <= len(features.packed)).all()
    assert features.dims == 4


def test_training_is_measured_on_the_real_model_and_its_files_have_their_real_size(config, tmp_path):
    data = corpora()
    cost = measure_training(
        config, data, synthetic_features(data.heard, config.features), scratch=tmp_path, patience_s=0.05
    )
    buffer = io.BytesIO()
    torch.save(build_upstream(config, 4).state_dict(), buffer)
    # The names of its tensors differ by some bytes.
    assert cost.weights_bytes == pytest.approx(len(buffer.getvalue()), rel=0.05)
    # The checkpoint has two moments of each weight beside it.
    assert 2 < cost.checkpoint_bytes / cost.weights_bytes < 4
    assert 0 < cost.batch_s < cost.step_s
    assert min(cost.held_out_s, cost.save_s, cost.example_bytes) > 0
    assert 0 < cost.core_share <= 1.1


@pytest.mark.slow
def test_a_larger_model_costs_more_and_so_do_longer_utterances(config, tmp_path):
    def step_s(settings: TrialConfig, data: Corpora) -> float:
        features = synthetic_features(data.heard, settings.features)
        # The least of three: another process may hold the core up for many of the small model's steps.
        costs = (measure_training(settings, data, features, scratch=tmp_path, patience_s=0.05) for _ in range(3))
        return min(cost.step_s for cost in costs)

    wide = config.model_copy(update={"mockingjay": MockingjayConfig(hidden=128, layers=2, heads=2, ffn=512, stack=1)})
    long = wide.model_copy(update={"pretrain": wide.pretrain.model_copy(update={"max_frames": 400})})
    assert step_s(wide, corpora()) > 2 * step_s(config, corpora())
    assert step_s(long, corpora(longest_s=5.0)) > 2 * step_s(wide, corpora())


def test_a_diverging_learning_rate_is_not_in_the_way(config, tmp_path):
    data = corpora()
    wild = config.model_copy(update={"pretrain": config.pretrain.model_copy(update={"lr": 1e30})})
    features = synthetic_features(data.heard, config.features)
    assert measure_training(wild, data, features, scratch=tmp_path, patience_s=0.02).step_s > 0


def test_what_the_trial_would_refuse_is_refused(config, tmp_path):
    data = corpora()
    picky = config.model_copy(update={"pretrain": config.pretrain.model_copy(update={"min_frames": 900})})
    with pytest.raises(BadInputError, match=r"pretrain\.min_frames: none of"):
        measure_training(picky, data, synthetic_features(data.heard, config.features), scratch=tmp_path)


def test_drawing_a_batch_costs_more_the_longer_it_is(config):
    def batch_s(longest_s: float, batch: int) -> float:
        data = corpora(longest_s=longest_s)
        loop = config.pretrain.model_copy(update={"max_frames": 800, "batch": batch})
        settings = config.model_copy(update={"pretrain": loop})
        features = synthetic_features(data.heard, config.features)
        return min(measure_batches(settings, data, features, patience_s=0.05) for _ in range(3))

    assert batch_s(8.0, 15) > 2 * batch_s(1.2, 3)


@pytest.mark.parametrize("upstream", ["mockingjay", "npc"])
def test_embedding_tells_what_it_leaves(config, upstream):
    features = synthetic_features(corpora(utterances=36).evaluated, config.features)
    cost = measure_embedding(config.model_copy(update={"upstream": upstream}), features, patience_s=0.2)
    layers = {"mockingjay": config.mockingjay.layers + 1, "npc": 1}[upstream]
    assert (cost.layers, cost.hidden) == (layers, 16)
    assert cost.seconds > 0
    assert cost.unseen_bytes == 0, "the whole corpus is less than one batch"


def test_an_expensive_embedding_is_extrapolated_from_a_part(config):
    features = synthetic_features(corpora(utterances=240, longest_s=8.0).evaluated, config.features)
    whole = measure_embedding(config, features, patience_s=60.0)
    part = measure_embedding(config, features, patience_s=1e-6)
    assert whole.unseen_bytes == 0 < part.unseen_bytes
    assert 0.2 < part.seconds / whole.seconds < 5


@pytest.mark.slow
def test_a_probe_costs_its_steps_and_its_looks(config):
    cost = ProbeCost(setup_s=1.0, step_s=0.1, look_s=2.0)
    assert cost.seconds(steps=40, evaluate_every=15) == pytest.approx(1.0 + 4.0 + 3 * 2.0)
    data = corpora()

    def step_s(settings: TrialConfig, *, layers: int, hidden: int) -> float:
        costs = (measure_probe(settings, data, layers=layers, hidden=hidden, folds=3, patience_s=0.1) for _ in range(3))
        return min(cost.step_s for cost in costs)

    external = config.model_copy(update={"pretraining_audio": PretrainingAudioConfig(source="transductive")})
    large = external.model_copy(update={"probe": ProbeConfig(projection=1024)})
    assert step_s(large, layers=13, hidden=768) > 2 * step_s(config, layers=2, hidden=16)
