"""Where a running trial is: steps and cost over all its upstreams, and what looks at validation saw."""

from __future__ import annotations

__all__ = ["Tally", "Underway", "training_flops"]

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from core.config import TrialConfig
from core.progress import LogMetrics
from core.records import InterimEntry

if TYPE_CHECKING:
    from core.pretrain import Reached

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Underway:
    """What a trial says of itself while it runs."""

    step: int
    """Optimizer steps so far, over all upstreams and the system's own loops."""
    frames: int
    seconds: float
    """On the device so far, over all legs; interim looks are not in it."""
    flops: float
    interim: InterimEntry | None
    """What a look saw that is due at this step. After an interruption the earlier ones come again."""
    parameters: int
    """Trained ones of one upstream."""


def training_flops(config: TrialConfig, *, parameters: int, frames: int) -> float:
    """Cost of training by 6·N·D (Kaplan et al. 2020, §2.1): N parameters, D positions that went through them.

    A position of Mockingjay is `stack` frames; with a second head every position goes through the Transformer twice.

    >>> training_flops(TrialConfig(), parameters=1000, frames=50)
    300000.0
    """
    if config.upstream == "npc":
        return 6.0 * parameters * frames
    passes = 2 if config.score.head else 1
    return 6.0 * parameters * passes * frames / config.mockingjay.stack


@dataclass(kw_only=True)
class Tally:
    """Adds up the upstreams of one trial, which are trained one after the other."""

    config: TrialConfig
    parameters: int
    log: LogMetrics
    entries: list[InterimEntry] = field(default_factory=list)
    _step: int = 0
    _frames: int = 0
    _seconds: float = 0.0
    _own_frames: int = 0
    _own_flops: float = 0.0
    _finished: dict[str, float] = field(default_factory=dict)

    def follow(self, training: Generator[Reached, None, T]) -> Generator[Underway, None, T]:
        """Pass on where the current upstream is; left alone, it leaves the training, which leaves a checkpoint."""
        with closing(training):
            while True:
                try:
                    reached = next(training)
                except StopIteration as end:
                    result: T = end.value
                    return result
                yield self.at(reached)

    def at(self, reached: Reached) -> Underway:
        """The current upstream has got so far.

        The entry of a step that `interim.at` names holds the folds of finished upstreams too, at their last weights.
        """
        step, interim = self._step + reached.step, None
        if reached.ua is not None and step in self.config.interim.at:
            interim = InterimEntry(step=step, ua=self._finished | reached.ua)
            self.entries.append(interim)
            self.log({"interim/validation_ua": interim.mean}, step)
        return self._underway(step, self._frames + reached.frames, self._seconds + reached.seconds, interim)

    def end(self, reached: Reached) -> None:
        """The current upstream is done; with a look through its last weights, should a later step need it."""
        self._finished |= reached.ua or {}
        self._step += reached.step
        self._frames += reached.frames
        self._seconds += reached.seconds

    def spent(self, seconds: float) -> Underway:
        """So much more time on the device, as for a probe."""
        self._seconds += seconds
        return self.now()

    def worked(self, *, steps: int, frames: int, seconds: float, flops: float) -> Underway:
        """A loop of the system's own, after the upstreams, has cost so much."""
        self._step += steps
        self._own_frames += frames
        self._own_flops += flops
        return self.spent(seconds)

    def now(self) -> Underway:
        """Between two upstreams, or at the end."""
        return self._underway(self._step, self._frames, self._seconds, None)

    def _underway(self, step: int, frames: int, seconds: float, interim: InterimEntry | None) -> Underway:
        return Underway(
            step=step,
            frames=frames + self._own_frames,
            seconds=seconds,
            flops=training_flops(self.config, parameters=self.parameters, frames=frames) + self._own_flops,
            interim=interim,
            parameters=self.parameters,
        )
