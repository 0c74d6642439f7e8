from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import spearmanr
from sklearn.svm import LinearSVC

from core.config import RankingConfig
from core.corpora.loading import load_manifest
from core.corpora.manifest import Manifest
from core.errors import CorpusError
from core.intensity.ranking import (
    emotion_classes,
    fit_direction,
    fit_rankings,
    make_functionals,
    neutral_class,
    normalise_by_speaker,
    strength_labels,
)
from core.store import Workspace


def _corpus(*classes: str) -> Manifest:
    return Manifest(corpus="x", part="main", classes=classes, utterances=())


@pytest.mark.parametrize("c", [1e-3, 0.05, 10.0])
def test_without_similar_pairs_the_direction_is_that_of_a_squared_hinge_svm_on_differences(c):
    random = np.random.default_rng(0)
    ordered = random.standard_normal((120, 6)) + 0.4
    svm = LinearSVC(C=c, loss="squared_hinge", fit_intercept=False, dual=False, tol=1e-10, max_iter=100_000)
    sign = np.where(np.arange(120) % 2, 1, -1)  # the same pair, named the other way round, is the other class
    svm.fit(ordered * sign[:, None], sign)
    direction = fit_direction(ordered, np.empty((0, 6)), c=c)
    np.testing.assert_allclose(direction, svm.coef_[0], rtol=1e-4, atol=1e-7)


def test_with_similar_pairs_it_minimises_the_papers_objective():
    random = np.random.default_rng(1)
    ordered, similar, c = random.standard_normal((80, 5)) + 0.5, random.standard_normal((60, 5)), 0.3

    def objective(w: np.ndarray) -> float:
        return 0.5 * w @ w + c * (np.maximum(0, 1 - ordered @ w) ** 2).sum() + c * ((similar @ w) ** 2).sum()

    direction = fit_direction(ordered, similar, c=c)
    other = minimize(objective, np.zeros(5), method="Powell", options={"xtol": 1e-9, "ftol": 1e-14, "maxiter": 10_000})
    assert objective(direction) <= other.fun + 1e-9
    np.testing.assert_allclose(direction, other.x, atol=1e-4)


def test_similar_pairs_turn_the_direction_away_from_what_varies_within_a_class():
    random = np.random.default_rng(2)
    ordered = np.column_stack([np.ones(200), np.ones(200)]) + 0.1 * random.standard_normal((200, 2))
    similar = np.column_stack([np.zeros(200), random.standard_normal(200)])
    without = fit_direction(ordered, np.empty((0, 2)), c=1.0)
    given = fit_direction(ordered, similar, c=1.0)
    assert abs(without[1] / without[0]) > 0.5
    assert abs(given[1] / given[0]) < 0.1


def _planted(seed: int, speakers: int = 6, takes: int = 20) -> tuple[np.ndarray, list[str], list[str], np.ndarray]:
    """Functionals in which a hidden strength moves a hidden direction, under speaker offsets and scales."""
    random = np.random.default_rng(seed)
    hidden = random.standard_normal(30)
    rows, labels, names, strengths = [], [], [], []
    for speaker in range(speakers):
        offset, scale = 5 * random.standard_normal(30), random.uniform(0.5, 2, 30)
        for label in ("neu", "ang"):
            for _ in range(takes):
                strength = random.uniform(1, 3) if label == "ang" else random.uniform(-0.5, 0.5)
                rows.append(offset + scale * (strength * hidden + 0.5 * random.standard_normal(30)))
                labels.append(label)
                names.append(f"s{speaker}")
                strengths.append(strength)
    return np.array(rows, dtype=np.float32), labels, names, np.array(strengths)


def test_a_planted_strength_is_recovered_in_order_from_class_labels_alone():
    rows, labels, names, strengths = _planted(0)
    normal = normalise_by_speaker(rows, names)
    rankings = fit_rankings(normal, labels, "neu", config=RankingConfig(c=1e-5), seed=0)
    found = strength_labels(rankings, normal, labels)
    emotional = np.array(labels) == "ang"
    assert spearmanr(found[emotional], strengths[emotional])[0] > 0.8
    assert found[emotional].mean() > found[~emotional].mean() + 0.3
    assert found.min() == 0
    assert found.max() == 1


def test_a_ranking_carries_over_to_speakers_it_never_saw():
    rows, labels, names, _ = _planted(1)
    normal, seen = normalise_by_speaker(rows, names), np.array(names) < "s3"
    labels_seen = np.array(labels)[seen].tolist()
    rankings = fit_rankings(normal[seen], labels_seen, "neu", config=RankingConfig(c=1e-5), seed=0)
    unseen = strength_labels(rankings, normal, labels)[~seen]
    emotional = np.array(labels)[~seen] == "ang"
    assert unseen[emotional].min() > np.quantile(unseen[~emotional], 0.9)


def test_each_emotion_has_its_own_ranking_and_neutral_gets_their_mean():
    random = np.random.default_rng(3)
    labels = ["neu"] * 20 + ["ang"] * 20 + ["sad"] * 20
    rows = random.standard_normal((60, 4))
    rows[20:40, 0] += 4
    rows[40:, 1] += 4
    rankings = fit_rankings(rows, labels, "neu", config=RankingConfig(), seed=0)
    assert abs(rankings["ang"].direction[0]) > 3 * abs(rankings["ang"].direction[1])
    assert abs(rankings["sad"].direction[1]) > 3 * abs(rankings["sad"].direction[0])
    found = strength_labels(rankings, rows, labels)
    np.testing.assert_allclose(found[20:40], rankings["ang"].strength(rows[20:40]))
    by_hand = (rankings["ang"].strength(rows[:20]) + rankings["sad"].strength(rows[:20])) / 2
    np.testing.assert_allclose(found[:20], by_hand)


def test_strength_by_any_emotion_is_the_largest_and_asks_for_no_label():
    random = np.random.default_rng(3)
    labels = ["neu"] * 20 + ["ang"] * 20 + ["sad"] * 20
    rows = random.standard_normal((60, 4))
    rows[20:40, 0] += 4
    rows[40:, 1] += 4
    rankings = fit_rankings(rows, labels, "neu", config=RankingConfig(), seed=0)
    found = strength_labels(rankings, rows, labels, strength="any")
    by_hand = [max(rankings[name].strength(rows)[u] for name in ("ang", "sad")) for u in range(60)]
    np.testing.assert_allclose(found, by_hand)
    np.testing.assert_array_equal(strength_labels(rankings, rows, labels[::-1], strength="any"), found)
    assert found[20:].min() > np.median(found[:20])


def test_normalising_removes_a_speakers_own_offset_and_scale_without_labels():
    rows, _, names, _ = _planted(2)
    normal = normalise_by_speaker(rows, names)
    own = np.array(names) == "s2"
    np.testing.assert_allclose(normal[own].mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(normal[own].std(axis=0), 1, atol=1e-9)
    moved = rows.copy()
    moved[own] = 3 * moved[own] - 7
    np.testing.assert_allclose(normalise_by_speaker(moved, names), normal, atol=1e-4)


def test_a_constant_functional_becomes_zero_and_a_single_utterance_is_refused():
    rows = np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 2.0]], dtype=np.float32)
    np.testing.assert_allclose(normalise_by_speaker(rows[:2], ["a", "a"]), [[-1, 0], [1, 0]])
    with pytest.raises(CorpusError, match="'b': has 1 utterance"):
        normalise_by_speaker(rows, ["a", "a", "b"])


def test_neutral_is_found_by_either_name_and_calm_is_an_emotion():
    assert neutral_class(_corpus("neu", "ang")) == "neu"
    assert neutral_class(_corpus("neutral", "calm", "sad")) == "neutral"
    assert emotion_classes(_corpus("neutral", "calm", "sad")) == ("calm", "sad")
    with pytest.raises(CorpusError, match="neu or neutral; its classes are calm, sad"):
        neutral_class(_corpus("calm", "sad"))


def test_a_class_with_one_utterance_cannot_be_ranked():
    with pytest.raises(CorpusError, match="'ang' has 1"):
        fit_rankings(np.zeros((3, 2)), ["neu", "neu", "ang"], "neu", config=RankingConfig(), seed=0)
    with pytest.raises(CorpusError, match="only 'neu'"):
        fit_rankings(np.zeros((3, 2)), ["neu"] * 3, "neu", config=RankingConfig(), seed=0)


@pytest.mark.parametrize(("feature_set", "dims"), [("IS09", 384), ("eGeMAPSv02", 88)])
def test_functionals_are_opensmiles_made_once_and_do_rank_loud_over_soft(tmp_path, make_corpus, feature_set, dims):
    workspace = Workspace.at(tmp_path / "w")
    manifest = load_manifest(make_corpus(speakers=2, takes=3), workspace)
    config, calls = RankingConfig(feature_set=feature_set, pairs_per_class=100), []
    artifact = make_functionals(manifest, config, workspace, progress=lambda *call: calls.append(call[1:]))
    functionals = np.load(artifact.path / "functionals.npy")
    assert functionals.shape == (18, dims)
    assert calls[-1] == (18, 18)
    count = len(calls)
    assert make_functionals(manifest, config, workspace, progress=lambda *call: calls.append(call[1:])) == artifact
    assert len(calls) == count

    import opensmile

    smile = opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel.Functionals)
    np.testing.assert_allclose(functionals[5], smile.process_file(manifest.utterances[5].path).to_numpy()[0], rtol=1e-5)

    labels = [utterance.label for utterance in manifest.utterances]
    normal = normalise_by_speaker(functionals, [utterance.speaker for utterance in manifest.utterances])
    found = strength_labels(fit_rankings(normal, labels, "neu", config=config, seed=0), normal, labels)
    assert found[np.array(labels) != "neu"].min() > found[np.array(labels) == "neu"].max()
