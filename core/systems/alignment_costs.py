"""What the stages of frame-level emotional state alignment cost: clusters, masked prediction, fine-tuning (ours).

P positions, H hidden width, K clusters.
"""

from __future__ import annotations

__all__ = ["kinds_of", "measure_stage"]

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.audio_calibration import sampled
from core.calibration import SAFE_LR, value_of
from core.clustering import BATCH, cluster_frames
from core.config import TrialConfig
from core.features import Features
from core.finetune import Lesson, finetune, scores_of
from core.identity import Json
from core.listening import Listener
from core.listening_audio import AudioListener, FeatureGrid, Waveforms
from core.models.build import build_upstream
from core.progress import discard
from core.resolve import Corpora
from core.resumable import TrainingState, reports_every
from core.seeding import stream, torch_stream
from core.stage_calibration import FLOAT32, StageCost, evenly, per_fold, steps_within
from core.systems.alignment_chain import heard_by
from core.systems.alignment_listeners import over_features, trained_transformer
from core.systems.alignment_stages import layer_states
from core.unit_batches import UnitBatches, UnitLabels
from core.unit_prediction import predict_units

RECORDINGS = 64
"""Recordings that an upstream which hears the waveform is measured on, at most."""
HEARD_WHOLE = 12
"""Utterances that are heard whole to see how long all take, at least."""
STARTED_FROM = 3 * BATCH
"""Frames from which scikit-learn's mini-batch k-means draws its starts: beyond, more frames cost next to nothing."""
CLUSTERED = 6_000
"""Frames that are clustered to see how long more of them take; all where they are fewer."""
VALIDATED = 8


def kinds_of(config: TrialConfig) -> Mapping[str, Json]:
    """As `Costed.kinds_of`."""
    own = config.alignment
    audio: Json = own.audio
    recomputed: Json = config.transformer.gradient_checkpointing
    units: Json = [audio, own.units.model_dump(mode="json", exclude={"lr", "warmup", "weight_decay", "clip"})]
    masks: Json = config.masking.model_dump(mode="json", include={"policy", "ratio", "span"})
    tuning: Json = own.tuning.model_dump(mode="json", exclude={"lr", "weight_decay", "clip"})
    kinds: dict[str, Json] = {
        "tapt clusters": [audio, own.tapt_k, own.tapt_layer],
        "tapt": [units, masks, own.tapt_k, recomputed],
        "tuning": [tuning, own.pooling, recomputed],
    }
    aligned: dict[str, Json] = {
        "first tuning": [tuning, "mean", recomputed],
        "clusters": [audio, own.k, own.layer],
        "alignment": [units, masks, own.k, recomputed],
    }
    return kinds | aligned if own.aligned else kinds


def measure_stage(
    kind: str, config: TrialConfig, corpora: Corpora, features: Features, *, scratch: Path, patience_s: float
) -> StageCost:
    """As `Costed.measure_stage`."""
    listener = _listener(config, corpora, features)
    listener.model.to(config.compute.device)
    own = config.alignment
    if kind in ("tapt clusters", "clusters"):
        k, layer = (own.tapt_k, own.tapt_layer) if kind == "tapt clusters" else (own.k, own.layer)
        return _measure_clusters(config, corpora, listener, k=k, layer=layer, patience_s=patience_s)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        where = Path(folder)
        if kind in ("tapt", "alignment"):
            k = own.tapt_k if kind == "tapt" else own.k
            return _measure_units(config, corpora, listener, features, k=k, scratch=where, patience_s=patience_s)
        pooling = "mean" if kind == "first tuning" else own.pooling
        shaped = config.model_copy(update={"alignment": own.model_copy(update={"pooling": pooling})})
        return _measure_tuning(shaped, corpora, listener, scratch=where, patience_s=patience_s)


def _listener(config: TrialConfig, corpora: Corpora, features: Features) -> Listener:
    """The upstream, with weights that are nobody's, over the corpus; one that came trained over some recordings."""
    if config.pretrains:
        with torch_stream(0, "calibration-alignment"):
            model = build_upstream(config, features.dims)
        return over_features(config, model, features)
    heard = Waveforms.of(sampled(corpora.evaluated, RECORDINGS))
    window_s, hop_s = config.features.frame_length_ms / 1000, config.features.hop_ms / 1000
    grid = FeatureGrid(features=features, window_s=window_s, hop_s=hop_s) if config.needs_intensity else None
    return AudioListener(trained_transformer(config), heard, grid=grid)


def _heard_s(config: TrialConfig, corpora: Corpora) -> float:
    """Seconds of audio that adapt the model of one fold."""
    duration_of = {utterance.utterance: utterance.duration_s for utterance in corpora.evaluated.utterances}
    heard = [heard_by(config, corpora, fold) for fold in corpora.folds.folds]
    return sum(duration_of[name] for names in heard for name in names) / len(heard)


def _measure_clusters(
    config: TrialConfig, corpora: Corpora, listener: Listener, *, k: int, layer: int, patience_s: float
) -> StageCost:
    """Hearing the utterances one by one, scaled by frames; and k-means over random states."""
    frames = _heard_s(config, corpora) / listener.hop_s

    def hear(count: int) -> tuple[float, int]:
        places = evenly(listener.lengths_U, count)
        began = time.perf_counter()
        for place in places:
            layer_states(listener, int(place), layer)
        return time.perf_counter() - began, int(listener.lengths_U[places].sum())

    hear(2)
    seconds, heard = hear(HEARD_WHOLE)
    if (count := int(HEARD_WHOLE * patience_s / seconds)) > 2 * HEARD_WHOLE:
        seconds, heard = hear(count)
    positions = round(frames / listener.stack)
    clustered = min(positions, max(k, CLUSTERED))
    states_PH = stream(0, "calibration-clusters").standard_normal((clustered, listener.hidden), dtype=np.float32)
    # The first time, scikit-learn is imported.
    cluster_frames(states_PH[: max(k, 50)], k=min(k, 50), seed=0, name="warm-up")
    began = time.perf_counter()
    cluster_frames(states_PH, k=k, seed=0, name="calibration")
    fit_s = (time.perf_counter() - began) * min(positions, STARTED_FROM) / clustered
    return StageCost(seconds=seconds * frames / heard + fit_s, bytes=FLOAT32 * positions)


def _measure_units(
    config: TrialConfig, corpora: Corpora, listener: Listener, features: Features, *, k: int, scratch: Path,
    patience_s: float,
) -> StageCost:  # fmt: skip
    """Some updates of masked prediction of random labels, and its checkpoints."""
    units, known = config.alignment.units, set(listener.utterances)
    heard = [name for name in heard_by(config, corpora, corpora.folds.folds[0]) if name in known]
    # A Transformer that nothing of intensity is told has no track.
    track = features.energy if config.needs_intensity else None
    positions = listener.positions(int(listener.lengths_U.max()))
    lengths = {
        name: listener.positions(int(length))
        for name, length in zip(listener.utterances, listener.lengths_U, strict=True)
    }
    labels = UnitLabels(
        offset_of=dict.fromkeys(lengths, 0), length_of=lengths,
        packed=stream(0, "calibration-units").integers(0, k, positions, dtype=np.int32),
    )  # fmt: skip
    batches = UnitBatches(
        listener, track, labels, heard, masking=config.masking, batch=units.batch,
        longest=round(units.crop_s / listener.hop_s), seed=0,
    )  # fmt: skip

    def update(count: int) -> TrainingState:
        # A rate that rises over all updates and ends small: random labels teach nothing that could diverge.
        brief = units.model_copy(update={"updates": count, "lr": SAFE_LR})
        checkpoint = scratch / f"units-{time.perf_counter_ns()}.pt"
        loop = predict_units(
            listener, batches, brief, k=k, name="tapt", seed=0, checkpoint=checkpoint, log=discard
        )  # fmt: skip
        return value_of(loop)

    state = update(steps_within(patience_s, update))
    save_s, size = _saving(state, scratch)
    reports = -(-units.updates // reports_every(units.updates))
    return StageCost(seconds=units.updates * state.seconds / state.step + reports * save_s, bytes=size)


def _measure_tuning(
    config: TrialConfig, corpora: Corpora, listener: Listener, *, scratch: Path, patience_s: float
) -> StageCost:
    """Some steps of fine-tuning, one look at a few utterances, and its checkpoints."""
    tuning, classes, folds = config.alignment.tuning, corpora.evaluated.classes, corpora.folds.folds
    looked_at = evenly(listener.lengths_U, VALIDATED)

    def tune(steps: int) -> Any:
        train = evenly(listener.lengths_U, steps * tuning.batch)
        lesson = Lesson(
            train=np.resize(train, steps * tuning.batch), train_labels=_labels(classes, steps * tuning.batch),
            validation=looked_at, validation_labels=_labels(classes, len(looked_at)), classes=classes,
        )  # fmt: skip
        brief = tuning.model_copy(update={"epochs": 1, "lr": SAFE_LR})
        checkpoint = scratch / f"tuning-{time.perf_counter_ns()}.pt"
        loop = finetune(
            listener, lesson, brief, pooling=config.alignment.pooling, name="tuning", seed=0, checkpoint=checkpoint,
            log=discard,
        )  # fmt: skip
        return value_of(loop)

    tuned = tune(steps_within(patience_s, tune))
    whole = evenly(listener.lengths_U, 2 * HEARD_WHOLE)
    began = time.perf_counter()
    scores_of(tuned.model, listener, whole)
    tell_s = (time.perf_counter() - began) / len(whole)
    step_s = max(0.0, tuned.state.seconds - len(looked_at) * tell_s) / tuned.state.step
    save_s, size = _saving(tuned.state, scratch)
    steps = per_fold(folds, lambda fold: -(-len(fold.train) // tuning.batch))
    validation, test = per_fold(folds, lambda fold: len(fold.validation)), per_fold(folds, lambda fold: len(fold.test))
    epoch_s = steps * step_s + validation * tell_s + save_s
    return StageCost(seconds=tuning.epochs * epoch_s + (validation + test) * tell_s, bytes=size)


def _labels(classes: tuple[str, ...], count: int) -> tuple[str, ...]:
    return tuple(classes[place % len(classes)] for place in range(count))


def _saving(state: TrainingState, scratch: Path) -> tuple[float, int]:
    """Seconds of one checkpoint, and bytes of the weights alone."""
    state.save(scratch / "saved.pt")
    began = time.perf_counter()
    state.save(scratch / "saved.pt")
    weights = sum(value.numel() * value.element_size() for value in state.model.state_dict().values())
    return time.perf_counter() - began, weights
