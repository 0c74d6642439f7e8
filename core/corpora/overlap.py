"""Two corpora that must be strangers to each other: no shared recording, no shared speaker."""

from __future__ import annotations

__all__ = ["refuse_overlap"]

from core.corpora.manifest import Manifest
from core.errors import LeakageError


def refuse_overlap(one: Manifest, other: Manifest, *, what: str) -> None:
    """Raise LeakageError when the corpora share a recording (whatever its file is called) or a speaker.

    Speakers are compared only within one published corpus and part: elsewhere the same name means nothing.
    """
    known = {utterance.content for utterance in one.utterances}
    for utterance in other.utterances:
        if utterance.content in known:
            raise LeakageError(
                f"{what}: its corpus {one.corpus} ({one.part}) holds recording {utterance.utterance!r} of speaker "
                f"{utterance.speaker!r} of corpus {other.corpus}"
            )
    shared = sorted(set(one.speakers) & set(other.speakers))
    if (one.corpus, one.part) == (other.corpus, other.part) and one.corpus != "table" and shared:
        raise LeakageError(
            f"{what}: its corpus shares {len(shared)} of {len(other.speakers)} speakers with corpus {other.corpus} "
            f"(first: {shared[0]!r})"
        )
