"""Settings of HuBERT-family upstreams, read through transformers."""

from __future__ import annotations

__all__ = ["TransformerConfig"]

from core.data_config import Config


class TransformerConfig(Config):
    """HuBERT-family upstreams, read through transformers."""
