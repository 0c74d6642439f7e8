"""Stage `text`: a vector for the words of every utterance, in one artifact."""

from __future__ import annotations

__all__ = ["TEXT_MODULES", "make_text_embeddings", "text_embeddings", "text_recipe"]

import io

import numpy as np
import torch
from numpy.typing import NDArray

from core.config import TrialConfig
from core.corpora.manifest import Manifest
from core.identity import code_version
from core.models.text import TextEncoder
from core.progress import Progress
from core.store import Artifact, Recipe, Workspace, write_atomically
from core.text_files import text_model_folder
from core.transcripts import text_content, transcripts_of
from core.upstreams import settings_of

TEXT_MODULES = ("core.models.text", "core.text_embeddings", "core.torchaudio_import")

code_version(TEXT_MODULES)


def text_recipe(config: TrialConfig, manifest: Manifest) -> Recipe:
    """What the embeddings are made from: words and encoder by their content, whatever file they come from."""
    settings = {**text_content(config.teacher, manifest), **settings_of(config, "compute")}
    return Recipe(stage="text", settings=settings, inputs=(), modules=TEXT_MODULES)


def make_text_embeddings(
    config: TrialConfig, manifest: Manifest, workspace: Workspace, *, progress: Progress
) -> Artifact:
    """Make (or find) `embeddings.npy`, float32 (U, E), in the order of the manifest's utterances.

    Raises CorpusError for utterances without transcript, and BadInputError for an encoder that is not there.
    """
    with text_recipe(config, manifest).claim(workspace.store) as claim:
        if claim.done:
            return claim.artifact
        said = transcripts_of(manifest, config.teacher.transcripts)
        folder = text_model_folder(config.teacher.text_model)
        encoder = TextEncoder(folder, device=torch.device(config.compute.device))
        embeddings_UE = np.empty((len(said), encoder.width), dtype=np.float32)
        for place, words in enumerate(said.values()):
            progress("text", place, len(said))
            embeddings_UE[place] = encoder.encode(words)
        progress("text", len(said), len(said))
        packed = io.BytesIO()
        np.save(packed, embeddings_UE)
        write_atomically(claim.out / "embeddings.npy", packed.getvalue())
    return claim.artifact


def text_embeddings(artifact: Artifact) -> NDArray[np.float32]:
    """The embeddings of a `text` artifact, (U, E)."""
    embeddings_UE: NDArray[np.float32] = np.load(artifact.path / "embeddings.npy", mmap_mode="r")
    return embeddings_UE
