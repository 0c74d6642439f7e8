"""From paths to content: the corpora behind a config, its trial key, its arm key and its twin."""

from __future__ import annotations

__all__ = [
    "Corpora",
    "arm_key",
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

from core.config import CorpusConfig, IntensityConfig, ScoreConfig, SystemName, TrialConfig, UpstreamName
from core.corpora.folds import Folds, make_folds
from core.corpora.loading import check_launchable, load_manifest
from core.corpora.manifest import Manifest
from core.corpora.overlap import refuse_overlap
from core.errors import BadInputError
from core.heard import heard_parts
from core.identity import Json, code_version, digest
from core.intensity.tracks import refuse_leaky_fit
from core.progress import Progress, silent
from core.relevance import own_part, relevant_content
from core.store import Workspace

_MODULES = (
    "core.audio", "core.batches", "core.bucketing", "core.config", "core.corpora.folds", "core.data_config",
    "core.features", "core.heard", "core.intensity.external", "core.intensity.fitting",
    "core.intensity.ranking", "core.intensity.spectrograms", "core.intensity.strengthnet", "core.intensity.tracks",
    "core.masking", "core.metrics", "core.predictions", "core.pretrain", "core.probe", "core.relevance", "core.resolve",
    "core.seeding", "core.torchaudio_import", "core.trial", "core.units", "core.upstreams", "core.validation",
)  # fmt: skip


_SYSTEM_MODULES: dict[SystemName, tuple[str, ...]] = {
    "ems": ("core.embed", "core.systems.ems"),
    "sap": ("core.frames", "core.sap_config", "core.systems.segmental_pooling"),
    "frame_alignment": ("core.alignment_config", "core.frames", "core.systems.frame_alignment"),
    "teacher_student": ("core.frames", "core.systems.teacher_student", "core.teacher_config"),
}


def trial_modules(upstream: UpstreamName, system: SystemName = "ems") -> tuple[str, ...]:
    """Code that can change the result of such a trial; its version is part of the trial key."""
    return (*_MODULES, *_SYSTEM_MODULES[system], *upstream_modules(upstream))


def upstream_modules(upstream: UpstreamName) -> tuple[str, ...]:
    """Code that defines this upstream, and no other's."""
    return ("core.models.build", "core.models.upstream", f"core.models.{upstream}")


@dataclass(frozen=True, kw_only=True)
class Corpora:
    """The checked corpora of one trial, and the folds of the evaluated one."""

    evaluated: Manifest
    heard: Manifest
    """What the upstream is pre-trained on: the evaluated corpus itself unless the source is `external`."""
    fit: Manifest | None
    """What the intensity model learns from; None when scores are imported."""
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
    external = config.pretraining_audio.corpus
    heard = checked(external) if external else evaluated
    fit = checked(config.intensity.fit) if config.intensity.fit else None
    if fit is not None:
        refuse_leaky_fit(fit, evaluated)
    if external and heard.fingerprint == evaluated.fingerprint:
        raise BadInputError("pretraining_audio.corpus: is the evaluated corpus; say source 'transductive' or 'fold'")
    if external:
        refuse_overlap(heard, evaluated, what="pretraining_audio")
    if not evaluated.classes:
        raise BadInputError(
            f"corpus: {evaluated.corpus} as configured has no emotion classes to probe; it can only be pre-trained on"
        )
    folds = make_folds(evaluated, config.folds)
    heard_parts(config, heard, folds)
    return Corpora(evaluated=evaluated, heard=heard, fit=fit, folds=folds)


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
    score stays out of the model. Another system's twin has the same upstream.
    """
    if config.system != "ems":
        part = own_part(config.system)
        own = getattr(config, part)
        plain_own = own.plain()
        return None if plain_own == own else config.model_copy(update={part: plain_own})
    plain = {"ems": "random", "ems_topk": "random_nominal"}.get(config.masking.policy, config.masking.policy)
    masking = config.masking.model_copy(update={"policy": plain, "temperature": None})
    # Random masking looks at no track: its audit is made against the source, once for all controls. `random_as_topk`
    # takes its runs from the arm's track.
    kept = config.intensity.control if plain == "random_as_topk" else "none"
    intensity = config.intensity.model_copy(update={"control": kept})
    twin = config.model_copy(update={"masking": masking, "intensity": intensity, "score": ScoreConfig()})
    return None if (twin.masking, twin.score) == (config.masking, config.score) else twin


def meaningful_settings(config: TrialConfig) -> dict[str, Json]:
    """The config as JSON without what can change no result: unused settings, reports, checkpoints, interim looks."""
    content: dict[str, Any] = relevant_content(config)
    del content["interim"]
    for name in ("report_every", "checkpoint_every"):
        del content["pretrain"][name]
    return content


def key_content(config: TrialConfig, corpora: Corpora) -> dict[str, Json]:
    """What the trial key is a hash of: every setting that can change this trial, corpora and files by their content."""
    content: dict[str, Any] = meaningful_settings(config)
    content["corpus"] = corpora.evaluated.fingerprint
    content["pretraining_audio"]["corpus"] = corpora.heard.fingerprint
    if config.folds.file:
        content["folds"]["file"] = _file_hash(config.folds.file)
    content["intensity"] = _intensity_content(config.intensity, corpora.fit)
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
