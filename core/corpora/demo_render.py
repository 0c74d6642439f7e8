"""The demo corpus as heard: script → espeak-ng → rooms and noise → a folder of IEMOCAP's shape, and the ground truth
of where the emotion lies (all of it ours).
"""

from __future__ import annotations

__all__ = ["PLANTED_FILE", "render"]

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.corpora.demo_script import PLAIN_SHARE, SEED, Clause, Line, Word
from core.corpora.espeak import RATE, Spoken, Text, synthesise
from core.seeding import stream
from core.units import SAMPLE_RATE

PLANTED_FILE = "planted_intensity.json"

_RATE_CHANGE = {"ang": 0.25, "hap": 0.14, "neu": 0.0, "sad": -0.26}
_PITCH_CHANGE = {"ang": 10.0, "hap": 26.0, "neu": 0.0, "sad": -18.0}
_RANGE_CHANGE = {"ang": 24.0, "hap": 38.0, "neu": 0.0, "sad": -30.0}
_VOLUME_CHANGE = {"ang": 1.0, "hap": 0.4, "neu": 0.0, "sad": -0.45}
_EFFORT_CHANGE = {"ang": 0.45, "hap": 0.2, "neu": 0.0, "sad": -0.5}
"""At intensity 1: share of the rate, points of pitch and range, share of the volume, and vocal effort as the
coefficient c of the tilt (x[t] − c · x[t−1]) / (1 − c), which raises (or lowers) what lies above some 500 Hz."""

_PLAIN_STRESS = 0.2
"""Share of the volume that stress adds in every class."""


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """A word's place in the utterance, in seconds."""

    start: float
    end: float
    word: Word


def render(lines: Sequence[Line], folder: Path, *, scratch: Path) -> None:
    """Write the utterances below `folder`: 16 kHz 16-bit WAVs, label and transcript files, `planted_intensity.json`.

    The same lines give the same bytes. Raises MissingDependencyError when espeak-ng is not installed.
    """
    import soundfile

    clauses = [(line, clause) for line in lines for clause in line.clauses]
    spoken = iter(synthesise([_text(line, clause) for line, clause in clauses], scratch=scratch))
    planted: dict[str, list[dict[str, float | bool | str]]] = {}
    durations: dict[str, float] = {}
    for line in lines:
        signal_T, placed = _assemble(line, [next(spoken) for _ in line.clauses])
        samples_T = _record(line, signal_T)
        path = _session(folder, line) / "sentences" / "wav" / _dialog(line) / f"{line.utterance}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples_T, SAMPLE_RATE, subtype="PCM_16")
        durations[line.utterance] = len(samples_T) / SAMPLE_RATE
        planted[line.utterance] = [
            {
                "start": round(place.start, 4),
                "end": round(place.end, 4),
                "words": place.word.text,
                "emphasised": place.word.stressed and place.word.intensity > 0,
                "intensity": round(place.word.intensity, 4),
            }
            for place in placed
        ]
    _write_labels(lines, folder, durations)
    (folder / PLANTED_FILE).write_text(json.dumps(planted, indent=1), encoding="utf-8")


def _text(line: Line, clause: Clause) -> Text:
    """Plain words are said with the clause's settings; stressed ones carry prosody tags relative to them.

    A mark stands before every word group. (Tags on every word would be too many for espeak-ng: it drops the marks.)
    """
    voice, label, plain = line.voice, line.label, PLAIN_SHARE * line.strength
    words = []
    for number, word in enumerate(clause.words):
        mark = f'<mark name="{number}"/>'
        words.append(mark + (_stress(word.text, label, line.strength - plain) if word.stressed else word.text))
    return Text(
        ssml=f"<speak>{' '.join(words)}.</speak>",
        voice=voice.espeak,
        rate=round(voice.rate * line.rate_slip * (1 + plain * _RATE_CHANGE[label])),
        volume=round(55 * line.volume_slip * (1 + plain * _VOLUME_CHANGE[label])),
        pitch=round(voice.pitch + line.pitch_slip + plain * _PITCH_CHANGE[label]),
        range=round(voice.range + plain * _RANGE_CHANGE[label]),
    )


def _stress(text: str, label: str, more: float) -> str:
    """The word with `more` intensity than its surroundings, and the stress that every class has."""
    rate = 100 * (1 + more * _RATE_CHANGE[label])
    volume = 100 * (1 + more * _VOLUME_CHANGE[label]) * (1 + _PLAIN_STRESS)
    pitch, span = more * _PITCH_CHANGE[label], 100 + 2 * more * _RANGE_CHANGE[label]
    return (
        f'<prosody rate="{rate:.0f}%" volume="{volume:.0f}%" pitch="{pitch:+.0f}%" range="{span:.0f}%">{text}</prosody>'
    )


def _assemble(line: Line, spoken: Sequence[Spoken]) -> tuple[NDArray[np.float64], list[_Placed]]:
    """Clauses and exact silences in a row at the synthesiser's rate, full scale 1, and the place of each word."""
    pieces: list[NDArray[np.float64]] = []
    placed: list[_Placed] = []
    done = 0
    for clause, said in zip(line.clauses, spoken, strict=True):
        silence = round(clause.silence_s * RATE)
        voiced_T = _without_tail(said.samples)
        pieces += [np.zeros(silence), voiced_T / 32768]
        marks = [*(said.marks[str(number)] for number in range(len(clause.words))), len(voiced_T)]
        done += silence
        for word, first, last in zip(clause.words, marks[:-1], marks[1:], strict=True):
            placed.append(_Placed(start=(done + first) / RATE, end=(done + last) / RATE, word=word))
        done += len(voiced_T)
    pieces.append(np.zeros(round(line.silence_s * RATE)))
    return _with_effort(np.concatenate(pieces), placed, _EFFORT_CHANGE[line.label]), placed


def _with_effort(signal_T: NDArray[np.float64], placed: Sequence[_Placed], change: float) -> NDArray[np.float64]:
    """The signal with each word's vocal effort; it passes from one to the next within 20 ms."""
    effort_T = np.zeros(len(signal_T))
    for place in placed:
        effort_T[round(place.start * RATE) : round(place.end * RATE)] = change * place.word.intensity
    width = RATE // 50
    effort_T = np.convolve(effort_T, np.full(width, 1 / width), mode="same")
    before_T = np.concatenate([np.zeros(1), signal_T[:-1]])
    return np.asarray((signal_T - effort_T * before_T) / (1 - effort_T))


def _without_tail(samples_T: NDArray[np.int16]) -> NDArray[np.float64]:
    """The clause without espeak-ng's own silence at its end: silences here are those of the script."""
    loud = np.flatnonzero(np.abs(samples_T.astype(np.int32)) > 30)
    return samples_T[: loud[-1] + 1].astype(np.float64)


def _record(line: Line, signal_T: NDArray[np.float64]) -> NDArray[np.int16]:
    """The signal as the speaker's microphone has it: at SAMPLE_RATE, with room, noise and level."""
    from scipy.signal import lfilter, resample_poly

    voice = line.voice
    resampled_T = resample_poly(signal_T, 320, 441)  # 16000 / 22050; in float64, so that rounding hides the platform
    noise_T = stream(SEED, "demo-noise", line.utterance).normal(0, voice.noise, len(resampled_T))
    noise_T = np.asarray(lfilter([0.3], [1, -0.7], noise_T))
    heard_T = np.asarray(lfilter([1, -voice.tilt], [1], resampled_T)) + noise_T
    samples_T = np.rint(heard_T * voice.gain * 32768)
    if np.abs(samples_T).max() > 32767:
        raise ValueError(f"{line.utterance}: rendered beyond full scale ({np.abs(samples_T).max() / 32768:.2f})")
    return samples_T.astype(np.int16)


def _session(folder: Path, line: Line) -> Path:
    return folder / f"Session{line.voice.session}"


def _dialog(line: Line) -> str:
    return line.utterance.rpartition("_")[0]


def _write_labels(lines: Sequence[Line], folder: Path, durations: dict[str, float]) -> None:
    dialogs: dict[Path, list[Line]] = {}
    for line in lines:
        dialogs.setdefault(_session(folder, line) / "dialog" / "EmoEvaluation" / f"{_dialog(line)}.txt", []).append(
            line
        )
    for path, turns in dialogs.items():
        labels, words, now = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""], [], 0.0
        for turn in sorted(turns, key=lambda line: line.utterance):
            end = now + durations[turn.utterance]
            scores = f"[{turn.valence:.4f}, {turn.activation:.4f}, {turn.dominance:.4f}]"
            labels.append(f"[{now:.4f} - {end:.4f}]\t{turn.utterance}\t{turn.label}\t{scores}")
            words.append(f"{turn.utterance} [{now:08.4f}-{end:08.4f}]: {turn.transcript}")
            now = end
        transcripts = path.parents[1] / "transcriptions" / path.name
        for file, content in ((path, labels), (transcripts, words)):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(content) + "\n", encoding="utf-8")
