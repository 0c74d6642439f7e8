"""Upstreams of an earlier sweep that really ran: which one is meant, and that nothing is trained for it again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import core.upstreams
from core.errors import BadInputError
from core.records import Record
from core.relevance import relevant_content
from core.store import Workspace
from core.trial import run_trial
from sweeps.cluster import Resources
from sweeps.definition import SweepDefinition, laid_out
from sweeps.earlier_upstream import upstream_settings, with_earlier_upstreams
from sweeps.launching import Launching
from sweeps.plan import Plan, make_plan
from sweeps.space import points
from tests.core.tiny_trial import tiny_trial

CPU = {"compute.threads": 1}
OWN = ("corpus", "folds", "probe")
"""What a later sweep over the same corpus says itself."""


def settings_of(folder: Path, **changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = relevant_content(tiny_trial(folder, changes))
    return {name: part for name, part in content.items() if name not in ("seed", "interim", "compute")}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture(scope="module")
def first(corpus, tmp_path_factory) -> tuple[Workspace, list[Record]]:
    """The earlier sweep: two ratios under two seeds, without twins."""
    workspace = Workspace.at(tmp_path_factory.mktemp("first"))
    settings = settings_of(corpus, pretrain={"steps": 4}, probe={"steps": 20})
    del settings["masking"]["ratio"]
    definition = SweepDefinition(
        name="first", settings=settings, axes={"masking.ratio": (0.2, 0.3)}, seeds=(4, 5), twins=False
    )
    plan = make_plan(definition, workspace, compute=CPU)
    plan.write(workspace)
    return workspace, [run_trial(trial.config, workspace, arm=trial.arm) for trial in plan.trials]


def later(corpus: Path, upstream: str | list[str], **changes: Any) -> SweepDefinition:
    own = {name: part for name, part in settings_of(corpus, probe={"steps": 20}).items() if name in OWN}
    one = isinstance(upstream, str)
    varied: dict[str, Any] = {} if one else {"upstream": upstream}
    settings = own | ({"upstream": upstream} if one else {}) | changes.pop("settings", {})
    content: dict[str, Any] = {"name": "later", "seeds": [7], "twins": False, "settings": settings, "axes": varied}
    return SweepDefinition.model_validate(content | changes)


def planned(definition: SweepDefinition, workspace: Workspace) -> Plan:
    """As `sweep launch` makes it: what is looked up is written down, and the plan made of what was written."""
    Launching.of(definition, Resources(), workspace).write(workspace)
    return Launching.read(definition.name, workspace).planner(workspace).whole()


def pretrained(record: Record) -> list[str]:
    return [name for name in record.artifacts if name.startswith("pretrain/")]


def test_a_trial_named_as_upstream_is_read_and_nothing_is_trained(corpus, first, monkeypatch):
    workspace, records = first
    monkeypatch.setattr(core.upstreams, "_train", None)
    for record in records:
        (trial,) = planned(later(corpus, f"trial:{record.trial_key}"), workspace).trials
        made = run_trial(trial.config, workspace, arm=trial.arm)
        assert made.trial_key != record.trial_key
        assert made.arm.endswith(f"from trial:{record.trial_key}")
        assert (made.seed, trial.config.pretraining_seed) == (7, record.seed)
        assert len(pretrained(made)) == 3
        assert pretrained(made) == pretrained(record)
        assert made.mask == record.mask
        assert made.pretraining == record.pretraining


def test_two_earlier_upstreams_are_two_arms(corpus, first):
    workspace, records = first
    names = [f"trial:{record.trial_key}" for record in records[:3]]
    plan = planned(later(corpus, names, seeds=[7, 8]), workspace)
    assert [trial.axes for trial in plan.trials] == [{"upstream": name} for name in names for _ in (7, 8)]
    assert len({trial.arm_key for trial in plan.trials}) == len(names)
    assert {trial.upstream for trial in plan.trials} == {"mockingjay"}


def test_an_earlier_upstream_serves_another_system(corpus, first):
    workspace, records = first
    definition = later(corpus, f"trial:{records[0].trial_key}", settings={"system": "sap"}, twins=True)
    plan = planned(definition, workspace)
    assert {trial.config.masking.ratio for trial in plan.trials} == {0.2}
    assert {trial.config.pretraining_seed for trial in plan.trials} == {4}
    assert {trial.config.system for trial in plan.trials} == {"sap"}
    assert len(plan.trials) == 2


def with_scores(workspace: Workspace, records: list[Record], validation: list[float], test: list[float]) -> None:
    """Rewrite what the records of a copied workspace say they scored."""
    for record, seen, hidden in zip(records, validation, test, strict=True):
        path = workspace.trial(record.trial_key) / "record.json"
        content = json.loads(path.read_text())
        content["metrics"]["mean"]["validation"]["ua"] = seen
        content["metrics"]["mean"]["test"]["ua"] = hidden
        path.write_text(json.dumps(content))


def test_best_of_is_the_arm_that_validation_puts_first_whatever_test_says(first, tmp_path):
    _, records = first
    workspace = Workspace.at(shutil.copytree(first[0].root, tmp_path / "copy"))
    # The second arm's mean is larger, though the largest single trial is the first arm's.
    with_scores(workspace, records, [0.9, 0.1, 0.6, 0.7], [0.9, 0.9, 0.1, 0.1])
    made = upstream_settings("best-of:first", workspace)
    assert (made["masking"]["ratio"], made["pretrain"]["seed"]) == (0.3, 5)
    with_scores(workspace, records, [0.9, 0.6, 0.6, 0.7], [0.1, 0.1, 0.9, 0.9])
    made = upstream_settings("best-of:first", workspace)
    assert (made["masking"]["ratio"], made["pretrain"]["seed"]) == (0.2, 4)


def test_best_of_looks_at_whole_arms_only(first, tmp_path):
    _, records = first
    workspace = Workspace.at(shutil.copytree(first[0].root, tmp_path / "copy"))
    with_scores(workspace, records, [0.9, 0.9, 0.6, 0.7], [0.5] * 4)
    shutil.rmtree(workspace.trial(records[1].trial_key))
    assert upstream_settings("best-of:first", workspace)["masking"]["ratio"] == 0.3
    shutil.rmtree(workspace.trial(records[3].trial_key))
    with pytest.raises(BadInputError, match=r"no arm of sweep 'first' .* is complete under all its seeds"):
        upstream_settings("best-of:first", workspace)


def test_what_best_of_means_is_settled_by_the_launch(corpus, first, tmp_path):
    _, records = first
    workspace = Workspace.at(shutil.copytree(first[0].root, tmp_path / "copy"))
    with_scores(workspace, records, [0.9, 0.9, 0.1, 0.1], [0.5] * 4)
    (before,) = planned(later(corpus, "best-of:first"), workspace).trials
    with_scores(workspace, records, [0.1, 0.1, 0.9, 0.9], [0.5] * 4)
    (resumed,) = Launching.read("later", workspace).planner(workspace).whole().trials
    assert resumed.trial_key == before.trial_key
    (launched,) = planned(later(corpus, "best-of:first"), workspace).trials
    assert launched.trial_key != before.trial_key
    assert (launched.config.masking.ratio, before.config.masking.ratio) == (0.3, 0.2)


def test_conditions_on_the_upstream_mean_what_is_written(corpus, first):
    workspace, records = first
    name = f"trial:{records[0].trial_key}"
    fresh = {part: own for part, own in settings_of(corpus).items() if part not in (*OWN, "upstream", "system")}
    when = [{"if": {"upstream": "mockingjay"}, "settings": fresh}]
    definition = later(corpus, [name, "mockingjay"], when=when)
    earlier, anew = points(with_earlier_upstreams(definition, workspace))
    assert (earlier.earlier, anew.earlier) == (name, None)
    assert (earlier.config.pretrain.steps, anew.config.pretrain.steps) == (4, 12)


def test_an_upstream_is_not_looked_for_where_it_cannot_be(corpus, first, tmp_path):
    workspace, records = first
    name = f"trial:{records[0].trial_key}"
    with pytest.raises(BadInputError, match="is looked up in a workspace when the sweep is launched"):
        laid_out(later(corpus, name), {})
    with pytest.raises(BadInputError, match="none of that key"):
        planned(later(corpus, name), Workspace.at(tmp_path / "empty"))
    with pytest.raises(BadInputError, match="sweep 'none' was not launched"):
        planned(later(corpus, "best-of:none"), workspace)
    with pytest.raises(BadInputError, match=r"masking\.ratio: is settled by upstream 'trial:"):
        planned(later(corpus, name, settings={"masking": {"ratio": 0.4}}), workspace)


def test_other_folds_other_audio_and_other_compute_are_refused(corpus, first, tmp_path):
    workspace, records = first
    name = f"trial:{records[0].trial_key}"
    others = {"superb": {"folds": {"scheme": "leave-one-speaker-out", "validation": "superb"}}}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    tiny_trial(elsewhere)
    rows = (elsewhere / "corpus.csv").read_text().splitlines()
    (elsewhere / "corpus.csv").write_text("\n".join(rows[:-1]) + "\n")
    others["one less"] = {"corpus": {"name": "table", "root": str(elsewhere / "corpus.csv")}}
    for settings in others.values():
        with pytest.raises(BadInputError, match=r"it heard 'fold' audio .* corpus, folds, threads, device and code"):
            planned(later(corpus, name, settings=settings), workspace)
    definition = with_earlier_upstreams(later(corpus, name), workspace)
    with pytest.raises(BadInputError, match="threads, device and code must be those of its own trial"):
        make_plan(definition, workspace, compute={"compute.threads": 2})


def test_an_upstream_of_external_audio_serves_a_stranger_and_not_its_own_corpus(corpus, tmp_path, monkeypatch):
    """Pre-trained on the tiny corpus, evaluated on speakers it never heard: the same weights for two corpora."""
    workspace = Workspace.at(tmp_path / "workspace")
    heard = {"name": "table", "root": str(corpus / "corpus.csv")}
    tiny_trial(corpus)
    folders = [tmp_path / "a", tmp_path / "b"]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        shutil.copy(corpus / "scores.csv", folder)
        _write_strangers(folder, seed=seed)
    external = {"source": "external", "corpus": heard}
    scores = {"intensity": {"file": corpus / "scores.csv"}}
    settings = settings_of(folders[0], pretraining_audio=external, pretrain={"steps": 4}, **scores)
    settings["probe"] = settings["probe"] | {"steps": 20}
    definition = SweepDefinition(name="first", settings=settings, seeds=(4,), twins=False)
    (trial,) = make_plan(definition, workspace, compute=CPU).trials
    record = run_trial(trial.config, workspace)
    monkeypatch.setattr(core.upstreams, "_train", None)
    name = f"trial:{record.trial_key}"
    (other,) = planned(later(folders[1], name), workspace).trials
    assert pretrained(run_trial(other.config, workspace)) == pretrained(record)
    with pytest.raises(BadInputError, match=r"pretraining_audio\.corpus: is the evaluated corpus"):
        planned(later(corpus, name), workspace)


def _write_strangers(folder: Path, *, seed: int) -> None:
    rng, rows = np.random.default_rng(seed), ["path,utterance,speaker,label"]
    for speaker in ("xeno", "yves", "zoe"):
        for label in ("angry", "calm"):
            for place in range(2):
                name = f"{speaker}-{label}-{place}"
                soundfile.write(folder / f"{name}.wav", 0.1 * rng.normal(size=9_600), 16_000)
                rows.append(f"{name}.wav,{name},{speaker},{label}")
    (folder / "corpus.csv").write_text("\n".join(rows) + "\n")
