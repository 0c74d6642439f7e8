"""Intensity tracks: one score per feature frame, packed exactly as the features are.

Legend: T feature frames of an utterance, S frames of StrengthNet's 16 ms grid.
"""

from __future__ import annotations

__all__ = ["make_track", "refuse_leaky_fit", "speaker_halves", "write_scores"]

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.config import FeaturesConfig, IntensityConfig
from core.corpora.loading import check_launchable, load_manifest
from core.corpora.manifest import Manifest
from core.corpora.overlap import refuse_overlap
from core.errors import BadInputError, LeakageError
from core.features import Features, FrameFile, analysis_window
from core.identity import Json
from core.intensity.external import place_in_time, read_external
from core.intensity.spectrograms import Spectrograms, make_spectrograms, speech_frames
from core.progress import Progress, silent
from core.seeding import stream
from core.store import Artifact, Claim, Workspace
from core.units import SAMPLE_RATE, frame_times

TRACK_MODULES = (
    "core.features", "core.intensity.spectrograms", "core.intensity.tracks", "core.seeding", "core.units",
)  # fmt: skip
SCORING_MODULES = (*TRACK_MODULES, "core.intensity.fitting", "core.intensity.strengthnet")
EXTERNAL_MODULES = (*TRACK_MODULES, "core.intensity.external")
SCORED_FRAMES = 2000
"""Frames, padding included, that are scored at a time: bounds memory (ours)."""


def make_track(
    manifest: Manifest,
    features: Artifact,
    config: IntensityConfig,
    features_config: FeaturesConfig,
    workspace: Workspace,
    *,
    threads: int,
    equal_level: bool = False,
    progress: Progress = silent,
) -> Artifact:
    """Stage `intensity`: `track.npy` float32 (total T,), packed as `features.npy` is, and `track.json` on its origin.

    Scores are interpolated linearly, by the times of window centres, to the feature grid and held at the edges (ours).
    `strengthnet`: by a model of another corpus's speakers; where `config.fit` is the corpus that is scored, each half
    of the speakers (`speaker_halves`) is scored by a model of the other half. Controls: `loudness` is the frames' log
    energy; `shuffled` permutes the source's scores within each utterance, `rolled` moves them round by a quarter to
    three quarters of it, streams (seed, "intensity-shuffled" or "-rolled", utterance); `inverse` is one minus them.

    `equal_level`: as if each speaker's utterances had been recorded with the same mean power of their speech, to tell
    "more intense" from "louder" (for judging a model; the model itself is fitted as ever). What loudness then still
    tells is how evenly the power is spread.

    Raises BadInputError for features of another corpus, unusable imported scores or imported scores asked for at equal
    level, LeakageError when the fit corpus shares recordings or speakers with this one without being it, and what
    `fit_strengthnet` raises.
    """
    opened = Features.open(features.path)
    if opened.utterances != tuple(utterance.utterance for utterance in manifest.utterances):
        raise BadInputError(f"{features.path}: these features are not those of corpus {manifest.corpus}")
    if config.control == "loudness":
        return _loudness(features, opened, workspace, equal_level=equal_level)
    source = config.model_copy(update={"control": "none"})
    if config.control != "none":
        track = make_track(
            manifest, features, source, features_config, workspace,
            threads=threads, equal_level=equal_level, progress=progress,
        )  # fmt: skip
        return _changed(track, features, opened, config=config, workspace=workspace)
    if config.source == "external":
        if equal_level:
            raise BadInputError(
                "equal level: imported scores are as they are; only the model that made them could tell"
            )
        return _external(manifest, features, config, grid=features_config, workspace=workspace)
    return _strengthnet(
        manifest, features, config, grid=features_config, workspace=workspace,
        threads=threads, equal_level=equal_level, progress=progress,
    )  # fmt: skip


def refuse_leaky_fit(fit: Manifest | None, evaluated: Manifest) -> None:
    """Raise LeakageError if a model fitted on `fit` saw the labels of a speaker of the evaluated corpus.

    That is so when both are the same corpus, when they share a recording (whatever its file is called), or when they
    are the same published corpus and part and share a speaker. Every speaker of an evaluated corpus is a test speaker
    of some fold. Without a fit corpus (imported or label-free scores) there is nothing to check.
    """
    if fit is None:
        return
    if fit.fingerprint == evaluated.fingerprint:
        raise LeakageError(
            f"intensity model: learns the labels of all {len(evaluated.speakers)} speakers of the evaluated corpus "
            f"{evaluated.corpus} (first: {evaluated.speakers[0]!r}); fit it on another corpus or part"
        )
    refuse_overlap(fit, evaluated, what="intensity model")


def speaker_halves(manifest: Manifest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The speakers in two halves of about equally many utterances: by falling count, dealt A B B A A B B A … (ours).

    The double turn keeps corpora whose speakers alternate by gender balanced.
    """
    counts = Counter(utterance.speaker for utterance in manifest.utterances)
    order = sorted(counts, key=lambda speaker: (-counts[speaker], speaker))
    first = {speaker for place, speaker in enumerate(order) if place % 4 in (0, 3)}
    return tuple(sorted(first)), tuple(sorted(set(order) - first))


def write_scores(manifest: Manifest, features: Artifact, track: Artifact, out: Path) -> None:
    """Write a track as CSV `file_path,score`: one row per utterance, scores separated by spaces, one per frame."""
    opened = Features.open(features.path)
    track_T = np.load(track.path / "track.npy", mmap_mode="r")
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file_path", "score"))
        for utterance in manifest.utterances:
            scores_T = track_T[opened.slice_of(utterance.utterance)]
            writer.writerow((utterance.path, " ".join(f"{score:.6g}" for score in scores_T)))


def _loudness(features: Artifact, opened: Features, workspace: Workspace, *, equal_level: bool) -> Artifact:
    settings: dict[str, Json] = {"control": "loudness"}
    if equal_level:
        settings["equal_level"] = True

    def energy(utterance: str) -> NDArray[np.float32]:
        energy_T = opened.energy[opened.slice_of(utterance)]
        if not equal_level:
            return energy_T
        linear_T = np.exp(energy_T.astype(np.float64))
        level = float(np.log(linear_T[speech_frames(linear_T)].mean()))
        return energy_T - np.float32(level)

    with workspace.store.claim("intensity", settings=settings, inputs=[features.key], modules=TRACK_MODULES) as claim:
        if not claim.done:
            _write(claim, opened, map(energy, opened.utterances), {"source": None, "control": "loudness", "models": []})
    return claim.artifact


def _changed(
    track: Artifact, features: Artifact, opened: Features, *, config: IntensityConfig, workspace: Workspace
) -> Artifact:
    settings: dict[str, Json] = {"control": config.control}
    if config.control in ("shuffled", "rolled"):
        settings["seed"] = config.seed
    inputs = [features.key, track.key]
    with workspace.store.claim("intensity", settings=settings, inputs=inputs, modules=TRACK_MODULES) as claim:
        if not claim.done:
            source = np.load(track.path / "track.npy", mmap_mode="r")
            note = json.loads((track.path / "track.json").read_text())

            def change(utterance: str) -> NDArray[np.float32]:
                scores_T: NDArray[np.float32] = source[opened.slice_of(utterance)]
                if config.control == "inverse":
                    return 1 - scores_T
                random = stream(config.seed, f"intensity-{config.control}", utterance)
                if config.control == "rolled":
                    return np.roll(scores_T, random.integers(-(-len(scores_T) // 4), max(2, len(scores_T) * 3 // 4)))
                return random.permutation(scores_T)

            _write(claim, opened, map(change, opened.utterances), {**note, "control": config.control})
    return claim.artifact


def _external(
    manifest: Manifest,
    features: Artifact,
    config: IntensityConfig,
    *,
    grid: FeaturesConfig,
    workspace: Workspace,
) -> Artifact:
    assert config.file is not None
    assert config.hop_ms is not None
    hop_ms = config.hop_ms
    scores = read_external(config.file, manifest, hop_ms=hop_ms)
    content = hashlib.sha256(config.file.read_bytes()).hexdigest()
    settings: dict[str, Json] = {"source": "external", "hop_ms": hop_ms, "content": content}
    opened = Features.open(features.path)
    with workspace.store.claim(
        "intensity", settings=settings, inputs=[features.key], modules=EXTERNAL_MODULES
    ) as claim:
        if not claim.done:
            parts = (
                _align(
                    scores_K := scores.by_utterance[utterance.utterance],
                    place_in_time(len(scores_K), hop_ms=hop_ms, duration_s=utterance.duration_s),
                    frames=int(opened.lengths[place]),
                    grid=grid,
                )
                for place, utterance in enumerate(manifest.utterances)
            )
            note: dict[str, Json] = {
                "source": "external",
                "control": "none",
                "models": [],
                "unused_rows": scores.unused_rows,
                "note": "imported scores: which speakers' labels their model saw cannot be checked",
            }
            _write(claim, opened, parts, note)
    return claim.artifact


def _strengthnet(
    manifest: Manifest,
    features: Artifact,
    config: IntensityConfig,
    *,
    grid: FeaturesConfig,
    workspace: Workspace,
    threads: int,
    equal_level: bool,
    progress: Progress,
) -> Artifact:
    from core.intensity.fitting import fit_strengthnet

    assert config.fit is not None
    fit = load_manifest(config.fit, workspace, progress=progress)
    check_launchable(fit, config.fit)
    if fit.fingerprint == manifest.fingerprint:
        first, second = speaker_halves(manifest)
        tasks = [(first, second), (second, first)]
    else:
        refuse_overlap(fit, manifest, what="intensity model")
        tasks = [(fit.speakers, manifest.speakers)]
    models = [
        fit_strengthnet(fit, learnt, config, workspace, threads=threads, progress=progress) for learnt, _ in tasks
    ]
    spectrograms = make_spectrograms(manifest, workspace, progress=progress)
    inputs = [features.key, spectrograms.key, *(model.key for model in models)]
    settings: dict[str, Json] = {"threads": threads, "control": "none"}
    if equal_level:
        settings["equal_level"] = True
    with workspace.store.claim("intensity", settings=settings, inputs=inputs, modules=SCORING_MODULES) as claim:
        if claim.done:
            return claim.artifact
        opened = Features.open(features.path)
        mels = Spectrograms.open(spectrograms.path, config.strengthnet, equal_level=equal_level)
        scores: dict[int, NDArray[np.float32]] = {}
        for model, (_, scored) in zip(models, tasks, strict=True):
            positions = [u for u, utterance in enumerate(manifest.utterances) if utterance.speaker in scored]
            scores.update(_score(model, config, mels, positions, threads=threads))
            progress(f"intensity of {manifest.corpus}", len(scores), len(manifest.utterances))
        parts = (
            _align(scores[u], mels.times(u), frames=int(frames), grid=grid) for u, frames in enumerate(opened.lengths)
        )
        note: dict[str, Json] = {
            "source": "strengthnet",
            "control": "none",
            "fit": {"corpus": fit.corpus, "part": fit.part, "fingerprint": fit.fingerprint},
            "models": [
                {"key": model.key, "seen_speakers": list(learnt), "scored_speakers": list(scored)}
                for model, (learnt, scored) in zip(models, tasks, strict=True)
            ],
        }
        _write(claim, opened, parts, note)
    return claim.artifact


def _score(
    model: Artifact, config: IntensityConfig, mels: Spectrograms, positions: Sequence[int], *, threads: int
) -> dict[int, NDArray[np.float32]]:
    """Frame scores (S,) of the utterances at `positions`, on StrengthNet's grid."""
    import torch

    from core.intensity.fitting import cpu_threads, load_strengthnet, pad_batch

    net = load_strengthnet(model, config.strengthnet)
    scores: dict[int, NDArray[np.float32]] = {}
    with cpu_threads(threads), torch.inference_mode():
        for batch in _scoring_batches(mels.lengths, positions):
            mel_BTF, lengths_B = pad_batch([mels.mel(u) for u in batch])
            scores_BS, _ = net(mel_BTF, lengths_B)
            for u, scores_S in zip(batch, scores_BS, strict=True):
                scores[u] = scores_S[: mels.lengths[u]].numpy().copy()
    return scores


def _scoring_batches(lengths: NDArray[np.int64], positions: Sequence[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    for u in sorted(positions, key=lambda position: (lengths[position], position)):
        if batch and (len(batch) + 1) * lengths[u] > SCORED_FRAMES:
            yield batch
            batch = []
        batch.append(u)
    if batch:
        yield batch


def _align(
    scores: NDArray[np.floating[Any]], times_s: NDArray[np.float64], *, frames: int, grid: FeaturesConfig
) -> NDArray[np.float32]:
    """Scores at `times_s` interpolated to the centres of the feature windows, shape (T,)."""
    window, hop = analysis_window(grid)
    centres_T = frame_times(frames, window_s=window / SAMPLE_RATE, hop_s=hop / SAMPLE_RATE)
    aligned_T: NDArray[np.float32] = np.interp(centres_T, times_s, scores).astype(np.float32)
    return aligned_T


def _write(claim: Claim, opened: Features, parts: Iterator[NDArray[np.float32]], note: dict[str, Json]) -> None:
    with FrameFile(claim.out / "track.npy", dtype=np.float32) as file:
        for utterance, length, scores_T in zip(opened.utterances, opened.lengths, parts, strict=True):
            if len(scores_T) != length:
                raise BadInputError(f"utterance {utterance!r}: {len(scores_T)} scores for {length} feature frames")
            finite_T = np.isfinite(scores_T)
            if not finite_T.all():
                raise BadInputError(
                    f"utterance {utterance!r}: intensity of frame {int(np.argmin(finite_T))} is not finite"
                )
            file.append(scores_T)
    (claim.out / "track.json").write_text(json.dumps(note, indent=2, allow_nan=False))
