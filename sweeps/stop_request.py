"""How one terminal asks the driver in another to stop: the file `stop.request` of the sweep."""

from __future__ import annotations

__all__ = ["StopMode", "clear_stop", "request_stop", "requested_stop"]

from pathlib import Path
from typing import Literal

StopMode = Literal["drain", "now"]
"""`drain`: running trials leave a checkpoint and nothing new starts. `now`: do not even wait for that."""

FILE = "stop.request"


def request_stop(folder: Path, mode: StopMode) -> None:
    """Ask the driver of the sweep in `folder`. Who has asked for `now` is not held up by a later `drain`."""
    if requested_stop(folder) == "now":
        return
    part = folder / f".{FILE}.part"
    part.write_text(mode, encoding="utf-8")
    part.replace(folder / FILE)


def requested_stop(folder: Path) -> StopMode | None:
    """What was asked for; None while nobody has."""
    try:
        content = (folder / FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    # By hand (`touch stop.request`) it works too, in the gentle way.
    return "now" if content == "now" else "drain"


def clear_stop(folder: Path) -> None:
    """The request has been served, or was meant for a driver that is gone."""
    (folder / FILE).unlink(missing_ok=True)
