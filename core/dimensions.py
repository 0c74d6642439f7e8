"""Activation, valence and dominance of a corpus, as arrays.

U utterances, D the dimensions in the order of DIMENSIONS.
"""

from __future__ import annotations

__all__ = ["dimension_labels", "refuse_without_dimensions"]

import numpy as np
from numpy.typing import NDArray

from core.corpora.manifest import Manifest
from core.errors import CorpusError
from core.records import DIMENSIONS


def refuse_without_dimensions(manifest: Manifest) -> None:
    """Raise CorpusError, naming and counting them, when utterances lack activation, valence or dominance."""
    for dimension in DIMENSIONS:
        missing = [item.utterance for item in manifest.utterances if getattr(item, dimension) is None]
        if missing:
            raise CorpusError(
                f"corpus {manifest.corpus}: {len(missing)} of {len(manifest.utterances)} utterances have no "
                f"{dimension} (first {missing[0]}); this system learns activation, valence and dominance"
            )


def dimension_labels(manifest: Manifest) -> NDArray[np.float64]:
    """Labels (U, D) on the corpus's own scale, in the order of its utterances. Raises CorpusError where one lacks."""
    refuse_without_dimensions(manifest)
    rows = [[getattr(item, dimension) for dimension in DIMENSIONS] for item in manifest.utterances]
    return np.array(rows, dtype=np.float64)
