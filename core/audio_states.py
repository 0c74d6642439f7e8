"""States of an upstream that hears the waveform itself, over a corpus, one utterance at a time.

P positions, L layers, H hidden width.
"""

from __future__ import annotations

__all__ = ["AudioStates", "utterance_audio"]

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from core.audio import read_audio
from core.config import TrialConfig
from core.corpora.manifest import Manifest, Utterance
from core.errors import BadInputError
from core.model_files import model_folder, model_of
from core.models.transformer import Transformer, load_transformer
from core.progress import Progress


def utterance_audio(model: Transformer, utterance: Utterance) -> NDArray[np.float32]:
    """The utterance's samples as the model wants them, (T,). Raises BadInputError as `read_audio` does."""
    return model.normalised(read_audio(utterance.path, start=utterance.start, end=utterance.end))


class AudioStates:
    """States of a frozen upstream: evaluation mode, float32. `model` is the one the config names unless given."""

    def __init__(self, config: TrialConfig, *, model: Transformer | None = None) -> None:
        model = model or load_transformer(config.upstream, model_folder(model_of(config)))
        self._device = torch.device(config.compute.device)
        self.model = model.to(self._device).eval()

    def over(self, manifest: Manifest, *, progress: Progress) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Each utterance of the corpus in its order, and its states (P, L, H).

        One at a time: nothing depends on what it is batched with. Raises BadInputError for audio that cannot be read,
        or is too short for one position.
        """
        for place, utterance in enumerate(manifest.utterances):
            yield utterance.utterance, self._states(utterance)
            progress("states", place + 1, len(manifest.utterances))

    @torch.no_grad()
    def _states(self, utterance: Utterance) -> NDArray[np.float32]:
        audio_T = utterance_audio(self.model, utterance)
        if self.model.positions(len(audio_T)) < 1:
            raise BadInputError(
                f"utterance {utterance.utterance!r}: {len(audio_T)} samples are too short for a position"
            )
        audio_1T = torch.from_numpy(audio_T)[None].to(self._device)
        states, _ = self.model.states(audio_1T, torch.tensor([len(audio_T)]))
        return np.asarray(torch.stack([state[0] for state in states], dim=1).float().cpu().numpy())
