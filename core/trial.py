"""The one door: run_trial(config, …) → record."""

from __future__ import annotations

__all__ = [
    "TrialIdentity",
    "Underway",
    "fail_trial",
    "identify",
    "prune_trial",
    "run_trial",
    "trial_steps",
    "unfinished_record",
]

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.config import ScoreConfig, TrialConfig
from core.corpora.manifest import Manifest
from core.errors import BadInputError, FailureKind
from core.predictions import measure
from core.progress import LogMetrics, Progress, discard, silent
from core.provenance import code_diff, commit_state, diff_digest, hardware, now, packages
from core.records import (
    CorpusEntry,
    CostEntry,
    InterimEntry,
    MaskEntry,
    PretrainingEntry,
    ProtocolEntry,
    ProvenanceEntry,
    Record,
    read_record,
    write_record,
)
from core.references import note_references, read_references
from core.relevance import own_part
from core.resolve import Corpora, arm_key, resolve, trial_key, twin_of
from core.store import Workspace
from core.underway import Underway

if TYPE_CHECKING:
    from core.systems.outcome import Outcome
    from core.upstreams import Training


@dataclass(frozen=True, kw_only=True)
class TrialIdentity:
    """What a trial is called. `arm` is readable, the keys are hashes."""

    trial_key: str
    arm: str
    arm_key: str
    twin_key: str | None


def identify(config: TrialConfig, corpora: Corpora, *, arm: str | None = None) -> TrialIdentity:
    """The trial's keys, and its readable name unless the plan gives one that tells more axes apart."""
    twin = twin_of(config)
    return TrialIdentity(
        trial_key=trial_key(config, corpora),
        arm=arm or arm_name(config),
        arm_key=arm_key(config, corpora),
        twin_key=arm_key(twin, corpora) if twin else None,
    )


def arm_name(config: TrialConfig) -> str:
    """Readable name of the arm: upstream unless Mockingjay, policy, control track, score switches, ratio, span,
    temperature; of another system its own words first.

    >>> arm_name(TrialConfig())
    'ems r0.15 s7 t1'
    """
    if config.system != "ems":
        return " ".join([config.system, *getattr(config, own_part(config.system)).words(), *_upstream_words(config)])
    return " ".join(_upstream_words(config))


def _upstream_words(config: TrialConfig) -> list[str]:
    masking, score = config.masking, config.score
    words: list[str] = [] if config.upstream == "mockingjay" else [config.upstream]
    if not config.pretrains:
        words += config.transformer.words()
        score = ScoreConfig()
    if not config.masks:
        return words
    words.append(masking.policy + ("+input" if score.added_to_input else "") + ("+head" if score.head else ""))
    if config.needs_intensity and config.intensity.control != "none":
        words.append(config.intensity.control)
    if masking.policy != "all":
        words += [f"r{masking.ratio:g}", f"s{masking.span}"]
    if masking.temperature is not None:
        words.append(f"t{masking.temperature:g}")
    return words


def run_trial(
    config: TrialConfig, workspace: Workspace, *, arm: str | None = None, log: LogMetrics | None = None,
    progress: Progress = silent,
) -> Record:  # fmt: skip
    """Run one trial from start to end, or read its record when it is already complete."""
    *_, record = trial_steps(config, workspace, arm=arm, log=log, progress=progress)
    assert isinstance(record, Record)
    return record


def trial_steps(
    config: TrialConfig, workspace: Workspace, *, arm: str | None = None, expected_key: str | None = None,
    log: LogMetrics | None = None, progress: Progress = silent,
) -> Iterator[Record | Underway]:  # fmt: skip
    """Run one trial, yielding where it is while under way, once more when all is logged, and its record at the end.

    Closing the iterator stops the trial with a checkpoint; the next call continues from it with the same result, and
    logs and yields what came before it again.
    Raises NonFiniteLossError, and CorpusError, LeakageError or BadInputError for a config the data cannot serve.
    """
    import torch

    from core.systems.outcome import system_of
    from core.upstreams import prepare, shared_artifacts, write_examples

    torch.set_num_threads(config.compute.threads)
    started = now()
    # Now, not when the trial ends: what is imported is what runs.
    commit_state()
    corpora = resolve(config, workspace, progress=progress)
    identity = identify(config, corpora, arm=arm)
    if expected_key not in (None, identity.trial_key):
        raise BadInputError(
            f"trial {expected_key}: this process makes it {identity.trial_key}; its code or corpora "
            "differ from the plan's"
        )
    folder = workspace.trial(identity.trial_key)
    earlier = read_record(folder)
    if earlier is not None and earlier.status == "complete":
        yield earlier
        return
    shared = prepare(config, corpora, workspace, progress=progress)
    system = system_of(config.system)
    own = system.artifacts_of(config, corpora, workspace, shared=shared)
    artifacts = tuple(sorted({*shared_artifacts(corpora, workspace, shared=shared), *own}))
    note_references(folder, artifacts)
    torch.set_num_threads(config.compute.threads)
    outcome = yield from system.run(config, corpora, workspace, shared=shared, log=log or discard, progress=progress)
    if outcome.pretrained is not None and outcome.pretrained.training is not None:
        write_examples(config, shared, outcome.pretrained.training, folder)
    record = unfinished_record(config, corpora, identity, started).model_copy(
        update={"status": "complete", "reason": None, "artifacts": artifacts, **_results(config, corpora, outcome)}
    )
    yield write_record(folder, record, outcome.predictions, code_diff=code_diff())


def fail_trial(unfinished: Record, workspace: Workspace, *, reason: str, kind: FailureKind) -> Record:
    """Write the record of a trial that ended in an error, so that the report can name the reason.

    `unfinished` is what the plan knew of it: failing must need nothing that can fail. Returns the record that stands: a
    trial that was complete stays complete.
    """
    return _end(unfinished, workspace, {"status": "failed", "reason": reason, "failure": kind})


def prune_trial(
    unfinished: Record, workspace: Workspace, *, reason: str, underway: Underway, interim: tuple[InterimEntry, ...]
) -> Record:
    """Write the record of a trial that was stopped early: what it cost and what was seen so far, and no result.

    Returns the record that stands: a trial that was complete stays complete.
    """
    cost = CostEntry(
        steps=underway.step,
        frames=underway.frames,
        left_out=0,
        device_seconds=round(underway.seconds, 3),
        parameters=underway.parameters,
        flops=underway.flops,
    )
    return _end(
        unfinished, workspace, {"status": "pruned", "reason": reason, "failure": None, "interim": interim, "cost": cost}
    )


def _end(unfinished: Record, workspace: Workspace, update: dict[str, object]) -> Record:
    """The record of a trial without result, which names the artifacts that it did finish."""
    folder = workspace.trial(unfinished.trial_key)
    made = tuple(name for name in read_references(folder) if (workspace.store.root / name).exists())
    ended = unfinished.provenance.model_copy(update={"ended": now(), "diff": diff_digest()})
    record = unfinished.model_copy(update={**update, "artifacts": made, "provenance": ended})
    return write_record(folder, record, None, code_diff=code_diff())


def unfinished_record(config: TrialConfig, corpora: Corpora, identity: TrialIdentity, started: str) -> Record:
    """The record as far as it is known before the trial runs: status `failed`, without results."""
    evaluated, folds = corpora.evaluated, corpora.folds
    source = config.pretraining_audio.source if config.pretrains else "external"
    return Record(
        trial_key=identity.trial_key,
        status="failed",
        system=config.system,
        upstream=config.upstream,
        arm=identity.arm,
        arm_key=identity.arm_key,
        twin_key=identity.twin_key,
        seed=config.seed,
        corpus=_corpus_entry(evaluated),
        heard=None if corpora.heard.fingerprint == evaluated.fingerprint else _corpus_entry(corpora.heard),
        fit=_corpus_entry(corpora.fit) if corpora.fit else None,
        protocol=ProtocolEntry(
            folds=config.folds.scheme,
            n_folds=len(folds.folds),
            validation=config.folds.validation,
            pretraining_audio=source,
            pretraining_corpus=corpora.heard.corpus if config.pretrains else f"that of the published {config.upstream}",
            transductive="transductive" in (source, _adapted_on(config)),
            leaks=_leaks(config, corpora),
        ),
        config=config.model_dump(mode="json"),
        provenance=_provenance(config, started),
    )


def _corpus_entry(manifest: Manifest) -> CorpusEntry:
    reasons = [entry.reason for entry in manifest.ledger]
    return CorpusEntry(
        name=manifest.corpus,
        fingerprint=manifest.fingerprint,
        utterances=len(manifest.utterances),
        quarantined={reason: reasons.count(reason) for reason in sorted(set(reasons))},
        classes=manifest.classes,
        incomplete=manifest.incomplete,
    )


def _adapted_on(config: TrialConfig) -> str | None:
    """What a system's own unsupervised stages hear."""
    return config.alignment.audio if config.system == "frame_alignment" else None


def _leaks(config: TrialConfig, corpora: Corpora) -> tuple[str, ...]:
    leaks = []
    if config.pretrains and config.pretraining_audio.source == "transductive":
        leaks.append("pre-training heard the test part's audio (without labels)")
    if corpora.folds.leaky:
        leaks.append("validation shares speakers with training (superb)")
    if config.needs_intensity and config.intensity.source == "external":
        leaks.append("imported intensity scores: what their model was trained on cannot be checked")
    if config.system == "teacher_student":
        leaks += config.teacher.leaks()
    if config.system == "frame_alignment":
        leaks += config.alignment.leaks()
    return tuple(leaks)


def _provenance(config: TrialConfig, started: str) -> ProvenanceEntry:
    commit, dirty = commit_state()
    return ProvenanceEntry(
        commit=commit,
        dirty=dirty,
        diff=diff_digest(),
        packages=packages(),
        hardware=hardware(config.compute.device),
        started=started,
        ended=now(),
    )


def _results(config: TrialConfig, corpora: Corpora, outcome: Outcome) -> dict[str, object]:
    """The record's entries of a trial that came to its end."""
    spent, training = outcome.spent, outcome.pretrained.training if outcome.pretrained else None
    cost = CostEntry(
        steps=spent.step,
        frames=spent.frames,
        left_out=training.left_out if training else 0,
        device_seconds=round(spent.seconds, 3),
        parameters=spent.parameters,
        flops=spent.flops,
    )
    return {
        "mask": _mask_entry(config, training) if training else None,
        "pretraining": _pretraining_entry(training) if training else None,
        "metrics": measure(outcome.predictions, corpora.evaluated.classes),
        "interim": outcome.interim,
        "counts": dict(outcome.counts),
        "cost": cost,
    }


def _mask_entry(config: TrialConfig, training: Training) -> MaskEntry:
    masking, audit = config.masking, training.audit
    temperature = masking.temperature
    return MaskEntry(
        policy=masking.policy,
        nominal_ratio=None if masking.policy == "all" else masking.ratio,
        realised_ratio=audit.realised_ratio,
        span=None if masking.policy == "all" else masking.span,
        temperature="inf" if temperature is not None and math.isinf(temperature) else temperature,
        intensity_share=audit.intensity_share,
        intensity_z=audit.intensity_z,
        runs={str(length): times for length, times in sorted(audit.runs.items())},
        hidden_frames=audit.hidden,
        valid_frames=audit.valid,
    )


def _pretraining_entry(training: Training) -> PretrainingEntry:
    """Means over upstreams, weighted by the frames that were measured."""
    weights = [quality.frames for quality in training.qualities]
    quartiles = np.average([quality.by_quartile for quality in training.qualities], axis=0, weights=weights)
    q1, q2, q3, q4 = map(float, quartiles)
    return PretrainingEntry(
        train_loss=training.train_loss,
        validation_loss=float(np.average([quality.loss for quality in training.qualities], weights=weights)),
        validation_by_quartile=(q1, q2, q3, q4),
        speakers=training.held_out_speakers,
        utterances=sum(quality.utterances for quality in training.qualities),
        frames=sum(weights),
    )
