"""The exported model is the trial's own: picked by validation, equal in its predictions, refused where it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from tiny_trial import tiny_trial

from core.audio import read_audio
from core.errors import BadInputError, CorpusError
from core.exported import load_package, package_files, predictor_of
from core.packaging import Checked, Choice, choose, package_choice
from core.records import FoldMetrics, MetricsEntry, Record, read_record
from core.replay import TOLERANCE
from core.store import Workspace
from core.trial import run_trial


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A folder with a corpus and a workspace in which one trial is complete."""
    folder = tmp_path_factory.mktemp("packaging")
    run_trial(tiny_trial(folder), Workspace.at(folder / "workspace"))
    return folder


@pytest.fixture(scope="module")
def finished(original) -> tuple[Workspace, Record]:
    workspace = Workspace.at(original / "workspace")
    record = read_record(next((workspace.root / "trials").iterdir()))
    assert record is not None
    return workspace, record


@pytest.fixture(scope="module")
def checked(finished) -> Checked:
    workspace, record = finished
    return package_choice(choose([record]), workspace)


@pytest.fixture
def copied(original, tmp_path) -> tuple[Workspace, Record]:
    """A copy that a test may change; the corpus stays where it is."""
    shutil.copytree(original / "workspace", tmp_path / "workspace")
    workspace = Workspace.at(tmp_path / "workspace")
    record = read_record(next((workspace.root / "trials").iterdir()))
    assert record is not None
    return workspace, record


def with_validation(record: Record, seed: int, **ua: float) -> Record:
    """The record under another seed with these validation UAs by fold; test turned round, to mislead."""
    folds = [
        FoldMetrics(fold=fold, split=split, n=8, ua=value, wa=0.5, macro_f1=0.5)
        for fold, reached in ua.items()
        for split, value in (("validation", reached), ("test", 1 - reached))
    ]
    means = {
        split: {"ua": float(np.mean([each.ua for each in folds if each.split == split])), "wa": 0.5, "macro_f1": 0.5}
        for split in ("validation", "test")
    }
    metrics = MetricsEntry(folds=tuple(folds), mean=means, pooled=means)
    return record.model_copy(update={"seed": seed, "metrics": metrics})


def test_the_choice_looks_at_validation_alone(finished):
    _, record = finished
    low = with_validation(record, 0, anna=0.5, ben=0.9, cleo=0.1)
    high = with_validation(record, 1, anna=0.6, ben=0.7, cleo=0.7)
    tied = with_validation(record, 2, anna=0.7, ben=0.7, cleo=0.6)
    failed = high.model_copy(update={"status": "failed"})
    found = choose([tied, low, high])
    # Not fold ben of seed 0, whose 0.9 is above all: other folds have other validation speakers.
    assert (found.record.seed, found.fold, found.reached) == (1, "ben", 0.7)
    assert found.mean == pytest.approx(2 / 3)
    assert choose([low, failed]).record.seed == 0
    with pytest.raises(BadInputError, match="no trial of this arm is complete"):
        choose([failed])


def test_test_scores_choose_nothing(finished):
    _, record = finished
    first = choose([record])
    assert record.metrics is not None
    folds = tuple(
        entry.model_copy(update={"ua": 1 - entry.ua, "wa": 0.0}) if entry.split == "test" else entry
        for entry in record.metrics.folds
    )
    spoiled = record.model_copy(update={"metrics": record.metrics.model_copy(update={"folds": folds})})
    other = choose([spoiled])
    assert (other.fold, other.mean, other.reached) == (first.fold, first.mean, first.reached)


@pytest.mark.parametrize("fold", ["anna", "ben", "cleo"])
def test_predictions_of_every_fold_are_the_records(finished, fold):
    workspace, record = finished
    choice = Choice(record=record, fold=fold, metric="ua", mean=0.5, reached=0.5)
    made = package_choice(choice, workspace)
    assert (made.tried, made.train, made.speakers) == (16, 8, 1)
    assert made.difference < 1e-6 < TOLERANCE
    rows = pd.read_parquet(workspace.trial(record.trial_key) / "predictions.parquet")
    row = rows[(rows["fold"] == fold) & (rows["split"] == "test")].iloc[3]
    path = Path(str(record.config["corpus"]["root"])).parent / f"{row['utterance']}.wav"
    answer = predictor_of(made.package).predict(read_audio(path))
    np.testing.assert_allclose(answer.scores, [row["score_angry"], row["score_calm"]], atol=1e-6)
    assert made.package.config.outputs[int(answer.scores.argmax())] == row["predicted"]


def test_the_mean_of_the_frames_logits_is_the_utterances(finished, checked):
    _, record = finished
    path = Path(str(record.config["corpus"]["root"])).parent / "anna-calm-0.wav"
    answer = predictor_of(checked.package).predict(read_audio(path))
    # 58 frames, two to a position.
    assert answer.frame_values_PC.shape == (29, 2)
    assert checked.package.config.hop_s == 0.02
    np.testing.assert_allclose(answer.frame_values_PC.mean(axis=0), answer.values_C, atol=1e-5)
    np.testing.assert_allclose(answer.frame_scores.sum(axis=1), 1, atol=1e-6)
    by_hand = np.exp(answer.values_C) / np.exp(answer.values_C).sum()
    np.testing.assert_allclose(answer.scores, by_hand, rtol=1e-5)


def test_a_package_comes_back_whole_and_with_the_same_bytes(checked, tmp_path):
    files = package_files(checked.package)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    back = load_package(tmp_path)
    assert back.config == checked.package.config
    assert package_files(back) == files
    assert all(np.array_equal(back.tensors[name], values) for name, values in checked.package.tensors.items())
    # No path of this machine: the folder is given to others.
    assert str(Path.home()).encode() not in files["config.json"]
    assert b"root" not in files["config.json"]


def test_other_predictions_than_the_records_are_refused(copied):
    workspace, record = copied
    path = workspace.trial(record.trial_key) / "predictions.parquet"
    rows = pd.read_parquet(path)
    choice = choose([record])
    place = rows.index[(rows["fold"] == choice.fold) & (rows["split"] == "test")][2]
    rows.loc[place, "score_angry"] += 3e-4
    rows.to_parquet(path, index=False)
    with pytest.raises(BadInputError, match=f"{rows['utterance'][place]}.*tolerance 0.0001.*sweep replay"):
        package_choice(choice, workspace)


def test_without_its_embeddings_they_are_made_again_and_without_its_upstreams_it_is_refused(copied, checked):
    workspace, record = copied
    shutil.rmtree(workspace.root / "store" / "embed")
    again = package_choice(choose([record]), workspace)
    assert package_files(again.package) == package_files(checked.package)
    one = next(path for path in (workspace.root / "store" / "pretrain").iterdir() if path.is_dir())
    shutil.rmtree(one)
    with pytest.raises(BadInputError, match=r"its upstream of fold\d is no longer in"):
        package_choice(choose([record]), workspace)


def test_weights_of_another_upstream_are_noticed(copied):
    workspace, record = copied
    folders = sorted(path for path in (workspace.root / "store" / "pretrain").iterdir() if path.is_dir())
    first, second = (folder / "weights.pt" for folder in folders[:2])
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    refused = []
    for fold in ("anna", "ben", "cleo"):
        try:
            package_choice(Choice(record=record, fold=fold, metric="ua", mean=0.5, reached=0.5), workspace)
        except BadInputError as error:
            refused.append(str(error))
    assert len(refused) == 2
    assert all("gives other scores than its predictions.parquet" in said for said in refused)


def test_a_corpus_that_has_changed_is_refused(original, finished, tmp_path):
    workspace, record = finished
    for path in original.glob("*.*"):
        shutil.copy(path, tmp_path)
    samples_N, rate = soundfile.read(tmp_path / "anna-calm-0.wav")
    soundfile.write(tmp_path / "anna-calm-0.wav", 0.5 * samples_N, rate)
    changed = record.config | {"corpus": record.config["corpus"] | {"root": str(tmp_path / "corpus.csv")}}
    with pytest.raises(CorpusError, match="its corpus table is not what it was"):
        package_choice(choose([record.model_copy(update={"config": changed})]), workspace)


def test_one_upstream_for_all_folds_and_npc(tmp_path):
    changes = {
        "upstream": "npc",
        "pretraining_audio": {"source": "transductive"},
        "npc": {"hidden": 16, "blocks": 2, "kernel": 11, "mask_size": 3, "codebooks": (8, 8), "probed": "all"},
        "masking": {"policy": "random", "temperature": None},
    }
    config, workspace = tiny_trial(tmp_path, changes), Workspace.at(tmp_path / "workspace")
    made = package_choice(choose([run_trial(config, workspace)]), workspace)
    assert made.difference < 1e-6
    # One position per frame; blocks and masked convolutions are weighed.
    assert made.package.config.hop_s == 0.01
    assert made.package.tensors["head.layer_weights_L"].shape == (4,)
    assert made.package.tensors["head.layer_weights_L"].sum() == pytest.approx(1)


def test_a_config_that_is_no_longer_understood_names_its_commit(finished):
    workspace, record = finished
    old = record.model_copy(update={"config": record.config | {"gone": 1}})
    with pytest.raises(BadInputError, match=r"gone: .*export it from commit"):
        package_choice(choose([old]), workspace)
