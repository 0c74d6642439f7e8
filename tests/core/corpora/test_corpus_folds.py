"""Folds: everyone is tested once, nobody is in two parts, and every part can be scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import FoldsConfig
from core.corpora.folds import make_folds
from core.corpora.manifest import Manifest, Utterance
from core.errors import BadInputError, LeakageError

CLASSES = ("ang", "neu")


def manifest_of(sizes: dict[str, int], *, sessions: dict[str, str] | None = None) -> Manifest:
    """So many utterances of each class for each speaker."""
    utterances = [
        Utterance(
            utterance=f"{speaker}_{label}_{number:03d}",
            path=Path("unused.wav"),
            speaker=speaker,
            session=(sessions or {}).get(speaker, speaker),
            label=label,
            duration_s=1.0,
            content=f"{speaker}{label}{number}",
        )
        for speaker, size in sizes.items()
        for label in CLASSES
        for number in range(size)
    ]
    ordered = tuple(sorted(utterances, key=lambda item: item.utterance))
    return Manifest(corpus="made", part="main", classes=CLASSES, utterances=ordered)


def speakers(manifest: Manifest, ids: tuple[str, ...]) -> set[str]:
    return {item.speaker for item in manifest.utterances if item.utterance in set(ids)}


def test_validation_is_the_next_fold_and_wraps_round() -> None:
    pairs = {
        "1F": "one",
        "1M": "one",
        "2F": "two",
        "2M": "two",
        "3F": "three",
        "3M": "three",
        "4F": "four",
        "4M": "four",
    }
    manifest = manifest_of(dict.fromkeys(pairs, 2), sessions=pairs)
    folds = make_folds(manifest, FoldsConfig())
    assert not folds.leaky
    assert [fold.name for fold in folds.folds] == ["four", "one", "three", "two"]
    last = folds.folds[-1]
    assert speakers(manifest, last.test) == {"2F", "2M"}
    assert speakers(manifest, last.validation) == {"4F", "4M"}
    assert speakers(manifest, last.train) == {"1F", "1M", "3F", "3M"}
    assert [len(part) for part in (last.train, last.validation, last.test)] == [16, 8, 8]


@given(
    sizes=st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(1, 9), min_size=3, max_size=12),
    k=st.integers(3, 6),
)
@settings(max_examples=60, deadline=None)
def test_speaker_folds_cover_everyone_once_and_share_nobody(sizes: dict[str, int], k: int) -> None:
    manifest = manifest_of(sizes)
    config = FoldsConfig(scheme="speaker-folds", k=k)
    if k > len(sizes):
        with pytest.raises(BadInputError, match=rf"k {k} is over the {len(sizes)} speakers of made"):
            make_folds(manifest, config)
        return
    folds = make_folds(manifest, config)
    assert len(folds.folds) == k
    tested = [utterance for fold in folds.folds for utterance in fold.test]
    assert sorted(tested) == [item.utterance for item in manifest.utterances]
    for fold in folds.folds:
        parts = [speakers(manifest, part) for part in (fold.train, fold.validation, fold.test)]
        assert sum(map(len, parts)) == len(set().union(*parts)) == len(sizes)


def test_speaker_folds_are_balanced_by_utterances() -> None:
    manifest = manifest_of({"a": 8, "b": 5, "c": 4, "d": 3, "e": 2, "f": 2})
    folds = make_folds(manifest, FoldsConfig(scheme="speaker-folds", k=3))
    # by hand: a|b|c, then d to the smallest (c), e to b, f to b or c (7 = 7, the first: b)
    assert [speakers(manifest, fold.test) for fold in folds.folds] == [{"a"}, {"b", "e", "f"}, {"c", "d"}]


def test_superb_validation_is_a_fifth_of_the_same_speakers_and_says_so() -> None:
    manifest = manifest_of({"a": 25, "b": 25, "c": 25})
    config = FoldsConfig(scheme="leave-one-speaker-out", validation="superb")
    folds = make_folds(manifest, config)
    assert folds.leaky
    for fold in folds.folds:
        assert (len(fold.train), len(fold.validation), len(fold.test)) == (80, 20, 50)
        assert not set(fold.train) & set(fold.validation)
        assert speakers(manifest, fold.train) == speakers(manifest, fold.validation) == {"a", "b", "c"} - {fold.name}
    assert make_folds(manifest, config) == folds
    assert make_folds(manifest, config, seed_for_superb=1) != folds


def test_a_speaker_in_two_sessions_is_a_leak() -> None:
    manifest = manifest_of({"a": 2, "b": 2, "c": 2})
    moved = manifest.utterances[0]
    utterances = (Utterance(**{**moved.__dict__, "session": "b"}), *manifest.utterances[1:])
    leaking = Manifest(corpus="made", part="main", classes=CLASSES, utterances=utterances)
    with pytest.raises(LeakageError, match=r"speaker a is in a and in b"):
        make_folds(leaking, FoldsConfig())


def test_a_part_without_a_class_is_an_error() -> None:
    manifest = manifest_of({"a": 20, "b": 20, "c": 20, "d": 20})
    without = tuple(item for item in manifest.utterances if (item.speaker, item.label) != ("b", "ang"))
    lacking = Manifest(corpus="made", part="main", classes=CLASSES, utterances=without)
    with pytest.raises(BadInputError, match=r"fold a: validation has no utterance of class ang, so UA is undefined"):
        make_folds(lacking, FoldsConfig())
    with pytest.raises(BadInputError, match=r"fold b: test has no utterance of class ang, so UA is undefined"):
        make_folds(lacking, FoldsConfig(validation="superb"))


def test_two_groups_are_too_few() -> None:
    with pytest.raises(BadInputError, match=r"leave-one-session-out gives 2 groups of made, at least 3 needed"):
        make_folds(manifest_of({"a": 2, "b": 2}), FoldsConfig())


def fold_file(folder: Path, content: object) -> FoldsConfig:
    (folder / "folds.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return FoldsConfig(scheme="file", file=folder / "folds.json")


@pytest.mark.parametrize(
    "content",
    [
        {"x": ["s01"], "y": ["s02", "s11"], "z": ["s03"]},
        {"source": "somewhere", "test_actors": {"x": [1], "y": [2, 11], "z": [3]}},
    ],
)
def test_folds_from_a_file_by_name_or_by_number(tmp_path: Path, content: object) -> None:
    manifest = manifest_of({"s01": 2, "s02": 2, "s03": 2, "s11": 2})
    folds = make_folds(manifest, fold_file(tmp_path, content))
    assert [(fold.name, speakers(manifest, fold.test)) for fold in folds.folds] == [
        ("x", {"s01"}),
        ("y", {"s02", "s11"}),
        ("z", {"s03"}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": ["s01"], "y": ["s02"], "z": ["s01"]}, "speaker s01 is tested 2 times, not once"),
        ({"x": ["s01"], "y": ["s02"], "z": []}, "speaker s03 is tested 0 times, not once"),
        ({"x": ["s01"], "y": ["s02"], "z": ["s04"]}, "z: 's04' names 0 speakers of s01, s02, s03, not one"),
        ({"x": [7], "y": ["s02"], "z": ["s03"]}, "x: 7 names 0 speakers"),
        ({"x": "s01"}, "expected a JSON object of fold name"),
        ([1, 2], "expected a JSON object of fold name"),
        ("{", "not JSON"),
    ],
)
def test_each_broken_fold_file_gives_its_line(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        make_folds(manifest_of({"s01": 2, "s02": 2, "s03": 2}), fold_file(tmp_path, content))
    assert str(caught.value).startswith(f"{tmp_path / 'folds.json'}: ")
    assert message in str(caught.value)
