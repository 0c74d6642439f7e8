"""The published counts of IEMOCAP (Busso et al. 2008), and how the turns found on disk differ from them."""

from __future__ import annotations

__all__ = ["CLASSES", "MERGED", "PER_CLASS", "PER_SESSION", "PER_TAG", "Tally"]

from collections import Counter
from collections.abc import Mapping, Sequence

from core.config import LabelSet
from core.corpora.checks import Candidate

CLASSES = ("ang", "hap", "neu", "sad")

MERGED: Mapping[str, str] = {"ang": "ang", "exc": "hap", "hap": "hap", "neu": "neu", "sad": "sad"}
"""Majority tag → class of the usual four, in which excitement counts as happiness."""

PER_CLASS: Mapping[str, tuple[int, int, int, int]] = {
    "Session1": (229, 278, 384, 194),
    "Session2": (137, 327, 362, 197),
    "Session3": (240, 286, 320, 305),
    "Session4": (327, 303, 258, 143),
    "Session5": (170, 442, 384, 245),
}
"""Turns per session in the order of CLASSES; by session and class no other counts are published."""

PER_SESSION: Mapping[str, int] = {
    "Session1": 1819, "Session2": 1811, "Session3": 2136, "Session4": 2103, "Session5": 2170,
}  # fmt: skip
"""All turns, whatever their tag."""

PER_TAG: Mapping[str, int] = {
    "ang": 1103, "dis": 2, "exc": 1041, "fea": 40, "fru": 1849, "hap": 595, "neu": 1708, "oth": 3, "sad": 1084,
    "sur": 107, "xxx": 2507,
}  # fmt: skip
"""All turns by majority tag (`xxx`: no majority), in all sessions together."""

_TOLD_APART: Mapping[LabelSet, tuple[str, ...]] = {
    "merged-4": (),
    "plain-4": ("exc", "hap"),
    "excited-5": ("exc", "hap"),
    "frustrated-5": ("fru",),
    "dimensions": ("dis", "exc", "fea", "fru", "hap", "oth", "sur", "xxx"),
}
"""The tags on which a label set depends beyond the four merged classes."""

Count = tuple[str, int, int]
"""What is counted; how many were found; how many are published."""


class Tally:
    """Found and published counts of the whole tree, as far as a label set depends on them.

    `turns` are all turns, with their majority tags as labels.
    """

    def __init__(self, turns: Sequence[Candidate], label_set: LabelSet) -> None:
        self._classes = Counter((turn.session, MERGED[turn.label]) for turn in turns if turn.label in MERGED)
        self._tags = Counter(turn.label for turn in turns)
        self._turns = Counter(turn.session for turn in turns)
        self._sessions = sorted({*PER_SESSION, *self._turns})
        self._told_apart = _TOLD_APART[label_set]
        self._all_turns = label_set == "dimensions"

    def differences(self) -> list[str]:
        """One phrase for each count that is not the published one."""
        counts = [
            (f"{session} {name}", have, want)
            for session in self._sessions
            for name, have, want in [*self._of_classes(session), *self._of_turns(session)]
        ]
        counts += [(f"tag {tag}", self._tags[tag], PER_TAG[tag]) for tag in self._told_apart]
        return [f"{name} {have} of {want}" for name, have, want in counts if have != want]

    def comparison(self) -> list[str]:
        """The counts as lines of a table, each as found/published."""
        rows: list[list[str]] = []
        for session in self._sessions:
            of_classes = self._of_classes(session)
            total = ("all", sum(have for _, have, _ in of_classes), sum(want for _, _, want in of_classes))
            counts = [*of_classes, total, *self._of_turns(session)]
            if not rows:
                rows.append(["found/published", *(name for name, _, _ in counts)])
            rows.append([session, *(f"{have}/{want}" for _, have, want in counts)])
        lines = [f"{row[0]:<16}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in rows]
        tags = ", ".join(f"{tag} {self._tags[tag]}/{PER_TAG[tag]}" for tag in self._told_apart)
        return [*lines, f"by tag: {tags}"] if tags else lines

    def _of_classes(self, session: str) -> list[Count]:
        happy = "hap+exc" if "exc" in self._told_apart else "hap"
        want = PER_CLASS.get(session, (0, 0, 0, 0))
        return [
            (happy if name == "hap" else name, self._classes[session, name], n)
            for name, n in zip(CLASSES, want, strict=True)
        ]

    def _of_turns(self, session: str) -> list[Count]:
        return [("turns", self._turns[session], PER_SESSION.get(session, 0))] if self._all_turns else []
