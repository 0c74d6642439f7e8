from __future__ import annotations

import json

import pytest
import torch

from core.corpora.loading import load_manifest
from core.errors import CorpusError, NonFiniteLossError
from core.intensity.fitting import fit_strengthnet, load_strengthnet, validation_speakers
from core.store import Workspace


def _weights(artifact):
    return torch.load(artifact.path / "weights.pt", weights_only=True)


def _same(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


class _StopAfterError(Exception):
    """Ends a fit from outside, like a killed process does."""


def _stop_after(calls: int):
    def progress(what: str, done: int, total: int) -> None:
        nonlocal calls
        if what.startswith("StrengthNet"):
            calls -= 1
            if calls < 0:
                raise _StopAfterError

    return progress


@pytest.mark.slow
def test_a_fit_is_the_same_to_the_bit_again_and_after_an_interruption(tmp_path, make_corpus, tiny):
    corpus = make_corpus()
    config = tiny(corpus)
    first, second = Workspace.at(tmp_path / "1"), Workspace.at(tmp_path / "2")
    manifest = load_manifest(corpus, first)
    undisturbed = fit_strengthnet(manifest, manifest.speakers, config, first, threads=1)

    seen = []
    with pytest.raises(_StopAfterError):  # 18 training utterances in batches of 4: 5 steps an epoch, stop in epoch 2
        fit_strengthnet(manifest, manifest.speakers, config, second, threads=1, progress=_stop_after(7))
    assert not list(second.root.rglob("weights.pt"))
    resumed = fit_strengthnet(
        manifest, manifest.speakers, config, second, threads=1, progress=lambda what, done, _: seen.append((what, done))
    )
    steps = [done for what, done in seen if what.startswith("StrengthNet")]
    assert steps[0] == 6
    assert resumed.key == undisturbed.key
    assert _same(_weights(resumed), _weights(undisturbed))
    assert (resumed.path / "fit.json").read_text() == (undisturbed.path / "fit.json").read_text()
    assert not list(second.root.rglob("*.scratch"))


def test_the_note_says_whose_labels_were_seen_and_the_loss_falls(tmp_path, make_corpus, tiny):
    corpus = make_corpus()
    workspace = Workspace.at(tmp_path / "w")
    manifest, calls = load_manifest(corpus, workspace), []
    fit = fit_strengthnet(
        manifest, ("s0", "s1", "s2"), tiny(corpus), workspace, threads=1, progress=lambda *call: calls.append(call)
    )
    note = json.loads((fit.path / "fit.json").read_text())
    assert note["corpus"] == "table"
    assert note["fingerprint"] == manifest.fingerprint
    assert note["speakers"] == ["s0", "s1", "s2"]
    assert len(note["validation_speakers"]) == 1
    assert set(note["validation_speakers"]) < set(note["speakers"])
    assert note["emotions"] == ["ang", "hap"]
    assert note["epochs"] == len(note["losses"]) == 3
    assert note["losses"][-1]["train"] < note["losses"][0]["train"]
    validated = [loss["validation"] for loss in note["losses"]]
    assert validated[note["best_epoch"] - 1] == min(validated)
    assert calls[-1][1] == calls[-1][2]
    assert load_strengthnet(fit, tiny(corpus).strengthnet).training is False


def test_labels_of_speakers_outside_the_fit_cannot_touch_it(tmp_path, make_corpus, tiny):
    corpus = make_corpus("one")
    other = make_corpus("other", relabel={"s3_ang_0": "hap", "s3_hap_1": "neu", "s3_neu_0": "ang"})
    workspace = Workspace.at(tmp_path / "w")
    fits = []
    for config in (corpus, other):
        manifest = load_manifest(config, workspace)
        fits.append(fit_strengthnet(manifest, ("s0", "s1", "s2"), tiny(corpus), workspace, threads=1))
    assert fits[0].key != fits[1].key
    assert _same(_weights(fits[0]), _weights(fits[1]))


def test_labels_of_validation_speakers_do_not_train(tmp_path, make_corpus, tiny):
    """They only choose the epoch; with one epoch there is nothing to choose."""
    corpus = make_corpus("one")
    config = tiny(corpus)
    config = config.model_copy(update={"strengthnet": config.strengthnet.model_copy(update={"max_epochs": 1})})
    workspace = Workspace.at(tmp_path / "w")
    manifest = load_manifest(corpus, workspace)
    (held_out,) = validation_speakers(manifest, manifest.speakers, config)
    other = load_manifest(
        make_corpus("other", relabel={f"{held_out}_ang_0": "hap", f"{held_out}_neu_0": "ang"}), workspace
    )
    fits = [fit_strengthnet(one, one.speakers, config, workspace, threads=1) for one in (manifest, other)]
    assert _same(_weights(fits[0]), _weights(fits[1]))
    losses = [json.loads((fit.path / "fit.json").read_text())["losses"][0] for fit in fits]
    assert losses[0]["train"] == losses[1]["train"]
    assert losses[0]["validation"] != losses[1]["validation"]


def test_a_diverging_fit_stops_with_its_step(tmp_path, make_corpus, tiny):
    corpus = make_corpus()
    config = tiny(corpus)
    config = config.model_copy(update={"strengthnet": config.strengthnet.model_copy(update={"lr": 1e30})})
    workspace = Workspace.at(tmp_path / "w")
    manifest = load_manifest(corpus, workspace)
    with pytest.raises(NonFiniteLossError, match="strengthnet") as caught:
        fit_strengthnet(manifest, manifest.speakers, config, workspace, threads=1)
    assert caught.value.step > 1
    assert not list(workspace.root.rglob("weights.pt"))


def test_too_few_speakers_unknown_speakers_and_absent_classes_are_refused(tmp_path, make_corpus, tiny):
    corpus = make_corpus(speakers=2)
    workspace = Workspace.at(tmp_path / "w")
    manifest = load_manifest(corpus, workspace)
    with pytest.raises(CorpusError, match=r"1 speakers are too few .* at least 2 are needed"):
        fit_strengthnet(manifest, ("s0",), tiny(corpus), workspace, threads=1)
    with pytest.raises(CorpusError, match="no speaker 's9'"):
        fit_strengthnet(manifest, ("s0", "s9"), tiny(corpus), workspace, threads=1)
    hap = {f"s{s}_hap_{t}": "ang" for s in range(2) for t in range(2)}
    (held_out,) = validation_speakers(manifest, manifest.speakers, tiny(corpus))
    del hap[f"{held_out}_hap_0"]
    lacking = load_manifest(make_corpus("lacking", speakers=2, relabel=hap), workspace)
    with pytest.raises(CorpusError, match=r"learn from \(1\) have no utterance of class 'hap'"):
        fit_strengthnet(lacking, lacking.speakers, tiny(corpus), workspace, threads=1)
