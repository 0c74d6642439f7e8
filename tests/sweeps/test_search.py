"""Search on real Optuna storage: never a point twice, the same points whatever interrupts it, test out of reach."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from ended_trials import CPU, FOLDS, TEMPERATURE, Ending, definition_of, drive, end, flat, planner_of
from optuna.storages import RDBStorage

from core.errors import BadInputError
from core.store import Workspace
from sweeps.definition import SweepDefinition
from sweeps.plan import PlannedTrial
from sweeps.search import SearchSource

RANGES = {
    "masking.ratio": {"low": 0.1, "high": 0.4, "step": 0.05},
    "masking.temperature": TEMPERATURE,
    "masking.span": {"low": 3, "high": 15},
}
LISTS = {"masking.ratio": [0.15, 0.3], "masking.temperature": [0.25, 1.0, "inf"]}
METHODS = ("random", "quasi-random", "tpe", "nsga2")
EACH_METHOD = [pytest.param(name, marks=[] if name == "tpe" else pytest.mark.slow) for name in METHODS]


def search_of(method: str = "tpe", *, axes: object = RANGES, points: int = 8, batch: int = 4, **more: object):
    changed = {key: more.pop(key) for key in ("seed",) if key in more}
    return definition_of(axes=axes, search={"method": method, "points": points, "batch": batch, **changed}, **more)


def landscape(planned: PlannedTrial) -> Ending:
    """Best at ratio 0.2 and temperature 1; a twin is as good as its ratio; a longer span costs more."""
    masking = planned.config.masking
    ua = 0.6 - abs(masking.ratio - 0.2)
    if masking.temperature is not None:
        ua += 0.1 - 0.05 * abs(math.log10(min(masking.temperature, 1e3)))
    wobble = np.random.default_rng([planned.seed, 7]).normal(0, 0.01, len(FOLDS))
    return Ending(ua=dict(zip(FOLDS, ua + wobble, strict=True)), flops=1e9 * masking.span)


class Search:
    """A search in a folder of its own, which may be put up again at any time."""

    def __init__(self, definition: SweepDefinition, folder: Path, demo_workspace: Workspace) -> None:
        self.definition, self.folder, self._demo = definition, folder, demo_workspace
        self.workspace = Workspace.at(folder / "workspace")
        self.storage = folder / "sweeps" / "optuna.db"

    def source(self) -> SearchSource:
        return SearchSource(planner_of(self.definition, self._demo), self.workspace, storage=self.storage)

    def run(self, how: Callable[[PlannedTrial], Ending] = landscape) -> list[str]:
        source = self.source()
        drive(source, self.workspace, how)
        return arms_of(source)

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Of the last study begun."""
        storage = RDBStorage(f"sqlite:///{self.storage}")
        return storage.get_all_trials(storage.get_all_studies()[-1]._study_id)


@pytest.fixture
def make(tmp_path, demo_workspace):
    def search(definition: SweepDefinition, name: str = "one") -> Search:
        return Search(definition, tmp_path / name, demo_workspace)

    return search


def arms_of(source: SearchSource) -> list[str]:
    """Names of the points' arms in order, without twins."""
    return list(dict.fromkeys(trial.arm for trial in source.plan.trials if trial.twin_key))


def masking_of(source: SearchSource, name: str) -> list[float]:
    return [getattr(trial.config.masking, name) for trial in source.plan.trials if trial.twin_key]


@pytest.mark.parametrize("method", EACH_METHOD)
def test_a_search_tries_as_many_different_points_as_asked_in_batches(make, method):
    search = make(search_of(method, points=10))
    source = search.source()
    assert len(source.plan.trials) == 0
    seen = []
    while source.advance():
        seen.append(len(arms_of(source)))
        assert not source.advance(), "the batch has not ended"
        for planned in source.plan.open_trials(search.workspace):
            end(planned, search.workspace, landscape(planned))
    assert seen == [4, 8, 10]
    assert len({trial.arm_key for trial in source.plan.trials if trial.twin_key}) == 10
    assert all(trial.state.name == "COMPLETE" for trial in search.trials())
    values = masking_of(source, "temperature")
    assert all(0.1 <= value <= 10 and value == float(f"{value:.4g}") for value in values)
    assert {round((value - 0.1) / 0.05, 9) % 1 for value in masking_of(source, "ratio")} == {0}
    assert all(3 <= value <= 15 and isinstance(value, int) for value in masking_of(source, "span"))


@pytest.mark.slow
def test_each_method_and_each_seed_goes_its_own_way(make):
    definitions = [search_of(method) for method in METHODS] + [search_of("random", seed=1)]
    tried = [tuple(make(each, str(i)).run()) for i, each in enumerate(definitions)]
    assert len(set(tried)) == 5


def test_the_value_told_is_the_difference_over_seeds_and_folds(make):
    search = make(search_of("random", points=3, batch=2, seeds=[0, 1]))

    def how(planned: PlannedTrial) -> Ending:
        arm = 0.02 * (1 + planned.seed) if planned.twin_key else 0.0
        return Ending(ua={fold: 0.4 + 0.05 * i + arm * i for i, fold in enumerate(FOLDS)})

    search.run(how)
    expected = np.mean([0.02 * seed * i for seed in (1, 2) for i in range(5)])
    assert [trial.value for trial in search.trials()] == pytest.approx([expected] * 3)


def test_ua_alone_needs_no_twins(make):
    search = make(search_of("random", points=2, twins=False, objective="ua"))
    source = search.source()
    drive(source, search.workspace, landscape)
    assert len(source.plan.trials) == 2
    assert [trial.value for trial in search.trials()] == pytest.approx(
        [np.mean(list(landscape(trial).ua.values())) for trial in source.plan.trials]
    )


@pytest.mark.slow
def test_nsga2_weighs_the_training_cost(make):
    search = make(search_of("nsga2", points=12))
    source = search.source()
    drive(source, search.workspace, landscape)
    costs = [trial.values[1] for trial in search.trials()]
    assert costs == [1e9 * span for span in masking_of(source, "span")]
    generations = [trial.system_attrs["NSGAIISampler:generation"] for trial in search.trials()]
    assert generations == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.slow
def test_tpe_finds_more_than_chance(make):
    """Mean value of the points after the first two batches, over three seeds each."""

    def how(planned: PlannedTrial) -> Ending:
        ratio, temperature = planned.config.masking.ratio, planned.config.masking.temperature
        return flat(0.5 if temperature is None else 0.6 - 0.05 * abs(math.log10(temperature)) - 0.2 * abs(ratio - 0.2))

    means = {}
    for method in ("random", "tpe"):
        values = []
        for seed in range(3):
            search = make(search_of(method, points=24, seed=seed), f"{method}{seed}")
            search.run(how)
            values += [trial.value for trial in search.trials()[8:]]
        means[method] = np.mean(values)
    assert means["tpe"] > means["random"] + 0.005


def test_an_arm_that_is_its_own_twin_differs_by_nothing(make):
    arms = {"plain": {"masking.policy": "random"}, "ems": {"masking.policy": "ems", "masking.temperature": 1.0}}
    settings = {"intensity": {"fit": {"name": "demo", "part": "intensity"}}}
    search = make(search_of("random", axes={}, arms=arms, settings=settings, points=2))
    search.run()
    assert {trial.params["arms"]: trial.value for trial in search.trials()} == {"plain": 0.0, "ems": pytest.approx(0.1)}


@pytest.mark.parametrize("method", EACH_METHOD)
def test_a_space_of_lists_is_searched_to_its_end(make, method):
    search = make(search_of(method, axes=LISTS, points=50))
    source = search.source()
    drive(source, search.workspace, landscape)
    assert len(arms_of(source)) == len(set(arms_of(source))) == 6
    assert source.exhausted == "no new point was found after 6"


def test_points_that_are_refused_never_come_back_and_do_not_count(make):
    axes = {"mockingjay.heads": [3, 4, 5, 6], "masking.span": [5, 7], "masking.temperature": [1.0]}
    search = make(search_of("tpe", axes=axes, points=50))
    source = search.source()
    drive(source, search.workspace, landscape)
    assert sorted(arms_of(source)) == [
        f"ems r0.15 s{span} t1 mockingjay.heads={heads}" for span in (5, 7) for heads in (3, 4, 6)
    ]
    states = [trial.state.name for trial in search.trials()]
    assert states.count("COMPLETE") == 6
    refused = [trial for trial in search.trials() if trial.state.name == "FAIL"]
    assert [trial.params["mockingjay.heads"] for trial in refused] == [5, 5]
    assert "5 does not divide hidden 48" in refused[0].user_attrs["refused"]
    assert source.exhausted is not None
    assert "the settings refuse 2" in source.exhausted


def test_a_space_without_a_point_is_one_clear_error(make):
    source = make(search_of("tpe", axes={"mockingjay.heads": [5, 7], "masking.temperature": [1.0]})).source()
    with pytest.raises(BadInputError, match=r"no point can be tried; the settings refuse 2, the last: .*heads"):
        source.advance()


def test_a_failed_trial_fails_its_point_only(make):
    search = make(search_of("tpe", points=8, batch=2, axes={"masking.temperature": TEMPERATURE}, seeds=[0, 1]))
    failed = []

    def how(planned: PlannedTrial) -> Ending:
        if planned.twin_key and not failed and planned.seed == 1:
            failed.append(planned.arm)
            return flat(0.5, status="failed")
        return landscape(planned)

    arms = search.run(how)
    assert len(set(arms)) == 8
    assert arms[0] == failed[0]
    states = [trial.state.name for trial in search.trials()]
    assert states == ["FAIL"] + ["COMPLETE"] * 7
    assert "failed on purpose" in search.trials()[0].user_attrs["reason"]


def test_a_failed_twin_fails_the_points_that_need_it(make):
    search = make(search_of("random", axes=LISTS, points=6))
    search.run(lambda planned: flat(0.5, status="failed" if planned.arm == "random r0.3 s7" else "complete"))
    by_ratio = {(trial.params["masking.ratio"], trial.state.name) for trial in search.trials()}
    assert by_ratio == {(0.15, "COMPLETE"), (0.3, "FAIL")}


def test_a_stopped_arm_is_told_with_its_last_look(make):
    search = make(search_of("tpe", points=4, seeds=[0, 1], stop={"rule": "asha", "first": 60}))

    def how(planned: PlannedTrial) -> Ending:
        gain = 0.1 + 0.1 * planned.seed if planned.twin_key else 0.0
        interim = {60: {"Ses01": 0.3 + gain}, 180: {"Ses01": 0.3 + gain, "Ses02": 0.4 + 2 * gain}}
        if planned.twin_key and planned.seed == 0:
            return Ending(status="pruned", interim={60: interim[60]})
        return Ending(status="pruned" if planned.twin_key else "complete", interim=interim)

    search.run(how)
    # Seed 1 alone was seen at step 180: 0.2 in the first fold, 0.4 in the second.
    assert [(trial.state.name, trial.value) for trial in search.trials()] == [("PRUNED", pytest.approx(0.3))] * 4
    assert [trial.last_step for trial in search.trials()] == [180] * 4


def test_without_stopping_what_another_sweep_stopped_is_open(make):
    search = make(search_of("tpe", points=4))
    source = search.source()
    source.advance()
    for planned in source.plan.trials:
        end(planned, search.workspace, flat(0.5, status="pruned"))
    assert not source.advance()
    assert {trial.state.name for trial in search.trials()} == {"RUNNING"}


class KilledError(Exception):
    """Stands for a kill."""


def kill_before(monkeypatch, moment: int) -> None:
    """Raise before the given write to any study, which is as good as after the one before it."""
    count = iter(range(10_000))
    for name in ("create_new_trial", "set_trial_state_values", "set_trial_intermediate_value", "set_trial_user_attr"):
        real = getattr(RDBStorage, name)

        def write(self, *args, real=real, **kwargs):
            if next(count) == moment:
                raise KilledError
            return real(self, *args, **kwargs)

        monkeypatch.setattr(RDBStorage, name, write)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_search_that_is_killed_at_any_write_goes_the_same_way(make, monkeypatch, method):
    axes = {"mockingjay.heads": [4, 5, 6], "masking.temperature": TEMPERATURE}
    definition = search_of(method, axes=axes, points=5, batch=2)
    undisturbed = make(definition, "undisturbed")
    expected = undisturbed.run()
    known = [(trial.params, trial.state) for trial in undisturbed.trials()]
    # Each point is written when it is chosen and, unless it was refused, when it has ended.
    writes = 2 * len(known) - sum(state.name == "FAIL" for _, state in known)
    for moment in range(writes):
        search = make(definition, str(moment))
        with monkeypatch.context() as patch:
            kill_before(patch, moment)
            with pytest.raises(KilledError):
                search.run()
        assert search.run() == expected
        assert [(trial.params, trial.state) for trial in search.trials()] == known


@pytest.mark.slow
def test_a_search_put_up_again_after_each_ending_goes_the_same_way(make):
    """In each batch the trials end in another order, and the source is made anew after each of them."""
    definition = search_of("tpe", points=8, seeds=[0, 1])
    expected = make(definition, "undisturbed").run()
    search = make(definition, "interrupted")
    while True:
        source = search.source()
        source.advance()
        open_trials = source.plan.open_trials(search.workspace)
        if not open_trials:
            break
        end(open_trials[-1], search.workspace, landscape(open_trials[-1]))
    assert arms_of(source) == expected


DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from core.store import Workspace
from test_search import Search, search_of
search = Search(search_of("tpe", points=12), Path(sys.argv[2]), Workspace.at(Path(sys.argv[3])))
print("ready", flush=True)
print("\\n".join(search.run()))
"""


@pytest.mark.slow
def test_a_driver_that_is_really_killed_goes_the_same_way(make, demo_workspace, tmp_path):
    expected = make(search_of("tpe", points=12), "undisturbed").run()
    command = [sys.executable, "-c", DRIVER, str(Path(__file__).parent), str(tmp_path / "killed")]
    command.append(str(demo_workspace.root))
    random = np.random.default_rng(3)
    kills = 0
    for _ in range(60):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            # Ever longer, so that a slow machine comes to an end too.
            output, _ = process.communicate(timeout=float(random.uniform(0.3, 2.0)) * 1.15**kills)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0
        assert output.split("\n")[:-1] == expected
        break
    else:
        pytest.fail("never finished")
    assert kills >= 3


@pytest.mark.slow
def test_more_points_go_on_with_the_same_study_and_fewer_show_fewer(make):
    search = make(search_of("tpe", points=4))
    first = search.run()
    search.definition = search_of("tpe", points=8)
    both = search.run()
    assert both[:4] == first
    assert both == make(search_of("tpe", points=8), "at once").run()
    search.definition = search_of("tpe", points=3)
    assert search.run() == first[:3]
    assert len(search.trials()) == 8


@pytest.mark.slow
def test_another_space_is_another_study_in_the_same_file(make):
    search = make(search_of("tpe", points=4))
    first = search.run()
    search.definition = search_of("tpe", points=4, axes=RANGES | {"masking.span": {"low": 3, "high": 7}})
    assert search.run() != first
    search.definition = search_of("tpe", points=4)
    began = []
    source = search.source()
    drive(source, search.workspace, lambda planned: began.append(planned) or landscape(planned))
    assert arms_of(source) == first
    assert not began, "its trials are complete"
    assert len(RDBStorage(f"sqlite:///{search.storage}").get_all_studies()) == 2


def test_arms_with_other_keys_begin_a_new_study_with_the_same_points(make, demo_workspace):
    """As when code or a corpus has changed: what was told belongs to trials that are no longer meant."""
    search = make(search_of("tpe", points=4))
    first = search.run()
    planner = planner_of(search.definition, demo_workspace)
    planner.compute = {**CPU, "compute.threads": 2}
    source = SearchSource(planner, search.workspace, storage=search.storage)
    assert not source.plan.trials
    source.advance()
    assert arms_of(source) == first
    assert len(source.plan.open_trials(search.workspace)) == len(source.plan.trials)


def test_a_definition_edited_where_it_does_not_matter_keeps_its_study(make):
    search = make(search_of("tpe", points=4))
    first = search.run()
    search.definition = search_of("tpe", points=4, description="other words", controls=["inverse"])
    source = search.source()
    assert arms_of(source)[:1] == first[:1]
    assert len(source.plan.contrasts) == 4


@pytest.mark.slow
def test_branches_are_searched_with_their_own_axes(make):
    axes = {"upstream": ["mockingjay", "npc"], "masking.temperature": TEMPERATURE}
    when = [
        {"if": {"upstream": "mockingjay"}, "axes": {"masking.span": {"low": 3, "high": 9}}},
        {"if": {"upstream": "npc"}, "arms": {"a": {"npc.dropout": 0.0}, "b": {"npc.dropout": 0.1}}},
    ]
    for method in METHODS:
        search = make(search_of(method, axes=axes, when=when, points=12), method)
        search.run()
        for trial in search.trials():
            npc = trial.params["upstream"] == "npc"
            assert set(trial.params) == {"upstream", "masking.temperature"} | (
                {"when.1.arms"} if npc else {"when.0.masking.span"}
            )
        assert {trial.params["upstream"] for trial in search.trials()} == {"mockingjay", "npc"}


def test_quasi_random_points_fill_the_space_evenly(make):
    search = make(search_of("quasi-random", axes={"masking.temperature": TEMPERATURE}, points=16, batch=8))
    source = search.source()
    drive(source, search.workspace, landscape)
    places = (np.log10(masking_of(source, "temperature")) + 1) / 2
    # A Sobol' sequence of 2ᵏ points has one in each of as many equal parts.
    assert sorted((places * 16).astype(int)) == list(range(16))


def test_nsga2_needs_two_at_once(make):
    with pytest.raises(BadInputError, match=r"search\.batch: nsga2 needs a population of at least 2, got 1"):
        make(search_of("nsga2", batch=1)).source()


@pytest.mark.parametrize("method", EACH_METHOD)
def test_test_numbers_change_nothing(make, method):
    """Two workspaces that differ in all test metrics and predictions, and in nothing else."""
    definition = search_of(method, points=6, batch=3)
    plain, poisoned = make(definition, "plain"), make(definition, "poisoned")
    random = np.random.default_rng(5)

    def poison(planned: PlannedTrial) -> Ending:
        honest = landscape(planned)
        return replace(honest, test=float(random.random()))

    assert plain.run(lambda planned: replace(landscape(planned), test=0.5)) == poisoned.run(poison)
    assert [trial.values for trial in plain.trials()] == [trial.values for trial in poisoned.trials()]
    key = next(iter((plain.workspace.root / "trials").iterdir())).name
    one, other = ((each.workspace.root / "trials" / key) for each in (plain, poisoned))
    for name in ("record.json", "predictions.parquet"):
        assert (one / name).read_bytes() != (other / name).read_bytes()
