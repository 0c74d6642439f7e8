from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.config import FeaturesConfig
from core.corpora.demo import PlantedSegment
from core.corpora.manifest import Manifest, Utterance
from core.errors import BadInputError
from core.features import Features
from core.intensity.evaluation import rank_frames, rank_strength, utterance_scores

Row = tuple[str, str, str, str | None, str | None]


def _corpus(*rows: Row) -> Manifest:
    utterances = tuple(
        Utterance(
            utterance=name, path=Path(name), speaker=speaker, session=speaker, label=label, content=name,
            duration_s=1.0, level=level, transcript=transcript,
        )
        for name, speaker, label, level, transcript in rows
    )  # fmt: skip
    return Manifest(corpus="x", part="main", classes=("neutral", "sad", "angry"), utterances=utterances)


def _take(name: str, *, speaker: str = "1", label: str = "angry", level: str = "normal", text: str = "kids") -> Row:
    return (name, speaker, label, level, text)


def test_every_strong_take_meets_every_normal_take_of_its_speaker_emotion_and_statement():
    corpus = _corpus(
        _take("n1"), _take("n2"), _take("s1", level="strong"), _take("s2", level="strong"),
        _take("dogs", text="dogs"), _take("other", speaker="2"), _take("sad", label="sad"),
    )  # fmt: skip
    found = rank_strength(corpus, {"n1": 0.1, "n2": 0.5, "s1": 0.3, "s2": 0.5, "dogs": 9, "other": 9, "sad": 9})
    # s1 > n1, s1 < n2, s2 > n1, s2 = n2
    assert found.overall.share == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    assert found.overall.pairs == 4
    assert set(found.by_emotion) == {"angry"}


def test_shares_are_by_emotion_and_over_all_pairs():
    corpus = _corpus(
        _take("an"), _take("as", level="strong"), _take("sn", label="sad"), _take("ss", label="sad", level="strong"),
        _take("tn", label="sad", speaker="2"), _take("ts", label="sad", speaker="2", level="strong"),
        ("neutral", "1", "neutral", None, None),
    )  # fmt: skip
    found = rank_strength(corpus, {"an": 0, "as": 1, "sn": 1, "ss": 0, "tn": 0, "ts": 1, "neutral": 5})
    assert found.by_emotion["angry"].share == 1
    assert found.by_emotion["sad"].share == 0.5
    assert found.by_emotion["sad"].speakers == 2
    assert list(found.by_emotion) == ["sad", "angry"]
    assert found.overall.share == pytest.approx(2 / 3)
    assert (found.overall.low, found.overall.high) == (0.5, 1.0)  # speaker 1 wins 1 of 2, speaker 2 wins 1 of 1


def _speakers(share_of_winners: float, speakers: int, pairs: int) -> tuple[Manifest, dict[str, float]]:
    rows, scores = [], {}
    for speaker in range(speakers):
        for pair in range(pairs):
            for level in ("normal", "strong"):
                name = f"{speaker}-{pair}-{level}"
                rows.append(_take(name, speaker=str(speaker), level=level, text=str(pair)))
                scores[name] = float((level == "strong") == (speaker < share_of_winners * speakers))
    return _corpus(*rows), scores


def test_the_interval_counts_speakers_not_pairs():
    manifest, scores = _speakers(0.5, speakers=20, pairs=50)
    found = rank_strength(manifest, scores).overall
    assert found.share == 0.5
    deviation = np.sqrt(0.25 / 20)
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.15)


def test_the_interval_is_the_same_again():
    manifest, scores = _speakers(0.7, speakers=10, pairs=3)
    assert rank_strength(manifest, scores) == rank_strength(manifest, scores)


def test_nothing_to_compare_is_an_error():
    with pytest.raises(BadInputError, match="corpus x: no utterances with intensity normal and strong"):
        rank_strength(_corpus(_take("a")), {"a": 1.0})
    with pytest.raises(BadInputError, match=r"'b'.*no score"):
        rank_strength(_corpus(_take("b", level="strong")), {})
    with pytest.raises(BadInputError, match=r"'c'.*no transcript"):
        rank_strength(_corpus(("c", "1", "sad", "strong", None)), {"c": 1.0})


def test_an_utterances_score_is_the_mean_of_its_frames():
    features = Features(
        utterances=("a", "b"),
        offsets=np.array([0, 3]),
        lengths=np.array([3, 1]),
        energy=np.zeros(4, dtype=np.float32),
        packed=np.zeros((4, 2), dtype=np.float16),
    )
    found = utterance_scores(features, np.array([1, 2, 6, 7], dtype=np.float32))
    assert found == {"a": 3.0, "b": 7.0}
    with pytest.raises(BadInputError, match="3 frames, the features have 4"):
        utterance_scores(features, np.zeros(3, dtype=np.float32))


def _segment(start: float, end: float, *, emphasised: bool, intensity: float = 1.0) -> PlantedSegment:
    return PlantedSegment(start=start, end=end, words="w", emphasised=emphasised, intensity=intensity)


def test_emphasised_frames_are_ranked_against_other_speech_frames_of_their_utterance():
    # Window centres of utterance a: 12.5, 22.5, 32.5, 42.5, 52.5 ms
    features = Features(
        utterances=("a", "neutral"),
        offsets=np.array([0, 5]),
        lengths=np.array([5, 2]),
        energy=np.zeros(7, dtype=np.float32),
        packed=np.zeros((7, 2), dtype=np.float16),
    )
    planted = {
        "a": (_segment(0.01, 0.03, emphasised=True), _segment(0.04, 0.06, emphasised=False, intensity=0.2)),
        "neutral": (_segment(0.0, 0.015, emphasised=True, intensity=0.0), _segment(0.02, 0.03, emphasised=False)),
    }
    track = np.array([0.9, 0.4, 99.0, 0.4, 0.6, 0.0, 1.0], dtype=np.float32)  # 99: silence
    found = rank_frames(features, track, planted, grid=FeaturesConfig())
    # 0.9 beats 0.4 and 0.6; 0.4 ties with 0.4 and loses to 0.6
    assert found.auc == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    assert found.utterances == 1
    with pytest.raises(BadInputError, match="no utterance has both"):
        rank_frames(features, track, {**planted, "a": planted["a"][:1]}, grid=FeaturesConfig())
