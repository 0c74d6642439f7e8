"""Two launched sweeps side by side: definition, environment, and results of the arms both have. Validation only.

Letters in names: F folds, S speakers, C classes.
"""

from __future__ import annotations

__all__ = ["ArmDifference", "MatchedBy", "Side", "SweepDiff", "diff_sweeps"]

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from analysis.compared import matched_parts, parts_of
from analysis.comparisons import METRICS
from analysis.intervals import MIN_SPEAKERS, paired_interval
from analysis.load import AnyPart, Arm, Sweep, load_sweep, read_any_part
from analysis.paired import Metric
from core.errors import BadInputError
from core.records import Record

RESAMPLES = 10_000

MatchedBy = Literal["key", "axes", "name"]
"""How two arms were taken for the same. `key`: the same settings, corpora and code. `axes`: the same values on the
axes that both sweeps vary, whatever else differs. `name`: the same readable name."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """A sweep by its name and the root of its workspace."""

    name: str
    root: Path


@dataclass(frozen=True, kw_only=True)
class ArmDifference:
    """An arm of both sweeps, B − A on validation, in shares; None where there is nothing to compare."""

    a: str
    b: str
    matched_by: MatchedBy
    metric: Metric
    a_mean: float | None
    """Over the seeds the difference is of, folds first; B's likewise."""
    b_mean: float | None
    difference: float | None
    """Over seeds that are not the very same trial; exactly 0 when all are."""
    ci_low: float | None
    ci_high: float | None
    n_seeds: int
    """Complete in both sweeps and not the very same trial: what the interval is made of."""
    n_shared: int
    """Seeds whose trial is the very same one: difference 0, no evidence."""
    n_folds: int
    n_speakers: int
    note: str


@dataclass(frozen=True, kw_only=True)
class SweepDiff:
    """What differs between two sweeps. Mappings are name → (A's, B's), of what differs only."""

    a: Side
    b: Side
    definition: dict[str, tuple[Any, Any]]
    """Dotted key → values; None where one says nothing."""
    environment: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    """What the records say of where they ran → all values over the trials of each side."""
    trials: tuple[dict[str, int], dict[str, int]]
    """Status → number of trials, of each side; differing or not."""
    arms: tuple[ArmDifference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    unequal: tuple[str, ...]
    """Keys of trials that both sides have and that came out differently: not reproduced."""

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        content = asdict(self)
        return content | {side: {"name": content[side]["name"], "root": str(content[side]["root"])} for side in "ab"}


@dataclass(frozen=True, kw_only=True)
class _Match:
    a: Arm
    b: Arm
    by: MatchedBy


def diff_sweeps(a: Side, b: Side, *, resamples: int = RESAMPLES, seed: int = 0) -> SweepDiff:
    """Compare two sweeps that were launched, in one workspace or two. Test predictions stay sealed.

    Raises BadInputError for a sweep that was never launched, and whatever `analysis.load.load_sweep` refuses.
    """
    first, second = _load(a), _load(b)
    matches = _matched(first, second)
    rows, unequal = [], []
    for match in matches:
        shared, pairs = _common(match)
        unequal += [own.trial_key for own, other in shared if own.metrics != other.metrics]
        parts = [(_part(first, own), _part(second, other)) for own, other in pairs]
        for metric in METRICS[match.a.answers]:
            rows.append(_difference(match, metric, shared, pairs, parts, draws=(resamples, seed)))
    taken_a, taken_b = {match.a.key for match in matches}, {match.b.key for match in matches}
    return SweepDiff(
        a=a,
        b=b,
        definition=_differing(_leaves(first.plan.definition), _leaves(second.plan.definition)),
        environment=_differing(_environment(first.records), _environment(second.records), absent=()),
        trials=(_statuses(first), _statuses(second)),
        arms=tuple(rows),
        only_a=tuple(arm.name for arm in first.arms.values() if arm.key not in taken_a),
        only_b=tuple(arm.name for arm in second.arms.values() if arm.key not in taken_b),
        unequal=tuple(unequal),
    )


def _load(side: Side) -> Sweep:
    plan_path = side.root / "sweeps" / side.name / "plan.json"
    if not plan_path.exists():
        raise BadInputError(f"sweep {side.name!r}: not launched in workspace {side.root}")
    sweep = load_sweep(plan_path=plan_path, trials_root=side.root / "trials")
    # Of imported systems there is nothing to compare on validation.
    return replace(sweep, arms={arm.key: arm for arm in sweep.planned})


def _statuses(sweep: Sweep) -> dict[str, int]:
    return dict(sorted(Counter(outcome.status for outcome in sweep.outcomes).items()))


def _leaves(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted key → value."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        nested = isinstance(value, Mapping) and value
        flat |= _leaves(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat


def _differing(a: Mapping[str, Any], b: Mapping[str, Any], *, absent: Any = None) -> dict[str, tuple[Any, Any]]:
    keys = dict.fromkeys([*a, *b])
    both = {key: (a.get(key, absent), b.get(key, absent)) for key in keys}
    return {key: values for key, values in both.items() if values[0] != values[1]}


def _environment(records: Sequence[Record]) -> dict[str, tuple[str, ...]]:
    """What the trials of a sweep ran on, as sorted sets: name → every value that occurs."""
    found: dict[str, set[str]] = {}
    for record in records:
        for name, value in _facts(record):
            found.setdefault(name, set()).add(value)
    return {name: tuple(sorted(values)) for name, values in found.items()}


def _facts(record: Record) -> list[tuple[str, str]]:
    provenance = record.provenance
    facts = [
        ("commit", provenance.commit),
        ("dirty", "yes" if provenance.dirty else "no"),
        ("diff", provenance.diff or "none"),
        ("hardware", provenance.hardware),
    ]
    facts += [(f"packages.{name}", version) for name, version in sorted(provenance.packages.items())]
    for role, corpus in (("corpus", record.corpus), ("heard", record.heard), ("fit", record.fit)):
        if corpus is not None:
            facts.append((role, f"{corpus.name} {corpus.fingerprint}"))
    return facts


def _matched(first: Sweep, second: Sweep) -> list[_Match]:
    """Arms of A with the same arm of B, each at most once, in A's order: by key, else by axes, else by name."""
    rules: tuple[tuple[MatchedBy, Callable[[Arm], Hashable]], ...] = (
        ("key", lambda arm: arm.key),
        ("axes", lambda arm: _axes(arm, first, second)),
        ("name", lambda arm: (arm.name, arm.upstream, arm.control, arm.answers)),
    )
    found: dict[str, _Match] = {}
    taken: set[str] = set()
    for by, identity in rules:
        left = _unique([arm for arm in first.arms.values() if arm.key not in found], identity)
        right = _unique([arm for arm in second.arms.values() if arm.key not in taken], identity)
        for what, arm in left.items():
            if what in right:
                found[arm.key] = _Match(a=arm, b=right[what], by=by)
                taken.add(right[what].key)
    return [found[key] for key in first.arms if key in found]


def _unique(arms: Sequence[Arm], identity: Callable[[Arm], Hashable]) -> dict[Hashable, Arm]:
    """Identity → arm, where it is one arm's only; None names nothing."""
    named = [(identity(arm), arm) for arm in arms]
    times = Counter(what for what, _ in named)
    return {what: arm for what, arm in named if what is not None and times[what] == 1}


def _axes(arm: Arm, first: Sweep, second: Sweep) -> Hashable:
    """Upstream, control and the values of what both sweeps vary; None when they vary nothing in common."""
    varied = [{key for each in sweep.arms.values() for key in each.axes} for sweep in (first, second)]
    common = sorted(varied[0] & varied[1])
    values = tuple((key, repr(arm.axes[key])) for key in common if key in arm.axes)
    return (arm.upstream, arm.control, arm.answers, values) if values else None


def _common(match: _Match) -> tuple[list[tuple[Record, Record]], list[tuple[Record, Record]]]:
    """Records of the seeds complete in both: those that are the very same trial, and the others."""
    others = {record.seed: record for record in match.b.records}
    both = [(record, others[record.seed]) for record in match.a.records if record.seed in others]
    shared = [pair for pair in both if pair[0].trial_key == pair[1].trial_key]
    return shared, [pair for pair in both if pair[0].trial_key != pair[1].trial_key]


def _part(sweep: Sweep, record: Record) -> AnyPart:
    return read_any_part(sweep.trials_root / record.trial_key, record=record, split="validation")


def _difference(
    match: _Match, metric: Metric, shared: list[tuple[Record, Record]], pairs: list[tuple[Record, Record]],
    parts: list[tuple[AnyPart, AnyPart]], *, draws: tuple[int, int],
) -> ArmDifference:  # fmt: skip
    compared = pairs or shared
    alike = len({part.identity for pair in parts for part in pair}) <= 1
    difference, interval, note = None, None, ""
    if not compared:
        note = "no seed is complete in both"
    elif not pairs:
        difference, note = 0.0, "the very same trials"
    elif not alike:
        note = "not validated on the same utterances and folds"
    else:
        # B − A.
        held = matched_parts([(other, own) for own, other in parts], test_to_train=math.nan)
        paired = parts_of(held, metric=metric)
        difference, interval = paired.difference, paired_interval(paired, resamples=draws[0], seed=draws[1])
        few = "too few speakers" if len(parts[0][0].speakers) < MIN_SPEAKERS else "too few speakers differ"
        note = "" if interval else f"{few} for an interval"
    low, high = interval or (None, None)
    return ArmDifference(
        a=match.a.name,
        b=match.b.name,
        matched_by=match.by,
        metric=metric,
        a_mean=_mean([own for own, _ in compared], metric),
        b_mean=_mean([other for _, other in compared], metric),
        difference=difference,
        ci_low=low,
        ci_high=high,
        n_seeds=len(pairs),
        n_shared=len(shared),
        n_folds=len(parts[0][0].folds) if parts else 0,
        n_speakers=len(parts[0][0].speakers) if parts else 0,
        note=note,
    )


def _mean(records: Sequence[Record], metric: Metric) -> float | None:
    """Validation metric over folds and then over seeds."""
    means = [record.metrics.mean["validation"][metric] for record in records if record.metrics is not None]
    return float(np.mean(means)) if means else None
