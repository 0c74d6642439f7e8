from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from core.config import FeaturesConfig, IntensityConfig
from core.corpora.loading import load_manifest
from core.corpora.manifest import Manifest, Utterance
from core.errors import BadInputError, LeakageError
from core.features import Features, make_features
from core.intensity.fitting import fit_strengthnet, load_strengthnet
from core.intensity.spectrograms import Spectrograms, make_spectrograms
from core.intensity.tracks import make_track, refuse_leaky_fit, speaker_halves, write_scores
from core.store import Artifact, Workspace

GRID = FeaturesConfig(n_mels=8, deltas=0)


class _Scored:
    """A corpus, its features, and tracks over them."""

    def __init__(self, workspace: Workspace, corpus) -> None:
        self.workspace = workspace
        self.manifest = load_manifest(corpus, workspace)
        self.artifact = make_features(self.manifest, GRID, workspace)
        self.features = Features.open(self.artifact.path)

    def track(self, config: IntensityConfig) -> Artifact:
        return make_track(self.manifest, self.artifact, config, GRID, self.workspace, threads=1)

    def scores(self, config: IntensityConfig) -> np.ndarray:
        return np.load(self.track(config).path / "track.npy")


@pytest.fixture
def scored(tmp_path, make_corpus) -> _Scored:
    return _Scored(Workspace.at(tmp_path / "w"), make_corpus("scored", first_seed=500))


def _alone(model: Artifact, config: IntensityConfig, scored: _Scored, position: int) -> np.ndarray:
    """Scores of one utterance by one model, window centre by window centre, without the code under test."""
    opened = Spectrograms.open(make_spectrograms(scored.manifest, scored.workspace).path, config.strengthnet)
    mel, first = opened.mel(position), int(opened.starts[position])
    with torch.no_grad():
        scores = load_strengthnet(model, config.strengthnet)(torch.from_numpy(mel)[None], torch.tensor([len(mel)]))[0][
            0
        ]
    times = [0.0125 + 0.010 * frame for frame in range(int(scored.features.lengths[position]))]
    expected = []
    for time in times:
        place = max(time / 0.016 - first, 0.0)
        before = min(int(place), len(scores) - 1)
        after = min(before + 1, len(scores) - 1)
        share = place - before if after > before else 0.0
        expected.append(float(scores[before]) * (1 - share) + float(scores[after]) * share)
    return np.array(expected)


def test_a_model_of_another_corpus_scores_every_feature_frame(scored, make_corpus, tiny):
    fit_corpus = make_corpus("fit")
    config = tiny(fit_corpus)
    track = scored.track(config)
    scores = np.load(track.path / "track.npy")
    assert scores.dtype == np.float32
    assert scores.shape == (int(scored.features.lengths.sum()),)
    fit = load_manifest(fit_corpus, scored.workspace)
    model = fit_strengthnet(fit, fit.speakers, config, scored.workspace, threads=1)
    for position in (0, 7, 23):
        found = scores[scored.features.slice_of(scored.features.utterances[position])]
        np.testing.assert_allclose(found, _alone(model, config, scored, position), atol=2e-5)
    note = json.loads((track.path / "track.json").read_text())
    assert note["source"] == "strengthnet"
    assert note["fit"]["fingerprint"] == fit.fingerprint
    assert note["models"] == [
        {"key": model.key, "seen_speakers": list(fit.speakers), "scored_speakers": ["s0", "s1", "s2", "s3"]}
    ]
    assert scored.track(config) == track


def test_a_corpus_that_scores_itself_is_scored_half_by_half_by_models_of_the_other_half(tmp_path, make_corpus, tiny):
    corpus = make_corpus("self")
    own = _Scored(Workspace.at(tmp_path / "w"), corpus)
    config = tiny(corpus)
    track = own.track(config)
    scores = np.load(track.path / "track.npy")
    models = json.loads((track.path / "track.json").read_text())["models"]
    assert len(models) == 2
    assert sorted(models[0]["scored_speakers"] + models[1]["scored_speakers"]) == ["s0", "s1", "s2", "s3"]
    for model in models:
        assert not set(model["seen_speakers"]) & set(model["scored_speakers"])
        fitted = fit_strengthnet(own.manifest, model["seen_speakers"], config, own.workspace, threads=1)
        assert fitted.key == model["key"]
        assert json.loads((fitted.path / "fit.json").read_text())["speakers"] == model["seen_speakers"]
        position = next(u for u, row in enumerate(own.manifest.utterances) if row.speaker in model["scored_speakers"])
        found = scores[own.features.slice_of(own.features.utterances[position])]
        np.testing.assert_allclose(found, _alone(fitted, config, own, position), atol=2e-5)


def test_controls_are_the_energy_one_minus_the_scores_and_the_same_scores_in_another_order(scored, make_corpus, tiny):
    config = tiny(make_corpus("fit"))
    source = scored.scores(config)

    def control(name: str, **change: object) -> np.ndarray:
        return scored.scores(config.model_copy(update={"control": name, **change}))

    np.testing.assert_array_equal(control("loudness"), scored.features.energy)
    np.testing.assert_array_equal(control("inverse"), 1 - source)
    shuffled = control("shuffled")
    for name in scored.features.utterances:
        part = scored.features.slice_of(name)
        np.testing.assert_array_equal(np.sort(shuffled[part]), np.sort(source[part]))
        assert not np.array_equal(shuffled[part], source[part])
    np.testing.assert_array_equal(control("shuffled"), shuffled)
    rolled = control("rolled")
    for name in scored.features.utterances:
        part = scored.features.slice_of(name)
        length = part.stop - part.start
        offsets = [by for by in range(1, length) if np.array_equal(np.roll(source[part], by), rolled[part])]
        assert any(length / 4 <= by <= 3 * length / 4 for by in offsets), "the scores in their order, begun elsewhere"
    note = json.loads((scored.track(config.model_copy(update={"control": "inverse"})).path / "track.json").read_text())
    assert note["control"] == "inverse"
    assert note["models"]


def _with_net(config: IntensityConfig, **change: object) -> IntensityConfig:
    return config.model_copy(update={"strengthnet": config.strengthnet.model_copy(update=change)})


def test_a_net_that_hears_trimmed_logarithms_of_one_level_scores_every_frame_at_its_time(scored, make_corpus, tiny):
    fit_corpus = make_corpus("fit")
    config = _with_net(tiny(fit_corpus), level="utterance", scale="log", trim=True)
    scores = scored.scores(config)
    fit = load_manifest(fit_corpus, scored.workspace)
    model = fit_strengthnet(fit, fit.speakers, config, scored.workspace, threads=1)
    assert model.key != fit_strengthnet(fit, fit.speakers, tiny(fit_corpus), scored.workspace, threads=1).key
    for position in (0, 7, 23):
        found = scores[scored.features.slice_of(scored.features.utterances[position])]
        np.testing.assert_allclose(found, _alone(model, config, scored, position), atol=2e-5)


def test_at_equal_level_a_gain_changes_no_track(tmp_path, make_corpus, tiny):
    """The same recordings, every second one at a third of its level."""
    plain, workspace = make_corpus("plain", first_seed=500), Workspace.at(tmp_path / "w")
    other = make_corpus("other", first_seed=500)
    for file in sorted(other.root.parent.glob("*.wav"))[::2]:
        samples, rate = soundfile.read(file, dtype="float32")
        soundfile.write(file, samples / 3, rate, subtype="FLOAT")
    config = tiny(make_corpus("fit"))
    tracks = []
    for corpus in (plain, other):
        manifest = load_manifest(corpus, workspace)
        features = make_features(manifest, GRID, workspace)
        tracks.append(
            [
                np.load(
                    make_track(
                        manifest, features, config.model_copy(update={"control": control}), GRID, workspace,
                        threads=1, equal_level=equal,
                    ).path / "track.npy"
                )
                for control in ("none", "loudness", "inverse")
                for equal in (True, False)
            ]
        )  # fmt: skip
    for (first, second), equal in zip(zip(*tracks, strict=True), (True, False) * 3, strict=True):
        assert np.allclose(first, second, atol=2e-3 * np.abs(first).max()) == equal


def test_imported_scores_have_no_equal_level(scored, tmp_path):
    config = _external(scored, tmp_path)
    with pytest.raises(BadInputError, match="equal level: imported scores"):
        make_track(scored.manifest, scored.artifact, config, GRID, scored.workspace, threads=1, equal_level=True)


def test_loudness_needs_no_model(scored, make_corpus, tiny):
    config = tiny(make_corpus("fit")).model_copy(update={"control": "loudness"})
    scored.track(config)
    assert not (scored.workspace.root / "store/strengthnet").exists()


def _external(scored: _Scored, tmp_path: Path, *, hop_ms: float = 20.0, offset: float = 0.0) -> IntensityConfig:
    """Scores that say when they hold: a straight line over time."""
    path = tmp_path / "scores.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file_path", "score"))
        for utterance in scored.manifest.utterances:
            count = int(utterance.duration_s * 1000 / hop_ms)
            start = (utterance.duration_s - count * hop_ms / 1000) / 2
            scores = [offset + start + (k + 0.5) * hop_ms / 1000 for k in range(count)]
            rows.writerow((f"elsewhere/{utterance.utterance}.flac", " ".join(f"{score:.9f}" for score in scores)))
    return IntensityConfig(source="external", fit=None, file=path, hop_ms=hop_ms)


def test_imported_scores_are_interpolated_by_time_and_held_at_the_edges(scored, tmp_path):
    track = scored.track(_external(scored, tmp_path))
    scores = np.load(track.path / "track.npy")
    for place, utterance in enumerate(scored.manifest.utterances):
        frames = int(scored.features.lengths[place])
        centres = 0.0125 + 0.010 * np.arange(frames)
        count = int(utterance.duration_s * 50)
        first = (utterance.duration_s - count * 0.02) / 2 + 0.01
        expected = np.clip(centres, first, first + (count - 1) * 0.02)
        np.testing.assert_allclose(scores[scored.features.slice_of(utterance.utterance)], expected, atol=1e-6)
    note = json.loads((track.path / "track.json").read_text())
    assert note["source"] == "external"
    assert "cannot be checked" in note["note"]


def test_other_imported_scores_are_another_track(scored, tmp_path):
    first = scored.track(_external(scored, tmp_path))
    second = scored.track(_external(scored, tmp_path, offset=1.0))
    assert first.key != second.key
    difference = np.load(second.path / "track.npy") - np.load(first.path / "track.npy")
    np.testing.assert_allclose(difference, 1, atol=1e-6)


def test_exported_scores_can_be_imported_again(scored, make_corpus, tiny, tmp_path):
    track = scored.track(tiny(make_corpus("fit")))
    out = tmp_path / "out" / "scores.csv"
    write_scores(scored.manifest, scored.artifact, track, out)
    again = scored.scores(IntensityConfig(source="external", fit=None, file=out, hop_ms=10.0))
    original = np.load(track.path / "track.npy")
    assert np.corrcoef(again, original)[0, 1] > 0.99


def test_features_of_another_corpus_are_refused(scored, make_corpus, tiny):
    other = make_corpus("other", speakers=3)
    manifest = load_manifest(other, scored.workspace)
    with pytest.raises(BadInputError, match="not those of corpus table"):
        make_track(manifest, scored.artifact, tiny(other), GRID, scored.workspace, threads=1)


def test_a_fit_corpus_that_shares_recordings_with_the_scored_one_is_refused(scored, make_corpus, tiny):
    overlapping = make_corpus("overlapping", first_seed=500, speakers=5)
    with pytest.raises(LeakageError, match=r"recording 's0_ang_0' of speaker 's0' of corpus"):
        scored.track(tiny(overlapping))


def _corpus(name: str, part: str, *rows: tuple[str, str]) -> Manifest:
    utterances = tuple(
        Utterance(
            utterance=f"{name}{place}",
            path=Path(f"{place}.wav"),
            speaker=speaker,
            session=speaker,
            label="neu",
            duration_s=1.0,
            content=content,
        )
        for place, (speaker, content) in enumerate(rows)
    )
    return Manifest(corpus=name, part=part, classes=("neu",), utterances=utterances)


def test_a_model_that_saw_a_test_speakers_labels_is_refused_by_name():
    evaluated = _corpus("ravdess", "main", ("Actor_01", "a"), ("Actor_02", "b"))
    with pytest.raises(LeakageError, match=r"all 2 speakers of the evaluated corpus ravdess \(first: 'Actor_01'\)"):
        refuse_leaky_fit(evaluated, evaluated)
    with pytest.raises(LeakageError, match="recording 'ravdess1' of speaker 'Actor_02'"):
        refuse_leaky_fit(_corpus("table", "main", ("someone", "b")), evaluated)
    with pytest.raises(LeakageError, match=r"shares 1 of 2 speakers with corpus ravdess .first: 'Actor_02'"):
        refuse_leaky_fit(_corpus("ravdess", "main", ("Actor_02", "c"), ("Actor_03", "d")), evaluated)


def test_other_corpora_other_parts_and_no_model_are_no_leak():
    evaluated = _corpus("demo", "main", ("1F", "a"), ("1M", "b"))
    refuse_leaky_fit(None, evaluated)
    refuse_leaky_fit(_corpus("emodb", "main", ("1F", "c")), evaluated)
    refuse_leaky_fit(_corpus("demo", "intensity", ("1F", "c")), evaluated)
    # Two tables may call different people by the same name; only a shared recording tells.
    table = _corpus("table", "main", ("1", "a"))
    refuse_leaky_fit(_corpus("table", "main", ("1", "b")), table)
    with pytest.raises(LeakageError):
        refuse_leaky_fit(replace(table, classes=("neu", "ang")), table)


def test_speaker_halves_are_disjoint_whole_and_balanced_where_genders_alternate():
    actors = [f"Actor_{number:02d}" for number in range(1, 25)]
    first, second = speaker_halves(
        _corpus("ravdess", "main", *[(actor, f"{actor}{n}") for actor in actors for n in range(3)])
    )
    assert sorted(first + second) == actors
    assert len(first) == len(second) == 12
    assert sum(int(actor[-2:]) % 2 for actor in first) == 6
    uneven = _corpus(
        "x", "main", *[("a", str(n)) for n in range(9)], ("b", "x"), ("c", "y"), *[("d", f"d{n}") for n in range(8)]
    )
    assert speaker_halves(uneven) == (("a", "c"), ("b", "d"))
