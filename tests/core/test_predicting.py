"""An exported folder at work: any audio, bad files among good ones, and folders that are no model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_trial import RATE, tiny_trial

from core.errors import BadInputError
from core.exported import Package, load_package, package_files, predictor_of
from core.packaging import choose, package_choice
from core.predicting import LONGEST_S, Prediction, Unusable, audio_files, predict_files
from core.store import Workspace
from core.trial import run_trial


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """An exported folder, without a card."""
    folder = tmp_path_factory.mktemp("predicting")
    workspace = Workspace.at(folder / "workspace")
    made = package_choice(choose([run_trial(tiny_trial(folder), workspace)]), workspace)
    write(folder / "model", made.package)
    return folder / "model"


@pytest.fixture(scope="module")
def package(model) -> Package:
    return load_package(model)


@pytest.fixture
def damaged(package, tmp_path) -> Path:
    """A copy that a test may damage."""
    write(tmp_path / "model", package)
    return tmp_path / "model"


def write(folder: Path, package: Package) -> None:
    folder.mkdir()
    for name, content in package_files(package).items():
        (folder / name).write_bytes(content)


def sound(seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    rng = np.random.default_rng(1)
    time_N = np.arange(int(seconds * rate)) / rate
    return 0.2 * np.sin(2 * np.pi * 220 * time_N) * (1 + np.sin(9 * time_N)) + 0.01 * rng.normal(size=len(time_N))


def scored(package: Package, *places: Path) -> list[Prediction]:
    found = list(predict_files(predictor_of(package), places))
    assert all(isinstance(each, Prediction) for each in found), found
    return found


def test_channels_are_mixed_and_rates_changed(package, tmp_path):
    mono_N = sound()
    soundfile.write(tmp_path / "mono.wav", mono_N, RATE)
    # Left and right apart, the same mean.
    soundfile.write(tmp_path / "stereo.flac", np.stack([1.5 * mono_N, 0.5 * mono_N], axis=1), RATE)
    soundfile.write(tmp_path / "fast.wav", sound(rate=44_100), 44_100)
    fast, mono, stereo = scored(package, tmp_path)
    assert [each.path.name for each in (fast, mono, stereo)] == ["fast.wav", "mono.wav", "stereo.flac"]
    np.testing.assert_allclose(stereo.answer.scores, mono.answer.scores, atol=2e-3)
    assert fast.duration_s == mono.duration_s == 1.0
    assert fast.answer.frame_values_PC.shape == mono.answer.frame_values_PC.shape == (49, 2)


def test_the_same_file_says_the_same_whatever_else_is_scored(package, tmp_path):
    for name, seconds in (("a.wav", 1.0), ("b.wav", 0.4), ("c.ogg", 2.0)):
        soundfile.write(tmp_path / name, sound(seconds), RATE)
    alone = scored(package, tmp_path / "a.wav")[0]
    among = scored(package, tmp_path / "c.ogg", tmp_path / "b.wav", tmp_path / "a.wav")[2]
    assert np.array_equal(alone.answer.values_C, among.answer.values_C)
    assert np.array_equal(alone.answer.frame_values_PC, among.answer.frame_values_PC)


def test_files_and_folders_each_once_in_order(tmp_path):
    inside = tmp_path / "day" / "one"
    inside.mkdir(parents=True)
    for path in (inside / "b.WAV", inside / "a.flac", tmp_path / "c.wav", inside / "notes.txt"):
        path.touch()
    (tmp_path / "empty").mkdir()
    found = audio_files([tmp_path / "c.wav", tmp_path / "day", tmp_path / "empty", tmp_path / "c.wav"])
    assert found[:3] == [tmp_path / "c.wav", inside / "a.flac", inside / "b.WAV"]
    assert found[3:] == [
        Unusable(path=tmp_path / "empty", reason=f"{tmp_path / 'empty'}: no audio file below this folder")
    ]


def test_bad_files_have_one_line_each_and_good_ones_are_scored(package, tmp_path):
    soundfile.write(tmp_path / "good.wav", sound(), RATE)
    soundfile.write(tmp_path / "short.wav", sound(0.02), RATE)
    soundfile.write(tmp_path / "long.wav", np.zeros(int((LONGEST_S + 1) * 100)), 100)
    (tmp_path / "text.wav").write_text("no sound")
    names = ("good.wav", "short.wav", "long.wav", "text.wav", "absent.wav")
    found = list(predict_files(predictor_of(package), [tmp_path / name for name in names]))
    assert isinstance(found[0], Prediction)
    reasons = [each.reason for each in found[1:] if isinstance(each, Unusable)]
    for name, reason, said in zip(
        names[1:],
        reasons,
        ("shorter than one analysis window", "61.0 s are longer than 60 s", "cannot be decoded", "no such file"),
        strict=True,
    ):
        assert reason.startswith(f"{tmp_path / name}: ")
        assert said in reason
        assert "\n" not in reason


def test_odd_files_and_names_stop_no_run(package, tmp_path):
    soundfile.write(tmp_path / "good.wav", sound(), RATE)
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 8_000)
    odd = tmp_path / os.fsdecode(b"\xff.wav")
    odd.write_bytes((tmp_path / "good.wav").read_bytes())
    (tmp_path / "bare.raw").write_bytes(bytes(32_000))
    endless = tmp_path / f"{'a' * 300}.wav"
    found = list(predict_files(predictor_of(package), [tmp_path, tmp_path / "bare.raw", endless]))
    assert [each.path.name for each in found[:3]] == ["good.wav", "none.wav", "\\xff.wav"]
    assert isinstance(found[0], Prediction)
    reasons = [each.reason for each in found[1:] if isinstance(each, Unusable)]
    assert reasons[1:] == [
        f"{tmp_path}/\\xff.wav: its name is not UTF-8",
        f"{tmp_path}/bare.raw: bare samples, without a header that tells their rate; make it a WAV or FLAC file",
        f"{endless}: cannot be looked at (File name too long)",
    ]
    assert "0 samples (0.0000 s) are shorter than one analysis window" in reasons[0]


def test_one_file_under_two_spellings_is_one(tmp_path, monkeypatch):
    (tmp_path / "a.wav").touch()
    (tmp_path / "link.wav").symlink_to("a.wav")
    monkeypatch.chdir(tmp_path)
    places = [Path("a.wav"), tmp_path, Path("../") / tmp_path.name / "a.wav"]
    assert audio_files(places) == [Path("a.wav")]


def test_a_folder_of_the_first_layout_is_read(damaged, package, tmp_path):
    content = json.loads((damaged / "config.json").read_text())
    del content["published"]
    (damaged / "config.json").write_text(json.dumps(content | {"schema_version": 1}))
    soundfile.write(tmp_path / "a.wav", sound(), RATE)
    then, now = (scored(each, tmp_path / "a.wav")[0].answer for each in (load_package(damaged), package))
    assert np.array_equal(then.values_C, now.values_C)


def test_silence_has_finite_scores(package, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE), RATE)
    answer = scored(package, tmp_path)[0].answer
    assert np.isfinite(answer.values_C).all()
    assert answer.scores.sum() == pytest.approx(1, abs=1e-6)


def test_a_folder_that_is_no_model(damaged, tmp_path):
    with pytest.raises(BadInputError, match=r"no exported model \(config.json: No such file"):
        load_package(tmp_path)
    (damaged / "model.safetensors").unlink()
    with pytest.raises(BadInputError, match=r"no exported model \(model.safetensors: "):
        load_package(damaged)
    (damaged / "config.json").write_text("{")
    (damaged / "model.safetensors").touch()
    with pytest.raises(BadInputError, match=r"config.json: not JSON"):
        load_package(damaged)


def test_damaged_weights_and_a_changed_config_are_refused(damaged):
    weights = bytearray((damaged / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (damaged / "model.safetensors").write_bytes(bytes(weights))
    with pytest.raises(BadInputError, match=r"not the weights of its config.json"):
        load_package(damaged)
    content = json.loads((damaged / "config.json").read_text())
    for change, said in (
        ({"schema_version": 3}, "schema_version: "),
        ({"kind": "colours"}, "kind: "),
        ({"surprise": 1}, "surprise: "),
        ({"outputs": []}, "outputs: "),
    ):
        (damaged / "config.json").write_text(json.dumps(content | change))
        with pytest.raises(BadInputError, match=f"not of an exported model .{said}"):
            load_package(damaged)
    (damaged / "config.json").write_text("[]")
    with pytest.raises(BadInputError, match="not of an exported model"):
        load_package(damaged)


def test_tensors_that_do_not_fit_the_settings_are_refused(package):
    fewer = {name: values for name, values in package.tensors.items() if name != "head.classify_PC"}
    with pytest.raises(BadInputError, match=r"no tensor 'head.classify_PC'"):
        predictor_of(Package(config=package.config, tensors=fewer))
    fewer = {name: values for name, values in package.tensors.items() if name != "upstream.norm.weight"}
    with pytest.raises(BadInputError, match=r"weights of upstream 'mockingjay': .*norm.weight"):
        predictor_of(Package(config=package.config, tensors=fewer))
    wider = package.config.settings | {"mockingjay": package.config.settings["mockingjay"] | {"hidden": 32}}
    with pytest.raises(BadInputError, match=r"weights of upstream 'mockingjay': .*size mismatch"):
        predictor_of(Package(config=package.config.model_copy(update={"settings": wider}), tensors=package.tensors))
    odd = package.config.settings | {"mockingjay": {"hidden": 7}}
    with pytest.raises(BadInputError, match=r"exported model of trial .*greater than or equal to 8"):
        predictor_of(Package(config=package.config.model_copy(update={"settings": odd}), tensors=package.tensors))


@pytest.mark.slow
def test_the_folder_is_enough_and_ray_and_mlflow_are_not_needed(model, tmp_path):
    """Another process, elsewhere, without a workspace."""
    soundfile.write(tmp_path / "a.wav", sound(), RATE)
    code = (
        "import sys; from click.testing import CliRunner; from sweeps.cli import main;"
        f"done = CliRunner().invoke(main, ['predict', {str(model)!r}, 'a.wav', '--json']);"
        "print(done.stdout, {'ray', 'mlflow', 'optuna', 'matplotlib'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert shown.stdout.strip().endswith("set()")
    assert json.loads(shown.stdout.splitlines()[0])["rows"][0]["file"] == "a.wav"
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
