"""Under which terms corpora are given out, as far as their publishers say so: a reminder, no legal advice (ours)."""

from __future__ import annotations

__all__ = ["UNKNOWN", "terms_of"]

# Beside each: the page or file its line was checked against. What none of them says is not said here.
_TERMS: dict[str, str] = {
    "demo": "synthetic speech, rendered by this program with eSpeak NG; nobody's voice.",
    # "Data Release Form IEMOCAP", as quoted by two public projects (the form itself could not be read).
    "iemocap": "given out by the University of Southern California on request, under its data release form: internal "
    "research, no commercial use, and neither the recordings nor what is derived from them passed on without "
    "permission. Whether a model fitted on them is derived is for that form to say. Cite Busso et al. 2008.",
    # "The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS)", its page at Zenodo.
    "ravdess": "CC BY-NC-SA 4.0; commercial licences from its authors. Cite Livingstone & Russo 2018.",
    # "Berlin EmoDB" (the authors' page: the citation) and "emodb" in audEERING's list of datasets (the licence).
    "emodb": "published as CC0 1.0 by audEERING; its authors' own page names no licence and asks to cite Burkhardt et "
    "al. 2005.",
    # "Emotional Speech Dataset (ESD) for Speech Synthesis and Voice Conversion", its README.
    "esd": "for research only, after a signed licence is sent to its authors. Cite Zhou et al. 2021.",
    # "LICENSE.txt" of CREMA-D's repository; the citation is in its README.
    "crema-d": "Open Database License 1.0, contents under the Database Contents License 1.0. Cite Cao et al. 2014.",
    # "The MSP-Podcast Corpus" (arXiv 2509.09791), abstract; of the agreement no page could be read.
    "msp-podcast": "cut from podcasts whose own licences permit distribution; the corpus itself is given out under an "
    "agreement with its laboratory. What that allows, models fitted on the recordings included, is for it to say. Cite "
    "Lotfian & Busso 2019.",
    # "Korean Emotion Multimodal Database in 2019 (KEMDy19)", the provider's page; the agreement could not be read.
    "kemdy19": "given out by ETRI after a licence agreement. What that allows, models fitted on the recordings "
    "included, is for it to say. Cite Noh et al. 2021.",
    # "LICENSE.TXT" that comes with the corpus.
    "librispeech": "CC BY 4.0. Cite Panayotov et al. 2015.",
    "table": "a corpus of the exporter's own; this program knows nothing of its terms. State them here before sharing.",
}
UNKNOWN = "terms not known to this program. State them here before sharing."


def terms_of(name: str) -> str:
    """One line on the corpus of that name."""
    return _TERMS.get(name, UNKNOWN)
