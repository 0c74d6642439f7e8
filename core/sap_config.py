"""Settings of Segmental average pooling (Hyeon, Oh, Choi, ICASSP 2024)."""

from __future__ import annotations

__all__ = ["SapConfig"]

from typing import Self

from core.data_config import Config


class SapConfig(Config):
    """Segmental average pooling (Hyeon, Oh, Choi, ICASSP 2024)."""

    def plain(self) -> Self:
        """The twin's settings: without the idea of the system, everything else the same."""
        return self

    def words(self) -> list[str]:
        """The readable name of an arm of this system."""
        return []
