"""HuBERT, WavLM, wav2vec 2.0 and data2vec (audio) as upstreams: Transformers over a CNN over the waveform.

Hsu et al. 2021 (arXiv 2106.07447), Chen et al. 2022 (2110.13900), Baevski et al. 2020 (2006.11477) and 2022
(2202.03555), through `transformers`.

B utterances, T samples, P positions (20 ms apart in all published models), L layers, H hidden width, C CNN channels.
"""

from __future__ import annotations

__all__ = ["Transformer", "load_transformer"]

import importlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.config import UpstreamName
from core.errors import BadInputError, MissingDependencyError
from core.model_files import model_settings
from core.seeding import torch_stream
from core.units import SAMPLE_RATE, frame_count

_TYPES = {"hubert": "hubert", "wavlm": "wavlm", "wav2vec2": "wav2vec2", "data2vec": "data2vec-audio"}
"""Upstream → what `config.json` calls such a model."""
_MASK = "masked_spec_embed"
_UNREADABLE = (AttributeError, EOFError, KeyError, OSError, RuntimeError, TypeError, UnpicklingError, ValueError)
"""What transformers and torch say of settings that are no model's, and of damaged weights."""


class Transformer(nn.Module):
    """A published speech model whose CNN stays as it is: never trained, never in training mode.

    The CNN hears each utterance without padding, so no utterance's states depend on what it is batched with, also in
    models that normalise over time (ours; fairseq's do). Layers are never dropped (ours): each one's states are read.
    """

    def __init__(self, model: nn.Module, *, normalise: bool) -> None:
        super().__init__()
        config: Any = model.config
        self.cnn: nn.Module = model.feature_extractor  # type: ignore[assignment]
        self.cnn.requires_grad_(False)
        # The model's own forward then reads what the CNN made of the audio, and takes the mask where it always does.
        model.feature_extractor = nn.Identity()
        self.model = model
        self.normalises = normalise
        self.layers = int(config.num_hidden_layers) + 1
        """How many states it exposes: the input of the first Transformer layer, and each layer's output."""
        self.hidden = int(config.hidden_size)
        self.hop: int = math.prod(config.conv_stride)
        """Samples from one position to the next."""
        self._convolutions = tuple(zip(config.conv_kernel, config.conv_stride, strict=True))
        self._heard_B1P: Tensor | None = None
        for layer in getattr(model.encoder.pos_conv_embed, "layers", ()):  # type: ignore[union-attr]
            # data2vec has several position convolutions: all but the first would hear what the last made of padding.
            layer.register_forward_pre_hook(self._silence_padding)

    @property
    def hop_s(self) -> float:
        return self.hop / SAMPLE_RATE

    def train(self, mode: bool = True) -> Self:
        """Training mode of all but the CNN."""
        super().train(mode)
        self.cnn.eval()
        return self

    def checkpoint_gradients(self) -> None:
        """From now on recompute the inside of each layer in the backward pass: less memory, more time, same result.

        Dropout is drawn again from the generators as they stood then, wherever the backward pass runs.
        """
        model: Any = self.model
        settings = {"use_reentrant": False, "preserve_rng_state": True}
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=settings)

    def positions(self, samples: int) -> int:
        """How many positions the model makes of so many samples."""
        for kernel, stride in self._convolutions:
            samples = frame_count(samples, window=kernel, hop=stride)
        return samples

    def normalised(self, audio_T: NDArray[np.float32]) -> NDArray[np.float32]:
        """Audio as the model wants it, (T,): at zero mean and unit variance if its preprocessor says so."""
        if not self.normalises:
            return audio_T
        return np.asarray((audio_T - audio_T.mean()) / np.sqrt(audio_T.var() + 1e-7), dtype=np.float32)

    def states(
        self, audio_BT: Tensor, lengths_B: Tensor, *, mask_BP: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """What each exposed layer makes of a batch, L times (B, P, H), and how many positions each utterance has, (B,).

        Args:
            audio_BT: normalised samples; nothing beyond `lengths_B` is looked at.
            lengths_B: samples of each utterance, int64.
            mask_BP: positions that the Transformer shall not see: it gets the mask embedding there. P as made of T, or
                of the longest utterance.

        Gradients reach everything but the CNN. Beyond an utterance's positions states mean nothing. Raises
        BadInputError for an utterance that is too short for one position.
        """
        lengths = lengths_B.tolist()
        positions = [self.positions(length) for length in lengths]
        if min(positions) < 1:
            raise BadInputError(f"audio of {min(lengths)} samples: too short for one position of the upstream")
        positions_B = torch.tensor(positions, device=audio_BT.device)
        heard_BT = torch.arange(max(lengths), device=audio_BT.device) < lengths_B.to(audio_BT.device)[:, None]
        self._heard_B1P = (torch.arange(max(positions), device=audio_BT.device) < positions_B[:, None])[:, None]
        mask = {} if mask_BP is None else {"mask_time_indices": mask_BP[:, : max(positions)]}
        made = self.model(
            self._cnn_outputs(audio_BT, lengths, positions), attention_mask=heard_BT.long(), output_hidden_states=True,
            **mask,
        )  # fmt: skip
        # Models with a norm after the last layer count it to that layer.
        states = [*made.hidden_states[:-1], made.last_hidden_state]
        return states, positions_B

    def _silence_padding(self, _: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        assert self._heard_B1P is not None
        return (given[0] * self._heard_B1P,)

    @torch.no_grad()
    def _cnn_outputs(self, audio_BT: Tensor, lengths: list[int], positions: list[int]) -> Tensor:
        """(B, C, P), zero beyond an utterance's end; utterances of one length go through the CNN together."""
        made: list[Tensor | None] = [None] * len(lengths)
        for length in dict.fromkeys(lengths):
            rows = [row for row, other in enumerate(lengths) if other == length]
            for row, output_CP in zip(rows, self.cnn(audio_BT[rows, :length]), strict=True):
                made[row] = output_CP
        widest = max(positions)
        return torch.stack([nn.functional.pad(one, (0, widest - one.shape[1])) for one in made if one is not None])


def load_transformer(upstream: UpstreamName, folder: Path) -> Transformer:
    """The model in a folder that `core.model_files.model_folder` gave: float32, on the CPU, in evaluation mode.

    Raises BadInputError for a model of another kind, one that hears another sample rate, and weights that are missing,
    damaged or of another shape; MissingDependencyError without transformers.
    """
    settings = model_settings(folder, "preprocessor_config.json")
    if settings.get("sampling_rate", SAMPLE_RATE) != SAMPLE_RATE:
        raise BadInputError(f"transformer.model: {folder} hears {settings['sampling_rate']} Hz, not {SAMPLE_RATE}")
    kind = model_settings(folder, "config.json").get("model_type")
    if kind != _TYPES[upstream]:
        raise BadInputError(f"transformer.model: {folder} is a model of type {kind!r}, upstream is {upstream!r}")
    model, notes = _read(folder)
    for name, there, wanted in sorted(notes["mismatched_keys"]):
        raise BadInputError(
            f"transformer.model: {folder}: its weights have {name} of shape {tuple(there)}, its config.json wants "
            f"{tuple(wanted)}"
        )
    lost = sorted(name for name in notes["missing_keys"] if not name.endswith(_MASK))
    if lost:
        raise BadInputError(f"transformer.model: the weights in {folder} have no {lost[0]} ({len(lost)} are missing)")
    model.config.mask_time_prob = 0.0
    # What the class does where nothing is said.
    return Transformer(model, normalise=bool(settings.get("do_normalize", True))).eval()


def _read(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model, and what transformers has to say of its weights."""
    from core.torchaudio_import import import_torchaudio

    import_torchaudio()
    try:
        from safetensors import SafetensorError
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise MissingDependencyError(
            "transformer: published models need the package transformers (pip install 'emsweep[systems]')"
        ) from error
    try:
        # The probability makes transformers build the mask embedding; its own random masks are switched off later.
        config = AutoConfig.from_pretrained(
            folder, local_files_only=True, mask_time_prob=0.5, mask_feature_prob=0.0, apply_spec_augment=True,
            layerdrop=0.0, add_adapter=False,
        )  # fmt: skip
        with torch_stream(0, "transformer-mask-embedding"), _without_progress_bar():
            # Shapes that do not fit are told by the notes: its own error names none of them.
            model, notes = AutoModel.from_pretrained(
                folder, config=config, local_files_only=True, dtype=torch.float32, output_loading_info=True,
                ignore_mismatched_sizes=True,
            )  # fmt: skip
    except (*_UNREADABLE, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInputError(f"transformer.model: {folder}: cannot be read ({reason})") from error
    return model, notes


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    logging: Any = importlib.import_module("transformers.utils.logging")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
