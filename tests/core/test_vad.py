"""Speech flags: on hand-made grids, on the demo corpus whose pauses are known, and where nobody speaks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from core.config import CorpusConfig
from core.corpora.demo import planted_intensity
from core.corpora.loading import load_manifest
from core.corpora.manifest import Manifest
from core.errors import BadInputError
from core.vad import CHUNK, Speech, load_vad, make_speech, speech_flags, speech_probabilities, speech_share

NO_YES_YES_NO = np.array([0.1, 0.8, 0.5, 0.49], dtype=np.float32)
"""At threshold 0.5: speech in samples 512 to 1536 of 2048."""


@pytest.fixture(scope="module")
def some(demo_workspace) -> Manifest:
    """Twenty utterances of the demo corpus."""
    manifest = load_manifest(CorpusConfig(), demo_workspace)
    return replace(manifest, utterances=manifest.utterances[:20])


@pytest.fixture(scope="module")
def speech(some, demo_workspace) -> Speech:
    return Speech.open(make_speech(some, demo_workspace).path)


def test_shares_by_hand():
    """Hop 320 samples: positions begin at 0, 320, 640, …; the second has 128 of its samples beyond 512."""
    share_P = speech_share(NO_YES_YES_NO, threshold=0.5, hop_s=0.02, positions=8)
    assert share_P == pytest.approx([0, 128 / 320, 1, 1, 256 / 320, 0, 0, 0])


def test_flags_need_half_of_the_position():
    flags_P = speech_flags(NO_YES_YES_NO, threshold=0.5, hop_s=0.02, positions=8)
    assert flags_P.tolist() == [False, False, True, True, True, False, False, False]
    # 1024 samples: exactly the second half of the first position and the first half of the second.
    assert speech_flags(NO_YES_YES_NO, threshold=0.5, hop_s=0.064, positions=2).tolist() == [True, True]
    # 768 samples: one third of the first position, all of the second.
    assert speech_flags(NO_YES_YES_NO, threshold=0.5, hop_s=0.048, positions=2).tolist() == [False, True]


def test_the_threshold_itself_is_speech_and_what_lies_beyond_the_audio_is_not():
    assert speech_flags(NO_YES_YES_NO, threshold=0.49, hop_s=0.032, positions=6).tolist() == [
        False, True, True, True, False, False,
    ]  # fmt: skip


def test_a_hop_without_samples_is_refused():
    with pytest.raises(BadInputError, match="hop_s: 1e-05 s is less than one sample"):
        speech_share(NO_YES_YES_NO, threshold=0.5, hop_s=1e-5, positions=2)


def test_audio_shorter_than_a_chunk_has_the_probability_of_its_one_chunk():
    short_N = np.sin(np.arange(450) / 9).astype(np.float32)
    filled_N = np.concatenate([short_N, np.zeros(CHUNK - 450, dtype=np.float32)])
    model = load_vad()
    (alone_C,), (filled_C,) = (tuple(speech_probabilities(model, [samples])) for samples in (short_N, filled_N))
    assert alone_C.shape == (1,)
    np.testing.assert_array_equal(alone_C, filled_C)


@pytest.mark.slow
def test_every_chunk_of_every_utterance_has_a_probability(some, speech):
    assert speech.utterances == tuple(utterance.utterance for utterance in some.utterances)
    for utterance in some.utterances:
        probabilities_C = speech.probabilities(utterance.utterance)
        assert len(probabilities_C) == -(-round(utterance.duration_s * 16_000) // CHUNK)
        assert ((probabilities_C >= 0) & (probabilities_C <= 1)).all()
    with pytest.raises(BadInputError, match="'nobody': not among the 20"):
        speech.probabilities("nobody")


@pytest.mark.slow
def test_an_utterance_s_flags_do_not_depend_on_its_neighbours(some, speech, workspace):
    few = replace(some, utterances=some.utterances[3:5])
    alone = Speech.open(make_speech(few, workspace).path)
    for name in alone.utterances:
        np.testing.assert_allclose(alone.probabilities(name), speech.probabilities(name), atol=1e-4)


@pytest.mark.slow
def test_planted_pauses_are_found(some, speech, demo_workspace):
    """Positions of 30 ms, as the demo corpus's upstreams have: nearly all words are speech, most silence is none."""
    planted = planted_intensity(CorpusConfig(), demo_workspace)
    found, true = [], []
    for utterance in some.utterances:
        positions = int(utterance.duration_s / 0.03)
        found.append(
            speech_flags(speech.probabilities(utterance.utterance), threshold=0.5, hop_s=0.03, positions=positions)
        )
        centre_P = (np.arange(positions) + 0.5) * 0.03
        true.append(
            np.any([(part.start <= centre_P) & (centre_P < part.end) for part in planted[utterance.utterance]], 0)
        )
    flags, spoken = np.concatenate(found), np.concatenate(true)
    assert 0.6 < spoken.mean() < 0.85
    assert flags[spoken].mean() > 0.95
    assert flags[~spoken].mean() < 0.2


@pytest.mark.slow
def test_noise_has_no_speech_and_the_threads_stay_as_they_were(some, workspace, tmp_path):
    soundfile.write(tmp_path / "noise.wav", 0.01 * np.random.default_rng(0).normal(size=20_000), 16_000)
    noise = replace(some.utterances[0], path=tmp_path / "noise.wav", content="noise", duration_s=1.25)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        made = make_speech(replace(some, utterances=(noise,)), workspace)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    probabilities_C = Speech.open(made.path).probabilities(noise.utterance)
    assert not speech_flags(probabilities_C, threshold=0.5, hop_s=0.02, positions=62).any()


@pytest.mark.slow
def test_the_key_is_of_the_corpus_s_content_and_the_model_s_version(some, demo_workspace, workspace):
    made = make_speech(some, demo_workspace)
    description = made.description()
    assert description["inputs"] == [some.fingerprint]
    assert set(description["settings"]) == {"silero_vad"}
    again = make_speech(some, workspace)
    assert again.key == made.key
    assert (again.path / "probabilities.npy").read_bytes() == (made.path / "probabilities.npy").read_bytes()
