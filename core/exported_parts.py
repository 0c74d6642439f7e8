"""What an exported model is put together from again: settings, and weights of modules by the prefix of their names."""

from __future__ import annotations

__all__ = ["HEAD", "UPSTREAM", "fill", "head_tensors", "settings_in", "tensors_in"]

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from core.config import TrialConfig
from core.errors import BadInputError
from core.exported import Package

UPSTREAM, HEAD = "upstream.", "head."
"""Prefixes of the names of tensors: those of the upstream, and of what stands on it."""


def settings_in(package: Package) -> TrialConfig:
    """The trial's settings, as far as the model is built from them. Raises BadInputError for those of no model."""
    try:
        return TrialConfig.model_validate(package.config.settings)
    except ValidationError as error:
        raise BadInputError(
            f"exported model of trial {package.config.trial_key}: {error.errors()[0]['msg']}"
        ) from error


def tensors_in(package: Package, prefix: str) -> dict[str, Tensor]:
    """The tensors of that prefix, by their names without it."""
    own = {name: values for name, values in package.tensors.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): torch.from_numpy(np.array(values)) for name, values in own.items()}


def head_tensors(weights: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Weights of a head as an exported model keeps them."""
    return {f"{HEAD}{name}": value.numpy() for name, value in weights.items()}


def fill(module: nn.Module, weights: Mapping[str, Tensor], *, what: str) -> None:
    """Load the weights into the module. Raises BadInputError that names `what` for those of another one."""
    try:
        module.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise BadInputError(f"{what}: {' '.join(str(error).split())[:200]}") from error
