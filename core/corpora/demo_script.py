"""The demo corpus as written: who says what, how, and where the emotion lies. All of it ours; only draws, no audio.

Emotion is carried by a few emphasised words: they take on their class's full change of pitch, rate, volume and effort,
the rest of the utterance about a third of it. Sad emphasis is slower, lower and softer, so loudness is not intensity.
Neutral utterances stress a word as well, but plainly: emphasis alone is not emotion either.
"""

from __future__ import annotations

__all__ = ["MAIN", "PLAIN_SHARE", "Clause", "Line", "Part", "Voice", "Word", "voices", "write_script"]

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from core.corpora.iemocap import CLASSES
from core.seeding import stream

SEED = 2406

PLAIN_SHARE = 0.35
"""Share of the emotion that words without emphasis carry."""

SECOND_CLAUSE = 0.45
"""Probability that an utterance has two clauses."""

LONG_SILENCE = 0.35
"""Probability that a pause between two clauses is a long one."""

WRONG_WORD = 0.2
"""Probability that an emphasised word comes from another class's words."""

Part = Literal["main", "intensity", "noisy", "pauses"]


@dataclass(frozen=True, kw_only=True)
class _Made:
    """How much of a part there is, how it was rated, and how long it is silent."""

    utterances: int
    """Per speaker; four of each class, and the rest at random."""
    dialog: int
    """Number of the first of a session's two dialogs."""
    deviation: float
    """Standard deviation of a rating, in points of the five-point scale."""
    step: float
    """Ratings are rounded to multiples of it."""
    silences_s: tuple[float, float] | None = None
    """Range that each silence is drawn from, in seconds; None: as the clauses have them."""


_MADE: Mapping[Part, _Made] = {
    "main": _Made(utterances=24, dialog=1, deviation=0.3, step=0.5),
    "intensity": _Made(utterances=18, dialog=1, deviation=0.3, step=0.5),
    "noisy": _Made(utterances=96, dialog=3, deviation=1.2, step=1.0),
    "pauses": _Made(utterances=40, dialog=5, deviation=0.3, step=0.5, silences_s=(0.2, 2.5)),
}
"""Rated as the mean of two careful raters; `noisy` by one careless one, as on a crowd's platform. In `pauses` some
utterances are nearly all speech and others nearly all silence, whatever their class."""


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One speaker: an espeak-ng voice with habits, a room and a recording level."""

    speaker: str
    espeak: str
    pitch: int
    rate: int
    range: int
    gain: float
    noise: float
    """Standard deviation of the background noise, full scale 1, before `gain`."""
    tilt: float
    """Coefficient of the first-order filter y[t] = x[t] − tilt · x[t−1] that stands for microphone and room."""

    @property
    def session(self) -> int:
        return int(self.speaker[3:5])


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word to be stressed, or a run of words that is not."""

    text: str
    stressed: bool
    intensity: float
    """0–1: how much of its class's emotion these words carry; 0 throughout neutral utterances."""


@dataclass(frozen=True, kw_only=True)
class Clause:
    """Words said in one breath, and the silence before them, in seconds."""

    words: tuple[Word, ...]
    silence_s: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """One utterance: the clauses, the closing silence, its labels, and its slips from the speaker's habits."""

    utterance: str
    voice: Voice
    label: str
    activation: float
    valence: float
    dominance: float
    meant: tuple[float, float, float]
    """Activation, valence and dominance as they were planted, before they were rated; the same scale, not clipped."""
    clauses: tuple[Clause, ...]
    silence_s: float
    strength: float
    """0–1: intensity of the stressed words; 0 for neutral utterances."""
    pitch_slip: int
    rate_slip: float
    volume_slip: float

    @property
    def transcript(self) -> str:
        return " ".join(" ".join(word.text for word in clause.words) + "." for clause in self.clauses)


def _voice(speaker: str, espeak: str, habits: tuple[int, int, int], room: tuple[float, float, float]) -> Voice:
    pitch, rate, span = habits
    gain, noise, tilt = room
    return Voice(speaker=speaker, espeak=espeak, pitch=pitch, rate=rate, range=span, gain=gain, noise=noise, tilt=tilt)


MAIN: tuple[Voice, ...] = (
    _voice("Ses01F", "en-us+f2", (50, 198, 50), (0.52, 0.0040, 0.10)),
    _voice("Ses01M", "en-us+m3", (46, 189, 46), (0.56, 0.0050, 0.12)),
    _voice("Ses02F", "en-gb-scotland+f1", (44, 182, 42), (0.46, 0.0060, 0.20)),
    _voice("Ses02M", "en+m1", (55, 207, 55), (0.48, 0.0060, 0.18)),
    _voice("Ses03F", "en-us-nyc+f3", (58, 214, 58), (0.58, 0.0035, 0.00)),
    _voice("Ses03M", "en-gb-x-rp+m7", (42, 175, 40), (0.60, 0.0040, 0.05)),
    _voice("Ses04F", "en-029+f4", (52, 193, 48), (0.44, 0.0080, 0.25)),
    _voice("Ses04M", "en-us+m2", (48, 202, 52), (0.45, 0.0070, 0.22)),
    _voice("Ses05F", "en-gb-x-gbclan+linda", (47, 186, 54), (0.50, 0.0050, 0.15)),
    _voice("Ses05M", "en+m5", (53, 179, 44), (0.52, 0.0055, 0.05)),
)
"""The speakers of the part `main`: five sessions of a woman and a man each, who share a room."""

_INTENSITY: tuple[Voice, ...] = (
    _voice("Ses06F", "en-gb-x-rp+Annie", (50, 191, 50), (0.50, 0.0040, 0.10)),
    _voice("Ses06M", "en-us+adam", (50, 195, 48), (0.53, 0.0050, 0.12)),
    _voice("Ses07F", "en-us+steph", (46, 205, 54), (0.47, 0.0060, 0.22)),
    _voice("Ses07M", "en-029+m4", (54, 184, 44), (0.46, 0.0060, 0.20)),
    _voice("Ses08F", "en+belinda", (53, 200, 46), (0.56, 0.0040, 0.02)),
    _voice("Ses08M", "en-gb-scotland+m8", (47, 182, 52), (0.58, 0.0050, 0.05)),
)

_WORDS: Mapping[str, Mapping[str, float]] = {
    "ang": {"outrageous": -0.8, "disgusting": -0.9, "stupid": -0.7, "ridiculous": -0.6, "useless": -0.7, "awful": -0.8},
    "hap": {"wonderful": 0.9, "brilliant": 0.8, "lovely": 0.8, "fantastic": 0.9, "perfect": 0.8, "delightful": 0.8},
    "neu": {"ordinary": 0.0, "usual": 0.0, "regular": 0.0, "grey": -0.1, "recent": 0.1, "second": 0.0},
    "sad": {"lonely": -0.7, "hopeless": -0.8, "miserable": -0.8, "broken": -0.6, "empty": -0.5, "painful": -0.7},
}
"""Adjectives and their valence, −1 to 1."""

_CLAUSES = (
    "we talked about that {} letter",
    "they showed me the {} garden again",
    "it was a {} evening at the station",
    "my brother had a {} week",
    "you never told me about the {} meeting",
    "she gave us a {} answer",
    "that was the {} part of the story",
    "this {} house belongs to my aunt",
    "he brought his {} dog along",
    "the {} journey took all day",
    "I keep thinking of that {} song",
    "nobody expected such a {} {} morning",
    "what a {} and {} idea",
    "the {} door and the {} window",
)

_ACTIVATION = {"ang": 1.5, "hap": 1.0, "neu": -0.3, "sad": -1.3}
_VALENCE = {"ang": -0.8, "hap": 0.8, "neu": 0.0, "sad": -0.6}
_DOMINANCE = {"ang": 1.2, "hap": 0.4, "neu": 0.0, "sad": -1.0}


def voices(part: Part) -> tuple[Voice, ...]:
    """The speakers of a part; `intensity` shares neither speaker nor espeak-ng voice with the others."""
    return _INTENSITY if part == "intensity" else MAIN


def write_script(part: Part) -> tuple[Line, ...]:
    """Every utterance of a part, by speaker; the same on every call."""
    return tuple(line for voice in voices(part) for line in _write_speaker(voice, part))


def _write_speaker(voice: Voice, part: Part) -> list[Line]:
    made = _MADE[part]
    # The parts that share their speakers draw apart.
    rng = stream(SEED, "demo-labels", voice.speaker, *([part] if part in ("noisy", "pauses") else []))
    labels = [*CLASSES * 4, *rng.choice(CLASSES, size=made.utterances - 16, p=(0.2, 0.3, 0.3, 0.2)).tolist()]
    rng.shuffle(labels)
    lines = [_write_line(voice, number, str(label), made) for number, label in enumerate(labels)]
    return lines if made.silences_s is None else [_with_silences(line, made.silences_s) for line in lines]


def _write_line(voice: Voice, number: int, label: str, made: _Made) -> Line:
    dialog, gender = f"Ses{voice.session:02d}F_impro{made.dialog + number % 2:02d}", voice.speaker[-1]
    utterance = f"{dialog}_{gender}{number // 2:03d}"
    rng = stream(SEED, "demo-line", utterance)
    strength = 0.0 if label == "neu" else float(rng.uniform(0.35, 1.0))
    valences: list[float] = []
    frames = rng.choice(_CLAUSES, size=1 + int(rng.random() < SECOND_CLAUSE), replace=False).tolist()
    clauses = tuple(
        _write_clause(rng, label, frame=frame, strength=strength, first=frame == frames[0], valences=valences)
        for frame in frames
    )
    said = 0.6 * (0.4 + 0.6 * strength) * _VALENCE[label] + 0.4 * float(np.mean(valences))
    felt = 0.4 + 0.6 * strength
    meant = (3 + felt * _ACTIVATION[label], 3 + 2 * said, 3 + felt * _DOMINANCE[label])
    activation, valence, dominance = (_rate(rng, value, made) for value in meant)
    return Line(
        utterance=utterance,
        voice=voice,
        label=label,
        activation=activation,
        valence=valence,
        dominance=dominance,
        meant=meant,
        clauses=clauses,
        silence_s=float(rng.uniform(0.2, 0.6)),
        strength=strength,
        pitch_slip=int(rng.integers(-5, 6)),
        rate_slip=float(rng.uniform(0.92, 1.08)),
        volume_slip=float(rng.uniform(0.8, 1.2)),
    )


def _with_silences(line: Line, range_s: tuple[float, float]) -> Line:
    """The line with every silence, before, between and after its clauses, drawn anew."""
    *before, after = stream(SEED, "demo-silences", line.utterance).uniform(*range_s, len(line.clauses) + 1).tolist()
    clauses = tuple(replace(clause, silence_s=silence) for clause, silence in zip(line.clauses, before, strict=True))
    return replace(line, clauses=clauses, silence_s=after)


def _write_clause(
    rng: np.random.Generator, label: str, *, frame: str, strength: float, first: bool, valences: list[float]
) -> Clause:
    """One clause; the valence of each emphasised word is appended to `valences`."""
    pieces = frame.split("{}")
    words = [Word(text=pieces[0].strip(), stressed=False, intensity=PLAIN_SHARE * strength)]
    for piece in pieces[1:]:
        source = str(rng.choice([other for other in CLASSES if other != label])) if rng.random() < WRONG_WORD else label
        chosen = str(rng.choice(list(_WORDS[source])))
        valences.append(_WORDS[source][chosen])
        if words[-1].text.endswith(" a") and chosen[0] in "aeio":
            words[-1] = replace(words[-1], text=words[-1].text + "n")
        words.append(Word(text=chosen, stressed=True, intensity=strength))
        words.append(Word(text=piece.strip(), stressed=False, intensity=PLAIN_SHARE * strength))
    long = not first and rng.random() < LONG_SILENCE
    silence = rng.uniform(0.8, 1.6) if long else rng.uniform(0.15, 0.45)
    return Clause(words=tuple(word for word in words if word.text), silence_s=float(silence))


def _rate(rng: np.random.Generator, value: float, made: _Made) -> float:
    """A rating on the five-point scale."""
    noisy = value + rng.normal(0, made.deviation)
    return float(np.clip(made.step * np.round(noisy / made.step), 1, 5))
