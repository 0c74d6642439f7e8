"""espeak-ng, driven through ctypes: marked-up text → samples and the times of its marks.

The synthesiser carries hidden state from one text to the next, so the same text sounds slightly different later on.
`synthesise` therefore runs a whole list of texts in a process of its own, from a fresh start and in order: the same
list gives the same samples, always. This module is that process's program too.
"""

from __future__ import annotations

__all__ = ["RATE", "Spoken", "Text", "espeak_version", "synthesise"]

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError, MissingDependencyError

RATE = 22_050
"""Samples per second of the synthesiser."""

_SYNCHRONOUS, _CHARACTERS, _UTF8, _SSML = 2, 1, 1, 16
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "range": 4}
_END_OF_LIST, _MARK = 0, 3


@dataclass(frozen=True, kw_only=True)
class Text:
    """One stretch of speech: SSML with `<mark name="…"/>`, and the voice and settings it is said with."""

    ssml: str
    voice: str
    """Language and variant, as in `en-us+f2`."""
    rate: int
    """Words per minute, 80–450."""
    volume: int
    """0–200, 100 is plain."""
    pitch: int
    """0–99, 50 is plain."""
    range: int
    """Movement of the pitch, 0–99, 50 is plain."""


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """What came of one Text: samples at RATE, shape (samples,), and the sample at which each mark was passed."""

    samples: NDArray[np.int16]
    marks: dict[str, int]


def espeak_version() -> str:
    """Version of the package that carries espeak-ng. Raises MissingDependencyError when it is not installed."""
    try:
        return metadata.version("espeakng-loader")
    except metadata.PackageNotFoundError as error:
        raise MissingDependencyError("the demo corpus is rendered by espeak-ng: pip install 'emsweep[demo]'") from error


def synthesise(texts: Sequence[Text], *, scratch: Path) -> list[Spoken]:
    """Say the texts in order, in a fresh process that leaves its result in the folder `scratch`.

    Raises MissingDependencyError when espeak-ng is not installed and BadInputError when it does not do as asked.
    """
    espeak_version()
    result = scratch / "spoken.npz"
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name if __spec__ else __name__, str(result)],
        input=json.dumps([asdict(text) for text in texts]),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise BadInputError(f"espeak-ng failed: {last}")
    with np.load(result) as content:
        pieces = np.split(content["samples"], content["ends"][:-1])
        marks = json.loads(str(content["marks"]))
    return [Spoken(samples=samples_T, marks=passed) for samples_T, passed in zip(pieces, marks, strict=True)]


class _Identifier(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """`espeak_EVENT` of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identifier),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Synthesiser:
    """The library in this process; there can be only one."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
        if rate != RATE:
            raise BadInputError(f"espeak_Initialize: returned rate {rate}, expected {RATE}")
        self._buffers: list[NDArray[np.int16]] = []
        self._marks: dict[str, int] = {}
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: Text) -> Spoken:
        self._buffers, self._marks = [], {}
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # breath is noise, seeded by the time otherwise
        if self._library.espeak_SetVoiceByName(text.voice.encode()) != 0:
            raise BadInputError(f"espeak-ng has no voice {text.voice!r}")
        for name, number in _PARAMETERS.items():
            if self._library.espeak_SetParameter(number, getattr(text, name), 0) != 0:
                raise BadInputError(f"espeak-ng refuses {name} {getattr(text, name)}")
        content = text.ssml.encode()
        flags = _UTF8 | _SSML
        status = self._library.espeak_Synth(content, len(content) + 1, 0, _CHARACTERS, 0, flags, None, None)
        if status != 0 or self._library.espeak_Synchronize() != 0 or not self._buffers:
            raise BadInputError(f"espeak-ng could not say {text.ssml!r} (status {status})")
        if len(self._marks) != text.ssml.count("<mark "):
            raise BadInputError(f"espeak-ng passed only the marks {list(self._marks)} of {text.ssml!r} ({text.voice})")
        return Spoken(samples=np.concatenate(self._buffers), marks=self._marks)

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count > 0:
            self._buffers.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != _END_OF_LIST:
            if events[index].type == _MARK:
                self._marks[events[index].id.name.decode()] = events[index].sample
            index += 1
        return 0


def _main(result: Path) -> None:
    synthesiser = _Synthesiser()
    spoken = [synthesiser.say(Text(**text)) for text in json.load(sys.stdin)]
    samples_T = np.concatenate([piece.samples for piece in spoken])
    ends = np.cumsum([len(piece.samples) for piece in spoken])
    np.savez(result, samples=samples_T, ends=ends, marks=np.array(json.dumps([piece.marks for piece in spoken])))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
