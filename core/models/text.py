"""A frozen text encoder: the words of an utterance → one vector.

N tokens, E width of the encoder.
"""

from __future__ import annotations

__all__ = ["TextEncoder"]

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core.torchaudio_import import import_torchaudio


class TextEncoder:
    """An encoder of the BERT family out of a folder, in evaluation mode and full precision, read through transformers;
    its tokens through tokenizers.

    Nothing is fetched: `core.text_files` finds the folder.
    """

    def __init__(self, folder: Path, *, device: torch.device) -> None:
        # transformers imports torchaudio wherever it sees it.
        import_torchaudio()
        from tokenizers import Tokenizer
        from transformers import AutoModel
        from transformers.utils import logging

        # One line on the user's screen for each of some hundred tensors' progress is no news.
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).to(device).eval()
        self._device = device
        # From this one file: transformers' tokenizers also ask others (`tokenizer_config.json`), which no key knows.
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self._longest())

    @property
    def width(self) -> int:
        return int(self._model.config.hidden_size)

    @torch.no_grad()
    def encode(self, words: str) -> NDArray[np.float32]:
        """Mean of the last layer's states over all tokens of one text, (E,).

        That is all-MiniLM-L6-v2's own pooling before its length is made 1. Words beyond the longest input of the
        encoder are cut off. One text at a time: nothing depends on what it is batched with.
        """
        tokens_N = torch.tensor(self._tokenizer.encode(words).ids, device=self._device)
        states_NE = self._model(input_ids=tokens_N[None]).last_hidden_state[0]
        return np.asarray(states_NE.mean(0).float().cpu().numpy())

    def _longest(self) -> int:
        """Tokens that the encoder has positions for; RoBERTa and its kin count theirs from behind the padding's."""
        padding = getattr(getattr(self._model, "embeddings", None), "padding_idx", None)
        return int(self._model.config.max_position_embeddings) - (0 if padding is None else padding + 1)
