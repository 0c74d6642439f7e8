from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from pydantic import ValidationError

from core.config import FeaturesConfig
from core.corpora.manifest import Manifest, Utterance
from core.errors import BadInputError
from core.features import Features, FrameFile, analysis_window, compute_features, make_features
from core.store import Workspace
from core.torchaudio_import import import_torchaudio

DATA = Path(os.environ.get("EMSWEEP_TEST_DATA") or Path(__file__).parents[2] / "../shared/data")


def _speechlike(seconds: float, *, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16_000)) / 16_000
    voice = 0.2 * np.sin(2 * np.pi * 150 * time) * (1 + np.sin(2 * np.pi * 3 * time))
    return (voice + 0.01 * random.standard_normal(len(time))).astype(np.float32)


def _manifest(folder: Path, signals: dict[str, np.ndarray], **stretch: float) -> Manifest:
    utterances = []
    for name, samples in signals.items():
        path = folder / f"{name}.wav"
        soundfile.write(path, samples, 16_000, subtype="FLOAT")
        utterances.append(
            Utterance(
                utterance=name,
                path=path,
                speaker="s",
                session="1",
                label="neu",
                content=name,
                duration_s=len(samples) / 16_000,
                start=stretch.get("start"),
                end=stretch.get("end"),
            )
        )
    return Manifest(corpus="table", part="main", classes=("neu",), utterances=tuple(utterances))


def _kaldi(samples: np.ndarray) -> np.ndarray:
    import_torchaudio()
    from torchaudio.compliance.kaldi import fbank

    return fbank(torch.from_numpy(samples)[None], num_mel_bins=80, dither=0.0, sample_frequency=16_000.0).numpy()


def _delta_by_hand(frames: np.ndarray) -> np.ndarray:
    """Kaldi's regression over two frames to each side: Σ n (x[t+n] − x[t−n]) / Σ 2 n², edges repeated."""
    padded = np.pad(frames, ((2, 2), (0, 0)), mode="edge")
    length = len(frames)
    return sum(n * (padded[2 + n : 2 + n + length] - padded[2 - n : 2 - n + length]) for n in (1, 2)) / 10


def test_features_are_kaldi_fbank_with_two_derivatives_each_normalised_over_the_utterance(tmp_path):
    samples = _speechlike(0.7)
    artifact = make_features(_manifest(tmp_path, {"a": samples}), FeaturesConfig(), Workspace.at(tmp_path / "w"))
    fbank = _kaldi(samples).astype(np.float64)
    delta = _delta_by_hand(fbank)
    expected = np.concatenate([fbank, delta, _delta_by_hand(delta)], axis=1)
    expected = (expected - expected.mean(axis=0)) / expected.std(axis=0)
    made = Features.open(artifact.path).frames("a")
    assert made.dtype == np.float16
    assert made.shape == (1 + (11_200 - 400) // 160, 240)
    np.testing.assert_allclose(made, expected, rtol=2**-10, atol=2e-3)


def test_every_dimension_of_every_utterance_has_mean_0_and_deviation_1():
    features, _ = compute_features(_speechlike(1.0), FeaturesConfig())
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-5)


def test_at_a_fixed_scale_a_frame_is_the_same_whatever_surrounds_it():
    """Normalised over the utterance, speech stands higher the more pause there is, and the mean says nothing."""
    samples = _speechlike(1.0)
    noise = 1e-3 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    paused = np.concatenate([samples, noise])
    speech = slice(0, 90)

    def heard(normalise):
        config = FeaturesConfig(normalise=normalise)
        return compute_features(samples, config)[0], compute_features(paused, config)[0]

    alone, beside = heard("fixed")
    np.testing.assert_array_equal(alone[speech], beside[speech])
    fbank = _kaldi(samples).astype(np.float64)
    delta = _delta_by_hand(fbank)
    by_hand = np.concatenate([(fbank + 8) / 4, delta / 0.7, _delta_by_hand(delta) / 0.3], axis=1)
    np.testing.assert_allclose(alone, by_hand, rtol=1e-4, atol=2e-3)
    alone, beside = heard("utterance")
    assert beside[speech, :80].mean() > alone[speech, :80].mean() + 0.5
    np.testing.assert_allclose(beside.mean(axis=0), 0, atol=1e-5)


def test_a_dimension_that_never_changes_becomes_zero_not_noise():
    features, _ = compute_features(np.zeros(4000, dtype=np.float32), FeaturesConfig())
    assert np.all(features == 0)


def test_energy_is_the_log_of_each_windows_energy_without_its_mean_before_normalisation():
    samples = _speechlike(0.3)
    _, energy = compute_features(samples, FeaturesConfig())
    for frame in (0, 7, len(energy) - 1):
        window = samples[160 * frame : 160 * frame + 400].astype(np.float64)
        assert energy[frame] == pytest.approx(math.log(((window - window.mean()) ** 2).sum()), abs=1e-3)
    # Ten times the amplitude is 20 dB more energy but the same features.
    louder_features, louder = compute_features(3 * samples, FeaturesConfig())
    np.testing.assert_allclose(louder - energy, 2 * math.log(3), atol=1e-3)
    np.testing.assert_allclose(louder_features, compute_features(samples, FeaturesConfig())[0], atol=2e-3)


@pytest.mark.parametrize(("deltas", "dims"), [(0, 40), (1, 80), (2, 120)])
def test_settings_decide_the_grid_and_the_dimensions(deltas, dims):
    config = FeaturesConfig(n_mels=40, frame_length_ms=20.0, hop_ms=12.5, deltas=deltas)
    assert analysis_window(config) == (320, 200)
    features, energy = compute_features(_speechlike(0.5), config)
    assert features.shape == (1 + (8000 - 320) // 200, dims)
    assert energy.shape == features.shape[:1]


def test_utterances_are_packed_in_manifest_order_and_memory_mapped(tmp_path):
    signals = {"b": _speechlike(0.2, seed=1), "a": _speechlike(0.4, seed=2), "c": _speechlike(0.1, seed=3)}
    artifact = make_features(_manifest(tmp_path, signals), FeaturesConfig(), Workspace.at(tmp_path / "w"))
    features = Features.open(artifact.path)
    assert features.utterances == ("b", "a", "c")
    assert features.lengths.tolist() == [18, 38, 8]
    assert features.offsets.tolist() == [0, 18, 56]
    assert features.slice_of("a") == slice(18, 56)
    assert features.dims == 240
    assert isinstance(features.packed, np.memmap)
    for name, samples in signals.items():
        alone, energy = compute_features(samples, FeaturesConfig())
        np.testing.assert_array_equal(features.frames(name), alone.astype(np.float16))
        np.testing.assert_array_equal(features.energy[features.slice_of(name)], energy)
    with pytest.raises(BadInputError, match="'d'"):
        features.slice_of("d")


def test_a_stretch_of_a_recording_has_the_features_of_that_stretch(tmp_path):
    samples = _speechlike(1.0)
    manifest = _manifest(tmp_path, {"a": samples}, start=0.25, end=0.75)
    features = Features.open(make_features(manifest, FeaturesConfig(), Workspace.at(tmp_path / "w")).path)
    expected, _ = compute_features(samples[4000:12_000], FeaturesConfig())
    np.testing.assert_array_equal(features.frames("a"), expected.astype(np.float16))


def test_features_are_made_once_and_reported_to_the_end(tmp_path):
    manifest = _manifest(tmp_path, {"a": _speechlike(0.2), "b": _speechlike(0.3)})
    workspace, calls = Workspace.at(tmp_path / "w"), []

    def progress(what: str, done: int, total: int) -> None:
        calls.append((done, total))

    first = make_features(manifest, FeaturesConfig(), workspace, progress=progress)
    assert calls == [(0, 2), (1, 2), (2, 2)]
    again = make_features(manifest, FeaturesConfig(), workspace, progress=progress)
    assert again == first
    assert len(calls) == 3
    assert make_features(manifest, FeaturesConfig(deltas=1), workspace).key != first.key


def test_an_utterance_shorter_than_one_window_is_refused_and_leaves_nothing(tmp_path):
    manifest = _manifest(tmp_path, {"long": _speechlike(0.2), "short": _speechlike(0.2)[:399]})
    with pytest.raises(BadInputError, match=r"short\.wav: 399 samples .*400 samples"):
        make_features(manifest, FeaturesConfig(), Workspace.at(tmp_path / "w"))
    assert not list((tmp_path / "w").rglob("features.npy"))


def test_non_finite_features_name_file_and_frame(tmp_path):
    samples = _speechlike(0.5)
    samples[4000:] = 1e30  # its power overflows float32 from the window that first holds it: 23 × 160 + 400 > 4000
    samples[4000::2] *= -1
    manifest = _manifest(tmp_path, {"loud": samples})
    with pytest.raises(BadInputError, match=r"loud\.wav: features of frame 23 are not finite"):
        make_features(manifest, FeaturesConfig(), Workspace.at(tmp_path / "w"))


def test_a_window_below_two_samples_is_refused():
    with pytest.raises(BadInputError, match=r"a window of 1 samples \(frame_length_ms 0\.1\)"):
        analysis_window(FeaturesConfig(frame_length_ms=0.1))


@pytest.mark.parametrize(
    ("hop_ms", "said"),
    [
        (12.8, r"12\.8 ms are 204\.8 samples at 16000 Hz.*multiples of 0\.0625 ms.*\(nearest: 12\.8125\)"),
        (0.01, r"0\.16 samples.*\(nearest: 0\.0625\)"),
    ],
)
def test_a_hop_of_no_whole_samples_is_refused(hop_ms, said):
    with pytest.raises(ValidationError, match=said):
        FeaturesConfig(hop_ms=hop_ms)


def test_every_hop_of_whole_samples_is_hopped_by_so_many():
    for samples in range(1, 801):
        assert analysis_window(FeaturesConfig(hop_ms=samples / 16))[1] == samples


def test_a_folder_whose_files_do_not_fit_together_is_refused(tmp_path):
    artifact = make_features(
        _manifest(tmp_path, {"a": _speechlike(0.2)}), FeaturesConfig(), Workspace.at(tmp_path / "w")
    )
    np.save(artifact.path / "energy.npy", np.zeros(3, dtype=np.float32))
    with pytest.raises(BadInputError, match="18 frames, 3 energies"):
        Features.open(artifact.path)
    with pytest.raises(BadInputError, match="no features artifact"):
        Features.open(tmp_path)


def test_a_growing_frame_file_is_an_ordinary_npy_file(tmp_path):
    parts = [np.full((n, 3), n, dtype=np.float32) for n in (1, 12_000, 5)]
    with FrameFile(tmp_path / "x.npy", dtype=np.float16, dims=3) as file:
        for part in parts:
            file.append(part)
        with pytest.raises(ValueError, match="do not fit"):
            file.append(np.zeros((2, 4)))
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.concatenate(parts).astype(np.float16))


def test_features_of_real_recordings_equal_kaldis(tmp_path):
    files = sorted((DATA / "ravdess/Actor_01").glob("*.flac"))[:4]
    if not files:
        pytest.skip(f"no RAVDESS recordings in {DATA}")
    for path in files:
        samples, rate = soundfile.read(path, dtype="float32")
        assert rate == 16_000
        features, _ = compute_features(samples, FeaturesConfig(deltas=0))
        fbank = _kaldi(samples)
        np.testing.assert_allclose(features, (fbank - fbank.mean(axis=0)) / fbank.std(axis=0), atol=2e-4)
