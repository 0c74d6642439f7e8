"""Where the files of a published model are, and what they hold (ours)."""

from __future__ import annotations

__all__ = ["model_files", "model_fingerprint", "model_folder", "model_of", "model_settings"]

import json
from pathlib import Path
from typing import Any

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
LFS_POINTER = b"version https://git-lfs"
"""How a file begins that a checkout without git-LFS has in place of a large one."""


def model_of(config: TrialConfig) -> str:
    """The folder or hub name of the model that a trial of a HuBERT-family upstream reads."""
    return config.transformer.model or _RELEASED[config.upstream]


def model_folder(model: str) -> Path:
    """The folder of a model: `model` itself where it is one, else the hub's copy on this machine, fetched if need be.

    Raises BadInputError naming the folder that was expected where there is neither, or files are missing in it, are no
    settings, or stand for weights that were never fetched.
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
    for name in SETTINGS:
        model_settings(folder, name)
    for file in model_files(folder):
        with file.open("rb") as content:
            if content.read(len(LFS_POINTER)) == LFS_POINTER:
                raise BadInputError(
                    f"{SETTING}: {folder}: {file.name} is a git-LFS pointer; the file itself is still to be fetched "
                    "(git lfs pull)"
                )
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


def model_settings(folder: Path, name: str) -> dict[str, Any]:
    """What one of `SETTINGS` holds. Raises BadInputError for what is no JSON object."""
    try:
        content = json.loads((folder / name).read_bytes())
    except ValueError as error:
        raise BadInputError(f"{SETTING}: {folder}: {name} is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise BadInputError(f"{SETTING}: {folder}: {name} is no JSON object")
    return content


def model_files(folder: Path) -> list[Path]:
    """The files that make the model what it is: settings, and the weights that transformers reads, all parts."""
    weights = next(folder / name for name in WEIGHTS if (folder / name).is_file())
    parts = sorted(folder.glob(f"{weights.name.split('.')[0]}-*")) if weights.suffix == ".json" else []
    return [*(folder / name for name in SETTINGS), weights, *parts]


def model_fingerprint(model: str) -> str:
    """Hash of what the files of a model hold; raises as `model_folder` does."""
    contents = {file.name: content_hash(file) for file in model_files(model_folder(model))}
    return digest(contents)
