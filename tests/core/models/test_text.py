"""The frozen text encoder, with the real all-MiniLM-L6-v2; where its files are, and what is said when they are not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from core.errors import BadInputError
from core.model_files import model_folder
from core.teacher_config import TeacherConfig
from core.text_files import text_model_fingerprint, text_model_folder
from core.transformer_config import TransformerConfig


@pytest.mark.slow
def test_the_real_encoder_places_like_words_together():
    from core.models.text import TextEncoder

    encoder = TextEncoder(text_model_folder("minilm"), device=torch.device("cpu"))
    said = ["What a wonderful idea.", "What a brilliant plan.", "The door is broken and the house is empty."]
    first_E, second_E, other_E = (encoder.encode(words) for words in said)
    assert first_E.shape == (encoder.width,) == (384,)

    def alike(x_E: np.ndarray, y_E: np.ndarray) -> float:
        return float(x_E @ y_E / np.linalg.norm(x_E) / np.linalg.norm(y_E))

    assert alike(first_E, second_E) > alike(first_E, other_E) + 0.3
    np.testing.assert_array_equal(encoder.encode(said[0]), first_E)
    # Longer than any input it was made for.
    assert np.isfinite(encoder.encode("again and " * 400)).all()


@pytest.mark.slow
def test_tokens_come_from_the_one_file_that_the_fingerprint_knows(tmp_path):
    from core.models.text import TextEncoder

    plain = shutil.copytree(text_model_folder("minilm"), tmp_path / "plain")
    other = shutil.copytree(plain, tmp_path / "other")
    # To transformers' tokenizers this file says that words keep their capitals, which this vocabulary has none of.
    (other / "tokenizer_config.json").write_text('{"do_lower_case": false, "tokenizer_class": "BertTokenizer"}')
    assert text_model_fingerprint(str(other)) == text_model_fingerprint(str(plain))
    first, second = (TextEncoder(folder, device=torch.device("cpu")) for folder in (plain, other))
    np.testing.assert_array_equal(first.encode("A Wonderful Day"), second.encode("A Wonderful Day"))


def test_words_as_transformers_own_tokenizer_reads_them():
    from transformers import AutoModel, AutoTokenizer

    from core.models.text import TextEncoder

    folder, words = text_model_folder("minilm"), "What a wonderful idea, isn't it?"
    with torch.no_grad():
        states_1NE = AutoModel.from_pretrained(folder)(
            **AutoTokenizer.from_pretrained(folder)(words, return_tensors="pt")
        )[0]
    encoded_E = TextEncoder(folder, device=torch.device("cpu")).encode(words)
    np.testing.assert_allclose(encoded_E, states_1NE[0].mean(0).numpy(), atol=1e-6)


def test_texts_of_any_length_where_positions_begin_behind_the_padding_s(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import RobertaConfig, RobertaModel

    from core.models.text import TextEncoder

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    RobertaModel(RobertaConfig(vocab_size=4, max_position_embeddings=34, **sizes)).save_pretrained(tmp_path)
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2, "so": 3}, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = TextEncoder(tmp_path, device=torch.device("cpu"))
    # 34 positions, of which the first two are no word's.
    np.testing.assert_array_equal(encoder.encode("so " * 32), encoder.encode("so " * 50))
    assert np.isfinite(encoder.encode("so " * 50)).all()


def test_the_same_files_are_the_same_encoder_wherever_they_are(tmp_path):
    packaged = text_model_folder("minilm")
    copied = shutil.copytree(packaged, tmp_path / "copied")
    assert text_model_fingerprint(str(copied)) == text_model_fingerprint("minilm")
    (copied / "config.json").write_text("{}")
    assert text_model_fingerprint(str(copied)) != text_model_fingerprint("minilm")


def test_a_folder_without_the_files_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = TeacherConfig(text_model="./bert").text_model
    assert model == str(tmp_path / "bert")
    with pytest.raises(BadInputError, match=rf"text_model: .* has no config\.json; expected .* folder {tmp_path}/bert"):
        text_model_folder(model)


def test_offline_the_folder_of_the_hubs_copy_is_named(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    expected = f"no folder some/bert, no whole copy of the hub's model in {tmp_path}/models--some--bert, and it could"
    with pytest.raises(BadInputError, match=expected):
        text_model_folder("some/bert")


def partial_cache(root: Path, model: str, *names: str) -> Path:
    """A hub cache as a download that broke off leaves it: the revision is known, some files are there."""
    place = root / f"models--{model.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    snapshot = place / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for name in names:
        (snapshot / name).write_text("{}")
    return snapshot


CACHED = [
    (text_model_folder, "some/bert", ("config.json", "tokenizer.json"), "model.safetensors"),
    (model_folder, "some/hubert", ("config.json", "model.safetensors"), "preprocessor_config.json"),
    (model_folder, "other/hubert", ("config.json", "preprocessor_config.json"), "pytorch_model.bin"),
]


@pytest.mark.parametrize(("folder_of", "model", "there", "lacking"), CACHED)
def test_a_copy_that_lacks_a_file_is_fetched(tmp_path, monkeypatch, folder_of, model, there, lacking):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot, local, fetched = partial_cache(tmp_path, model, *there), huggingface_hub.snapshot_download, []

    def download(name: str, *, allow_patterns: list[str], local_files_only: bool = False) -> str:
        if local_files_only:
            return local(name, allow_patterns=allow_patterns, local_files_only=True, cache_dir=tmp_path)
        fetched.append(name)
        (snapshot / lacking).write_text("{}")
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert folder_of(model) == snapshot
    assert fetched == [model]
    assert folder_of(model) == snapshot
    assert fetched == [model], "a whole copy is fetched again"


@pytest.mark.parametrize(("folder_of", "model", "there", "lacking"), CACHED)
def test_offline_a_copy_that_lacks_a_file_is_one_clear_error(tmp_path, monkeypatch, folder_of, model, there, lacking):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = partial_cache(tmp_path, model, *there)
    wanted = "weights" if lacking.startswith("pytorch") else re.escape(lacking)
    with pytest.raises(BadInputError, match=rf"model: .*{snapshot}.* has no {wanted}|has no {wanted}.*{snapshot}"):
        folder_of(model)


@pytest.mark.parametrize("part", ["transformer", "teacher"])
@pytest.mark.parametrize("given", ["./models/h", "models/h", "~/models/h"])
def test_a_folder_is_known_from_elsewhere(tmp_path, monkeypatch, part, given):
    """Ray's workers run in folders of their own."""
    (tmp_path / "models" / "h").mkdir(parents=True)
    (tmp_path / "minilm").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def named(name: str) -> str | None:
        return (
            TransformerConfig(model=name).model if part == "transformer" else TeacherConfig(text_model=name).text_model
        )

    assert named(given) == str(tmp_path / "models" / "h")
    assert named("some/where") == "some/where"
    assert TeacherConfig().text_model == TeacherConfig(text_model="minilm").text_model == "minilm"
    with pytest.raises(ValidationError, match="at least 1 character"):
        named("")
