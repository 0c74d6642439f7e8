"""Where a sweep's trials come from: all at once from a plan, or bit by bit from a search or a race."""

from __future__ import annotations

__all__ = ["FixedSource", "TrialSource"]

from typing import Protocol

from sweeps.plan import Plan


class TrialSource(Protocol):
    """Says which trials there are. It knows nothing of Ray, and keeps nothing in memory that it needs after a restart:
    what it says follows from the records on disk (and a search's storage), so a killed sweep goes on the same way.
    """

    @property
    def plan(self) -> Plan:
        """All trials that have come up so far, ended ones included, in an order that never changes."""

    def advance(self) -> bool:
        """Look at what has ended and add what follows from it; whether the plan has grown.

        Called once at the start, and then when no trial is left that could be started. No more trials, and False: the
        source is exhausted.
        """


class FixedSource:
    """A plan that is known beforehand: every point under every seed."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def advance(self) -> bool:
        return False
