"""The ledger: each kind of unusable file is set aside with its reason, counted, and blocks a launch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from core.config import CorpusConfig, FoldsConfig
from core.corpora.folds import make_folds
from core.corpora.loading import check_launchable, load_manifest, summarise
from core.corpora.manifest import Manifest
from core.errors import BadInputError, CorpusError
from core.store import Workspace

SPEAKERS = ("anna", "ben", "cleo")


def noise(seed: int, samples: int = 8000) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, size=samples).astype(np.int16)


def write_corpus(folder: Path) -> list[str]:
    """Three speakers with a good happy and a good sad recording each; the rows of their table."""
    rows = []
    for number, speaker in enumerate(SPEAKERS):
        for offset, label in enumerate(("happy", "sad")):
            name = f"{speaker}_{label}.wav"
            soundfile.write(folder / name, noise(10 * number + offset), 16_000)
            rows.append(f"{name},{speaker}_{label},{speaker},{label}")
    return rows


def load(folder: Path, rows: list[str], workspace: Workspace) -> tuple[Manifest, CorpusConfig]:
    (folder / "corpus.csv").write_text("\n".join(["path,utterance,speaker,label", *rows]) + "\n")
    config = CorpusConfig(name="table", root=folder / "corpus.csv")
    return load_manifest(config, workspace), config


def test_a_sound_corpus_has_an_empty_ledger_and_may_be_launched(tmp_path: Path, workspace: Workspace) -> None:
    manifest, config = load(tmp_path, write_corpus(tmp_path), workspace)
    assert (len(manifest.utterances), manifest.ledger, manifest.incomplete) == (6, (), None)
    check_launchable(manifest, config)


def test_every_kind_of_unusable_file_has_its_reason(tmp_path: Path, workspace: Workspace) -> None:
    rows = write_corpus(tmp_path)
    soundfile.write(tmp_path / "short.wav", noise(50, 3199), 16_000)
    soundfile.write(tmp_path / "just.wav", noise(51, 3200), 16_000)
    soundfile.write(tmp_path / "silent.wav", np.full(8000, 900, dtype=np.int16), 16_000)  # constant, not zero
    soundfile.write(tmp_path / "copy.flac", noise(0), 16_000)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    bad = ("gone", "short", "silent", "broken")
    rows += [f"{name}.wav,x_{name},anna,happy" for name in (*bad, "just")]
    rows += ["copy.flac,x_copy,ben,happy"]
    manifest, config = load(tmp_path, rows, workspace)
    assert {entry.utterance: entry.reason for entry in manifest.ledger} == {
        "x_gone": "missing",
        "x_short": "too-short",
        "x_silent": "silent",
        "x_broken": "unreadable",
        "x_copy": "duplicate",
    }
    details = {entry.reason: entry.detail for entry in manifest.ledger}
    assert details["too-short"] == "0.199937 s is under 0.2 s"
    assert details["duplicate"] == "same samples as anna_happy"
    assert len(manifest.utterances) == 7
    with pytest.raises(CorpusError) as caught:
        check_launchable(manifest, config)
    message = str(caught.value)
    assert "5 of 12 utterances cannot be used (1 duplicate, 1 missing, 1 silent, 1 too-short, 1 unreadable;" in message
    assert "\n" not in message
    check_launchable(manifest, config.model_copy(update={"allow_quarantined": True}))


def test_content_is_the_same_in_wav_and_flac_and_other_at_another_rate(tmp_path: Path, workspace: Workspace) -> None:
    soundfile.write(tmp_path / "a.wav", noise(1), 16_000)
    wav, _ = load(tmp_path, ["a.wav,u1,anna,happy"], workspace)
    soundfile.write(tmp_path / "a.flac", noise(1), 16_000)
    flac, _ = load(tmp_path, ["a.flac,u1,anna,happy"], workspace)
    assert wav.fingerprint == flac.fingerprint
    soundfile.write(tmp_path / "a.wav", noise(1), 8_000)
    slower, _ = load(tmp_path, ["a.wav,u1,anna,happy"], workspace)
    assert slower.utterances[0].content != wav.utterances[0].content


def test_files_are_listened_to_again_only_when_they_change(tmp_path: Path, workspace: Workspace) -> None:
    rows = write_corpus(tmp_path)
    path = tmp_path / "anna_happy.wav"
    before, _ = load(tmp_path, rows, workspace)
    facts = path.stat()
    soundfile.write(path, noise(99), 16_000)  # same size, other content …
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # … and the same time: nobody could know
    recalled, _ = load(tmp_path, rows, workspace)
    assert recalled == before
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    again, _ = load(tmp_path, rows, workspace)
    assert again.utterances[0].content != before.utterances[0].content
    elsewhere, _ = load(tmp_path, rows, Workspace.at(tmp_path / "other"))
    assert elsewhere == again


def test_stretches_of_one_file_are_kept_apart_in_the_cache(tmp_path: Path, workspace: Workspace) -> None:
    soundfile.write(tmp_path / "long.wav", noise(3, 32_000), 16_000)
    (tmp_path / "corpus.csv").write_text(
        "path,utterance,speaker,label,start,end\n"
        "long.wav,u1,anna,happy,0,1\nlong.wav,u2,ben,sad,1,2\nlong.wav,u3,cleo,sad,1.5,2.5\n"
    )
    config = CorpusConfig(name="table", root=tmp_path / "corpus.csv")
    for _ in range(2):
        manifest = load_manifest(config, workspace)
        assert [item.duration_s for item in manifest.utterances] == [1.0, 1.0]
        assert manifest.utterances[0].content != manifest.utterances[1].content
        assert [(entry.utterance, entry.reason) for entry in manifest.ledger] == [("u3", "unreadable")]
        assert manifest.ledger[0].detail.endswith("end 2.5 s is after the end of the file at 2.000 s")


def test_a_spoilt_list_of_file_checks_is_named(tmp_path: Path, workspace: Workspace) -> None:
    rows = write_corpus(tmp_path)
    load(tmp_path, rows, workspace)
    (checks,) = (workspace.root / "store" / "file-checks").glob("*.json")
    checks.write_text("[1, 2]")
    with pytest.raises(BadInputError, match=rf"{checks.name}: not a list of file checks; delete it"):
        load(tmp_path, rows, workspace)


def test_a_corpus_without_any_usable_file_cannot_be_launched(tmp_path: Path, workspace: Workspace) -> None:
    manifest, config = load(tmp_path, ["gone.wav,u1,anna,happy"], workspace)
    with pytest.raises(CorpusError, match=r"none of its 1 utterances can be used \(first: .*gone\.wav: no such file\)"):
        check_launchable(manifest, config.model_copy(update={"allow_quarantined": True}))


def test_the_summary_counts_by_fold_and_class(tmp_path: Path, workspace: Workspace) -> None:
    rows = [*write_corpus(tmp_path), "gone.wav,x_gone,ben,sad", "copy.wav,x_lone,dora,happy"]
    soundfile.write(tmp_path / "copy.wav", noise(0), 16_000)
    manifest, _ = load(tmp_path, rows, workspace)
    summary = summarise(manifest, make_folds(manifest, FoldsConfig(scheme="leave-one-speaker-out")))
    assert (summary["utterances"], summary["quarantined"], summary["quarantined_unknown"]) == (6, 2, 2)
    assert summary["hours"] == pytest.approx(6 * 0.5 / 3600)
    assert summary["rows"] == [
        *(
            {"fold": speaker, "class": label, "used": 1, "quarantined": {"missing": 1} if at == 3 else {}}
            for at, (speaker, label) in enumerate((s, c) for s in SPEAKERS for c in ("happy", "sad"))
        ),
        {"fold": None, "class": "happy", "used": 0, "quarantined": {"duplicate": 1}},
    ]
    whole = summarise(manifest)
    assert whole["folds"] is None
    assert whole["rows"] == [
        {"fold": None, "class": "happy", "used": 3, "quarantined": {"duplicate": 1}},
        {"fold": None, "class": "sad", "used": 3, "quarantined": {"missing": 1}},
    ]
