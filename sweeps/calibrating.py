"""Calibration of this machine as a sweep will load it: one measurement at the same time in as many processes (ours)."""

from __future__ import annotations

__all__ = [
    "BatchJob", "Calibrators", "EmbeddingJob", "FeaturesJob", "FitJob", "Job", "Measured", "ProbeJob", "StageJob",
    "StartCost", "StartJob", "TrainingJob",
]  # fmt: skip

import multiprocessing
import resource
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import BrokenBarrierError
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from core.config import FeaturesConfig, IntensityConfig, TrialConfig
from core.corpora.manifest import Manifest
from core.errors import BadInputError, EmsweepError
from core.identity import digest
from core.progress import silent
from core.resolve import Corpora, corpora_key, resolve
from core.store import Workspace

if TYPE_CHECKING:
    from core.calibration import EmbeddingCost, ProbeCost, TrainingCost
    from core.features import Features
    from core.shared_calibration import FitCost, RateCost
    from core.stage_calibration import StageCost

MEETING_S = 600.0
"""How long the processes wait for each other before a measurement."""
Cost = TypeVar("Cost", covariant=True)
"""Floats in it are averaged over processes, integers are the largest."""


@dataclass(frozen=True, kw_only=True)
class Measured(Generic[Cost]):
    """What one measurement found; memory as of the process, before it (imports and corpora) and at most."""

    cost: Cost
    peak_bytes: int
    device_bytes: int
    """Of a GPU; 0 without one."""


class Job(Protocol[Cost]):
    """One measurement. `alone`: in one process while the others wait, as stages that trials share run."""

    @property
    def alone(self) -> bool: ...

    def measure(self, process: Process) -> Cost: ...


@dataclass(kw_only=True)
class Process:
    """What a calibrating process keeps between its measurements."""

    workspace: Workspace
    scratch: Path
    barrier: Barrier
    began: float
    patience_s: float
    known: dict[str, Corpora] = field(default_factory=dict)
    synthetic: dict[str, Features] = field(default_factory=dict)

    def corpora(self, config: TrialConfig) -> Corpora:
        key = corpora_key(config)
        if key not in self.known:
            self.known[key] = resolve(config, self.workspace, progress=silent)
        return self.known[key]

    def features(self, manifest: Manifest, config: TrialConfig) -> Features:
        from core.calibration import synthetic_features

        key = digest([manifest.fingerprint, config.features.model_dump(mode="json")])
        if key not in self.synthetic:
            self.synthetic[key] = synthetic_features(manifest, config.features)
        return self.synthetic[key]


@dataclass(frozen=True, kw_only=True)
class StartCost:
    """`cold_s`: from the start of a process to its first trial's data; `resolve_s`: finding the data again."""

    cold_s: float
    resolve_s: float
    resident_bytes: int


@dataclass(frozen=True, kw_only=True)
class StartJob:
    config: TrialConfig
    alone: ClassVar[bool] = False

    def measure(self, process: Process) -> StartCost:
        import core.trial
        from core.systems import ems

        del core, ems
        process.corpora(self.config)
        ready = time.time()
        resolve(self.config, process.workspace, progress=silent)
        return StartCost(
            cold_s=ready - process.began, resolve_s=time.time() - ready, resident_bytes=_memory_bytes("VmRSS")
        )


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    config: TrialConfig
    alone: ClassVar[bool] = False

    def measure(self, process: Process) -> TrainingCost:
        from core.calibration import measure_training

        corpora = process.corpora(self.config)
        features = process.features(corpora.heard, self.config)
        return measure_training(
            self.config, corpora, features, scratch=process.scratch, patience_s=process.patience_s
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BatchJob:
    config: TrialConfig
    alone: ClassVar[bool] = False

    def measure(self, process: Process) -> float:
        from core.calibration import measure_batches

        corpora = process.corpora(self.config)
        return measure_batches(self.config, corpora, process.features(corpora.heard, self.config))


@dataclass(frozen=True, kw_only=True)
class EmbeddingJob:
    config: TrialConfig
    alone: ClassVar[bool] = False

    def measure(self, process: Process) -> EmbeddingCost:
        if not self.config.pretrains:
            from core.audio_calibration import measure_audio_means

            evaluated = process.corpora(self.config).evaluated
            return measure_audio_means(self.config, evaluated, patience_s=process.patience_s)
        from core.calibration import measure_embedding

        features = process.features(process.corpora(self.config).evaluated, self.config)
        return measure_embedding(self.config, features, patience_s=process.patience_s)


@dataclass(frozen=True, kw_only=True)
class ProbeJob:
    config: TrialConfig
    layers: int
    hidden: int
    folds: int
    alone: ClassVar[bool] = False

    def measure(self, process: Process) -> ProbeCost:
        from core.calibration import measure_probe

        return measure_probe(
            self.config, process.corpora(self.config), layers=self.layers, hidden=self.hidden, folds=self.folds,
            patience_s=process.patience_s,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class StageJob:
    """One kind of a system's own stages."""

    config: TrialConfig
    kind: str
    alone: ClassVar[bool] = False

    def measure(self, process: Process) -> StageCost:
        from core.systems.costs import costed

        corpora = process.corpora(self.config)
        return costed(self.config.system).measure_stage(
            self.kind, self.config, corpora, process.features(corpora.evaluated, self.config),
            scratch=process.scratch, patience_s=process.patience_s,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FeaturesJob:
    manifest: Manifest
    config: FeaturesConfig
    alone: ClassVar[bool] = True

    def measure(self, process: Process) -> RateCost:
        from core.shared_calibration import measure_features

        return measure_features(self.manifest, self.config, process.scratch)


@dataclass(frozen=True, kw_only=True)
class FitJob:
    manifest: Manifest
    config: IntensityConfig
    alone: ClassVar[bool] = True

    def measure(self, process: Process) -> FitCost:
        from core.shared_calibration import measure_fit

        return measure_fit(self.manifest, self.manifest.speakers, self.config, process.scratch)


class Calibrators:
    """Processes that measure together. Use as a context; jobs run one after the other."""

    def __init__(self, workspace: Workspace, *, processes: int, threads: int, patience_s: float, scratch: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.processes = processes
        about = (str(workspace.root), str(scratch), context.Barrier(processes), time.time(), threads, patience_s)
        self._pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=about)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, job: Job[Cost]) -> Measured[Cost] | str:
        """What the job found, or why the data cannot serve it. Raises BadInputError when a process died of it."""
        count = 1 if job.alone else self.processes
        waiting: list[Future[Measured[Cost] | str]] = [self._pool.submit(_measure, job) for _ in range(count)]
        try:
            found = [future.result() for future in waiting]
        except (BrokenProcessPool, BrokenBarrierError) as error:
            raise BadInputError(
                f"estimate: a calibrating process died in {type(job).__name__} ({processes_text(count)}); "
                "out of memory is the usual reason: fewer trials at a time, or a smaller pretrain.micro_batch"
            ) from error
        refused = [each for each in found if isinstance(each, str)]
        return refused[0] if refused else _merged([each for each in found if not isinstance(each, str)])


def processes_text(count: int) -> str:
    return f"{count} process{'es' if count > 1 else ''} at a time"


@contextmanager
def calibrators(workspace: Workspace, *, processes: int, threads: int, patience_s: float) -> Iterator[Calibrators]:
    """Calibrating processes for the length of the block; what they write vanishes with it."""
    with tempfile.TemporaryDirectory(prefix="calibration-", dir=workspace.root) as scratch:
        pool = Calibrators(
            workspace, processes=processes, threads=threads, patience_s=patience_s, scratch=Path(scratch)
        )  # fmt: skip
        try:
            yield pool
        finally:
            pool.close()


_process: Process


def _begin(root: str, scratch: str, barrier: Barrier, began: float, threads: int, patience_s: float) -> None:
    """First thing in a calibrating process. Ctrl-C is the parent's to hear."""
    global _process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(threads)
    own = Path(tempfile.mkdtemp(dir=scratch))
    _process = Process(
        workspace=Workspace(root=Path(root)), scratch=own, barrier=barrier, began=began, patience_s=patience_s
    )  # fmt: skip


def _measure(job: Job[Cost]) -> Measured[Cost] | str:
    if not job.alone:
        _process.barrier.wait(MEETING_S)
    _forget_peak()
    try:
        cost = job.measure(_process)
    except EmsweepError as error:
        return str(error)
    return Measured(cost=cost, peak_bytes=_memory_bytes("VmHWM"), device_bytes=_device_bytes())


def _forget_peak() -> None:
    """Let the peak of the process's memory begin anew (Linux)."""
    import torch

    # Where that is not allowed, the peak stays that of the process's whole life.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _device_bytes() -> int:
    import torch

    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0


def _memory_bytes(name: str) -> int:
    """`VmRSS` (now) or `VmHWM` (at most) of this process; without /proc the most it ever had."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _merged(found: Sequence[Any]) -> Any:
    """Numbers of several processes as one: floats averaged, integers the largest, dataclasses field by field."""
    first = found[0]
    if isinstance(first, float):
        return sum(found) / len(found)
    if isinstance(first, int):
        return max(found)
    parts = {each.name: _merged([getattr(one, each.name) for one in found]) for each in fields(first)}
    return replace(first, **parts)
