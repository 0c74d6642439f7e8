"""Frame alignment of a HuBERT that came trained: a tiny one with random weights runs every stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.alignment_config import TuningConfig, UnitsConfig
from core.audio_states import utterance_audio
from core.calibration import value_of
from core.config import MaskingConfig
from core.data_config import FeaturesConfig
from core.features import Features, make_features
from core.finetune import Lesson, Tuned, finetune
from core.listening import Listener, Stretch
from core.listening_audio import AudioListener, FeatureGrid, Waveforms
from core.models.transformer import load_transformer
from core.progress import discard, silent
from core.records import Record
from core.relevance import unused_settings
from core.resolve import resolve, trial_key
from core.resumable import TrainingState
from core.store import Workspace
from core.systems.alignment_listeners import Listeners
from core.trial import run_trial
from core.unit_batches import UnitBatches, UnitLabels
from core.unit_prediction import predict_units
from core.upstreams import prepare
from tests.core.tiny_alignment import ALIGNMENT, artifact, chain
from tests.core.tiny_transformer import HIDDEN, HOP, LAYERS, WINDOW, published_trial, save_transformer

MASKING = {"policy": "random", "ratio": 0.4, "span": 4, "temperature": None}
ALIGNED = {"system": "frame_alignment", "masking": MASKING}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_transformer(tmp_path_factory.mktemp("models") / "tiny-hubert")


@pytest.fixture(scope="module")
def listener(corpus, model, tmp_path_factory) -> AudioListener:
    config = published_trial(corpus, model)
    manifest = resolve(config, Workspace.at(tmp_path_factory.mktemp("listening"))).evaluated
    return AudioListener(load_transformer("hubert", model), Waveforms.of(manifest), grid=None)


def test_a_stretch_is_what_its_positions_hear(listener):
    """0.6 s are 29 positions; five of them from the fourth on hear 4 · 320 + 400 samples."""
    assert set(listener.lengths_U.tolist()) == {(9600 - WINDOW) // HOP + 1}
    with torch.no_grad():
        heard = listener.hear([Stretch(place=3, start=3, length=5), listener.whole(0)])
    assert [layer.shape for layer in heard.layers] == [(2, 29, HIDDEN)] * LAYERS
    assert heard.valid_BP.sum(1).tolist() == [5, 29]
    assert not heard.hidden_BP.any()


def test_hidden_positions_do_not_reach_the_states(corpus, tmp_path, monkeypatch):
    """Other audio that only hidden positions hear changes nothing; where another position hears 80 samples of it too,
    something changes. The model is one whose convolutions do not normalise over time: others hear all of it everywhere.
    """
    model = save_transformer(tmp_path / "large", large=True)
    manifest = resolve(published_trial(corpus, model), Workspace.at(tmp_path / "workspace")).evaluated
    listener = AudioListener(load_transformer("hubert", model), Waveforms.of(manifest), grid=None)
    mask_T = np.zeros(29, dtype=np.bool_)
    mask_T[5:15] = True
    own = utterance_audio(listener.model, manifest.utterances[0])

    def states(first: int, last: int, masks: list[np.ndarray] | None) -> torch.Tensor:
        """Of the first utterance, with other samples from `first` up to `last`."""
        audio_T = own.copy()
        audio_T[first:last] = np.random.default_rng(1).normal(size=last - first)
        monkeypatch.setattr("core.listening_audio.utterance_audio", lambda *_: audio_T)
        with torch.no_grad():
            heard = listener.hear([listener.whole(0)], masks=masks)
        assert heard.hidden_BP[0].tolist() == (mask_T.tolist() if masks else [False] * 29)
        return heard.layers[-1]

    # Position 4 hears up to sample 4 · 320 + 400; position 15 begins at 15 · 320.
    inside = (4 * HOP + WINDOW, 15 * HOP)
    as_it_was, changed = (states(*where, [mask_T]) for where in ((0, 0), inside))
    torch.testing.assert_close(as_it_was, changed, rtol=0, atol=0)
    # Not for want of effect: unmasked, the same samples are heard.
    assert not torch.equal(states(0, 0, None), states(*inside, None))
    assert not torch.equal(as_it_was, states(inside[0] - 80, inside[1], [mask_T]))
    assert not torch.equal(as_it_was, states(inside[0], inside[1] + 80, [mask_T]))


def test_a_track_is_read_at_the_middle_of_what_each_position_hears(corpus, model, tmp_path):
    workspace, settings = Workspace.at(tmp_path), FeaturesConfig(n_mels=8, deltas=0)
    manifest = resolve(published_trial(corpus, model), workspace).evaluated
    features = Features.open(make_features(manifest, settings, workspace).path)
    grid = FeatureGrid(features=features, window_s=0.025, hop_s=0.01)
    listener = AudioListener(load_transformer("hubert", model), Waveforms.of(manifest), grid=grid)
    # As intense as the frame's number: frame f is centred at 12.5 + 10 f ms, position p at 12.5 + 20 p ms.
    track = np.concatenate([np.arange(length) for length in features.lengths]).astype(np.float32)
    np.testing.assert_allclose(listener.on_grid(track, 5), np.arange(29) * 2.0, rtol=1e-6)


def tuned(listener: Listener, folder: Path) -> Tuned:
    labels = ("calm", "angry") * 6
    lesson = Lesson(
        train=np.arange(8), train_labels=labels[:8], validation=np.arange(8, 12), validation_labels=labels[8:],
        classes=("angry", "calm"),
    )  # fmt: skip
    config = TuningConfig(epochs=2, batch=4, lr=1e-2, crop_s=0.5)
    return value_of(
        finetune(
            listener, lesson, config, pooling="attention", name="tuning", seed=0, checkpoint=folder / "tuned.pt",
            log=discard,
        )
    )  # fmt: skip


def told_units(listener: Listener, folder: Path) -> TrainingState:
    names = listener.utterances[:6]
    labels = UnitLabels(
        offset_of={name: 29 * place for place, name in enumerate(names)}, length_of=dict.fromkeys(names, 29),
        packed=np.arange(6 * 29, dtype=np.int32) % 5,
    )  # fmt: skip
    batches = UnitBatches(
        listener, None, labels, names, masking=MaskingConfig.model_validate(MASKING), batch=3, longest=25, seed=1
    )  # fmt: skip
    config = UnitsConfig(updates=4, batch=3, projection=8, lr=1e-2)
    return value_of(
        predict_units(
            listener, batches, config, k=5, name="tapt", seed=0, checkpoint=folder / "units.pt", log=discard
        )
    )  # fmt: skip


@pytest.mark.parametrize("loop", [tuned, told_units])
def test_recomputing_layers_changes_no_bit(corpus, model, tmp_path, loop):
    """With dropout in every layer, as published. That they are recomputed shows in how often one runs."""
    found = []
    for wanted in (False, True):
        settings = {"model": str(model), "gradient_checkpointing": wanted}
        config = published_trial(corpus, model, ALIGNED | {"transformer": settings})
        workspace = Workspace.at(tmp_path / str(wanted))
        corpora = resolve(config, workspace)
        listener = Listeners(config, prepare(config, corpora, workspace, progress=silent)).first
        passes: list[bool] = []
        watched = listener.model.get_submodule("model.encoder.layers.1.attention")
        watched.register_forward_pre_hook(lambda layer, *_, passes=passes: passes.append(layer.training))
        loop(listener, tmp_path / str(wanted))
        found.append((listener.model.state_dict(), sum(passes), trial_key(config, corpora)))
    (plain, once, key), (recomputed, twice, other_key) = found
    assert twice == 2 * once > 0
    for name, weight in plain.items():
        assert torch.equal(recomputed[name], weight), name
    assert other_key == key


def test_only_a_system_that_trains_the_model_recomputes(corpus, model):
    settings = {"model": str(model), "gradient_checkpointing": True}
    config = published_trial(corpus, model, {"transformer": settings})
    assert "transformer.gradient_checkpointing" in unused_settings(config)
    aligned = published_trial(corpus, model, ALIGNED | {"transformer": settings})
    assert "transformer.gradient_checkpointing" not in unused_settings(aligned)


@pytest.mark.slow
def test_every_stage_runs_and_leaves_the_convolutions_as_they_were(corpus, model, tmp_path):
    config = published_trial(
        corpus, model, ALIGNED | {"alignment": ALIGNMENT}
    )  # fmt: skip
    workspace = Workspace.at(tmp_path)
    record: Record = run_trial(config, workspace)
    assert record.status == "complete"
    # Of each of three folds 2 times 4 updates and 2 times 2 epochs of 2 batches; adaptation hears another part each.
    assert record.cost.steps == 3 * (2 * 4 + 2 * 2 * 2)
    own = chain(config, workspace, tested="anna")
    before = load_transformer("hubert", model).state_dict()
    for recipe in (own.tapt, own.alignment, own.tuning):
        after = torch.load(artifact(recipe, workspace).path / "weights.pt", weights_only=True)
        same = {name for name in before if torch.equal(before[name], after[name])}
        assert {name for name in before if name.startswith("cnn.")} <= same
        assert "model.encoder.layers.1.feed_forward.output_dense.weight" not in same


@pytest.mark.slow
def test_emotional_masking_of_a_published_model(corpus, model, tmp_path):
    """The trial's own track, made on filter banks, chooses among positions 20 ms apart: no paper has this."""
    config = published_trial(
        corpus, model,
        {
            "system": "frame_alignment", "alignment": ALIGNMENT,
            "masking": MASKING | {"policy": "ems", "temperature": 0.2},
            "intensity": {"source": "external", "file": str(corpus / "scores.csv"), "hop_ms": 10.0, "fit": None},
            "features": {"n_mels": 8, "deltas": 0},
        },
    )  # fmt: skip
    record = run_trial(config, Workspace.at(tmp_path))
    assert record.status == "complete"
    assert "imported intensity scores" in " ".join(record.protocol.leaks)
