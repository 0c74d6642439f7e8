from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.config import FeaturesConfig
from core.corpora.demo import PlantedSegment
from core.corpora.manifest import Manifest, Utterance
from core.errors import BadInputError
from core.features import Features
from core.intensity.evaluation import (
    evaluate,
    follow_activation,
    rank_emotional,
    rank_frames,
    rank_levels,
    utterance_scores,
)

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
    found = rank_levels(corpus, {"n1": 0.1, "n2": 0.5, "s1": 0.3, "s2": 0.5, "dogs": 9, "other": 9, "sad": 9})
    # s1 > n1, s1 < n2, s2 > n1, s2 = n2
    assert found == {"all": {"1": (2.5, 4)}, "angry": {"1": (2.5, 4)}}


def test_three_levels_make_three_kinds_of_pairs():
    corpus = _corpus(_take("l", level="low"), _take("m", level="medium"), _take("h", level="high"))
    assert rank_levels(corpus, {"l": 0.1, "m": 0.2, "h": 0.3})["all"] == {"1": (3.0, 3)}
    assert rank_levels(corpus, {"l": 0.1, "m": 0.9, "h": 0.3})["all"] == {"1": (2.0, 3)}
    without = _corpus(_take("l", level="low"), _take("h", level="high"), _take("h2", level="high"))
    assert rank_levels(without, {"l": 0.5, "h": 0.9, "h2": 0.1})["all"] == {"1": (1.0, 2)}


def test_levels_are_counted_by_class_and_over_all_pairs():
    corpus = _corpus(
        _take("an"), _take("as", level="strong"), _take("sn", label="sad"), _take("ss", label="sad", level="strong"),
        _take("tn", label="sad", speaker="2"), _take("ts", label="sad", speaker="2", level="strong"),
        ("neutral", "1", "neutral", None, None),
    )  # fmt: skip
    found = rank_levels(corpus, {"an": 0, "as": 1, "sn": 1, "ss": 0, "tn": 0, "ts": 1})
    assert list(found) == ["all", "sad", "angry"]
    assert found["all"] == {"1": (1.0, 2), "2": (1.0, 1)}
    assert found["sad"] == {"1": (0.0, 1), "2": (1.0, 1)}
    assert found["angry"] == {"1": (1.0, 1)}


def test_levels_without_a_pair_a_score_or_a_transcript_are_errors():
    with pytest.raises(BadInputError, match=r"corpus x: no two takes .*normal < strong or low < medium < high"):
        rank_levels(_corpus(_take("a")), {"a": 1.0})
    with pytest.raises(BadInputError, match=r"'b'.*no score"):
        rank_levels(_corpus(_take("b", level="strong")), {})
    with pytest.raises(BadInputError, match=r"'c'.*no transcript"):
        rank_levels(_corpus(("c", "1", "sad", "strong", None)), {"c": 1.0})


def test_emotional_utterances_are_ranked_above_the_neutral_ones_of_their_speaker():
    corpus = _corpus(
        ("n1", "1", "neutral", None, None), ("n2", "1", "neutral", None, None), ("a", "1", "angry", None, None),
        ("s", "1", "sad", None, None), ("b", "2", "angry", None, None),
    )  # fmt: skip
    found = rank_emotional(corpus, {"n1": 0.3, "n2": 0.6, "a": 0.9, "s": 0.3, "b": 0.0})
    assert found == {"all": {"1": (2.5, 4)}, "sad": {"1": (0.5, 2)}, "angry": {"1": (2.0, 2)}}
    with pytest.raises(BadInputError, match="no speaker has both"):
        rank_emotional(_corpus(("b", "2", "angry", None, None)), {"b": 0.0})


def _activated(*rows: tuple[str, float | None]) -> Manifest:
    corpus = _corpus(*((f"{speaker}{place}", speaker, "sad", None, None) for place, (speaker, _) in enumerate(rows)))
    labelled = (replace(u, activation=value) for u, (_, value) in zip(corpus.utterances, rows, strict=True))
    return replace(corpus, utterances=tuple(labelled))


def test_activation_is_followed_within_a_speaker_and_weighted_by_utterances():
    rising, falling = [("a", float(k)) for k in range(6)], [("b", float(-k)) for k in range(5)]
    corpus = _activated(*rising, *falling, ("a", None), ("few", 1.0), *[("flat", 3.0)] * 6)
    # a: scores rise with activation, far above b's; b: they fall
    scores = {u.utterance: float(place) for place, u in enumerate(corpus.utterances)}
    assert follow_activation(corpus, scores) == {"a": (pytest.approx(6.0), 6), "b": (pytest.approx(-5.0), 5)}
    assert follow_activation(corpus, dict.fromkeys(scores, 0.5)) == {"a": (0.0, 6), "b": (0.0, 5)}
    with pytest.raises(BadInputError, match="no speaker has 5 utterances"):
        follow_activation(_activated(("few", 1.0), ("few", 2.0)), {"few0": 0.0, "few1": 0.0})


def _features(lengths: tuple[int, ...], energy: np.ndarray | None = None) -> Features:
    frames = np.array(lengths)
    return Features(
        utterances=("a", "b", "c", "d")[: len(frames)],
        offsets=np.cumsum(frames) - frames,
        lengths=frames,
        energy=np.zeros(frames.sum(), dtype=np.float32) if energy is None else energy,
        packed=np.zeros((frames.sum(), 2), dtype=np.float16),
    )


def test_an_utterances_score_is_the_mean_of_its_speech_frames():
    loud, soft, silence = 0.0, -6.0, -7.5  # natural logarithm: 30 dB are 6.9
    energy = np.array([silence, loud, soft, loud, silence, -20.0, -20.0], dtype=np.float32)
    features = _features((5, 2), energy)
    found = utterance_scores(features, np.array([99, 1, 2, 6, 99, 7, 8], dtype=np.float32))
    assert found == {"a": 3.0, "b": 7.5}
    with pytest.raises(BadInputError, match="3 frames, the features have 7"):
        utterance_scores(features, np.zeros(3, dtype=np.float32))


def _segment(start: float, end: float, *, emphasised: bool, intensity: float = 1.0) -> PlantedSegment:
    return PlantedSegment(start=start, end=end, words="w", emphasised=emphasised, intensity=intensity)


def test_emphasised_frames_are_ranked_against_other_speech_frames_of_their_utterance():
    # Window centres of utterance a: 12.5, 22.5, 32.5, 42.5, 52.5 ms
    features, speakers = _features((5, 2)), {"a": "s", "b": "t"}
    planted = {
        "a": (_segment(0.01, 0.03, emphasised=True), _segment(0.04, 0.06, emphasised=False, intensity=0.2)),
        "b": (_segment(0.0, 0.015, emphasised=True, intensity=0.0), _segment(0.02, 0.03, emphasised=False)),
    }
    track = np.array([0.9, 0.4, 99.0, 0.4, 0.6, 0.0, 1.0], dtype=np.float32)  # 99: silence
    found = rank_frames(features, track, planted, speakers=speakers, grid=FeaturesConfig())
    # 0.9 beats 0.4 and 0.6; 0.4 ties with 0.4 and loses to 0.6
    assert found == {"s": (pytest.approx((1 + 1 + 0.5 + 0) / 4), 1)}
    nothing = {**planted, "a": planted["a"][:1]}
    with pytest.raises(BadInputError, match="no utterance has both"):
        rank_frames(features, track, nothing, speakers=speakers, grid=FeaturesConfig())


def _tracks(values: tuple[float, ...]) -> dict[str, np.ndarray]:
    model = np.array(values, dtype=np.float32)
    return {"model": model, "inverse": 1 - model, "constant": np.ones_like(model)}


def test_a_corpus_is_judged_by_everything_it_knows_and_every_track_by_the_same():
    rows = [_take("a"), _take("b", level="strong"), ("c", "1", "neutral", None, None)]
    corpus, features = _corpus(*rows), _features((1, 1, 1))
    found = evaluate(corpus, features, _tracks((0.4, 0.8, 0.5)), planted=None, grid=FeaturesConfig())
    kinds = [(finding.measure, finding.group) for finding in found]
    assert kinds == [("levels", "all"), ("levels", "angry"), ("emotional", "all"), ("emotional", "angry")]
    levels, emotional = found[0], found[2]
    assert {name: each.value for name, each in levels.tracks.items()} == {"model": 1, "inverse": 0, "constant": 0.5}
    assert {name: each.value for name, each in levels.leads.items()} == {"inverse": 1, "constant": 0.5}
    assert emotional.tracks["model"].value == 0.5
    assert emotional.tracks["model"].cases == 2


def test_planted_frames_and_activation_are_found_too():
    corpus = _activated(*[("a", float(k)) for k in range(4)], ("b", 1.0))
    corpus = replace(corpus, classes=("sad",))
    features = replace(_features((2, 2, 2, 2)), utterances=tuple(u.utterance for u in corpus.utterances[:4]))
    corpus = replace(corpus, utterances=corpus.utterances[:4])
    segments = (_segment(0.0, 0.02, emphasised=True), _segment(0.02, 0.03, emphasised=False, intensity=0.2))
    planted = dict.fromkeys(features.utterances, segments)
    with pytest.raises(BadInputError, match="no speaker has 5"):
        evaluate(corpus, features, _tracks((1, 0) * 4), planted=planted, grid=FeaturesConfig())
    plain = replace(corpus, utterances=tuple(replace(u, activation=None) for u in corpus.utterances))
    (found,) = evaluate(plain, features, _tracks((1, 0) * 4), planted=planted, grid=FeaturesConfig())
    assert found.measure == "frames"
    assert {name: each.value for name, each in found.tracks.items()} == {"model": 1, "inverse": 0, "constant": 0.5}


def test_a_corpus_that_knows_nothing_is_one_clear_error():
    corpus = replace(_corpus(("a", "1", "angry", None, None)), classes=("angry",))
    with pytest.raises(BadInputError, match="corpus x: knows nothing to judge intensity by"):
        evaluate(corpus, _features((1,)), _tracks((0.5,)), planted=None, grid=FeaturesConfig())
