"""Models of the HuBERT family with random weights, saved as transformers saves them, and a trial over one."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch

from core.config import TrialConfig, UpstreamName
from core.torchaudio_import import import_torchaudio
from tests.core.tiny_trial import tiny_trial

HIDDEN = 16
LAYERS = 3
"""Exposed ones: the input of the first Transformer layer, and two outputs."""
HOP, WINDOW = 320, 400
"""Samples, of the published front end: strides 5·2·2·2·2·2·2, and what the first position sees."""


def save_transformer(folder: Path, kind: UpstreamName = "hubert", *, large: bool = False, **settings: Any) -> Path:
    """A model with two layers of 16 and the published grid. `large`: with the norms of the published large models."""
    import_torchaudio()
    import transformers

    of_kind: dict[UpstreamName, tuple[Any, Any]] = {
        "hubert": (transformers.HubertConfig, transformers.HubertModel),
        "wavlm": (transformers.WavLMConfig, transformers.WavLMModel),
        "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model),
        "data2vec": (transformers.Data2VecAudioConfig, transformers.Data2VecAudioModel),
    }
    make_config, make_model = of_kind[kind]
    sizes = {
        "hidden_size": HIDDEN, "num_hidden_layers": LAYERS - 1, "num_attention_heads": 2, "intermediate_size": 32,
        "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
    }  # fmt: skip
    if kind != "data2vec":
        sizes |= {"do_stable_layer_norm": large, "feat_extract_norm": "layer" if large else "group"}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = make_model(make_config(**sizes | settings))
        for parameter in model.parameters():
            # Fresh weights are so small that positions hardly differ.
            parameter.data *= 3 if parameter.dim() > 1 else 1
    model.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def published_trial(folder: Path, model: Path, changes: dict[str, Any] | None = None) -> TrialConfig:
    """`tiny_trial` over the HuBERT in `model`; nothing it does not need exists."""
    settings = tiny_trial(folder).model_dump(mode="json", include={"corpus", "folds", "probe", "seed"})
    settings |= {"upstream": "hubert", "transformer": {"model": str(model)}, **(changes or {})}
    return TrialConfig.model_validate(settings)


@functools.cache
def reference(folder: Path, kind: str) -> Any:
    """The model as transformers itself loads it, in evaluation mode."""
    import_torchaudio()
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder, local_files_only=True).eval()
