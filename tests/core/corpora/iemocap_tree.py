"""Writes folders of IEMOCAP's shape, with real (tiny) recordings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from tiny_recordings import write_recording

# The published label counts (Busso et al. 2008; the four-class selection of 5,531), typed here a second time.
PER_SESSION = {
    1: {"neu": 384, "hap": 278, "ang": 229, "sad": 194},
    2: {"neu": 362, "hap": 327, "ang": 137, "sad": 197},
    3: {"neu": 320, "hap": 286, "ang": 240, "sad": 305},
    4: {"neu": 258, "hap": 303, "ang": 327, "sad": 143},
    5: {"neu": 384, "hap": 442, "ang": 170, "sad": 245},
}
ALL_LABELLED = {1: 1819, 2: 1811, 3: 2136, 4: 2103, 5: 2170}
HAPPY = 595
OTHERS = {"xxx": 2507, "fru": 1849, "sur": 107, "fea": 40, "oth": 3, "dis": 2}


class Tree:
    """Writes an IEMOCAP-shaped folder turn by turn."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.turns = 0
        self.lines: dict[tuple[int, str], list[str]] = {}

    def add(self, session: int, tag: str, *, audio: bool = True) -> None:
        gender = "FM"[self.turns % 2]
        dialog = f"Ses{session:02d}{'MF'[self.turns // 2 % 2]}_{('impro01', 'script02_2')[self.turns // 4 % 2]}"
        lines = self.lines.setdefault((session, dialog), [])
        turn = f"{dialog}_{gender}{len(lines):03d}"
        lines.append(f"[{self.turns:.4f} - {self.turns + 0.2:.4f}]\t{turn}\t{tag}\t[2.5000, 3.0000, 3.5000]")
        if audio:
            path = self.root / f"Session{session}" / "sentences" / "wav" / dialog / f"{turn}.wav"
            write_recording(path, self.turns)
        self.turns += 1

    def finish(self) -> Path:
        for (session, dialog), lines in self.lines.items():
            folder = self.root / f"Session{session}" / "dialog"
            labels = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
            said = []
            for line in lines:
                turn = line.split("\t")[1]
                labels += [line, "C-E2:\tNeutral;\t()", "A-E3:\tval 3; act 2; dom  2;\t()", ""]
                said.append(f"{turn} [006.2901-008.2357]: What {turn} said.")
            for name, content in (("EmoEvaluation", labels), ("transcriptions", [*said, "M: [LAUGHTER]"])):
                (folder / name).mkdir(parents=True, exist_ok=True)
                (folder / name / f"{dialog}.txt").write_text("\n".join(content) + "\n")
            (folder / "EmoEvaluation" / f"._{dialog}.txt").write_bytes(b"\x00\x05\x16\x07")  # as on the published disc
        return self.root


def spread(counts: dict[str, int]) -> Iterator[str]:
    """Each tag as often as it is counted, taken in turns."""
    for row in zip_longest(*([tag] * count for tag, count in counts.items())):
        yield from (tag for tag in row if tag)


def write_published(root: Path) -> Path:
    """All 10,039 turns, with the published counts by session and class, by session, and by tag."""
    tree = Tree(root)
    happy = 0
    others = spread(OTHERS)
    for session, counts in PER_SESSION.items():
        for label, count in counts.items():
            for _ in range(count):
                tag = label
                if label == "hap":
                    happy += 1
                    tag = "hap" if happy <= HAPPY else "exc"
                tree.add(session, tag)
        for _ in range(ALL_LABELLED[session] - sum(counts.values())):
            tree.add(session, next(others))
    assert tree.turns == 10_039
    assert next(others, None) is None
    return tree.finish()
