"""Published models on this machine: fetched from the hub where they are not here yet, and what their files hold."""

from __future__ import annotations

__all__ = ["content_hash", "hub_folder"]

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from core.errors import BadInputError, MissingDependencyError


def hub_folder(
    model: str, *, setting: str, patterns: Sequence[str], needed: Sequence[str], whole: Callable[[Path], bool]
) -> Path:
    """The folder of the hub's model on this machine; it is fetched where it is not here yet, or not wholly.

    `patterns`: the files that are fetched; `needed`: those that a folder in its place must have. `whole` says whether a
    copy has what is read of it. Raises BadInputError that names the setting and the folder that was expected;
    MissingDependencyError without huggingface-hub.
    """
    try:
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingDependencyError(
            f"{setting}: there is no folder {model}, and the hub's models are read by the package huggingface-hub "
            "(pip install 'emsweep[systems]')"
        ) from error

    try:
        try:
            here = Path(snapshot_download(model, allow_patterns=list(patterns), local_files_only=True))
        except LocalEntryNotFoundError:
            here = None
        # Any snapshot is a hit, one of which a download left the half or another program fetched one file too.
        if here is not None and whole(here):
            return here
        return Path(snapshot_download(model, allow_patterns=list(patterns)))
    except HFValidationError as error:
        raise BadInputError(f"{setting}: there is no folder {model}, and no model can be called so") from error
    # Offline, unknown and refused models are told by errors of three libraries, all of them kinds of these.
    except (OSError, ValueError, RuntimeError) as error:
        copy = Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}"
        raise BadInputError(
            f"{setting}: there is no folder {model}, no whole copy of the hub's model in {copy}, and it could not be "
            f"fetched ({type(error).__name__}); give a folder with {', '.join(needed)}"
        ) from error


def content_hash(file: Path) -> str:
    """SHA-256 of a file, read once while its size and the time of its last change stay the same."""
    status = file.stat()
    return _hashed(file, status.st_size, status.st_mtime_ns)


@cache
def _hashed(file: Path, _size: int, _changed: int) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
