"""Figures → files that are the same bytes every time, and SVG that lives inside a page and follows its colours."""

from __future__ import annotations

__all__ = [
    "ACCENT",
    "DIVERGING",
    "GRID",
    "INK",
    "MUTED",
    "PAPER",
    "SECOND",
    "SEQUENTIAL",
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

SEQUENTIAL, DIVERGING = "Blues", "PuOr"
"""Colour maps of ColorBrewer: light to dark, and two that colour-blind people tell apart. Cells hold their numbers."""

VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid", ACCENT: "--accent", SECOND: "--second", PAPER: "--paper"}

SCREEN = 1.25
"""Screens are read from further away than paper: how much larger figures stand on a page than in print."""

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.facecolor": "none",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
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


def _settle(figure: Figure) -> None:
    """Work out the layout once: it costs as much as drawing, and both formats show the same."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def svg_text(figure: Figure) -> str:
    """The figure as a standalone SVG document with real text and no date."""
    buffer = io.BytesIO()
    with styled():
        _settle(figure)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return buffer.getvalue().decode("utf-8")


def pdf_bytes(figure: Figure) -> bytes:
    """The figure as a PDF with embedded TrueType fonts and no date."""
    buffer = io.BytesIO()
    with styled():
        _settle(figure)
        figure.savefig(buffer, format="pdf", metadata={"CreationDate": None, "ModDate": None})
    return buffer.getvalue()


def _hoisted(group: re.Match[str]) -> str:
    """Marks that look alike, with their look said once for all of them."""
    styles = set(re.findall(r' style="[^"]*"', group[2]))
    if len(styles) != 1:
        return group[0]
    (style,) = styles
    return f"<g{group[1] or ''}{style}>{group[2].replace(style, '')}</g>"


def _rounded(attribute: re.Match[str]) -> str:
    """A place or path in hundredths of a point: finer than any screen, and a third of the bytes less."""
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute[0]).replace("\n", " ")


def inline_svg(document: str, *, name: str, label: str) -> str:
    """An `<svg>` element for an HTML page: own identifiers, no namespaces, colours from the page's variables.

    `name` prefixes every identifier, so that several figures share a page; `label` is read by screen readers. The
    page's styles make `--width` its width on a screen.
    """
    body = document[document.index("<svg") :]
    opening, inside = body.split(">", 1)
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening)
    width, height = found.groups() if found else ("600", "400")
    inside = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', inside)
    inside = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", inside)
    inside = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', inside)
    inside = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", inside, count=1, flags=re.DOTALL)
    inside = re.sub(r"<!--.*?-->", "", inside, flags=re.DOTALL)
    inside = re.sub(r">\s+<", "><", inside)
    inside = re.sub(r'\b(?:x|y|d|width|height|transform)="[^"]*"', _rounded, inside)
    inside = re.sub(r'<g( clip-path="[^"]*")?>((?:<use [^>]*/>){2,})</g>', _hoisted, inside)
    for colour, variable in VARIABLES.items():
        inside = inside.replace(colour, f"var({variable})")
    size = f"--width: {float(width) * SCREEN:.0f}pt"
    head = f'<svg role="img" aria-label="{label}" viewBox="0 0 {width} {height}" style="{size}"'
    return f"{head}>{inside.strip()}"
