"""Under which terms corpora are given out, as far as their publishers say so: a reminder, no legal advice (ours)."""

from __future__ import annotations

__all__ = ["terms_of"]

_TERMS: dict[str, str] = {
    "demo": "synthetic speech, rendered by this program with eSpeak NG; nobody's voice.",
    "iemocap": "given out by the University of Southern California after a signed release, for research; the "
    "recordings may not be passed on. Whether a model fitted on them may be is for that release to say.",
    "ravdess": "CC BY-NC-SA 4.0; commercial licences from its authors. Cite Livingstone & Russo 2018.",
    "emodb": "free to download; its page asks to cite Burkhardt et al. 2005. Check there before any use but research.",
    "esd": "for research only, as its authors say. Cite Zhou et al. 2021.",
    "crema-d": "Open Database License 1.0, contents under the Database Contents License 1.0. Cite Cao et al. 2014.",
    "msp-podcast": "by licence agreement with the University of Texas at Dallas; the recordings may not be passed on. "
    "Whether a model fitted on them may be is for that agreement to say.",
    "librispeech": "CC BY 4.0. Cite Panayotov et al. 2015.",
    "table": "a corpus of the exporter's own; this program knows nothing of its terms. State them here before sharing.",
}
UNKNOWN = "terms not known to this program. State them here before sharing."


def terms_of(name: str) -> str:
    """One line on the corpus of that name."""
    return _TERMS.get(name, UNKNOWN)
