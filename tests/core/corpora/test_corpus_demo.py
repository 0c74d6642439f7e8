"""The demo corpus: the same bytes every time, neither trivial nor hopeless, and its planted truth is true."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from core.audio import read_audio
from core.config import CorpusConfig, FoldsConfig
from core.corpora.demo import planted_dimensions, planted_intensity
from core.corpora.demo_script import voices, write_script
from core.corpora.espeak import Text, synthesise
from core.corpora.folds import make_folds
from core.corpora.loading import check_launchable, load_manifest
from core.corpora.manifest import Manifest
from core.errors import BadInputError
from core.metrics import ccc
from core.store import Workspace
from core.units import SAMPLE_RATE

MAIN, INTENSITY = CorpusConfig(), CorpusConfig(part="intensity")


@pytest.fixture(scope="module")
def manifest(demo_workspace: Workspace) -> Manifest:
    return load_manifest(MAIN, demo_workspace)


@pytest.fixture(scope="module")
def heard(manifest: Manifest) -> dict[str, NDArray[np.float32]]:
    return {item.utterance: read_audio(item.path) for item in manifest.utterances}


def files(workspace: Workspace) -> dict[str, bytes]:
    folder = workspace.root / "store" / "demo-corpus"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_two_processes_render_the_same_bytes(demo_workspace: Workspace, tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\nfrom core.config import CorpusConfig\nfrom core.store import Workspace\n"
        "from core.corpora.loading import load_manifest\n"
        f"place = Workspace.at(Path({str(tmp_path)!r}))\n"
        "for part in ('main', 'intensity'):\n print(load_manifest(CorpusConfig(part=part), place).fingerprint)"
    )
    repository = str(Path(__file__).resolve().parents[3])
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": repository},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    ours = [load_manifest(config, demo_workspace).fingerprint for config in (MAIN, INTENSITY)]
    assert printed == ours
    here, there = files(demo_workspace), files(Workspace(root=tmp_path))
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []


def test_it_has_the_shape_of_iemocap(manifest: Manifest, demo_workspace: Workspace) -> None:
    check_launchable(manifest, MAIN)
    assert (manifest.corpus, manifest.classes, manifest.ledger) == ("demo", ("ang", "hap", "neu", "sad"), ())
    assert manifest.speakers == tuple(f"Ses{k:02d}{gender}" for k in range(1, 6) for gender in "FM")
    assert [fold.name for fold in make_folds(manifest, FoldsConfig()).folds] == [f"Session{k}" for k in range(1, 6)]
    assert len(make_folds(manifest, FoldsConfig(scheme="leave-one-speaker-out")).folds) == 10
    counts = Counter((item.speaker, item.label) for item in manifest.utterances)
    assert len(counts) == 40
    assert min(counts.values()) >= 4
    assert 10 <= sum(item.duration_s for item in manifest.utterances) / 60 <= 15
    assert min(item.duration_s for item in manifest.utterances) > 1.5
    for item in manifest.utterances:
        assert item.transcript
        scores = [item.activation, item.valence, item.dominance]
        assert all(score is not None and 1 <= score <= 5 and (2 * score).is_integer() for score in scores)


def test_the_parts_share_no_speaker_and_no_voice(manifest: Manifest, demo_workspace: Workspace) -> None:
    other = load_manifest(INTENSITY, demo_workspace)
    assert other.part == "intensity"
    assert not set(other.speakers) & set(manifest.speakers)
    assert not {voice.espeak for voice in voices("main")} & {voice.espeak for voice in voices("intensity")}
    assert {item.label for item in other.utterances} == set(manifest.classes)
    assert not {item.utterance for item in other.utterances} & {item.utterance for item in manifest.utterances}


def test_labels_and_words_go_together_but_do_not_give_the_class_away(manifest: Manifest) -> None:
    valence = {
        label: [item.valence or 0.0 for item in manifest.utterances if item.label == label]
        for label in manifest.classes
    }
    assert np.mean(valence["hap"]) > np.mean(valence["neu"]) + 0.5 > np.mean(valence["sad"]) + 1
    activation = {
        label: [item.activation or 0.0 for item in manifest.utterances if item.label == label]
        for label in manifest.classes
    }
    assert np.mean(activation["ang"]) > np.mean(activation["neu"]) > np.mean(activation["sad"])
    happy_words = [item.label for item in manifest.utterances if "wonderful" in (item.transcript or "")]
    assert Counter(happy_words).most_common(1)[0][0] == "hap"
    assert set(happy_words) != {"hap"}


def test_the_noisy_part_has_the_first_part_s_voices_and_labels_far_from_what_was_planted(manifest: Manifest) -> None:
    assert voices("noisy") == voices("main")
    lines = {part: write_script(part) for part in ("main", "noisy")}
    assert len({line.utterance for part in lines.values() for line in part}) == 240 + 960
    assert {(item.utterance, item.valence) for item in manifest.utterances} == {
        (line.utterance, line.valence) for line in lines["main"]
    }
    agreement = {}
    for part, rated in lines.items():
        planted = planted_dimensions(CorpusConfig(part=part))
        assert planted.keys() == {line.utterance for line in rated}
        agreement[part] = ccc([planted[line.utterance][1] for line in rated], [line.valence for line in rated])
    # 0.92 and 0.60: two careful raters, and a careless one.
    assert agreement["main"] > 0.88
    assert 0.5 < agreement["noisy"] < 0.7
    assert all(line.valence in (1, 2, 3, 4, 5) for line in lines["noisy"])


def test_in_the_part_with_pauses_the_share_of_silence_varies_and_has_nothing_to_do_with_the_class() -> None:
    lines = write_script("pauses")
    assert not {line.utterance for line in lines} & {
        line.utterance for line in (*write_script("main"), *write_script("noisy"))
    }
    silent = {
        label: np.array(
            [sum(clause.silence_s for clause in line.clauses) + line.silence_s for line in lines if line.label == label]
        )
        for label in ("ang", "hap", "neu", "sad")
    }
    together = np.concatenate(list(silent.values()))
    assert together.min() < 1
    assert together.max() > 5
    for silent_U in silent.values():
        assert abs(silent_U.mean() - together.mean()) < 4 * together.std() / np.sqrt(len(silent_U))
    assert all(0.2 <= clause.silence_s <= 2.5 for line in lines for clause in line.clauses)


def log_mel(samples_T: NDArray[np.float32]) -> NDArray[np.float64]:
    """40 log mel bands of 25 ms frames every 10 ms, shape (frames, 40): independent of the project's features."""
    frames = np.lib.stride_tricks.sliding_window_view(samples_T, 400)[::160] * np.hanning(400)
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    mel = 1127 * np.log1p(np.linspace(0, SAMPLE_RATE / 2, 257) / 700)
    edges = np.linspace(1127 * np.log1p(20 / 700), mel[-1], 42)
    rising, falling = mel[:, None] - edges[:-2], edges[2:] - mel[:, None]
    bank = np.clip(np.minimum(rising / np.diff(edges)[:-1], falling / np.diff(edges)[1:]), 0, None)
    log_mel_TF: NDArray[np.float64] = np.log(power @ bank + 1e-8)
    return log_mel_TF


def test_a_simple_classifier_is_neither_at_chance_nor_perfect(
    manifest: Manifest, heard: dict[str, NDArray[np.float32]]
) -> None:
    spectra = {utterance: log_mel(samples_T) for utterance, samples_T in heard.items()}
    means = {name: np.r_[spectrum.mean(axis=0), spectrum.std(axis=0)] for name, spectrum in spectra.items()}
    label = {item.utterance: item.label for item in manifest.utterances}
    recalls = []
    for fold in make_folds(manifest, FoldsConfig()).folds:
        train = [*fold.train, *fold.validation]
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        model.fit([means[name] for name in train], [label[name] for name in train])
        predicted = model.predict([means[name] for name in fold.test])
        recalls.append(recall_score([label[name] for name in fold.test], predicted, average="macro"))
    assert 0.5 < np.mean(recalls) < 0.8, recalls


def test_marks_stand_where_the_words_are(tmp_path: Path) -> None:
    """A word said at volume 0 leaves a hole in the signal exactly between its marks."""
    for voice in voices("main"):
        ssml = (
            '<speak>nobody knew that <mark name="0"/><prosody volume="0%">miserable</prosody> '
            '<mark name="1"/>animal.</speak>'
        )
        text = Text(ssml=ssml, voice=voice.espeak, rate=170, volume=60, pitch=50, range=50)
        (said,) = synthesise([text], scratch=tmp_path)
        level = np.abs(said.samples.astype(int))
        inside = slice(said.marks["0"] + 450, said.marks["1"] - 450)  # 20 ms
        assert said.marks["1"] - said.marks["0"] > 22_050 * 0.25, voice.espeak
        # Breath is not voice: it sounds at any volume.
        assert np.sqrt((level[inside] ** 2).mean()) < 0.1 * np.sqrt((level[: said.marks["0"]] ** 2).mean()), (
            voice.espeak
        )
        assert level[said.marks["1"] : said.marks["1"] + 3300].max() > 1000, voice.espeak


def test_between_planted_segments_there_is_only_the_room(
    manifest: Manifest, heard: dict[str, NDArray[np.float32]], demo_workspace: Workspace
) -> None:
    planted = planted_intensity(MAIN, demo_workspace)
    assert planted.keys() == heard.keys()
    longest = 0.0
    for item in manifest.utterances:
        samples_T, segments = heard[item.utterance], planted[item.utterance]
        assert " ".join(segment.words for segment in segments) == (item.transcript or "").replace(".", "")
        speech_T = np.zeros(len(samples_T), dtype=bool)
        for segment in segments:
            assert 0 <= segment.start < segment.end <= item.duration_s
            speech_T[int(segment.start * SAMPLE_RATE) - 80 : int(segment.end * SAMPLE_RATE) + 80] = True
        quiet, loud = samples_T[~speech_T].std(), samples_T[speech_T].std()
        assert quiet < 0.25 * loud, item.utterance
        ends = [segment.end for segment in segments[:-1]]
        longest = max([longest, *(after.start - end for after, end in zip(segments[1:], ends, strict=True))])
    assert longest > 0.8


def test_emphasised_words_carry_the_emotion_and_are_not_always_the_loud_ones(
    manifest: Manifest, heard: dict[str, NDArray[np.float32]], demo_workspace: Workspace
) -> None:
    planted = planted_intensity(MAIN, demo_workspace)
    louder: dict[str, list[float]] = {label: [] for label in manifest.classes}
    for item in manifest.utterances:
        segments = planted[item.utterance]
        strong = [segment for segment in segments if segment.emphasised]
        plain = [segment for segment in segments if not segment.emphasised]
        if item.label == "neu":
            assert not strong
            assert all(segment.intensity == 0 for segment in segments)
            continue
        assert strong
        assert min(s.intensity for s in strong) > max(s.intensity for s in plain) > 0
        level = [
            np.log10(np.mean([heard[item.utterance][int(s.start * 16_000) : int(s.end * 16_000)].std() for s in part]))
            for part in (strong, plain)
        ]
        louder[item.label].append(20 * (level[0] - level[1]))
    assert np.median(louder["ang"]) > 3  # decibels
    assert np.median(louder["hap"]) > 1
    assert np.median(louder["sad"]) < 1


def test_only_the_demo_corpus_has_planted_truth(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"only the demo corpus has it \(got 'ravdess'\)"):
        planted_intensity(CorpusConfig(name="ravdess", root=tmp_path), workspace)
    with pytest.raises(BadInputError, match=r"only the demo corpus has them \(got 'ravdess'\)"):
        planted_dimensions(CorpusConfig(name="ravdess", root=tmp_path))


def test_a_voice_that_does_not_exist_is_named(tmp_path: Path) -> None:
    text = Text(ssml="<speak>hello</speak>", voice="en-gb+f1", rate=170, volume=60, pitch=50, range=50)
    with pytest.raises(BadInputError, match=r"espeak-ng failed: .*no voice 'en-gb\+f1'$"):
        synthesise([text], scratch=tmp_path)


def test_without_the_extra_the_error_names_it(tmp_path: Path) -> None:
    """In an interpreter that sees every package but espeakng-loader."""
    site = tmp_path / "site"
    site.mkdir()
    import espeakng_loader

    for path in Path(espeakng_loader.__file__).parents[1].iterdir():
        if "espeakng" not in path.name:
            (site / path.name).symlink_to(path)
    program = (
        "from pathlib import Path\nfrom core.config import CorpusConfig\nfrom core.store import Workspace\n"
        "from core.corpora.loading import load_manifest\nfrom core.errors import MissingDependencyError\n"
        f"try:\n load_manifest(CorpusConfig(), Workspace.at(Path({str(tmp_path / 'w')!r})))\n"
        "except MissingDependencyError as error:\n print(error)"
    )
    repository = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), repository])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "the demo corpus is rendered by espeak-ng: pip install 'emsweep[demo]'"
