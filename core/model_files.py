"""Where the files of a published model are, and what they hold (ours)."""

from __future__ import annotations

__all__ = ["model_files", "model_fingerprint", "model_folder", "model_of"]

import json
from pathlib import Path

from core.config import TrialConfig, UpstreamName
from core.errors import BadInputError
from core.hub_files import content_hash, hub_folder
from core.identity import digest

_RELEASED: dict[UpstreamName, str] = {
    "hubert": "facebook/hubert-base-ls960",
    "wavlm": "microsoft/wavlm-base",
    "wav2vec2": "facebook/wav2vec2-base",
    "data2vec": "facebook/data2vec-audio-base",
}
"""Upstream → its authors' base model, pre-trained without labels, by its name on the hub."""

SETTING = "transformer.model"
SETTINGS = ("config.json", "preprocessor_config.json")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""In the order in which transformers looks for them; an index names parts beside it."""


def model_of(config: TrialConfig) -> str:
    """The folder or hub name of the model that a trial of a HuBERT-family upstream reads."""
    return config.transformer.model or _RELEASED[config.upstream]


def model_folder(model: str) -> Path:
    """The folder of a model: `model` itself where it is one, else the hub's copy on this machine, fetched if need be.

    Raises BadInputError naming the folder that was expected where there is neither, or files are missing in it.
    """
    path = Path(model)
    wanted = [*SETTINGS, "model*.safetensors*", "pytorch_model*.bin*"]
    needed = (*SETTINGS, WEIGHTS[0])
    folder = path
    if not path.is_dir():
        folder = hub_folder(
            model, setting=SETTING, patterns=wanted, needed=needed, whole=lambda here: _missing(here) is None
        )  # fmt: skip
    if (missing := _missing(folder)) is not None:
        raise BadInputError(f"{SETTING}: folder {folder} has no {missing}")
    return folder.absolute()


def _missing(folder: Path) -> str | None:
    """What the folder lacks of a model's files, all parts of its weights included; None where it has them."""
    for name in SETTINGS:
        if not (folder / name).is_file():
            return name
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        return f"weights ({WEIGHTS[0]} or {WEIGHTS[2]})"
    if weights.suffix == ".json":
        try:
            parts = set(json.loads(weights.read_text()).get("weight_map", {}).values())
        except ValueError:
            return f"readable {weights.name}"
        return next((part for part in sorted(parts) if not (folder / part).is_file()), None)
    return None


def model_files(folder: Path) -> list[Path]:
    """The files that make the model what it is: settings, and the weights that transformers reads, all parts."""
    weights = next(folder / name for name in WEIGHTS if (folder / name).is_file())
    parts = sorted(folder.glob(f"{weights.name.split('.')[0]}-*")) if weights.suffix == ".json" else []
    return [*(folder / name for name in SETTINGS), weights, *parts]


def model_fingerprint(model: str) -> str:
    """Hash of what the files of a model hold; raises as `model_folder` does."""
    contents = {file.name: content_hash(file) for file in model_files(model_folder(model))}
    return digest(contents)
