"""`sweep corpus check`: every corpus can be named, its subset and label set chosen, and its ledger read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from core.config import CorpusName, LabelSet
from sweeps.cli import main
from sweeps.cli_options import CORPORA, LABEL_SETS
from sweeps.ledger import SHOWN

HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An MSP-Podcast of three speakers with one utterance of each usual class, and 22 of somebody."""
    (tmp_path / "MSP" / "Audios").mkdir(parents=True)
    (tmp_path / "MSP" / "Labels").mkdir()
    speakers = [(speaker, letter) for speaker in ("30", "39", "127") for letter in "AHNS"]
    rows = [HEADER]
    for number, (speaker, letter) in enumerate([*speakers, *[("Unknown", "N")] * 22]):
        name = f"MSP-PODCAST_0001_{number:04d}.wav"
        signal = np.random.default_rng(number).uniform(-0.5, 0.5, 4000)
        soundfile.write(tmp_path / "MSP" / "Audios" / name, signal, 16_000)
        rows.append(f"{name},{letter},4,3,5,{speaker},Male,{'Test1' if speaker == '127' else 'Train'}")
    (tmp_path / "MSP" / "Labels" / "labels_consensus.csv").write_text("\n".join(rows))
    return tmp_path / "MSP"


def check(root: Path, *options: str) -> Result:
    place = ["--root", str(root), "--workspace", str(root.parent / "workspace")]
    return CliRunner().invoke(main, ["corpus", "check", "msp-podcast", *place, *options])


def test_every_corpus_and_label_set_can_be_named() -> None:
    assert set(CORPORA) == set(get_args(CorpusName))
    assert set(LABEL_SETS) == set(get_args(LabelSet))


def test_subset_and_labels_are_taken(root: Path) -> None:
    summary = json.loads(check(root, "--subset", "Test1", "--labels", "dimensions", "--json").stdout)
    assert (summary["classes"], summary["utterances"], summary["speakers"]) == ([], 4, 1)
    assert summary["rows"] == [{"fold": None, "class": "", "used": 4, "quarantined": {}}]


def test_the_ledger_of_a_corpus_without_classes_reads_well(root: Path) -> None:
    lines = check(root, "--labels", "dimensions", "--folds", "leave-one-speaker-out").stdout.splitlines()
    assert lines[0] == "corpus msp-podcast: 12 utterances, 0.00 h, 3 speakers, 22 set aside"
    assert lines[2] == "no classes"
    assert [line.split() for line in lines[4:9]] == [
        ["test", "fold", "total"], ["127", "4"], ["30", "4"], ["39", "4"], ["in", "no", "fold", "0"],
    ]  # fmt: skip
    assert lines[9] == (
        "set aside: MSP-PODCAST_0001_0012: unknown-speaker, known quirk: the corpus does not say who speaks"
    )
    assert len(lines) == 9 + SHOWN + 1
    assert lines[-1] == "set aside: 2 more: unknown-speaker, known quirk"


def test_the_ledger_of_a_corpus_with_classes_counts_them(root: Path) -> None:
    (root / "Audios" / "MSP-PODCAST_0001_0000.wav").unlink()
    lines = check(root).stdout.splitlines()
    assert lines[2].split() == ["test", "fold", "anger", "happiness", "neutral", "sadness", "total"]
    assert lines[3].split() == ["all", "2", "3", "3", "3", "11"]
    assert lines[4].startswith("set aside: MSP-PODCAST_0001_0000 (anger): missing: ")


def test_a_subset_the_corpus_does_not_have_is_one_line(root: Path) -> None:
    result = check(root, "--subset", "Test3")
    assert result.exit_code == 2
    assert result.stderr == "error: corpus msp-podcast: subset 'Test3' is none of Test1, Train\n"
