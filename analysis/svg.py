"""Figures → files that are the same bytes every time, and SVG that lives inside a page and follows its colours."""

from __future__ import annotations

__all__ = [
    "ACCENT",
    "GRID",
    "INK",
    "MUTED",
    "PAPER",
    "SECOND",
    "inline_svg",
    "pdf_bytes",
    "styled",
    "svg_text",
    "text_on",
]

import io
import re
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK, MUTED, GRID, PAPER = "#1b1f24", "#66707b", "#d5d9de", "#fefefe"
ACCENT, SECOND = "#0072b2", "#d55e00"
"""Blue and vermillion of Okabe & Ito (2008): told apart with any colour vision; shapes tell them apart in grey."""

VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid", ACCENT: "--accent", SECOND: "--second", PAPER: "--paper"}

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "hatch.color": MUTED,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "emsweep",
    "pdf.fonttype": 42,
}


def styled() -> AbstractContextManager[None]:
    """matplotlib settings under which every figure is drawn and saved."""
    return matplotlib.rc_context(STYLE)


def text_on(rgba: NDArray[np.float64]) -> str:
    """Black or white, whichever stands out more on a filled cell (WCAG 2 relative luminance). `rgba` in [0, 1]."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgba.tolist()[:3])
    return "#111111" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 else "#ffffff"


def svg_text(figure: Figure) -> str:
    """The figure as a standalone SVG document with real text and no date."""
    buffer = io.BytesIO()
    with styled():
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return buffer.getvalue().decode("utf-8")


def pdf_bytes(figure: Figure) -> bytes:
    """The figure as a PDF with embedded TrueType fonts and no date."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="pdf", metadata={"CreationDate": None, "ModDate": None})
    return buffer.getvalue()


def inline_svg(document: str, *, name: str, label: str) -> str:
    """An `<svg>` element for an HTML page: own identifiers, no namespaces, colours from the page's variables.

    `name` prefixes every identifier, so that several figures share a page; `label` is read by screen readers.
    """
    body = document[document.index("<svg") :]
    opening, inside = body.split(">", 1)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening)
    width, height = size.groups() if size else ("600", "400")
    inside = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', inside)
    inside = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", inside)
    inside = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', inside)
    inside = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", inside, count=1, flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        inside = inside.replace(colour, f"var({variable})")
    head = f'<svg role="img" aria-label="{label}" viewBox="0 0 {width} {height}" style="max-width: {width}pt"'
    return f"{head}>{inside.strip()}"
