"""What choosing sees of records: validation and nothing else."""

from __future__ import annotations

import dataclasses
import json

import pytest
from ended_trials import FOLDS, Ending, definition_of, end, flat, planner_of, record_of

from core.store import Workspace
from sweeps.objective import (
    FoldScore,
    Outcome,
    Validation,
    difference,
    fold_differences,
    interim_value,
    outcome_of,
    read_validation,
)
from sweeps.plan import PlannedTrial

ARM = {"Ses01": 0.50, "Ses02": 0.62, "Ses03": 0.41, "Ses04": 0.55, "Ses05": 0.47}
TWIN = {"Ses01": 0.45, "Ses02": 0.60, "Ses03": 0.44, "Ses04": 0.50, "Ses05": 0.45}


@pytest.fixture(scope="module")
def pair(demo_workspace) -> tuple[PlannedTrial, PlannedTrial]:
    definition = definition_of(axes={"masking.temperature": [1.0]})
    arm, twin = planner_of(definition, demo_workspace).whole().trials
    return arm, twin


def validation(workspace: Workspace, planned: PlannedTrial, ending: Ending) -> Validation:
    end(planned, workspace, ending)
    found = read_validation(workspace, planned.trial_key)
    assert found is not None
    return found


def judged(workspace: Workspace, pair: tuple[PlannedTrial, PlannedTrial], *, objective="difference", stopping=False):
    arm, twin = pair
    return outcome_of(workspace, [(arm.trial_key, twin.trial_key)], objective=objective, stopping=stopping)


def test_a_trial_under_way_has_nothing_to_see(workspace, pair):
    assert read_validation(workspace, pair[0].trial_key) is None
    assert judged(workspace, pair) == Outcome(state="open")


def test_only_the_validation_side_is_handed_on(workspace, pair):
    found = validation(workspace, pair[0], Ending(ua=ARM, test=0.123456, interim={60: {"Ses01": 0.3}}, flops=7.0))
    n = pair[0].unfinished.corpus.utterances // 5
    assert found.folds == {fold: FoldScore(ua=ua, n=n) for fold, ua in ARM.items()}
    assert found.ua == pytest.approx(0.51)
    assert (found.steps, found.flops, found.interim) == (300, 7.0, {60: {"Ses01": 0.3}})
    assert "0.123456" not in json.dumps(dataclasses.asdict(found))


def test_nothing_it_hands_on_has_a_place_for_test():
    names = {field.name for kind in (Validation, FoldScore, Outcome) for field in dataclasses.fields(kind)}
    assert names == {
        "trial_key", "status", "reason", "folds", "utterances", "interim", "steps", "flops", "ua", "n", "state",
        "value", "step",
    }  # fmt: skip


def test_the_test_part_may_be_anything(workspace, pair, tmp_path):
    other = Workspace.at(tmp_path / "other")
    seen = [validation(place, pair[0], Ending(ua=ARM, test=test)) for place, test in ((workspace, 0.1), (other, 0.9))]
    assert seen[0] == seen[1]
    assert record_of(pair[0], Ending(ua=ARM, test=0.1)) != record_of(pair[0], Ending(ua=ARM, test=0.9))


def test_the_difference_is_over_the_folds_of_both(workspace, pair):
    arm, twin = (validation(workspace, each, Ending(ua=ua)) for each, ua in zip(pair, (ARM, TWIN), strict=True))
    assert fold_differences(arm, twin) == pytest.approx(
        {"Ses01": 0.05, "Ses02": 0.02, "Ses03": -0.03, "Ses04": 0.05, "Ses05": 0.02}
    )
    assert difference(arm, twin) == pytest.approx(0.022)
    assert judged(workspace, pair).value == pytest.approx(0.022)
    assert judged(workspace, pair, objective="ua").value == pytest.approx(0.51)


def test_ua_waits_for_no_twin_and_does_not_mind_if_it_fails(workspace, pair):
    end(pair[0], workspace, Ending(ua=ARM))
    assert judged(workspace, pair).state == "open"
    assert judged(workspace, pair, objective="ua").state == "complete"
    end(pair[1], workspace, flat(0.5, status="failed"))
    assert judged(workspace, pair).state == "failed"
    assert judged(workspace, pair, objective="ua").state == "complete"


def test_what_failed_or_was_stopped_has_no_folds(workspace, pair):
    for status in ("failed", "pruned"):
        assert validation(workspace, pair[0], Ending(ua=ARM, status=status)).folds == {}


def test_a_look_is_compared_with_the_twins_look_at_the_same_step(workspace, pair):
    looks = {60: {"Ses01": 0.40}, 180: {"Ses01": 0.45, "Ses02": 0.50, "Ses03": 0.55}}
    twin = validation(workspace, pair[1], flat(0.5, interim=looks))
    own = {"Ses01": 0.47, "Ses02": 0.50}
    assert interim_value(own, 180, twin, objective="difference") == pytest.approx(0.01)
    assert interim_value(own, 60, twin, objective="difference") == pytest.approx(0.07)
    assert interim_value(own, 120, twin, objective="difference") is None
    assert interim_value(own, 60, None, objective="difference") is None
    assert interim_value(own, 120, None, objective="ua") == pytest.approx(0.485)
    assert interim_value({}, 120, None, objective="ua") is None


def test_a_stopped_arm_that_was_never_compared_has_no_value(workspace, pair):
    end(pair[0], workspace, Ending(status="pruned", interim={60: {"Ses01": 0.4}}))
    end(pair[1], workspace, flat(0.5))
    outcome = judged(workspace, pair, stopping=True)
    assert (outcome.state, outcome.value, outcome.step) == ("pruned", None, None)
    assert judged(workspace, pair, stopping=False).state == "open"


def test_cost_is_known_only_where_every_record_has_it(workspace, pair):
    for flops, expected in ((5.0, 5.0), (None, None)):
        end(pair[0], workspace, flat(0.5, flops=flops))
        end(pair[1], workspace, flat(0.5))
        assert judged(workspace, pair).flops == expected


def test_every_fold_is_looked_at():
    assert set(ARM) == set(TWIN) == set(FOLDS)
