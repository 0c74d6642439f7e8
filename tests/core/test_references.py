"""What a trial needs: by the inputs of its artifacts, whether they still are artifacts or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.corpora.manifest import Manifest, Utterance
from core.references import note_references, reachable, read_references, rendered
from core.store import Artifact, Store

MODULES = ("core.units",)


def made(store: Store, stage: str, *inputs: str) -> Artifact:
    with store.claim(stage, settings={"stage": stage}, inputs=inputs, modules=MODULES) as claim:
        (claim.out / "result").write_text(stage)
    return claim.artifact


def test_inputs_are_followed_to_the_end_and_hashes_of_other_things_left_out(tmp_path):
    store = Store(root=tmp_path)
    spectrograms = made(store, "spectrograms", "fingerprint")
    model = made(store, "strengthnet", spectrograms.key)
    track = made(store, "intensity", "gone", spectrograms.key, model.key)
    made(store, "unrelated", "fingerprint")
    found = reachable(store, [track, model])
    assert found == tuple(sorted(f"{one.stage}/{one.key}" for one in (spectrograms, model, track)))
    assert reachable(store, [model, track]) == found


def test_recordings_that_lie_in_the_store_are_an_artifact_too(tmp_path):
    store = Store(root=tmp_path / "store")
    utterance = Utterance(
        utterance="u", path=store.root / "demo-corpus" / "abc" / "wav" / "u.wav", speaker="s", session="1",
        label="ang", duration_s=1.0, content="x",
    )  # fmt: skip
    other = replace(utterance, utterance="v", path=Path("/recordings/v.wav"))
    inside = Manifest(corpus="demo", part="main", classes=("ang",), utterances=(utterance,))
    outside = Manifest(corpus="emodb", part="main", classes=("ang",), utterances=(other,))
    assert rendered(store, [inside, outside]) == ("demo-corpus/abc",)
    assert rendered(store, [outside]) == ()


def test_what_was_noted_is_read(tmp_path):
    assert read_references(tmp_path) == ()
    note_references(tmp_path, ["pretrain/b", "features/a"])
    assert read_references(tmp_path) == ("features/a", "pretrain/b")
    note_references(tmp_path, ["features/a"])
    assert read_references(tmp_path) == ("features/a",)
