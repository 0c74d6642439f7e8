"""Frame states made by hand: utterances whose pauses hold other states than their speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.frames import Frames, StatesFile
from core.probe import FoldIndex
from core.spoken_frames import SpokenFrames

CLASSES = ("ang", "neu", "sad")
LAYERS, HIDDEN = 2, 4


def write_states(folder: Path, *, utterances: int = 45, changed: frozenset[int] = frozenset()) -> Frames:
    """States that tell the class in speech and mislead in pauses, 4 to 13 positions each.

    `changed`: places of utterances with wholly different states, of the same length.
    """
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    with StatesFile(folder, layers=range(LAYERS), hidden=HIDDEN, hop_s=0.02) as file:
        for place in range(utterances):
            states_PLH = 0.5 * rng.normal(size=(int(rng.integers(4, 14)), LAYERS, HIDDEN))
            spoken_P = speech_of(len(states_PLH))
            states_PLH[spoken_P, 1, place % 3] += 1.0
            states_PLH[~spoken_P, :, (place // 3) % 3] += 3.0
            file.append(f"u{place:02d}", -states_PLH if place in changed else states_PLH)
    return Frames.open(folder)


def speech_of(positions: int) -> np.ndarray:
    """The first and the last position are a pause."""
    return (np.arange(positions) > 0) & (np.arange(positions) < positions - 1)


def with_speech(frames: Frames) -> SpokenFrames:
    speech_F = np.concatenate([speech_of(int(length)) for length in frames.lengths])
    return SpokenFrames(frames=frames, speech_F=speech_F, speechless=0, left_out=int((~speech_F).sum()))


def labels_of(frames: Frames) -> list[str]:
    return [CLASSES[place % 3] for place in range(len(frames.utterances))]


def folds_of(frames: Frames) -> list[FoldIndex]:
    thirds = np.array_split(np.arange(len(frames.utterances)), 3)
    return [
        FoldIndex(name=f"fold{k}", train=thirds[k], validation=thirds[(k + 1) % 3], test=thirds[(k + 2) % 3])
        for k in range(3)
    ]
