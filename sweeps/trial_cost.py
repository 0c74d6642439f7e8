"""What one trial costs, from what was measured of trials of its shape (ours)."""

from __future__ import annotations

__all__ = ["Bench", "RefusedError", "TrialWork", "shapes"]

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from core.calibration import EmbeddingCost, ProbeCost, TrainingCost
from core.config import TrialConfig
from core.identity import digest
from core.interim import due_steps
from core.lookup import SharedWork
from core.progress import Progress
from core.relevance import relevant_content, upstream_part
from core.resolve import Corpora
from core.shared_calibration import FitCost, RateCost, audio_s
from core.stage_calibration import StageCost
from core.systems.costs import costed
from sweeps.calibrating import (
    BatchJob,
    Calibrators,
    EmbeddingJob,
    FeaturesJob,
    FitJob,
    Job,
    Measured,
    ProbeJob,
    StageJob,
    StartCost,
    StartJob,
    TrainingJob,
)
from sweeps.estimate_disk import embedding_bytes, trial_bytes, upstream_bytes

FREE = ("steps", "report_every", "checkpoint_every", "lr", "weight_decay", "warmup", "decay", "clip")
"""Settings of the pre-training loop that one step costs nothing by."""
MASKS = ("policy", "ratio", "span")
RECORD_S = 0.2
"""Writing a trial's record, predictions and examples (measured: 0.1–0.3 s)."""
Cost = TypeVar("Cost")
Shapes = Mapping[str, str]
"""Kind of measurement → what it depends on, hashed."""


class RefusedError(Exception):
    """A trial that the data cannot serve: it will fail, and costs next to nothing."""


@dataclass(frozen=True, kw_only=True)
class TrialWork:
    """A trial that is to run, and how much of it no earlier trial makes."""

    config: TrialConfig
    corpora: Corpora
    upstreams: int = 0
    own: Mapping[str, int] = field(default_factory=dict)
    """Kind of the system's own stages → how many of its artifacts."""
    refusal: str | None = None
    """Why the trial cannot even name what it makes."""

    @property
    def of_upstreams(self) -> int:
        """How many it has in all; one that came trained serves all folds."""
        fold_wise = self.config.pretrains and self.config.pretraining_audio.source == "fold"
        return len(self.corpora.folds.folds) if fold_wise else 1


def shapes(config: TrialConfig) -> Shapes:
    """Trials of equal shapes cost the same; what tells them apart otherwise changes what is learnt."""
    content: dict[str, Any] = relevant_content(config)
    model = [content["upstream"], content[upstream_part(config.upstream)], content.get("features"), content["compute"]]
    data = [content["corpus"], content["folds"], content.get("pretraining_audio")]
    probe = [*model, *data, config.probe.batch, config.probe.projection]
    embedding = digest([*model, *data])
    found: dict[str, str] = {}
    if config.pretrains:
        loop = {name: value for name, value in content["pretrain"].items() if name not in FREE}
        masks = [content["masking"].get(name) for name in MASKS]
        training = [*model, *data, loop, content["score"]]
        found = {"training": digest(training), "batch": digest([*training, masks, config.intensity.control])}
    if config.system == "ems":
        found |= {"embedding": embedding, "probe": digest(probe)}
    else:
        kinds = costed(config.system).kinds_of(config).items()
        found |= {kind: digest([*model, *data, about]) for kind, about in kinds}
    return found | ({"embedding": embedding, "look": digest([*probe, "one fold"])} if config.interim.at else {})


@dataclass(kw_only=True)
class Bench:
    """Measures each shape once, and tells what trials cost by it."""

    pool: Calibrators
    progress: Progress
    total: int
    """Measurements there will be, for the progress."""
    _known: dict[tuple[str, str], Measured[Any] | str] = field(default_factory=dict)
    _stepped: dict[str, str] = field(default_factory=dict)
    """Shape of training → shape of batch that its step was measured with."""

    def _measured(self, kind: str, shape: str, job: Job[Cost]) -> Cost:
        if (kind, shape) not in self._known:
            self.progress("calibration", len(self._known), self.total)
            self._known[kind, shape] = self.pool.run(job)
        found: Measured[Cost] | str = self._known[kind, shape]
        if isinstance(found, str):
            raise RefusedError(found)
        return found.cost

    def start(self, config: TrialConfig) -> StartCost:
        return self._measured("start", "", StartJob(config=config))

    def training(self, config: TrialConfig) -> TrainingCost:
        return self._measured("training", shapes(config)["training"], TrainingJob(config=config))

    def embedding(self, config: TrialConfig) -> EmbeddingCost:
        return self._measured("embedding", shapes(config)["embedding"], EmbeddingJob(config=config))

    def _probe(self, config: TrialConfig, kind: str, folds: int) -> ProbeCost:
        embedding = self.embedding(config)
        job = ProbeJob(config=config, layers=embedding.layers, hidden=embedding.hidden, folds=folds)
        return self._measured(kind, shapes(config)[kind], job)

    def _stage(self, config: TrialConfig, kind: str) -> StageCost:
        return self._measured(kind, shapes(config)[kind], StageJob(config=config, kind=kind))

    def _own(self, work: TrialWork) -> dict[str, tuple[int, StageCost]]:
        """Kind of a system's own stages → how many of them, and what one costs. Empty for EMS."""
        if work.config.system == "ems":
            return {}
        counts = {kind: work.own.get(kind, 1) for kind in costed(work.config.system).kinds_of(work.config)}
        return {kind: (count, self._stage(work.config, kind)) for kind, count in counts.items() if count}

    def _step_s(self, config: TrialConfig) -> float:
        """One optimizer step under this masking rule: drawing masks is what differs between rules."""
        shape, training = shapes(config), self.training(config)
        if self._stepped.setdefault(shape["training"], shape["batch"]) == shape["batch"]:
            return training.step_s
        return training.step_s + self._measured("batch", shape["batch"], BatchJob(config=config)) - training.batch_s

    def stages(self, work: TrialWork) -> dict[str, float]:
        """Seconds of each stage of a trial. Raises RefusedError."""
        config, start = work.config, self.start(work.config)
        if work.refusal is not None:
            raise RefusedError(work.refusal)
        seconds = {"start and record": start.resolve_s + RECORD_S}
        if config.system == "ems":
            seconds["probe"] = self._probe_s(work)
            seconds["embed"] = work.own["embed"] * self.embedding(config).seconds
        if work.upstreams:
            pretrain, training = config.pretrain, self.training(config)
            reports = math.ceil(pretrain.steps / pretrain.report_every)
            saves = (pretrain.steps - 1) // pretrain.checkpoint_every
            seconds["pretrain"] = work.upstreams * pretrain.steps * self._step_s(config)
            seconds["held-out loss"] = work.upstreams * reports * training.held_out_s
            seconds["checkpoints"] = work.upstreams * saves * training.save_s
        seconds |= {kind: count * cost.seconds for kind, (count, cost) in self._own(work).items()}
        if config.interim.at and config.pretrains:
            seconds["interim looks"] = self._looks_s(work)
        return seconds

    def _probe_s(self, work: TrialWork) -> float:
        probe, folds = work.config.probe, len(work.corpora.folds.folds)
        return self._probe(work.config, "probe", folds).seconds(steps=probe.steps, evaluate_every=probe.evaluate_every)

    def _looks_s(self, work: TrialWork) -> float:
        """Each look embeds what it sees and fits a short probe to each of its folds, one after the other."""
        config, folds = work.config, work.corpora.folds.folds
        count = sum(
            len(due_steps(config, place=place, upstreams=work.of_upstreams)) for place in range(work.of_upstreams)
        )
        visible = len(folds) if work.of_upstreams == 1 else 1
        seen = sum(len(fold.train) + len(fold.validation) for fold in folds[:visible])
        share = min(1.0, seen / len(work.corpora.evaluated.utterances))
        probe = self._probe(config, "look", 1)
        fit_s = probe.seconds(steps=config.interim.probe_steps, evaluate_every=config.probe.evaluate_every)
        each = share * self.embedding(config).seconds + visible * fit_s
        return count * work.upstreams / work.of_upstreams * each

    def shared_s(self, work: SharedWork) -> float:
        """Seconds of a stage that trials share. Raises RefusedError."""
        audio = audio_s(work.manifest.utterances)
        if work.stage == "features":
            return self._features(work).seconds(audio)
        if work.config.intensity.source == "external":
            return 0.0
        fit = self.fit(work)
        if work.stage == "functionals":
            return fit.functionals.seconds(audio)
        if work.stage == "spectrograms":
            return fit.spectrograms.seconds(audio)
        if work.stage == "strengthnet":
            return fit.seconds(work.manifest, work.speakers, work.config.intensity)
        # Controls only rearrange what is there.
        return fit.validate_rate * audio if work.config.intensity.control == "none" else 0.0

    def _features(self, work: SharedWork) -> RateCost:
        grid = work.config.features
        shape = digest([work.manifest.fingerprint, grid.model_dump(mode="json")])
        return self._measured("features", shape, FeaturesJob(manifest=work.manifest, config=grid))

    def fit(self, work: SharedWork) -> FitCost:
        """Of the intensity model that the work's trial needs."""
        assert work.fit is not None
        intensity = work.config.intensity
        model = intensity.model_dump(mode="json", include={"ranking", "strengthnet", "threads"})
        return self._measured("fit", digest([work.fit.fingerprint, model]), FitJob(manifest=work.fit, config=intensity))

    def trial_bytes(self, work: TrialWork) -> int:
        """What a trial adds to the disk. Raises RefusedError."""
        config, example, upstreams = work.config, 0, 0
        if config.pretrains:
            training = self.training(config)
            example, upstreams = training.example_bytes, work.upstreams * upstream_bytes(training, config)
        own = trial_bytes(config, work.corpora, example_bytes=example)
        if config.system == "ems":
            return own + upstreams + work.own["embed"] * embedding_bytes(self.embedding(config), work.corpora)
        return own + upstreams + sum(count * cost.bytes for count, cost in self._own(work).values())

    def strengthnet_bytes(self, work: SharedWork) -> int:
        """Of the intensity model's weights, where the work is to fit one."""
        return self.fit(work).weights_bytes if work.stage == "strengthnet" else 0

    def warm_up_s(self) -> float:
        """What the first step in a process takes longer than the others."""
        return max((found.cost.warm_up_s for found in self._of(TrainingCost)), default=0.0)

    def core_share(self) -> float:
        """Least share of its cores that a training process had."""
        return min((found.cost.core_share for found in self._of(TrainingCost)), default=1.0)

    def checkpoint_bytes(self) -> int:
        """Of the largest checkpoint."""
        return max((found.cost.checkpoint_bytes for found in self._of(TrainingCost)), default=0)

    def peak_bytes(self) -> int:
        """Memory of the process that measured the largest trial, had it embedded a full batch too."""
        unseen = max((found.cost.unseen_bytes for found in self._of(EmbeddingCost)), default=0)
        return max(found.peak_bytes for found in self._of(object)) + unseen

    def device_bytes(self) -> int:
        return max(found.device_bytes for found in self._of(object))

    def _of(self, kind: type[Any]) -> list[Measured[Any]]:
        return [each for each in self._known.values() if not isinstance(each, str) and isinstance(each.cost, kind)]
