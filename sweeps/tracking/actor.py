"""The tracker as a Ray actor on the driver's node, and the driver's side of it (ours)."""

from __future__ import annotations

__all__ = ["TrackerHandle", "start_tracker"]

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from core.store import Workspace
from sweeps.tracking.calls import TrackerLostError, answered, method
from sweeps.tracking.entries import Registration, SweepState
from sweeps.tracking.experiment import tracking_uri
from sweeps.tracking.filling import uploader_for
from sweeps.tracking.journal import JournalError
from sweeps.tracking.tracker import Standing, Tracker

_logger = logging.getLogger(__name__)

_THREADS = {"log": 4, "other": 4}
"""Logging has threads of its own. Four of the others: stopping, which takes long, must not hold up a look."""
_PATIENCE_S = 120.0
_LEEWAY_S = 30.0
"""How much longer than it was told `stop` may take: a call to MLflow in progress is not broken off."""


class TrackerActor(Tracker):
    """A tracker with the driver's settings for MLflow (user names, certificates), whatever those of its node are."""

    def __init__(self, sweep: str, root: Path, *, uri: str, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        super().__init__(sweep, root, uri=uri)


class TrackerHandle:
    """The driver's view of the tracking actor: the tracker's own methods, through its crashes.

    `actor` is the Ray handle for the `TrackingClient` of each trial. Every method but `stop` raises what the tracker's
    does, and TrackerLostError when the actor is gone for good.
    """

    def __init__(self, actor: Any, *, sweep: str, workspace: Workspace) -> None:
        self.actor = actor
        self._sweep, self._workspace = sweep, workspace
        self._finishing: dict[str, Any] = {}

    def register(self, trials: Sequence[Registration]) -> None:
        self._ask("register", tuple(trials))

    def keep_only(self, trial_keys: Collection[str]) -> tuple[str, ...]:
        return cast("tuple[str, ...]", self._ask("keep_only", tuple(trial_keys)))

    def finish(self, trial_key: str) -> None:
        """Does not wait. A call lost with the actor is made again at the next one, at the latest by `stop` (or `sync`);
        an error is said in the log.
        """
        lost = self._lost_finishes()
        for key in (*lost, trial_key):
            self._finishing[key] = method(self.actor, "finish").remote(key)

    def standing(self) -> Standing:
        return cast("Standing", self._ask("standing"))

    def stop(self, state: SweepState, *, timeout: float) -> Standing:
        """As the tracker's, then ends the actor. When tracking itself is in trouble, `trouble` says so."""
        try:
            call = method(self.actor, "stop")
            found = answered(lambda: call.remote(state, timeout=timeout), patience_s=timeout + _LEEWAY_S)
            return cast("Standing", found)
        except (TrackerLostError, JournalError) as error:
            _logger.warning("%s", error)
            backlog = uploader_for(self._sweep, self._workspace).backlog()
            return Standing(backlog=backlog, trouble=str(error), process_id=os.getpid())
        finally:
            ray.kill(self.actor)

    def _lost_finishes(self) -> list[str]:
        lost = []
        for key, call in list(self._finishing.items()):
            if not ray.wait([call], timeout=0)[0]:
                continue
            del self._finishing[key]
            try:
                ray.get(call)
            except RayActorError:
                lost.append(key)
            except RayTaskError as error:
                _logger.warning("trial %s: %s", key, error.cause)
        return lost

    def _ask(self, name: str, *arguments: Any) -> Any:
        call = method(self.actor, name)
        return answered(lambda: call.remote(*arguments), patience_s=_PATIENCE_S)


def start_tracker(sweep: str, workspace: Workspace) -> TrackerHandle:
    """Start the tracker of a launched sweep (its plan is written) on this node, outside of the trials' resources.

    After a crash Ray starts it again, as often as it takes. Raises BadInputError for an MLflow address that is none.
    """
    uri = tracking_uri(workspace.root)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    # Trials that log and whatever else waits: no limit but the groups' own.
    make = ray.remote(num_cpus=0, max_restarts=-1, concurrency_groups=_THREADS)(TrackerActor)
    environment = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    actor = make.options(scheduling_strategy=here).remote(sweep, workspace.root, uri=uri, environment=environment)
    return TrackerHandle(actor, sweep=sweep, workspace=workspace)
