"""IEMOCAP: a tree of its shape with the published number of utterances, and each way it can be broken."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest
from tiny_recordings import as_flac, write_recording

from core.config import CorpusConfig, FoldsConfig
from core.corpora.folds import make_folds
from core.corpora.iemocap import list_iemocap
from core.corpora.loading import check_launchable, load_manifest
from core.corpora.manifest import Manifest
from core.errors import CorpusError
from core.store import Workspace

# The published label counts (Busso et al. 2008; the four-class selection of 5,531), typed here a second time.
PER_SESSION = {
    1: {"neu": 384, "hap": 278, "ang": 229, "sad": 194},
    2: {"neu": 362, "hap": 327, "ang": 137, "sad": 197},
    3: {"neu": 320, "hap": 286, "ang": 240, "sad": 305},
    4: {"neu": 258, "hap": 303, "ang": 327, "sad": 143},
    5: {"neu": 384, "hap": 442, "ang": 170, "sad": 245},
}
ALL_LABELLED = {1: 1819, 2: 1811, 3: 2136, 4: 2103, 5: 2170}
HAPPY = 595
OTHERS = {"xxx": 2507, "fru": 1849, "sur": 107, "fea": 40, "oth": 3, "dis": 2}


class Tree:
    """Writes an IEMOCAP-shaped folder turn by turn."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.turns = 0
        self.lines: dict[tuple[int, str], list[str]] = {}

    def add(self, session: int, tag: str, *, audio: bool = True) -> None:
        gender = "FM"[self.turns % 2]
        dialog = f"Ses{session:02d}{'MF'[self.turns // 2 % 2]}_{('impro01', 'script02_2')[self.turns // 4 % 2]}"
        lines = self.lines.setdefault((session, dialog), [])
        turn = f"{dialog}_{gender}{len(lines):03d}"
        lines.append(f"[{self.turns:.4f} - {self.turns + 0.2:.4f}]\t{turn}\t{tag}\t[2.5000, 3.0000, 3.5000]")
        if audio:
            path = self.root / f"Session{session}" / "sentences" / "wav" / dialog / f"{turn}.wav"
            write_recording(path, self.turns)
        self.turns += 1

    def finish(self) -> Path:
        for (session, dialog), lines in self.lines.items():
            folder = self.root / f"Session{session}" / "dialog"
            labels = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
            said = []
            for line in lines:
                turn = line.split("\t")[1]
                labels += [line, "C-E2:\tNeutral;\t()", "A-E3:\tval 3; act 2; dom  2;\t()", ""]
                said.append(f"{turn} [006.2901-008.2357]: What {turn} said.")
            for name, content in (("EmoEvaluation", labels), ("transcriptions", [*said, "M: [LAUGHTER]"])):
                (folder / name).mkdir(parents=True, exist_ok=True)
                (folder / name / f"{dialog}.txt").write_text("\n".join(content) + "\n")
            (folder / "EmoEvaluation" / f"._{dialog}.txt").write_bytes(b"\x00\x05\x16\x07")  # as on the published disc
        return self.root


def spread(counts: dict[str, int]) -> Iterator[str]:
    """Each tag as often as it is counted, taken in turns."""
    for row in zip_longest(*([tag] * count for tag, count in counts.items())):
        yield from (tag for tag in row if tag)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 10,039 turns, with the published counts by session and class, by session, and by tag."""
    tree = Tree(tmp_path_factory.mktemp("iemocap"))
    happy = 0
    others = spread(OTHERS)
    for session, counts in PER_SESSION.items():
        for label, count in counts.items():
            for _ in range(count):
                tag = label
                if label == "hap":
                    happy += 1
                    tag = "hap" if happy <= HAPPY else "exc"
                tree.add(session, tag)
        for _ in range(ALL_LABELLED[session] - sum(counts.values())):
            tree.add(session, next(others))
    assert tree.turns == 10_039
    assert next(others, None) is None
    return tree.finish()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.at(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    tree = Tree(tmp_path / "IEMOCAP")
    for session in range(1, 6):
        for tag in ("ang", "hap", "exc", "neu", "sad", "fru", "ang", "neu", "sad", "hap", "sad", "neu"):
            tree.add(session, tag, audio=tag != "fru")
    return tree.finish()


def load_small(root: Path, workspace: Workspace) -> Manifest:
    return load_manifest(CorpusConfig(name="iemocap", root=root, allow_incomplete=True), workspace)


def label_file(root: Path) -> Path:
    return root / "Session1" / "dialog" / "EmoEvaluation" / "Ses01M_impro01.txt"


def test_published_counts_and_folds(published: Path, kept: Workspace) -> None:
    manifest = load_manifest(CorpusConfig(name="iemocap", root=published), kept)
    assert (len(manifest.utterances), manifest.ledger, manifest.incomplete) == (5531, (), None)
    assert manifest.classes == ("ang", "hap", "neu", "sad")
    assert Counter(item.label for item in manifest.utterances) == {"neu": 1708, "hap": 1636, "ang": 1103, "sad": 1084}
    assert len(manifest.speakers) == 10
    folds = make_folds(manifest, FoldsConfig())
    assert [fold.name for fold in folds.folds] == [f"Session{k}" for k in range(1, 6)]
    assert [len(fold.test) for fold in folds.folds] == [1085, 1023, 1151, 1031, 1241]
    assert [len(fold.validation) for fold in folds.folds] == [1023, 1151, 1031, 1241, 1085]
    assert [len(fold.train) for fold in folds.folds] == [3423, 3357, 3349, 3259, 3205]
    for session, fold in enumerate(folds.folds, start=1):
        chosen = [item for item in manifest.utterances if item.utterance in set(fold.test)]
        assert Counter(item.label for item in chosen) == PER_SESSION[session]
    speakers = make_folds(manifest, FoldsConfig(scheme="leave-one-speaker-out"))
    assert [fold.name for fold in speakers.folds] == [f"Ses{k:02d}{gender}" for k in range(1, 6) for gender in "FM"]


def test_what_a_line_says_is_read(published: Path, kept: Workspace) -> None:
    manifest = load_manifest(CorpusConfig(name="iemocap", root=published), kept)
    item = next(item for item in manifest.utterances if item.utterance.startswith("Ses03M_script02_2_F"))
    assert (item.speaker, item.session) == ("Ses03F", "Session3")  # the turn's gender, not the dialog's
    assert (item.valence, item.activation, item.dominance) == (2.5, 3.0, 3.5)
    assert item.transcript == f"What {item.utterance} said."
    assert item.path == published / "Session3/sentences/wav/Ses03M_script02_2" / f"{item.utterance}.wav"


def test_one_utterance_less_is_refused_with_a_comparison(small: Path, published: Path, workspace: Workspace) -> None:
    copy = small.parent / "copy"
    shutil.copytree(published, copy, ignore=shutil.ignore_patterns("*.wav"))
    path = label_file(copy)
    lines = path.read_text().splitlines()
    dropped = next(index for index, line in enumerate(lines) if "\tang\t" in line)
    path.write_text("\n".join(lines[:dropped] + lines[dropped + 1 :]))
    with pytest.raises(CorpusError) as caught:
        load_manifest(CorpusConfig(name="iemocap", root=copy), workspace)
    head, columns, *rows = str(caught.value).splitlines()
    assert head == f"{copy}: 5530 utterances, not IEMOCAP's 5531; --allow-incomplete accepts that"
    assert columns.split() == ["found/published", "ang", "hap", "neu", "sad", "all"]
    assert rows[0].split() == ["Session1", "228/229", "278/278", "384/384", "194/194", "1084/1085"]
    assert rows[4].split() == ["Session5", "170/170", "442/442", "384/384", "245/245", "1241/1241"]
    manifest = load_manifest(CorpusConfig(name="iemocap", root=copy, allow_incomplete=True), workspace)
    assert manifest.incomplete == "5530 of 5531 utterances (Session1 ang 228 of 229)"


def test_an_incomplete_corpus_says_how(small: Path, workspace: Workspace) -> None:
    manifest = load_small(small, workspace)
    assert len(manifest.utterances) == 55
    assert manifest.incomplete is not None
    assert manifest.incomplete.startswith("55 of 5531 utterances (Session1 ang 2 of 229; Session1 hap 3 of 278; ")


def test_a_missing_wav_is_in_the_ledger_and_blocks(small: Path, workspace: Workspace) -> None:
    gone = next(small.glob("Session2/sentences/wav/*/*.wav"))
    gone.unlink()
    config = CorpusConfig(name="iemocap", root=small, allow_incomplete=True)
    manifest = load_manifest(config, workspace)
    (entry,) = manifest.ledger
    assert (entry.utterance, entry.reason, entry.session, entry.known) == (gone.stem, "missing", "Session2", False)
    with pytest.raises(
        CorpusError, match=rf"1 of 55 utterances cannot be used \(1 missing; first {gone.stem}: .*no such file"
    ):
        check_launchable(manifest, config)


def test_flac_is_taken_where_there_is_no_wav(small: Path, workspace: Workspace) -> None:
    before = load_small(small, workspace)
    as_flac(small)
    assert load_small(small, workspace).fingerprint == before.fingerprint


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\tang\t", "\tangry\t", "label 'angry' is none of ang, dis, exc, fea, fru, hap, neu, oth, sad, sur, xxx"),
        ("\tang\t", " ang ", "not '[start - end] TAB turn TAB label TAB [v, a, d]'"),
        ("[2.5000, 3.0000, 3.5000]", "[2.5000, 3.0000]", "not '[start - end] TAB turn TAB label TAB [v, a, d]'"),
        ("\tSes01M_", "\tSes02M_", "is not the name of a turn of Session1"),
        ("\tSes01M_impro", "\tSes01M_debate", "is not the name of a turn of Session1"),
        ("_F000\t", "_000\t", "is not the name of a turn of Session1"),
    ],
)
def test_each_broken_label_line_is_named(small: Path, workspace: Workspace, old: str, new: str, message: str) -> None:
    path = label_file(small)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    number = next(
        index
        for index, (before, after) in enumerate(zip(text.splitlines(), path.read_text().splitlines(), strict=True), 1)
        if before != after
    )
    with pytest.raises(CorpusError) as caught:
        load_small(small, workspace)
    assert str(caught.value).startswith(f"{path}:{number}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_turn_listed_twice_is_an_error(small: Path, workspace: Workspace) -> None:
    path = label_file(small)
    line = next(line for line in path.read_text().splitlines() if "\tang\t" in line)
    path.write_text(f"{path.read_text()}\n{line}\n")
    with pytest.raises(CorpusError, match=rf"utterance '{line.split()[3]}' is listed twice"):
        load_small(small, workspace)


def test_another_folder_names_the_expected_layout(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(CorpusError, match=r"no IEMOCAP here; expected Session1/dialog/EmoEvaluation"):
        load_manifest(CorpusConfig(name="iemocap", root=tmp_path), workspace)


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
    assert load_small(small, workspace).fingerprint == manifests[0].fingerprint  # merged-4 is the usual one


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


def test_the_fingerprint_does_not_depend_on_the_place(small: Path, tmp_path: Path, workspace: Workspace) -> None:
    before = load_small(small, workspace)
    moved = shutil.move(small, tmp_path / "elsewhere")
    assert load_small(moved, workspace).fingerprint == before.fingerprint
