"""Decoding: the same samples whatever the container, one channel, one rate, and one line for each broken file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from core.audio import decode, read_audio
from core.errors import BadInputError
from core.units import SAMPLE_RATE


def sine(hertz: float, *, rate: int, seconds: float = 1.0) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def test_wav_and_flac_hold_the_same_samples_exactly(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).integers(-32768, 32768, size=1000, dtype=np.int16)
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, steps, SAMPLE_RATE, subtype="PCM_16")
        samples_T = read_audio(tmp_path / name)
        assert samples_T.dtype == np.float32
        np.testing.assert_array_equal(samples_T, steps.astype(np.float32) / 32768)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = np.full(800, 0.5), np.full(800, -0.25)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "stereo.wav"), np.full(800, 0.125, dtype=np.float32))


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_a_sine_stays_that_sine_at_any_rate(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "sine.wav", sine(440, rate=rate), rate, subtype="FLOAT")
    heard_T = read_audio(tmp_path / "sine.wav")
    assert len(heard_T) == SAMPLE_RATE
    middle = slice(1600, -1600)  # the ends ring: the signal starts and stops abruptly
    np.testing.assert_allclose(heard_T[middle], sine(440, rate=SAMPLE_RATE)[middle], atol=2e-3)


def test_what_the_lower_rate_cannot_hold_is_filtered_out(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "high.wav", sine(12_000, rate=48_000), 48_000, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "high.wav")[1600:-1600]).max() < 1e-3


def test_a_stretch_is_that_stretch(tmp_path: Path) -> None:
    whole_T = np.random.default_rng(1).uniform(-0.9, 0.9, 16_000).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", whole_T, SAMPLE_RATE, subtype="FLOAT")
    path = tmp_path / "long.wav"
    np.testing.assert_array_equal(read_audio(path, start=0.25, end=0.5), whole_T[4000:8000])
    np.testing.assert_array_equal(read_audio(path, start=0.75), whole_T[12_000:])
    np.testing.assert_array_equal(read_audio(path, end=0.1), whole_T[:1600])
    np.testing.assert_array_equal(read_audio(path, start=0.5, end=1.004), whole_T[8000:])  # rounded annotation


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (0.5, 0.5, "start 0.5 s must be at least 0 and before end 0.500 s"),
        (-0.1, None, "start -0.1 s must be at least 0"),
        (1.5, None, "before end 1.000 s"),
        (0.0, 1.1, "end 1.1 s is after the end of the file at 1.000 s"),
    ],
)
def test_a_stretch_outside_the_file_is_an_error(tmp_path: Path, start: float, end: float | None, message: str) -> None:
    soundfile.write(tmp_path / "a.wav", sine(440, rate=SAMPLE_RATE), SAMPLE_RATE)
    with pytest.raises(BadInputError) as caught:
        read_audio(tmp_path / "a.wav", start=start, end=end)
    assert str(caught.value).startswith(f"{tmp_path / 'a.wav'}: ")
    assert message in str(caught.value)


def test_missing_and_undecodable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"absent\.wav: no such file$"):
        decode(tmp_path / "absent.wav")
    (tmp_path / "text.wav").write_text("not audio at all")
    with pytest.raises(BadInputError, match=r"text\.wav: cannot be decoded \([^\n]+\)$"):
        decode(tmp_path / "text.wav")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan, 0.5]), SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(BadInputError, match=r"nan\.wav: holds samples that are NaN or infinite$"):
        decode(tmp_path / "nan.wav")


@pytest.mark.parametrize("name", ["cut.wav", "cut.flac"])
def test_a_file_cut_short_is_not_taken_for_a_shorter_recording(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    soundfile.write(path, np.random.default_rng(2).uniform(-0.5, 0.5, 16_000), SAMPLE_RATE, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInputError, match=rf"{name}: (is cut short|cannot be decoded) \([^\n]+\)$"):
        decode(path)
