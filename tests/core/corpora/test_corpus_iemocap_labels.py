"""IEMOCAP's label sets and subsets: their classes and counts, and the published counts they depend on."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from iemocap_tree import ALL_LABELLED

from core.config import CorpusConfig, FoldsConfig
from core.corpora.folds import make_folds
from core.corpora.iemocap import list_iemocap
from core.corpora.loading import check_launchable, load_manifest
from core.errors import CorpusError
from core.store import Workspace

pytestmark = pytest.mark.slow

LABEL_SETS = {
    "merged-4": {"ang": 1103, "hap": 1636, "neu": 1708, "sad": 1084},
    "plain-4": {"ang": 1103, "hap": 595, "neu": 1708, "sad": 1084},
    "excited-5": {"ang": 1103, "exc": 1041, "hap": 595, "neu": 1708, "sad": 1084},
    "frustrated-5": {"ang": 1103, "fru": 1849, "hap": 1636, "neu": 1708, "sad": 1084},
    "dimensions": {"": 10_039},
}


def config_of(root: Path, **choices: str | bool) -> CorpusConfig:
    return CorpusConfig.model_validate({"name": "iemocap", "root": root, **choices})


@pytest.mark.parametrize("labels", list(LABEL_SETS))
def test_each_label_set_has_its_classes_and_counts(published: Path, kept: Workspace, labels: str) -> None:
    manifest = load_manifest(config_of(published, labels=labels), kept)
    assert Counter(item.label for item in manifest.utterances) == LABEL_SETS[labels]
    assert manifest.classes == (() if labels == "dimensions" else tuple(LABEL_SETS[labels]))
    assert (manifest.ledger, manifest.incomplete) == ((), None)


def test_dimensions_are_all_turns_of_each_session(published: Path, kept: Workspace) -> None:
    manifest = load_manifest(config_of(published, labels="dimensions"), kept)
    sessions = Counter(item.session for item in manifest.utterances)
    assert sessions == {f"Session{number}": count for number, count in ALL_LABELLED.items()}
    assert {(item.valence, item.activation, item.dominance) for item in manifest.utterances} == {(2.5, 3.0, 3.5)}
    check_launchable(manifest, config_of(published, labels="dimensions"))
    folds = make_folds(manifest, FoldsConfig())
    assert [len(fold.test) for fold in folds.folds] == list(ALL_LABELLED.values())


@pytest.mark.parametrize("labels", ["merged-4", "dimensions"])
def test_the_subsets_divide_the_corpus_by_dialog(published: Path, kept: Workspace, labels: str) -> None:
    whole = load_manifest(config_of(published, labels=labels), kept)
    parts = {
        subset: load_manifest(config_of(published, labels=labels, subset=subset), kept)
        for subset in ("improvised", "scripted")
    }
    for subset, word in (("improvised", "_impro01_"), ("scripted", "_script02_2_")):
        expected = tuple(item for item in whole.utterances if word in item.utterance)
        assert expected
        assert parts[subset].utterances == expected
        assert parts[subset].incomplete is None
        assert parts[subset].classes == whole.classes
    assert sum(len(part.utterances) for part in parts.values()) == len(whole.utterances)


def test_each_label_set_and_subset_has_its_own_fingerprint(small: Path, workspace: Workspace) -> None:
    manifests = [
        load_manifest(config_of(small, labels=labels, allow_incomplete=True, **subset), workspace)
        for labels in LABEL_SETS
        for subset in ({}, {"subset": "improvised"}, {"subset": "scripted"})
    ]
    assert len({manifest.fingerprint for manifest in manifests}) == 15
    usual = load_manifest(config_of(small, allow_incomplete=True), workspace)
    assert usual.fingerprint == manifests[0].fingerprint  # merged-4 is the usual one


@pytest.mark.parametrize(
    ("old", "new", "accepted", "refused"),
    [
        ("exc", "hap", ("merged-4", "frustrated-5"), {
            "plain-4": "tag exc 1040 of 1041; tag hap 596 of 595",
            "excited-5": "tag exc 1040 of 1041; tag hap 596 of 595",
            "dimensions": "tag exc 1040 of 1041; tag hap 596 of 595",
        }),
        ("fru", "xxx", ("merged-4", "plain-4", "excited-5"), {
            "frustrated-5": "tag fru 1848 of 1849",
            "dimensions": "tag fru 1848 of 1849; tag xxx 2508 of 2507",
        }),
        ("neu", "fea", (), {
            "merged-4": "Session1 neu 383 of 384",
            "plain-4": "Session1 neu 383 of 384",
            "dimensions": "Session1 neu 383 of 384; tag fea 41 of 40",
        }),
        ("sur", None, ("merged-4", "frustrated-5"), {"dimensions": "Session1 turns 1818 of 1819; tag sur 106 of 107"}),
    ],
)  # fmt: skip
def test_a_label_set_is_refused_when_a_count_it_depends_on_is_not_the_published_one(
    published: Path,
    tmp_path: Path,
    workspace: Workspace,
    old: str,
    new: str | None,
    accepted: tuple[str, ...],
    refused: dict[str, str],
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(published, copy, ignore=shutil.ignore_patterns("*.wav"))
    path = next(
        path for path in sorted(copy.glob("Session*/dialog/EmoEvaluation/Ses*.txt")) if f"\t{old}\t" in path.read_text()
    )
    lines = path.read_text().splitlines()
    at = next(index for index, line in enumerate(lines) if f"\t{old}\t" in line)
    lines[at] = lines[at].replace(f"\t{old}\t", f"\t{new}\t") if new else ""
    path.write_text("\n".join(lines))
    for labels in accepted:
        assert list_iemocap(config_of(copy, labels=labels), workspace).incomplete is None
    other = "scripted" if "impro" in path.name else "improvised"  # counts are checked before the subset is taken
    for labels, differences in refused.items():
        with pytest.raises(CorpusError, match="--allow-incomplete accepts that"):
            load_manifest(config_of(copy, labels=labels, subset=other), workspace)
        lenient = list_iemocap(config_of(copy, labels=labels, allow_incomplete=True), workspace)
        assert lenient.incomplete is not None
        assert lenient.incomplete.endswith(f" utterances ({differences})")


def test_the_comparison_shows_what_the_label_set_depends_on(small: Path, workspace: Workspace) -> None:
    with pytest.raises(CorpusError) as caught:
        load_manifest(config_of(small, labels="dimensions"), workspace)
    head, columns, *rows, tags = str(caught.value).splitlines()
    assert head == f"{small}: 60 utterances, not IEMOCAP's 10039; --allow-incomplete accepts that"
    assert columns.split() == ["found/published", "ang", "hap+exc", "neu", "sad", "all", "turns"]
    assert rows[0].split() == ["Session1", "2/229", "3/278", "3/384", "3/194", "11/1085", "12/1819"]
    assert tags == "by tag: dis 0/2, exc 5/1041, fea 0/40, fru 5/1849, hap 10/595, oth 0/3, sur 0/107, xxx 0/2507"


def test_a_subset_without_any_turn_is_an_error(small: Path, workspace: Workspace) -> None:
    for path in small.glob("Session*/dialog/EmoEvaluation/Ses*_script*.txt"):
        path.unlink()
    config = config_of(small, subset="scripted", allow_incomplete=True)
    with pytest.raises(CorpusError, match=r"none of its \d+ utterances is scripted"):
        load_manifest(config, workspace)
