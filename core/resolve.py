"""From paths to content: the corpora behind a config, its trial key, its arm key and its twin."""

from __future__ import annotations

__all__ = [
    "Corpora",
    "arm_key",
    "corpora_key",
    "key_content",
    "meaningful_settings",
    "resolve",
    "trial_key",
    "trial_modules",
    "twin_of",
    "upstream_modules",
]

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config import (
    TRANSFORMERS,
    Config,
    CorpusConfig,
    IntensityConfig,
    ScoreConfig,
    SystemName,
    TrialConfig,
    UpstreamName,
)
from core.corpora.folds import Folds, make_folds
from core.corpora.loading import check_launchable, load_manifest
from core.corpora.manifest import Manifest
from core.corpora.overlap import refuse_overlap
from core.dimensions import refuse_without_dimensions
from core.errors import BadInputError
from core.heard import heard_parts
from core.identity import Json, code_version, digest
from core.intensity.tracks import refuse_leaky_fit
from core.model_files import model_fingerprint, model_folder, model_of
from core.progress import Progress, silent
from core.relevance import own_part, relevant_content
from core.store import Workspace
from core.transcripts import text_content

_MODULES = (
    "core.audio", "core.batches", "core.bucketing", "core.config", "core.corpora.folds", "core.data_config",
    "core.features", "core.heard", "core.intensity.external", "core.intensity.fitting",
    "core.intensity.ranking", "core.intensity.spectrograms", "core.intensity.strengthnet", "core.intensity.tracks",
    "core.masking", "core.metrics", "core.predictions", "core.pretrain", "core.probe", "core.relevance", "core.resolve",
    "core.seeding", "core.torchaudio_import", "core.trial", "core.units", "core.upstream_config", "core.upstreams",
    "core.validation",
)  # fmt: skip


_SYSTEM_MODULES: dict[SystemName, tuple[str, ...]] = {
    "ems": ("core.embed", "core.frames", "core.systems.ems"),
    "sap": (
        "core.bucketing",
        "core.embed",
        "core.frames",
        "core.models.attention_pooling",
        "core.models.pooled_head",
        "core.models.pooling",
        "core.pooled_probe",
        "core.sap_config",
        "core.spoken_frames",
        "core.systems.segmental_pooling",
        "core.vad",
    ),
    "frame_alignment": (
        "core.alignment_config",
        "core.clustering",
        "core.embed",
        "core.finetune",
        "core.frames",
        "core.listening",
        "core.listening_audio",
        "core.models.attention_pooling",
        "core.resumable",
        "core.systems.alignment_chain",
        "core.systems.alignment_listeners",
        "core.systems.alignment_stages",
        "core.systems.frame_alignment",
        "core.unit_batches",
        "core.unit_prediction",
    ),
    "teacher_student": (
        "core.embed",
        "core.dimensions",
        "core.frames",
        "core.guidance",
        "core.lessons",
        "core.models.summariser",
        "core.models.text",
        "core.regression",
        "core.systems.teacher_student",
        "core.teacher_config",
        "core.text_embeddings",
        "core.text_files",
        "core.transcripts",
    ),
}


def trial_modules(upstream: UpstreamName, system: SystemName) -> tuple[str, ...]:
    """Code that can change the result of such a trial; its version is part of the trial key."""
    return (*_MODULES, *_SYSTEM_MODULES[system], *upstream_modules(upstream))


def upstream_modules(upstream: UpstreamName) -> tuple[str, ...]:
    """Code that defines this upstream, and no other's."""
    if upstream in TRANSFORMERS:
        return (
            "core.audio", "core.audio_states", "core.hub_files", "core.model_files", "core.models.transformer",
            "core.seeding", "core.torchaudio_import", "core.transformer_config", "core.units",
        )  # fmt: skip
    return ("core.models.build", "core.models.upstream", f"core.models.{upstream}")


@dataclass(frozen=True, kw_only=True)
class Corpora:
    """The checked corpora of one trial, and the folds of the evaluated one."""

    evaluated: Manifest
    heard: Manifest
    """What the upstream is pre-trained on: the evaluated corpus itself unless the source is `external`. Of an upstream
    that comes trained: the evaluated corpus."""
    fit: Manifest | None
    """What the intensity model learns from; None when scores are imported, or needed by nothing."""
    folds: Folds


def resolve(config: TrialConfig, workspace: Workspace, *, progress: Progress = silent) -> Corpora:
    """Load and check every corpus the config names.

    Raises CorpusError for a corpus that may not be used as it is, LeakageError for an intensity model that would learn
    a test speaker's labels, BadInputError for settings the data cannot serve.
    """

    def checked(corpus: CorpusConfig) -> Manifest:
        manifest = load_manifest(corpus, workspace, progress=progress)
        check_launchable(manifest, corpus)
        return manifest

    evaluated = checked(config.corpus)
    external = config.pretraining_audio.corpus if config.pretrains else None
    heard = checked(external) if external else evaluated
    fit = checked(config.intensity.fit) if config.intensity.fit and config.needs_intensity else None
    if fit is not None:
        refuse_leaky_fit(fit, evaluated)
    if external and heard.fingerprint == evaluated.fingerprint:
        raise BadInputError("pretraining_audio.corpus: is the evaluated corpus; say source 'transductive' or 'fold'")
    if external:
        refuse_overlap(heard, evaluated, what="pretraining_audio")
    if config.system == "teacher_student":
        refuse_without_dimensions(evaluated)
    elif not evaluated.classes:
        raise BadInputError(
            f"corpus: {evaluated.corpus} as configured has no emotion classes to probe; it can only be pre-trained on"
        )
    folds = make_folds(evaluated, config.folds)
    heard_parts(config, heard, folds)
    if not config.pretrains:
        model_folder(model_of(config))
    return Corpora(evaluated=evaluated, heard=heard, fit=fit, folds=folds)


def corpora_key(config: TrialConfig) -> str:
    """Hash of what `resolve` looks at: configs with the same one have the same corpora and folds."""
    parts: list[Config] = [config.corpus, config.folds]
    if config.pretrains:
        parts.append(config.pretraining_audio)
    if config.needs_intensity:
        parts.append(config.intensity)
    model = None if config.pretrains else model_of(config)
    # Without classes a corpus serves one system only, with classes but without dimensions the others.
    dimensions = config.system == "teacher_student"
    return digest([model, dimensions, *(part.model_dump(mode="json") for part in parts)])


def trial_key(config: TrialConfig, corpora: Corpora) -> str:
    """Hash of everything that can change the trial's result: settings, corpus content, code; no path, no machine."""
    return digest(key_content(config, corpora))


def arm_key(config: TrialConfig, corpora: Corpora) -> str:
    """The trial key without its seed: what replicates share."""
    content = key_content(config, corpora)
    del content["seed"]
    return digest(content)


def twin_of(config: TrialConfig) -> TrialConfig | None:
    """The twin: nothing of the system's idea, everything else the same. None for a trial that is itself a twin.

    Of EMS: masking is random by the rule of the same family (`ems` → `random`, `ems_topk` → `random_nominal`), and the
    score stays out of the model; an upstream that comes trained is a baseline without twin. Another system's twin has
    the same upstream.
    """
    if config.system != "ems":
        part = own_part(config.system)
        own = getattr(config, part)
        plain_own = own.plain()
        return None if plain_own == own else config.model_copy(update={part: plain_own})
    if not config.pretrains:
        return None
    plain = {"ems": "random", "ems_topk": "random_nominal"}.get(config.masking.policy, config.masking.policy)
    masking = config.masking.model_copy(update={"policy": plain, "temperature": None})
    # Random masking looks at no track: its audit is made against the source, once for all controls. `random_as_topk`
    # takes its runs from the arm's track.
    kept = config.intensity.control if plain == "random_as_topk" else "none"
    intensity = config.intensity.model_copy(update={"control": kept})
    twin = config.model_copy(update={"masking": masking, "intensity": intensity, "score": ScoreConfig()})
    return None if (twin.masking, twin.score) == (config.masking, config.score) else twin


def meaningful_settings(config: TrialConfig) -> dict[str, Json]:
    """The config as JSON without what can change no result: unused settings, reports, checkpoints, interim looks,
    and what exchanges memory for time.

    Only pre-training runs under autocast. Elsewhere the setting is left out, and refused nowhere: like all of `compute`
    it is of the machine, and given to a whole sweep, whatever its upstreams.
    """
    content: dict[str, Any] = relevant_content(config)
    del content["interim"]
    if config.pretrains:
        for name in ("report_every", "checkpoint_every"):
            del content["pretrain"][name]
    else:
        content["transformer"].pop("gradient_checkpointing", None)
        del content["compute"]["autocast"]
    return content


def key_content(config: TrialConfig, corpora: Corpora) -> dict[str, Json]:
    """What the trial key is a hash of: every setting that can change this trial, corpora and files by their content."""
    content: dict[str, Any] = meaningful_settings(config)
    content["corpus"] = corpora.evaluated.fingerprint
    if config.pretrains:
        content["pretraining_audio"]["corpus"] = corpora.heard.fingerprint
    else:
        content["transformer"]["model"] = model_fingerprint(model_of(config))
    if config.folds.file:
        content["folds"]["file"] = _file_hash(config.folds.file)
    if config.needs_intensity:
        content["intensity"] = _intensity_content(config.intensity, corpora.fit)
    if "transcripts" in content.get("teacher", {}):
        content["teacher"] |= text_content(config.teacher, corpora.evaluated)
    content["code"] = code_version(trial_modules(config.upstream, config.system))
    return content


def _intensity_content(config: IntensityConfig, fit: Manifest | None) -> dict[str, Json]:
    # A control too: the quarters of the validation loss are those of the track it stands in for.
    content: dict[str, Json] = {"control": config.control, "source": config.source}
    if config.file is not None:
        content |= {"file": _file_hash(config.file), "hop_ms": config.hop_ms}
    if fit is not None:
        model = config.model_dump(mode="json", include={"ranking", "strengthnet", "threads"})
        content |= model | {"fit": fit.fingerprint}
    if fit is not None or config.control in ("shuffled", "rolled"):
        content |= {"seed": config.seed}
    return content


def _file_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror})") from error
