"""The definition that ships: its arms, one twin, its contrasts; and no choosing by a UA that there is not."""

from __future__ import annotations

import pytest

from core.errors import BadInputError
from core.resolve import twin_of
from core.trial import arm_name
from sweeps.definition import load_definition
from sweeps.space import contrast_pairs, points


@pytest.mark.parametrize("name", ["teacher_student", "noisy_labels"])
def test_every_student_has_the_one_without_teacher_as_its_twin_and_a_tested_teacher_none(name):
    definition = load_definition(name)
    spread = points(definition)
    twins = {point.coordinates["arms"]: twin_of(point.config) for point in spread}
    assert {arm for arm, twin in twins.items() if twin is None} == {"no_teacher", "teacher"}
    alone = {arm_name(twin) for twin in twins.values() if twin is not None}
    assert alone == {"teacher_student no-teacher random r0.15 s7"}
    assert len({arm_name(point.config) for point in spread}) == len(spread) == 7
    pairs = {(name, arm.coordinates["arms"], against.coordinates["arms"]) for name, arm, against in
             contrast_pairs(definition, spread)}  # fmt: skip
    assert {("condition, soft", "soft", "unconditional"), ("words", "soft", "soft_by_ear")} < pairs


@pytest.mark.parametrize(
    "chooser", [("search.method=random", "search.points=2"), ("racing.start=1",), ("stop.rule=asha", "stop.first=10")]
)
def test_choosing_by_ua_is_refused_in_one_line(chooser):
    with pytest.raises(BadInputError, match=r"chooses by UA, and system 'teacher_student' has CCC only"):
        points(load_definition("teacher_student", [*chooser, "contrasts={}"]))


def test_a_setting_that_means_nothing_is_refused():
    with pytest.raises(BadInputError, match=r"teacher\.outputs .* means nothing there: weighting 'none' teaches no"):
        points(load_definition("teacher_student", ["teacher.outputs=in-sample"]))
