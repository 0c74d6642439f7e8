"""Settings of Frame-level emotional state alignment (Li et al., ICASSP 2024)."""

from __future__ import annotations

__all__ = ["AlignmentConfig"]

from typing import Self

from core.data_config import Config


class AlignmentConfig(Config):
    """Frame-level emotional state alignment (Li et al., ICASSP 2024)."""

    def plain(self) -> Self:
        """The twin's settings: without the idea of the system, everything else the same."""
        return self

    def words(self) -> list[str]:
        """The readable name of an arm of this system."""
        return []
