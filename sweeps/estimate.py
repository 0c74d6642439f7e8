"""What a sweep will cost, before it starts: hours, wall time, disk and memory, from a short calibration (ours)."""

from __future__ import annotations

__all__ = ["Estimate", "estimate", "parse_budget", "refuse"]

import heapq
import os
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from core.errors import BadInputError
from core.lookup import SharedWork, unmade
from core.progress import Progress
from core.resolve import Corpora, corpora_key, resolve
from core.store import Workspace
from sweeps.calibrating import calibrators
from sweeps.estimate_disk import shared_bytes, sweep_bytes
from sweeps.estimate_text import duration_text, estimate_text, parse_budget, refuse
from sweeps.plan import Plan, PlannedTrial
from sweeps.trial_cost import Bench, RefusedError, TrialWork, shapes

CALIBRATION_S = 12.0
"""About how long all stages of all shapes are measured together; at least `LEAST_S` each."""
LEAST_S, MOST_S = 0.3, 2.0
BUSY = 0.85
"""A process that had less of its cores was held up by others."""
RAY_START_S = 6.0
"""From the end of the shared stages to the first trial's process (measured: `ray.init` 4 s, Tune 2 s)."""
RAY_BETWEEN_S = 0.3
"""Between two trials on one worker (measured)."""
RAY_END_S = 3.0
"""From the last trial to the end of the command: pictures, MLflow, Ray's shutdown (measured)."""
SERVICES_BYTES = 1_080_000_000
"""Ray's own services 0.6 GB, the tracking actor 0.27, the process that draws pictures 0.21 (measured)."""
DRIVER_BYTES = 460_000_000
"""The command itself, with torch and Ray (measured)."""
WORKER_BYTES = 170_000_000
"""What a Ray worker takes beyond a calibrating process that does the same (measured)."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is still to be done of a sweep. Sizes in bytes, times in seconds unless they say hours."""

    trials: int
    upstreams: int
    """To be pre-trained; each once, however many trials use it."""
    slots: int
    """Trials at a time."""
    device: Literal["CPU", "GPU"]
    device_hours: float
    """Hours of CPU cores, or of GPUs where trials get one, that trials and shared stages hold."""
    wall_seconds: float
    """From the start of the launch to its end."""
    shared_seconds: float
    """Of these for what trials share, before the first of them."""
    disk_bytes: int
    """What will be left on the disk."""
    shared_disk_bytes: int
    """Of these for what trials share."""
    temporary_bytes: int
    """Checkpoints under way: needed beside `disk_bytes` until the end."""
    memory_per_trial_bytes: int
    memory_bytes: int
    """Of all trials that run at a time, Ray and the driver; pages that processes share are counted in each."""
    device_memory_bytes: int
    """Of a GPU, per trial; 0 on CPUs."""
    stages: dict[str, float]
    """Stage → seconds, over all trials; shared stages begin with `shared `. `pretrain` and `probe` are what records
    count as `device_seconds`."""
    trial_seconds: dict[str, float]
    """Trial key → seconds, of every open trial."""
    elsewhere: bool
    """Whether more trials run at a time than this machine has room for: those run on other machines, unmeasured."""
    notes: tuple[str, ...]
    """What the numbers do not cover."""
    calibration_seconds: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def as_text(self) -> str:
        return estimate_text(self)


def estimate(
    plan: Plan, workspace: Workspace, *, open_trials: Sequence[PlannedTrial], slots: int, cpus: float, gpus: float,
    progress: Progress,
) -> Estimate:  # fmt: skip
    """Measure each kind of trial among `open_trials` on this machine, `slots` at a time, and add up what they cost.

    Args:
        slots: trials that run at a time.
        cpus, gpus: what each of them gets.

    What is in the store already costs nothing, and what several trials share is counted once. Trials that the data
    cannot serve cost nothing and are named in the notes. Raises BadInputError where the shared stages cannot be made
    or there is too little memory to calibrate.
    """
    began = time.monotonic()
    works, shared = _to_do(open_trials, workspace)
    threads, lanes = max(1, int(cpus)), min(slots, len(works))
    room = max(1, len(os.sched_getaffinity(0)) // threads)
    found = _Found()
    if works:
        kinds = {item for work in works.values() for item in shapes(work.config).items()}
        patience_s = min(MOST_S, max(LEAST_S, CALIBRATION_S / len(kinds)))
        with calibrators(workspace, processes=min(lanes, room), threads=threads, patience_s=patience_s) as pool:
            bench = Bench(pool=pool, progress=progress, total=_measurements(kinds, shared))
            found = _measure(bench, works, shared)
            progress("calibration", bench.total, bench.total)
    shared_s, trial_s = sum(found.shared.values()), {key: sum(each.values()) for key, each in found.trials.items()}
    held_s = sum(trial_s.values()) + lanes * found.cold_s
    ray_s = RAY_START_S + RAY_END_S if works else 0.0
    return Estimate(
        trials=len(works),
        upstreams=sum(work.upstreams for work in works.values()),
        slots=lanes,
        device="GPU" if gpus else "CPU",
        device_hours=(held_s * gpus if gpus else held_s * cpus + found.shared_core_s) / 3600,
        wall_seconds=shared_s + ray_s + _makespan(trial_s.values(), lanes, found.cold_s),
        shared_seconds=shared_s,
        disk_bytes=found.trial_bytes
        + found.shared_bytes
        + (sweep_bytes(plan.definition.name, workspace) if works else 0),
        shared_disk_bytes=found.shared_bytes,
        temporary_bytes=lanes * found.checkpoint_bytes,
        memory_per_trial_bytes=found.peak_bytes,
        memory_bytes=SERVICES_BYTES + DRIVER_BYTES + lanes * found.peak_bytes if works else 0,
        device_memory_bytes=found.device_bytes,
        stages=dict(sum(map(Counter, found.trials.values()), Counter(found.shared))),
        trial_seconds=trial_s,
        elsewhere=slots > room,
        notes=_notes(plan, found, lanes=lanes, room=room),
        calibration_seconds=time.monotonic() - began,
    )


def _measurements(kinds: Collection[tuple[str, str]], shared: Sequence[SharedWork]) -> int:
    """How many: the first masking rule of a training shape is measured with it."""
    trained = sum(kind == "training" for kind, _ in kinds)
    return 1 + len(kinds) - trained + len({"features" if work.stage == "features" else "fit" for work in shared})


def _notes(plan: Plan, found: _Found, *, lanes: int, room: int) -> tuple[str, ...]:
    notes = ["times are good to about 20 % while nothing else runs on the machine; trials run again are not in them"]
    if "shared strengthnet" in found.shared:
        most = duration_text(found.shared["shared strengthnet"])
        notes.append(f"the fit of the intensity model is counted with all its epochs ({most}); it may stop early")
    if plan.definition.stop is not None or plan.definition.racing is not None:
        notes.append("all trials are counted whole: early stopping and racing end some of them sooner, or spare them")
    if found.core_share < BUSY and plan.trials[0].config.compute.device == "cpu":
        notes.append(f"the machine is busy: a process had {found.core_share:.0%} of its cores; times are for that")
    if lanes > room:
        notes.append(f"measured {room} at a time, which is what this machine has room for; {lanes} will run")
    notes += [f"{count} trials will fail: {reason}" for reason, count in found.refused.items()]
    return tuple(notes)


@dataclass(kw_only=True)
class _Found:
    """What was measured, by trial and stage; seconds and bytes."""

    cold_s: float = 0.0
    """From the start of a worker to its first trial."""
    trials: dict[str, dict[str, float]] = field(default_factory=dict)
    shared: dict[str, float] = field(default_factory=dict)
    shared_core_s: float = 0.0
    trial_bytes: int = 0
    shared_bytes: int = 0
    checkpoint_bytes: int = 0
    peak_bytes: int = 0
    device_bytes: int = 0
    core_share: float = 1.0
    refused: dict[str, int] = field(default_factory=dict)
    """Why trials will fail → how many."""


def _measure(bench: Bench, works: Mapping[str, TrialWork], shared: Sequence[SharedWork]) -> _Found:
    """Raises BadInputError where a stage that all trials share cannot be made."""
    found = _Found()
    start = bench.start(next(iter(works.values())).config)
    for work in shared:
        try:
            seconds = bench.shared_s(work)
            found.shared_bytes += shared_bytes(work, strengthnet_bytes=bench.strengthnet_bytes(work))
        except RefusedError as refusal:
            raise BadInputError(f"estimate: {refusal}") from refusal
        name = f"shared {work.stage}"
        found.shared[name] = found.shared.get(name, 0.0) + seconds
        found.shared_core_s += seconds * (work.config.intensity.threads if work.stage == "strengthnet" else 1)
    for key, trial in works.items():
        try:
            stages, size = bench.stages(trial), bench.trial_bytes(trial)
        except RefusedError as refusal:
            found.refused[str(refusal)] = found.refused.get(str(refusal), 0) + 1
            stages, size = {}, 0
        found.trials[key] = stages
        found.trial_bytes += size
    found.cold_s = start.cold_s + bench.warm_up_s()
    found.checkpoint_bytes, found.core_share = bench.checkpoint_bytes(), bench.core_share()
    found.peak_bytes, found.device_bytes = bench.peak_bytes() + WORKER_BYTES, bench.device_bytes()
    return found


def _to_do(trials: Sequence[PlannedTrial], workspace: Workspace) -> tuple[dict[str, TrialWork], tuple[SharedWork, ...]]:
    """What each trial has to make that none before it makes, and what they share."""
    corpora: dict[str, Corpora] = {}
    planned: set[tuple[str, str]] = set()
    works: dict[str, TrialWork] = {}
    shared: dict[tuple[str, str], SharedWork] = {}
    for trial in trials:
        config = trial.config
        data = corpora_key(config)
        if data not in corpora:
            corpora[data] = resolve(config, workspace)
        try:
            lacking = unmade(config, corpora[data], workspace)
        except BadInputError as error:
            works[trial.trial_key] = TrialWork(config=config, corpora=corpora[data], refusal=str(error))
            continue
        upstreams = {("pretrain", key) for key in lacking.upstreams} - planned
        own = {kind: {(kind, key) for key in keys} - planned for kind, keys in lacking.own.items()}
        planned |= upstreams.union(*own.values())
        shared |= {(work.stage, work.key): work for work in lacking.shared}
        works[trial.trial_key] = TrialWork(
            config=config, corpora=corpora[data], upstreams=len(upstreams),
            own={kind: len(keys) for kind, keys in own.items()},
        )  # fmt: skip
    return works, tuple(shared.values())


def _makespan(seconds: Iterable[float], lanes: int, cold_s: float) -> float:
    """When the last trial ends if each goes, in order, to the lane that is free first."""
    ends = [cold_s] * lanes
    for each in seconds:
        heapq.heappush(ends, heapq.heappop(ends) + each + RAY_BETWEEN_S)
    return max(ends, default=0.0)
