"""HuBERT-family upstreams against transformers' own forward, on random weights that the test saves."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from core.config import TRANSFORMERS, UpstreamName
from core.errors import BadInputError, MissingDependencyError
from core.models.transformer import Transformer, load_transformer
from tests.core.tiny_transformer import HIDDEN, HOP, LAYERS, WINDOW, reference, save_transformer

SECOND = 16_000


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[tuple[str, bool], Path]:
    kinds = [(kind, False) for kind in TRANSFORMERS] + [("hubert", True), ("wavlm", True)]
    root = tmp_path_factory.mktemp("models")
    return {(kind, large): save_transformer(root / f"{kind}-{large}", kind, large=large) for kind, large in kinds}


def audio(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=samples).astype(np.float32))


def batch(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Utterances side by side; what lies beyond their ends must not matter, so it is loud."""
    audio_BT = torch.full((len(lengths), max(lengths)), 50.0)
    for row, length in enumerate(lengths):
        audio_BT[row, :length] = audio(length, seed=row)
    return audio_BT, torch.tensor(lengths)


ALL = [*((kind, False) for kind in TRANSFORMERS), ("hubert", True), ("wavlm", True)]


@pytest.mark.parametrize(("kind", "large"), ALL)
def test_states_are_those_of_transformers(folders, kind, large):
    own, folder = load_transformer(kind, folders[kind, large]), folders[kind, large]
    samples = SECOND // 2
    with torch.no_grad():
        theirs = reference(folder, kind)(audio(samples)[None], output_hidden_states=True)
        states, positions = own.states(*batch(samples))
    assert positions.tolist() == [theirs.last_hidden_state.shape[1]] == [own.positions(samples)]
    assert len(states) == own.layers == LAYERS
    assert states[0].shape == (1, own.positions(samples), HIDDEN)
    for mine, their in zip(states, [*theirs.hidden_states[:-1], theirs.last_hidden_state], strict=True):
        torch.testing.assert_close(mine, their)
    assert states[1].std() > 0.05


@pytest.mark.parametrize(("kind", "large"), ALL)
def test_no_utterance_depends_on_what_it_is_batched_with(folders, kind, large):
    own = load_transformer(kind, folders[kind, large])
    lengths = (SECOND // 2, 9_000, 8_000, 5_001)
    with torch.no_grad():
        together, positions = own.states(*batch(*lengths))
        for row, length in enumerate(lengths):
            alone, _ = own.states(audio(length, seed=row)[None], torch.tensor([length]))
            for mine, other in zip(together, alone, strict=True):
                torch.testing.assert_close(mine[row, : positions[row]], other[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("samples", [WINDOW, WINDOW + HOP - 1, WINDOW + HOP, SECOND])
def test_the_grid_is_that_of_the_convolutions(folders, samples):
    own = load_transformer("hubert", folders["hubert", False])
    assert own.positions(samples) == 1 + (samples - WINDOW) // HOP
    assert (own.hop, own.hop_s) == (HOP, 0.02)


def test_an_utterance_without_a_position_is_refused(folders):
    own = load_transformer("hubert", folders["hubert", False])
    with pytest.raises(BadInputError, match="399 samples"):
        own.states(*batch(SECOND, WINDOW - 1))


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_a_mask_is_the_model_s_own(folders, kind):
    own, folder = load_transformer(kind, folders[kind, False]), folders[kind, False]
    audio_BT, lengths_B = batch(6_000, 6_000)
    mask_BP = torch.zeros(2, own.positions(6_000), dtype=torch.bool)
    mask_BP[0, 3:9] = True
    with torch.no_grad():
        states, _ = own.states(audio_BT, lengths_B, mask_BP=mask_BP)
        theirs = reference(folder, kind)(audio_BT, mask_time_indices=mask_BP, output_hidden_states=True)
        open_states, _ = own.states(audio_BT, lengths_B)
    torch.testing.assert_close(states[-1], theirs.last_hidden_state)
    assert (states[-1][0] - open_states[-1][0]).abs().max() > 1e-2
    torch.testing.assert_close(states[-1][1], open_states[-1][1])


def test_masked_positions_get_the_mask_embedding(folders):
    """Seen where the Transformer begins: there, and nowhere else, positions carry the one embedding."""
    own = load_transformer("hubert", folders["hubert", False])
    seen: list[torch.Tensor] = []
    own.model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))  # type: ignore[union-attr, operator]
    mask_BP = torch.zeros(2, own.positions(6_000), dtype=torch.bool)
    mask_BP[1, [0, 5, 6]] = True
    with torch.no_grad():
        own.states(*batch(6_000, 5_000), mask_BP=mask_BP)
    embedding_H = own.model.masked_spec_embed
    assert isinstance(embedding_H, torch.Tensor)
    assert torch.equal((seen[0] == embedding_H).all(-1), mask_BP)
    saved = torch.as_tensor(reference(folders["hubert", False], "hubert").masked_spec_embed)
    assert torch.equal(embedding_H, saved)


def gradients(own: Transformer) -> dict[str, torch.Tensor]:
    own.zero_grad()
    states, _ = own.train().states(*batch(6_000, 4_000))
    torch.stack([state.square().mean() for state in states]).sum().backward()
    return {name: weight.grad for name, weight in own.named_parameters() if weight.grad is not None}


def test_fine_tuning_reaches_all_but_the_front_end(folders, tmp_path):
    still = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0}
    own = load_transformer("hubert", save_transformer(tmp_path, **still))
    before = {name: value.clone() for name, value in own.cnn.state_dict().items()}
    plain = gradients(own)
    trained = {name for name, weight in own.named_parameters() if weight.requires_grad}
    assert set(plain) == trained - {"model.masked_spec_embed"}
    assert not [name for name in trained if name.startswith("cnn.")]
    assert len(list(own.cnn.parameters())) > 0
    own.checkpoint_gradients()
    assert own.model.is_activation_checkpointing
    recomputed = gradients(own)
    assert set(recomputed) == set(plain)
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient)
    torch.optim.SGD(own.parameters(), lr=0.1).step()
    assert own.training
    assert not own.cnn.training
    for name, value in own.cnn.state_dict().items():
        assert torch.equal(value, before[name])


def test_training_hides_and_drops_nothing_by_itself(folders, tmp_path):
    """SpecAugment draws from NumPy's global stream and layer drop skips whole layers: both are off."""
    still = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0}
    folder = save_transformer(tmp_path, layerdrop=0.9, mask_time_prob=0.9, mask_feature_prob=0.9, **still)
    own = load_transformer("hubert", folder)
    with torch.no_grad():
        trained, _ = own.train().states(*batch(8_000))
        evaluated, _ = own.eval().states(*batch(8_000))
    for mine, other in zip(trained, evaluated, strict=True):
        assert torch.equal(mine, other)


def test_audio_is_normalised_as_the_preprocessor_says(folders, tmp_path):
    from transformers import Wav2Vec2FeatureExtractor

    own, given = load_transformer("hubert", folders["hubert", False]), 0.1 * audio(4_000).numpy() + 0.3
    theirs = Wav2Vec2FeatureExtractor.from_pretrained(folders["hubert", False])(given, sampling_rate=SECOND)
    np.testing.assert_allclose(own.normalised(given), theirs["input_values"][0], atol=1e-6)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(save_transformer(tmp_path))
    np.testing.assert_array_equal(load_transformer("hubert", tmp_path).normalised(given), given)


def test_what_is_no_such_model_is_refused(folders, tmp_path):
    with pytest.raises(BadInputError, match="a model of type 'wavlm', upstream is 'hubert'"):
        load_transformer("hubert", folders["wavlm", False])
    folder = save_transformer(tmp_path / "rate")
    settings = folder / "preprocessor_config.json"
    settings.write_text(settings.read_text().replace("16000", "8000"))
    with pytest.raises(BadInputError, match="hears 8000 Hz, not 16000"):
        load_transformer("hubert", folder)
    deeper = save_transformer(tmp_path / "deeper")
    described = deeper / "config.json"
    described.write_text(described.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(BadInputError, match=r"have no encoder\.layers\.2"):
        load_transformer("hubert", deeper)


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("model.safetensors", lambda content: content[:1000], r"cannot be read \("),
        ("config.json", lambda content: content.replace(b'"hidden_size": 16', b'"hidden_size": 32'),
         r"its weights have .* of shape \(.*16.*\), its config.json wants \(.*32"),
        ("config.json", lambda content: content.replace(b'"gelu"', b'"nothing"'), r"cannot be read \(.*nothing"),
        ("config.json", lambda content: content[:-3], r"config.json is not JSON \("),
        ("preprocessor_config.json", lambda _: b"[]", r"preprocessor_config.json is no JSON object"),
    ],
)  # fmt: skip
def test_damaged_files_are_one_line_that_names_the_folder(folders, tmp_path, name, damage, said):
    folder = shutil.copytree(folders["hubert", False], tmp_path / "damaged")
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(BadInputError, match=rf"^transformer\.model: {folder}: {said}") as refused:
        load_transformer("hubert", folder)
    assert "\n" not in str(refused.value)


def test_without_transformers_the_error_says_what_to_install(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"package transformers \(pip install 'emsweep\[systems\]'\)"):
        load_transformer("hubert", folders["hubert", False])


def test_every_transformer_is_an_upstream():
    assert set(TRANSFORMERS) < set(get_args(UpstreamName))
