from __future__ import annotations

import numpy as np
import pytest
import soundfile

from core.config import StrengthNetConfig
from core.corpora.manifest import Manifest, Utterance
from core.errors import BadInputError
from core.intensity.spectrograms import (
    MARGIN,
    REFERENCE_LEVEL,
    SPEECH_LEVEL,
    Spectrograms,
    magnitude_mel,
    make_spectrograms,
    peak_level,
    speech_frames,
)
from core.store import Workspace


def _manifest(folder, recordings):
    utterances = []
    for name, (speaker, samples) in recordings.items():
        soundfile.write(folder / f"{name}.wav", samples, 16_000, subtype="FLOAT")
        utterances.append(
            Utterance(
                utterance=name,
                path=folder / f"{name}.wav",
                speaker=speaker,
                session="1",
                label="neu",
                content=name,
                duration_s=len(samples) / 16_000,
            )
        )
    return Manifest(corpus="table", part="main", classes=("neu",), utterances=tuple(utterances))


def _open(manifest, folder, *, equal_level=False, **settings) -> Spectrograms:
    artifact = make_spectrograms(manifest, Workspace.at(folder / "w"))
    return Spectrograms.open(artifact.path, StrengthNetConfig(**settings), equal_level=equal_level)


def _slaney_mel(hz: np.ndarray) -> np.ndarray:
    """Slaney's scale: linear to 1 kHz (200/3 Hz per mel), then 27 mels per factor 6.4."""
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1) / 1000) / np.log(6.4))


def test_a_frame_is_mel_weighted_magnitudes_by_the_textbook():
    samples = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    mel = magnitude_mel(samples)
    assert mel.shape == (1 + 4000 // 256, 80)
    frame = 5
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(512) / 511)
    magnitudes = np.abs(np.fft.rfft(samples[256 * frame - 256 : 256 * frame + 256] * window))
    points = np.interp(
        np.linspace(0, _slaney_mel(np.array(8000.0)), 82), _slaney_mel(np.arange(8001.0)), np.arange(8001.0)
    )
    bins = np.linspace(0, 8000, 257)
    for band in range(80):
        low, centre, high = points[band : band + 3]
        triangle = np.maximum(0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
        assert mel[frame, band] == pytest.approx((triangle * 2 / (high - low)) @ magnitudes, rel=2e-2, abs=1e-4)


def test_it_is_linear_in_the_level():
    samples = np.random.default_rng(1).standard_normal(3000).astype(np.float32)
    np.testing.assert_allclose(magnitude_mel(3 * samples), 3 * magnitude_mel(samples), rtol=1e-4)


def test_peak_level_is_the_rms_of_the_loudest_stretch_whatever_silence_surrounds_it():
    tone = 0.5 * np.sin(2 * np.pi * np.arange(16_000) / 16)
    level = peak_level(np.concatenate([np.zeros(8000), tone, np.zeros(30_000)]).astype(np.float32))
    assert level == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)


def test_speakers_are_brought_to_one_level_but_keep_their_own_louder_and_softer(tmp_path):
    random = np.random.default_rng(2)
    noise = random.standard_normal(8000).astype(np.float32)
    manifest = _manifest(
        tmp_path,
        {
            "a0": ("near", 0.1 * noise), "a1": ("near", 0.2 * noise), "a2": ("near", 0.4 * noise),
            "b0": ("far", 0.001 * noise), "b1": ("far", 0.002 * noise), "b2": ("far", 0.004 * noise),
        },
    )  # fmt: skip
    spectrograms = _open(manifest, tmp_path)
    assert spectrograms.utterances == ("a0", "a1", "a2", "b0", "b1", "b2")
    assert spectrograms.lengths.tolist() == [32] * 6
    for place in range(3):
        np.testing.assert_allclose(spectrograms.mel(place), spectrograms.mel(place + 3), rtol=1e-4)
    np.testing.assert_allclose(spectrograms.mel(2), 4 * spectrograms.mel(0), rtol=1e-4)
    np.testing.assert_allclose(
        spectrograms.mel(1), magnitude_mel(noise * REFERENCE_LEVEL / peak_level(noise)), rtol=1e-3
    )
    np.testing.assert_array_equal(spectrograms.mel(1, start=3, frames=5), spectrograms.mel(1)[3:8])


def _speech_level(mel: np.ndarray) -> float:
    energy = (mel.astype(float) ** 2).sum(axis=1)
    return float(np.sqrt(energy[energy >= 1e-3 * np.percentile(energy, 95)].mean()))


def _noises(*levels: float, silence: int = 0) -> dict[str, tuple[str, np.ndarray]]:
    random = np.random.default_rng(4)
    pause = 1e-6 * random.standard_normal(silence).astype(np.float32)
    return {
        f"u{place}": (
            f"s{place % 2}",
            np.concatenate([pause, level * random.standard_normal(8000).astype(np.float32), pause]),
        )
        for place, level in enumerate(levels)
    }


def test_utterances_can_be_brought_to_one_level_of_their_speech_whatever_silence_is_around(tmp_path):
    recordings = _noises(0.1, 0.01, 0.002) | {"v": ("s0", _noises(0.2, silence=20_000)["u0"][1])}
    spectrograms = _open(_manifest(tmp_path, recordings), tmp_path, level="utterance")
    for place in range(4):
        assert _speech_level(spectrograms.mel(place)) == pytest.approx(SPEECH_LEVEL, rel=1e-4)


def test_equal_level_takes_a_speakers_own_louder_and_softer_away(tmp_path):
    manifest = _manifest(tmp_path, _noises(0.1, 0.3, 0.4, 0.002, 0.2, 0.02))
    kept, equal = _open(manifest, tmp_path), _open(manifest, tmp_path, equal_level=True)
    for speaker in range(2):
        own = range(speaker, 6, 2)
        levels = [_speech_level(kept.mel(place)) for place in own]
        assert max(levels) / min(levels) > 1.5
        made_equal = [_speech_level(equal.mel(place)) for place in own]
        np.testing.assert_allclose(made_equal, made_equal[0], rtol=1e-4)
        assert made_equal[0] == pytest.approx(np.median(levels), rel=0.1)


def test_the_log_scale_is_relative_to_the_speakers_mean_of_each_band_over_speech(tmp_path):
    manifest = _manifest(tmp_path, _noises(0.1, 0.3, 0.2, 0.1, silence=4000))
    plain, logs = _open(manifest, tmp_path), _open(manifest, tmp_path, scale="log")
    for speaker in range(2):
        heard, speech = [], []
        for place in (speaker, speaker + 2):
            mel = plain.mel(place)
            heard.append(np.log(1 + 100 * mel.astype(float)))
            speech.append(
                (mel.astype(float) ** 2).sum(axis=1) >= 1e-3 * np.percentile((mel.astype(float) ** 2).sum(axis=1), 95)
            )
        mean = np.concatenate([rows[kept] for rows, kept in zip(heard, speech, strict=True)]).mean(axis=0)
        for place, rows in zip((speaker, speaker + 2), heard, strict=True):
            np.testing.assert_allclose(logs.mel(place), rows - mean, atol=1e-4)
    np.testing.assert_array_equal(logs.mel(1, start=3, frames=5), logs.mel(1)[3:8])


def test_trimming_leaves_a_margin_around_the_speech_and_the_times_are_the_recordings(tmp_path):
    manifest = _manifest(tmp_path, _noises(0.1, silence=16_000))
    whole, trimmed = _open(manifest, tmp_path), _open(manifest, tmp_path, trim=True)
    energy = (whole.mel(0).astype(float) ** 2).sum(axis=1)
    speech = np.flatnonzero(energy >= 1e-3 * np.percentile(energy, 95))
    assert trimmed.starts.tolist() == [speech[0] - MARGIN]
    assert trimmed.lengths.tolist() == [speech[-1] + 1 - speech[0] + 2 * MARGIN]
    assert speech[0] == pytest.approx(16_000 / 256, abs=2)
    np.testing.assert_array_equal(trimmed.mel(0), whole.mel(0)[speech[0] - MARGIN : speech[-1] + 1 + MARGIN])
    np.testing.assert_allclose(trimmed.times(0), 0.016 * np.arange(speech[0] - MARGIN, speech[-1] + 1 + MARGIN))
    np.testing.assert_allclose(whole.times(0), 0.016 * np.arange(whole.lengths[0]))
    near_the_ends = _open(_manifest(tmp_path, _noises(0.1, silence=300)), tmp_path, trim=True)
    assert near_the_ends.starts.tolist() == [0]
    assert near_the_ends.lengths.tolist() == [1 + 8600 // 256]


def test_speech_is_what_lies_within_thirty_decibels_of_the_loud_frames():
    energy = np.array([1.0] * 20 + [0.0011, 0.0009, 0.0])
    assert speech_frames(energy).tolist() == [True] * 21 + [False, False]
    assert speech_frames(np.zeros(4)).all()


def test_too_short_and_silent_are_refused(tmp_path):
    noise = np.random.default_rng(3).standard_normal(511).astype(np.float32)
    with pytest.raises(BadInputError, match=r"a\.wav: 511 samples, StrengthNet needs at least 512"):
        make_spectrograms(_manifest(tmp_path, {"a": ("x", noise)}), Workspace.at(tmp_path / "w"))
    silent = _manifest(tmp_path, {"b": ("x", np.zeros(2000, dtype=np.float32))})
    with pytest.raises(BadInputError, match="speaker 'x' is silent"):
        make_spectrograms(silent, Workspace.at(tmp_path / "w"))
