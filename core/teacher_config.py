"""Settings of Cross-modal conditional teacher–student training (Srinivasan, Huang, Kirchhoff, ICASSP 2022)."""

from __future__ import annotations

__all__ = ["TeacherConfig"]

from typing import Self

from core.data_config import Config


class TeacherConfig(Config):
    """Cross-modal conditional teacher–student training (Srinivasan, Huang, Kirchhoff, ICASSP 2022)."""

    def plain(self) -> Self:
        """The twin's settings: without the idea of the system, everything else the same."""
        return self

    def words(self) -> list[str]:
        """The readable name of an arm of this system."""
        return []
