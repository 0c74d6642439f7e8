"""Frame-level emotional state alignment (Li et al., ICASSP 2024): four stages, each an artifact of its own.

Per fold: TAPT's clusters → TAPT → first fine-tuning → clusters → alignment → fine-tuning with attention pooling. The
twin goes from TAPT to the last one. What of a fold's test part is heard on the way is `AlignmentConfig.audio`'s to say;
its labels never are. The paper's own score, the mean of validation and test, is no result of a trial.

F feature frames of the corpus, U utterances, K folds, C classes.
"""

from __future__ import annotations

__all__ = ["artifacts_of", "run", "stages_of"]

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from core.config import TrialConfig, UpstreamName
from core.corpora.folds import Fold
from core.errors import BadInputError
from core.frames import chosen_layers
from core.identity import code_version
from core.intensity.tracks import make_track
from core.listening import Listener
from core.masking import MaskAudit
from core.predictions import class_predictions
from core.pretrain import replay
from core.progress import LogMetrics, Progress, silent
from core.resolve import Corpora, upstream_modules
from core.store import Artifact, Recipe, Workspace
from core.systems.alignment_chain import ALIGNMENT_MODULES, Chain, chain_of, heard_by
from core.systems.alignment_listeners import Listeners
from core.systems.alignment_stages import (
    Notes,
    make_clusters,
    make_tuning,
    make_units,
    read_notes,
    scores_in,
    trained_parameters,
)
from core.systems.outcome import Outcome, Stages
from core.underway import Tally, Underway
from core.unit_batches import UnitLabels
from core.upstreams import SharedInputs, pretrain_upstreams, upstream_artifacts, upstream_keys

# What makes an artifact is the code imported now, whatever happens to its files while a long trial runs.
for _name in get_args(UpstreamName):
    code_version((*upstream_modules(_name), *ALIGNMENT_MODULES))


def artifacts_of(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs
) -> tuple[str, ...]:
    """`<stage>/<key>` of what the chain makes itself, made already or not.

    Raises BadInputError for a layer that the upstream does not have, for masking that hides all, and for an NPC that
    exposes its masked convolutions.
    """
    _check(config, Listeners(config, shared).first)
    track = _track(config, corpora, workspace, shared)
    own = [*upstream_artifacts(config, corpora, workspace, shared=shared)]
    own += [f"{track.stage}/{track.key}"] if track else []
    own += chain.from_iterable(stages_of(config, corpora, workspace, shared=shared).values())
    return tuple(dict.fromkeys(own))


def stages_of(config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs) -> Stages:
    """Which artifacts the chain makes after its upstreams, by kind; folds may have some in common."""
    store = workspace.store
    inputs = _keys(shared, _track(config, corpora, workspace, shared))
    upstreams = upstream_keys(config, corpora, workspace, shared=shared)
    stages: dict[str, tuple[str, ...]] = {}
    for place, fold in enumerate(corpora.folds.folds):
        upstream = upstreams[place % len(upstreams)]
        found = chain_of(config, corpora, fold, store=store, upstream=upstream, inputs=inputs).named
        for kind, recipe in found.items():
            stages[kind] = (*stages.get(kind, ()), f"{recipe.stage}/{recipe.key(store)}")
    return {kind: tuple(dict.fromkeys(names)) for kind, names in stages.items()}


def run(
    config: TrialConfig, corpora: Corpora, workspace: Workspace, *, shared: SharedInputs, log: LogMetrics,
    progress: Progress,
) -> Generator[Underway, None, Outcome]:  # fmt: skip
    """Run the chain, yielding now and then while under way; the generator's value is the outcome."""
    listeners = Listeners(config, shared)
    tally = Tally(config=config, parameters=trained_parameters(listeners.first), log=log)
    pretrained = yield from pretrain_upstreams(config, corpora, workspace, shared=shared, tally=tally, log=log)
    track = _track(config, corpora, workspace, shared)
    inputs = _keys(shared, track)
    scores_F = np.load(track.path / "track.npy", mmap_mode="r") if track else None
    place_of = {utterance.utterance: place for place, utterance in enumerate(corpora.evaluated.utterances)}
    scores_KUC = np.zeros((len(corpora.folds.folds), len(place_of), len(corpora.evaluated.classes)), dtype=np.float32)
    counted, paid = {"clusters without frames": 0}, set[str]()
    for k, fold in enumerate(corpora.folds.folds):
        upstream = pretrained.upstreams[k % len(pretrained.upstreams)]
        chain = chain_of(config, corpora, fold, store=workspace.store, upstream=upstream.key, inputs=inputs)
        work = _FoldWork(
            config=config, corpora=corpora, workspace=workspace, listeners=listeners, upstream=upstream, fold=fold,
            name=f"fold{k + 1}", track=scores_F, tally=tally, log=log, progress=progress, counted=counted, paid=paid,
        )  # fmt: skip
        tuning = yield from work.run(chain)
        scores_KUC[k, [place_of[name] for name in (*fold.validation, *fold.test)]] = scores_in(tuning)
    return Outcome(
        predictions=class_predictions(corpora, scores_KUC),
        pretrained=pretrained,
        spent=tally.now(),
        interim=tuple(tally.entries),
        counts=counted,
    )


@dataclass(frozen=True, kw_only=True)
class _FoldWork:
    """Making, or finding, the stages of one fold."""

    config: TrialConfig
    corpora: Corpora
    workspace: Workspace
    listeners: Listeners
    upstream: Artifact
    fold: Fold
    name: str
    track: NDArray[np.float32] | None
    tally: Tally
    log: LogMetrics
    progress: Progress
    counted: dict[str, int]
    """`core.systems.outcome.Outcome.counts`."""
    paid: set[str]
    """Keys of this trial's artifacts: folds may share one, which is paid for and counted once."""

    def run(self, chain: Chain) -> Generator[Underway, None, Artifact]:
        """The fold's last artifact, and on the way where it is."""
        own = self.config.alignment
        clusters = yield from self._clusters(chain.tapt_clusters, None, name="tapt", k=own.tapt_k, layer=own.tapt_layer)
        last = yield from self._units(chain.tapt, clusters, name="tapt", k=own.tapt_k)
        if chain.first_tuning and chain.clusters and chain.alignment:
            first = yield from self._tuning(chain.first_tuning, last, pooling="mean", shown="first-tuning")
            clusters = yield from self._clusters(chain.clusters, first, name="alignment", k=own.k, layer=own.layer)
            last = yield from self._units(chain.alignment, clusters, name="alignment", k=own.k)
        return (yield from self._tuning(chain.tuning, last, pooling=own.pooling, shown="tuning"))

    def _clusters(
        self, recipe: Recipe, weights: Artifact | None, *, name: str, k: int, layer: int
    ) -> Generator[Underway, None, Artifact]:
        """`weights`: the stage whose model is clustered; None: the upstream itself."""
        with recipe.claim(self.workspace.store) as claim:
            if not claim.done:
                make_clusters(
                    claim, self._listener(weights), self._heard, name=name, k=k, layer=layer, seed=self.config.seed,
                    progress=self.progress,
                )  # fmt: skip
        yield from self._count(claim.artifact, shown=f"{name}-clusters", made=False)
        return claim.artifact

    def _units(
        self, recipe: Recipe, clusters: Artifact, *, name: Literal["tapt", "alignment"], k: int
    ) -> Generator[Underway, None, Artifact]:
        """From the upstream itself, both times (published)."""
        with recipe.claim(self.workspace.store) as claim:
            if not claim.done:
                yield from make_units(
                    claim, self._listener(None), self._heard, self.config, labels=UnitLabels.open(clusters.path),
                    track=self.track, name=name, k=k, tally=self.tally, log=self._shown(name),
                )  # fmt: skip
        yield from self._count(claim.artifact, shown=name, made=not claim.done)
        return claim.artifact

    def _tuning(
        self, recipe: Recipe, weights: Artifact, *, pooling: Literal["attention", "mean"], shown: str
    ) -> Generator[Underway, None, Artifact]:
        with recipe.claim(self.workspace.store) as claim:
            if not claim.done:
                yield from make_tuning(
                    claim, self._listener(weights), self.config, self.corpora, self.fold, pooling=pooling,
                    tally=self.tally, log=self._shown(shown),
                )  # fmt: skip
        yield from self._count(claim.artifact, shown=shown, made=not claim.done)
        return claim.artifact

    def _count(self, artifact: Artifact, *, shown: str, made: bool) -> Generator[Underway, None, None]:
        """Note what an artifact cost. `made`: just now, by a loop that has told its cost and its curve already."""
        if artifact.key in self.paid:
            return
        self.paid.add(artifact.key)
        notes = read_notes(artifact)
        self._add_counts(notes, shown)
        if not made:
            replay(notes.curve, self._shown(shown))
            yield self.tally.worked(
                steps=notes.steps, frames=notes.frames, seconds=notes.seconds, flops=notes.flops
            )  # fmt: skip

    def _add_counts(self, notes: Notes, shown: str) -> None:
        """What is hidden is counted stage by stage: the twin's adaptation is held against the arm's alignment."""
        found = {"clusters without frames": int(notes.facts.get("unused", 0))}
        if notes.mask is not None:
            audit, stage = MaskAudit.from_json(notes.mask), "adaptation" if shown == "tapt" else shown
            found |= {f"positions hidden in {stage}": audit.hidden, f"positions heard in {stage}": audit.valid}
        for what, count in found.items():
            self.counted[what] = self.counted.get(what, 0) + count

    @property
    def _heard(self) -> tuple[str, ...]:
        return heard_by(self.config, self.corpora, self.fold)

    def _listener(self, weights: Artifact | None) -> Listener:
        """The upstream, with the weights that a stage left."""
        listener = self.listeners.over(self.upstream)
        if weights is not None:
            listener.model.load_state_dict(
                torch.load(weights.path / "weights.pt", map_location="cpu", weights_only=True)
            )
        listener.model.to(torch.device(self.config.compute.device))
        return listener

    def _shown(self, stage: str) -> LogMetrics:
        """Metrics of this fold and stage: `tuning/loss` of the first fold becomes `first-tuning/loss/fold1`."""

        def log(values: Mapping[str, float], step: int) -> None:
            self.log({f"{stage}/{name.split('/', 1)[1]}/{self.name}": value for name, value in values.items()}, step)

        return log


def _check(config: TrialConfig, listener: Listener) -> None:
    """Before anything is trained."""
    if config.upstream == "npc" and config.npc.probed == "all":
        raise BadInputError(
            "npc.probed: 'all' ends with a masked convolution, and frame_alignment trains what comes last; it needs "
            "'last-block'"
        )
    if config.masking.policy == "all":
        raise BadInputError("masking.policy: 'all' would hide every frame, and frame_alignment tells hidden ones")
    with torch.no_grad():
        shortest = int(listener.lengths_U.argmin())
        exposed = len(listener.hear([listener.whole(shortest)]).layers)
    own = config.alignment
    for name, layer in (("layer", own.layer), ("tapt_layer", own.tapt_layer)):
        if name == "tapt_layer" or own.aligned:
            try:
                chosen_layers([layer], exposed=exposed)
            except BadInputError as error:
                raise BadInputError(f"alignment.{name}: {error}") from error


def _track(config: TrialConfig, corpora: Corpora, workspace: Workspace, shared: SharedInputs) -> Artifact | None:
    """The intensity of the evaluated corpus; None where nothing that is hidden looks at it."""
    if not (config.looks_at_intensity or config.masking.policy == "random_as_topk"):
        return None
    if shared.track is not None and corpora.heard.fingerprint == corpora.evaluated.fingerprint:
        return shared.track
    # The upstream was trained on another corpus: this one's intensity is for the stages alone.
    return make_track(
        corpora.evaluated, shared.evaluated, config.intensity, config.features, workspace,
        threads=config.intensity.threads, progress=silent,
    )  # fmt: skip


def _keys(shared: SharedInputs, track: Artifact | None) -> tuple[str, ...]:
    """Of what the stages read beside weights."""
    return (shared.evaluated.key, *((track.key,) if track else ()))
