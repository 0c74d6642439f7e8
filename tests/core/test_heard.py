"""Who is trained on and who is held out: never the same speaker, and always somebody."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config import CorpusConfig, FoldsConfig, PretrainingAudioConfig, ScoreConfig, TrialConfig
from core.corpora.folds import make_folds
from core.corpora.manifest import Manifest, Utterance
from core.errors import BadInputError
from core.heard import WHOLE, heard_parts


def manifest(speakers: int = 6, each: int = 10) -> Manifest:
    return Manifest(
        corpus="table",
        part="main",
        classes=("ang", "neu"),
        utterances=tuple(
            Utterance(
                utterance=f"s{speaker}-{place}", path=Path(f"{speaker}-{place}.wav"), speaker=f"s{speaker}",
                session=f"s{speaker}", label="ang" if place % 2 else "neu", duration_s=1.0, content=f"{speaker}{place}",
            )
            for speaker in range(speakers)
            for place in range(each)
        ),
    )  # fmt: skip


def trial(source: str, *, validation: str = "next-fold", held_out: int = 1, seed: int = 0) -> TrialConfig:
    corpus = CorpusConfig() if source == "external" else None
    return TrialConfig(
        folds=FoldsConfig(scheme="leave-one-speaker-out", validation=validation),
        pretraining_audio=PretrainingAudioConfig(source=source, corpus=corpus, held_out_speakers=held_out),
        seed=seed,
    )


def parts_of(config: TrialConfig, heard: Manifest):
    return heard_parts(config, heard, make_folds(heard, config.folds))


@pytest.mark.parametrize(
    ("source", "validation"),
    [("fold", "next-fold"), ("fold", "superb"), ("external", "next-fold"), ("transductive", "superb")],
)
def test_no_speaker_is_both_trained_on_and_held_out(source, validation):
    heard = manifest()
    for part in parts_of(trial(source, validation=validation), heard):
        trained, held = ({name.split("-")[0] for name in names} for names in (part.train, part.held_out))
        assert trained
        assert held == set(part.speakers)
        assert not trained & held


def test_fold_wise_upstreams_hold_out_the_validation_speakers_they_never_hear_anyway():
    heard = manifest()
    folds = make_folds(heard, trial("fold").folds).folds
    parts = parts_of(trial("fold"), heard)
    assert [part.name for part in parts] == [f"fold{place}" for place in range(1, 7)]
    for part, fold in zip(parts, folds, strict=True):
        assert part.train == fold.train
        assert part.held_out == fold.validation
        assert not set(part.train) & set(fold.test)


def test_one_upstream_for_all_gives_up_as_many_speakers_as_asked():
    (part,) = parts_of(trial("external", held_out=2), manifest())
    assert part.name == WHOLE
    assert len(part.speakers) == 2
    assert len(part.train) == 40
    assert sorted(part.train + part.held_out) == sorted(item.utterance for item in manifest().utterances)


def test_who_is_held_out_depends_on_the_seed_and_on_nothing_else():
    drawn = {seed: parts_of(trial("external", seed=seed), manifest())[0].speakers for seed in range(12)}
    assert drawn == {seed: parts_of(trial("external", seed=seed), manifest())[0].speakers for seed in range(12)}
    assert len(set(drawn.values())) > 1
    other = trial("external", seed=3)
    masking = other.masking.model_copy(update={"policy": "random", "temperature": None})
    intensity = other.intensity.model_copy(update={"control": "loudness"})
    for changed in (
        {"masking": masking},
        {"intensity": intensity},
        {"upstream": "npc"},
        {"score": ScoreConfig(head=True)},
    ):
        assert parts_of(other.model_copy(update=changed), manifest())[0].speakers == drawn[3]


def test_holding_everybody_out_is_refused():
    with pytest.raises(BadInputError, match=r"held_out_speakers: 6 of 6 heard speakers"):
        parts_of(trial("external", held_out=6), manifest())
