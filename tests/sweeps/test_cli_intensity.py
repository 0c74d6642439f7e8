"""`sweep intensity …` on a RAVDESS-shaped tree of synthetic voices whose strong takes are higher, not louder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from sweeps.cli import main

ACTORS = 6
NET = (
    "channels=[2,2,4,4]", "lstm=4", "lr=3e-3", "batch=4", "max_epochs=2", "crop_s=0.5", "validation_speakers=1",
)  # fmt: skip


def _voice(pitch: float, *, level: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    time = np.arange(round((0.6 + 0.05 * (seed % 4)) * 16_000)) / 16_000
    tone = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 8))
    envelope = np.clip(np.minimum(time - 0.1, time[-1] - 0.1 - time) * 20, 0, 1)
    return (level * tone * envelope / 2 + 1e-4 * random.standard_normal(len(time))).astype(np.float32)


def _write(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, 16_000, subtype="PCM_16")


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Neutral, and happy and angry at two intensities: strong takes are twice as loud and a fifth higher."""
    root = tmp_path_factory.mktemp("ravdess")
    for actor in range(1, ACTORS + 1):
        for emotion, level, statement in [("01", "01", s) for s in ("01", "02")] + [
            (e, i, s) for e in ("03", "05") for i in ("01", "02") for s in ("01", "02")
        ]:
            name = f"03-01-{emotion}-{level}-{statement}-01-{actor:02d}.wav"
            strong, seed = level == "02", 100 * actor + 10 * int(emotion) + 2 * int(level) + int(statement)
            samples = _voice(
                (110 + 20 * int(emotion)) * (1.5 if strong else 1), level=0.2 if strong else 0.1, seed=seed
            )
            _write(root / f"Actor_{actor:02d}" / name, samples)
    return root


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another corpus, to learn from."""
    return _write_table(tmp_path_factory.mktemp("table"), first_seed=1000)


def _write_table(root: Path, *, first_seed: int) -> Path:
    with (root / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "utterance", "speaker", "label", "activation"))
        for speaker in range(3):
            for place, (label, pitch) in enumerate([("neutral", 110.0), ("anger", 220.0)] * 3):
                name = f"s{speaker}_{place}"
                _write(root / f"{name}.wav", _voice(pitch, level=0.1, seed=first_seed + 10 * speaker + place))
                rows.writerow((f"{name}.wav", name, f"s{speaker}", label, 2.0 + (pitch > 200) + place % 3 / 4))
    return root / "table.csv"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


def _run(*arguments: str | Path, expect: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output
    return result


def _evaluate(corpus: str, root: Path, fit: Path, workspace: Path, *more: str, expect: int = 0) -> Result:
    overrides = [word for setting in NET for word in ("-o", f"intensity.strengthnet.{setting}")]
    overrides += ["-o", "intensity.ranking.pairs_per_class=50"]
    named = ("--corpus", corpus, "--root", root, "--fit", "table", "--fit-root", fit)
    return _run("intensity", "evaluate", *named, "--workspace", workspace, *overrides, *more, expect=expect)


def test_every_measure_the_corpus_offers_is_given_for_the_model_and_every_control(ravdess, table, workspace):
    found = json.loads(_evaluate("ravdess", ravdess, table, workspace, "--json").stdout)
    assert (found["corpus"], found["fit"], found["equal_level"]) == ("ravdess", "table", False)
    kinds = [(finding["measure"], finding["group"]) for finding in found["findings"]]
    expected = [(measure, group) for measure in ("levels", "emotional") for group in ("all", "happy", "angry")]
    assert kinds == expected
    levels = found["findings"][0]
    assert list(levels["tracks"]) == ["model", "loudness", "shuffled", "rolled", "inverse"]
    assert list(levels["leads"]) == ["loudness", "shuffled", "rolled", "inverse"]
    for track in levels["tracks"].values():
        assert (track["cases"], track["speakers"]) == (ACTORS * 4, ACTORS)
        assert 0 <= track["low"] <= track["value"] <= track["high"] <= 1
    assert levels["tracks"]["loudness"]["value"] == 1
    assert levels["tracks"]["inverse"]["value"] == pytest.approx(1 - levels["tracks"]["model"]["value"])
    lead = levels["tracks"]["model"]["value"] - levels["tracks"]["loudness"]["value"]
    assert levels["leads"]["loudness"]["value"] == pytest.approx(lead)


def test_at_equal_level_loudness_no_longer_tells_strong_from_normal(ravdess, table, workspace):
    found = json.loads(_evaluate("ravdess", ravdess, table, workspace, "--equal-level", "--json").stdout)
    assert found["equal_level"] is True
    assert found["findings"][0]["tracks"]["loudness"]["value"] < 0.9


def test_the_table_is_readable(ravdess, table, workspace):
    text = _evaluate("ravdess", ravdess, table, workspace).stdout
    lines = text.splitlines()
    assert max(map(len, lines)) <= 138
    assert lines[0].startswith("Stated levels: stronger above weaker")
    assert lines[0].endswith(f"(chance 50); {ACTORS} speakers")
    assert lines[1].split() == ["pairs", "model", "loudness", "shuffled", "rolled", "inverse"]
    assert lines[2].split()[:2] == ["all", str(ACTORS * 4)]
    assert "100.0 [100.0, 100.0]" in lines[2]
    assert [line.split()[0] for line in lines[2:6]] == ["all", "happy", "angry", "model"]
    assert lines[5].startswith("model leads by")
    assert any(line.startswith("Emotional above neutral") for line in lines)
    assert "95 % interval for other speakers" in lines[-2]


def test_activation_is_used_where_it_is_labelled_and_three_speakers_have_no_interval(table, workspace, tmp_path):
    other = _write_table(tmp_path, first_seed=2000)
    result = _evaluate("table", other, table, workspace, "--json")
    by_measure = {finding["measure"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert set(by_measure) == {"activation", "emotional"}
    for track in by_measure["activation"]["tracks"].values():
        assert (track["cases"], track["speakers"], track["low"], track["high"]) == (18, 3, None, None)
        assert -1 <= track["value"] <= 1
    text = _evaluate("table", other, table, workspace).stdout
    assert "Labelled activation: Spearman's ρ within a speaker (chance 0); 3 speakers" in text
    assert "[" not in text.split("In brackets")[0]


def test_a_corpus_that_knows_nothing_is_one_line(ravdess, table, workspace, tmp_path):
    lines = ["path,utterance,speaker,label", f"{next(ravdess.glob('Actor_01/*01-01-01-01-01.wav'))},u,someone,happy"]
    (tmp_path / "plain.csv").write_text("\n".join(lines))
    result = _evaluate("table", tmp_path / "plain.csv", table, workspace, expect=2)
    assert "corpus table: knows nothing to judge intensity by" in result.stderr
    assert "Traceback" not in result.stderr
