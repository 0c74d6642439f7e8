"""The corpora behind the numbers: evaluated, pre-trained on, intensity learnt from; each with its ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from gathered_report import gathered, page_of
from synthetic_sweep import CLASSES, SyntheticSweep, grid

from analysis.corpora import corpora_of, sweep_corpora
from analysis.load import load_sweep
from core.records import CorpusEntry

HEARD = CorpusEntry(
    name="librispeech", fingerprint="beef", utterances=28539, quarantined={}, classes=(), incomplete=None
)
FIT = CorpusEntry(
    name="esd", fingerprint="cafe", utterances=17500, quarantined={"silent": 1}, classes=CLASSES, incomplete=None
)
NOTHING = "No recording was set aside."


def test_every_corpus_behind_the_numbers_is_named(tmp_path: Path) -> None:
    """Evaluated, pre-trained on, intensity learnt from: on the page, in report.json with their fingerprints."""
    arms = tuple(grid((0.15,), (1.0,), (7,)))
    sweep = SyntheticSweep(root=tmp_path, arms=arms, seeds=(0,), quarantined={}, heard=HEARD, fit=FIT).write()
    report = gathered(sweep)
    text = page_of(report).text
    assert "Intensity: StrengthNet fitted on esd (17,500 utterances)." in text
    assert "Pre-training audio: another corpus, librispeech (28,539 utterances)." in text
    assert "Pre-trained on librispeech (fingerprint beef ): 28,539 utterances." in text
    assert "Intensity learnt from esd (fingerprint cafe ): 17,500 utterances; classes" in text
    assert "Set aside: 1 silent." in text
    assert NOTHING not in text, "a recording of the corpus that the intensity was learnt from is"
    assert [(each["role"], each["name"], each["fingerprint"]) for each in report.as_json()["corpora"]] == [
        ("evaluated", "iemocap", "f00d"),
        ("heard", "librispeech", "beef"),
        ("fit", "esd", "cafe"),
    ]
    assert report.results["quarantined"].tolist() == [0, 0]


def test_nothing_set_aside_is_said_of_all_corpora_at_once(tmp_path: Path) -> None:
    clean = FIT.model_copy(update={"quarantined": {}})
    aside = HEARD.model_copy(update={"quarantined": {"unreadable": 2}})
    arms = tuple(grid((0.15,), (1.0,), (7,)))
    base = SyntheticSweep(root=tmp_path, arms=arms, seeds=(0,), sessions=2, quarantined={}, heard=HEARD, fit=clean)
    for name, changes, said in (("none", {}, 1), ("heard", {"heard": aside}, 0), ("own", {"quarantined": {"x": 1}}, 0)):
        sweep = replace(base, root=tmp_path / name, **changes).write()
        assert page_of(gathered(sweep)).text.count(NOTHING) == said, name


@pytest.mark.parametrize(("source", "said"), [("external", True), ("strengthnet", False)])
def test_imported_scores_are_called_so(tmp_path: Path, source: str, said: bool) -> None:
    """A record of schema 1 does not know what StrengthNet learnt from: nothing is said of it."""
    arms = tuple(grid((0.15,), (1.0,), (7,)))
    sweep = SyntheticSweep(root=tmp_path, arms=arms, seeds=(0,), sessions=2, intensity=source).write()
    protocols = gathered(sweep).as_json()["protocols"]
    assert ["Intensity: imported scores." in each["text"] for each in protocols] == [said]
    assert ["Intensity:" in each["text"] for each in protocols] == [said]


def test_a_corpus_in_two_roles_or_ledgers_is_named_in_each(tmp_path: Path) -> None:
    arms = tuple(grid((0.15,), (1.0,), (7,)))
    written = SyntheticSweep(root=tmp_path, arms=arms, seeds=(0, 1), sessions=2, heard=FIT, fit=FIT).write()
    first, *others = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root).records
    own = first.corpus
    assert corpora_of(first) == [("evaluated", own), ("heard", FIT), ("fit", FIT)]
    assert sweep_corpora([first, *others]) == corpora_of(first), "four records of the same corpora"
    changed = others[0].model_copy(update={"heard": FIT.model_copy(update={"quarantined": {}})})
    assert [role for role, _ in sweep_corpora([first, changed])] == ["evaluated", "heard", "heard", "fit"]
    assert sweep_corpora([]) == []
