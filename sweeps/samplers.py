"""What Optuna is asked: the next point, given the trials that a study has; the same answer to the same question."""

from __future__ import annotations

__all__ = ["directions", "distribution_of", "sobol", "suggested", "uniform"]

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from core.seeding import stream, stream_seed
from sweeps.definition import SweepDefinition
from sweeps.draws import Draft, Kept, axis_names, draft, from_unit, kept_choices
from sweeps.strategy import Range

SEED_LIMIT = 2**32


def directions(definition: SweepDefinition) -> tuple[StudyDirection, ...]:
    """Of the objective; with `nsga2` also of the training cost."""
    assert definition.search is not None
    both = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
    return both if definition.search.method == "nsga2" else both[:1]


def distribution_of(values: Sequence[Any] | Range) -> BaseDistribution:
    """An axis as Optuna knows it: a list is unordered, a range is whole where its ends are."""
    if not isinstance(values, Range):
        return CategoricalDistribution(kept_choices(values))
    if values.whole:
        # Optuna wants a range that its steps fill.
        return IntDistribution(int(values.low), int(from_unit(values, 1)), log=values.log, step=int(values.step or 1))
    if values.step is not None:
        return FloatDistribution(values.low, float(from_unit(values, 1)), step=values.step)
    return FloatDistribution(values.low, values.high, log=values.log)


def uniform(definition: SweepDefinition, fixed: Mapping[str, Any], *place: int | str) -> Draft:
    """A point drawn evenly along each axis, from the stream of the search's seed at `place`."""
    random = stream(_seed(definition), "search", *place)
    return _in_cube(definition, fixed, random.random(len(axis_names(definition))).tolist())


def sobol(definition: SweepDefinition, fixed: Mapping[str, Any], *, number: int) -> Draft:
    """Point `number` of a scrambled Sobol' sequence (Sobol' 1967, Owen 1998), one dimension for each axis.

    Drawn here and not by Optuna's QMCSampler, whose place in the sequence is a counter in the storage: a search that
    was interrupted would leave points out. It also draws the axes of branches at random.
    """
    from scipy.stats import qmc

    axes = len(axis_names(definition))
    engine = qmc.Sobol(max(1, axes), scramble=True, seed=stream_seed(_seed(definition), "search-sobol"))
    if number:
        engine.fast_forward(number)
    return _in_cube(definition, fixed, engine.random(1)[0, :axes].tolist())


def suggested(
    definition: SweepDefinition, fixed: Mapping[str, Any], known: Sequence[FrozenTrial], *place: int | str
) -> tuple[Draft, dict[str, Any]]:
    """What TPE or NSGA-II suggests after the trials `known`, and the sampler's own notes on it.

    The sampler is made anew and seeded for each suggestion, and asked over a copy of the trials in memory. So what it
    says depends on them and on `place` alone, and nothing half-made is ever stored.
    """
    sampler = _sampler(definition, stream_seed(_seed(definition), "search", *place) % SEED_LIMIT)
    study = optuna.create_study(sampler=sampler, directions=directions(definition))
    study.add_trials(known)
    trial = study.ask()
    found = draft(definition, lambda name, values: _suggest(trial, name, values), fixed)
    return found, dict(study.get_trials(deepcopy=False)[trial.number].system_attrs)


def _in_cube(definition: SweepDefinition, fixed: Mapping[str, Any], places: Sequence[float]) -> Draft:
    place_of = dict(zip(axis_names(definition), places, strict=True))
    return draft(definition, lambda name, values: from_unit(values, place_of[name]), fixed)


def _seed(definition: SweepDefinition) -> int:
    assert definition.search is not None
    return definition.search.seed


def _sampler(definition: SweepDefinition, seed: int) -> optuna.samplers.BaseSampler:
    search = definition.search
    assert search is not None
    if search.method == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=search.batch, seed=seed)
    return optuna.samplers.TPESampler(
        # BOHB's least number of points for a model of d axes (Falkner et al. 2018): the default of 10 would leave a
        # sweep of a dozen points to chance.
        n_startup_trials=len(axis_names(definition)) + 1,
        # Each axis by itself (Bergstra et al. 2011), from the points that have it: axes of branches are searched like
        # all others. A joint model found less with a dozen or two of points, on separable and on slanted landscapes
        # (ours).
        multivariate=False,
        # Points of a batch are asked before any of them has ended: each keeps its distance from those before it.
        constant_liar=True,
        seed=seed,
    )


def _suggest(trial: optuna.Trial, name: str, values: Sequence[Any] | Range) -> Kept:
    distribution = distribution_of(values)
    chosen: Kept
    if isinstance(distribution, CategoricalDistribution):
        chosen = trial.suggest_categorical(name, distribution.choices)
    elif isinstance(distribution, IntDistribution):
        low, high = distribution.low, distribution.high
        chosen = trial.suggest_int(name, low, high, step=distribution.step, log=distribution.log)
    else:
        low, high = distribution.low, distribution.high
        chosen = trial.suggest_float(name, low, high, step=distribution.step, log=distribution.log)
    return chosen
